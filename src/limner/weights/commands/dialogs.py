"""What the imports of ViLBERT and of BERT share: word parts, what shapes do not tell of a model, the package."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.errors import UserError
from limner.weights.commands.checks import about_import, as_many, note_sorted

if TYPE_CHECKING:
    from limner.data.wordpiece import WordPiece
    from limner.models.vilbert import ViLBERT

MAX_REGIONS = 36  # published: 36 boxes, and the whole image
MAX_LENGTH = 256  # published: tokens of a dialog


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", metavar="CHECKPOINT", type=Path)
    parser.add_argument(
        "--vocab", required=True, metavar="vocab.txt", help="BERT's word parts, one a line; or a name on the hub"
    )
    parser.add_argument("--cased", action="store_true", help="the vocabulary tells upper from lower case")
    parser.add_argument(
        "--config", metavar="FILE", type=Path, help="published configuration (.json): heads, connections, dropout"
    )
    parser.add_argument(
        "--model",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="keys of the group `model` that shapes do not tell: text_heads=12 fusion=sum text_connections=[6,7,8]",
    )


def configuration(path: Path | None) -> dict[str, Any]:
    """The published configuration; {} without one."""
    if path is None:
        return {}
    from limner.weights.manifest import read_json

    found = read_json(path)
    if not isinstance(found, dict):
        raise UserError(f'{path}: holds a {type(found).__name__}, expected an object such as {{"hidden_size": 768}}')
    return found


def defaults() -> dict[str, Any]:
    """The config group `model` as published: what no shape and no option says."""
    from omegaconf import OmegaConf

    from limner.schema.visdial_model import ViLBERT

    found = OmegaConf.to_container(OmegaConf.structured(ViLBERT))
    assert isinstance(found, dict)
    return {str(name): value for name, value in found.items() if name != "_target_"}


def model_keys(words: Sequence[str]) -> dict[str, Any]:
    """What `--model` says, checked against the keys of the config group.

    Raises:
        UserError: an unknown key, or a value of another type.
    """
    from omegaconf import OmegaConf

    from limner.overrides import change
    from limner.schema.check import typed
    from limner.schema.visdial_model import ViLBERT

    node = OmegaConf.create(defaults())
    for text in words:
        change(node, text, whole="--model sets keys of the config group `model`")
    if faults := list(typed(ViLBERT, node, "--model ")):
        raise UserError("; ".join(faults))
    given: Any = OmegaConf.to_container(node)
    return {name: given[name] for name in (text.partition("=")[0] for text in words)}


def agree(given: Mapping[str, Any], told: Mapping[str, Any], checkpoint: Path) -> None:
    """Refuses sizes that are not those of the checkpoint's shapes."""
    from limner.weights.vilbert_names import FREE

    fixed = [key for key in given if key in told and key not in FREE]
    wrong = [f"{key}={given[key]}, but its shapes say {told[key]}" for key in fixed if given[key] != told[key]]
    if wrong:
        raise UserError(f"{checkpoint}: --model {'; '.join(wrong)}: leave out what shapes tell")


def read_words(options: argparse.Namespace, expected: int) -> WordPiece:
    """The word parts, as many as the checkpoint has rows for."""
    from limner.data.wordpiece import WordPiece

    words = WordPiece.load(options.vocab, lowercase=not options.cased)
    as_many(len(words), expected, "word parts", options.vocab, options.checkpoint)
    note_sorted(words.words, options.vocab)
    return words


def save(
    folder: Path,
    model: ViLBERT,
    sizes: Mapping[str, Any],
    words: WordPiece,
    options: argparse.Namespace,
    kind: str,
    told: str,
) -> None:
    """Writes the package of a model for visual dialog.

    Args:
        options: of the command line. kind: where the weights come from. told: how the model was trained, in one line.
    """
    from limner.weights import package

    features = {"dim": sizes["feature_dim"], "max_regions": MAX_REGIONS, "extractor": "unknown", "provenance": {}}
    text = {"lowercase": words.lowercase, "max_length": min(MAX_LENGTH, sizes["positions"]), "history": None}
    meta = {
        "task": "visdial",
        "text": text,
        "features": None if sizes.get("fusion") == "text" else features,
        "signature": told,
        **about_import(options, kind),
        "config": {  # enough to evaluate it: limner evaluate model=DIR data=visdial
            "name": kind,
            "task": {"_target_": "limner.tasks.visdial.VisDialTask"},
            "data": {"_target_": "limner.data.visdial.VisDialData", "dialogs": {}},
        },
    }
    target = {"_target_": "limner.models.vilbert.ViLBERT", **sizes}
    vocab = {"words": list(words.words)}
    package.save(folder, package.Package(model=model, sizes=target, vocab=vocab, meta=meta))


def describe(folder: Path, model: ViLBERT, sizes: Mapping[str, Any]) -> str:
    """One line: layers and their heads, fusion, parameters, word parts."""
    parameters = sum(p.numel() for p in model.parameters())
    layers = f"{sizes['text_layers']} text layers of {sizes['text_heads']} heads"
    if sizes["fusion"] != "text":
        layers += f", {sizes['image_layers']} of the image ({sizes['image_heads']} heads)"
        layers += f", {len(sizes['text_connections'])} of co-attention ({sizes['joint_heads']} heads)"
    return f"{folder}: {layers}, fusion {sizes['fusion']}, {parameters:,} parameters, {sizes['words']:,} word parts"
