"""What the imports of captioners share: the package, the line about it."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.weights.commands.checks import about_import, with_defaults

if TYPE_CHECKING:
    from limner.models.updown_captioner import UpDownCaptioner

BEAM = {"_target_": "limner.decode.Beam", "size": 5, "keep": 1}


def save(
    folder: Path,
    model: UpDownCaptioner,
    sizes: Mapping[str, Any],
    words: Sequence[str],
    options: argparse.Namespace,
    *,
    kind: str,
    decode: Mapping[str, Any],
) -> None:
    """Writes the package of a captioner.

    Args:
        sizes: the model's arguments. words: in the order of their ids.
        options: of the command line. kind: where the weights come from.
        decode: keys of the config group `decode` in which these models differ from a beam of five.
    """
    from limner.weights import package

    features: dict[str, Any] = {"dim": sizes["feature_dim"], "max_regions": None}
    features |= {"extractor": "unknown", "provenance": {}}
    if sizes.get("global_source") == "given":
        features["global"] = {"dim": sizes["global_dim"], "extractor": "unknown"}
    meta = {
        "task": "captioning",
        "signature": f"imported from {options.checkpoint.name}",
        "features": features,
        **about_import(options, kind),
        "config": {  # enough to evaluate it: limner evaluate model=DIR data=coco_karpathy
            "name": kind,
            "task": {"_target_": "limner.tasks.captioning.CaptioningTask"},
            "data": {"_target_": "limner.data.captions.CaptionData", "captions": {}},
            "decode": {**BEAM, **decode},
        },
    }
    target = {"_target_": "limner.models.updown_captioner.UpDownCaptioner", **with_defaults(model, sizes)}
    vocab = {"words": list(words)}
    package.save(folder, package.Package(model=model, sizes=target, vocab=vocab, meta=meta))


def describe(folder: Path, model: UpDownCaptioner, sizes: Mapping[str, Any]) -> str:
    """One line: regions, the global vector, parameters, words."""
    parameters = sum(p.numel() for p in model.parameters())
    parts = [f"{sizes.get('regions', 'embedded')} regions of {sizes['feature_dim']} numbers"]
    parts += ["and their boxes"] if sizes.get("geometry") else []
    given = sizes.get("global_source") == "given"
    parts += [f"a given vector of {sizes['global_dim']}" if given else "their mean as the global vector"]
    return f"{folder}: {', '.join(parts)}, {parameters:,} parameters, {sizes['words']:,} words"
