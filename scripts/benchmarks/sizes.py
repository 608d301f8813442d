"""Sizes and length statistics of the published data sets, for every benchmark that works at their size."""

from __future__ import annotations

# questions of VQA v2 with 3, 4, ... 14 or more tokens, in per mille of 48,061
QUESTION_LENGTHS = (31, 114, 257, 193, 197, 100, 51, 27, 14, 8, 4, 4)
# captions of COCO with 8, 9, ... 20 words or signs
CAPTION_LENGTHS = (179, 233, 217, 139, 84, 51, 33, 21, 14, 10, 7, 5, 7)
