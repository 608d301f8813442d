"""A world of coloured shapes in the real formats of VQA v2, Karpathy's captions and VisDial 1.0.

    python -m limner.data.toy.build DIR          # or: limner data toy DIR

`world` draws what is in each picture and where, `render` paints it, `vqa`, `captions` and `visdial` talk about it,
`build` writes a folder that training reads exactly like COCO data.
"""

from __future__ import annotations
