"""`limner import`: published checkpoints become model packages."""

from __future__ import annotations

import argparse
from pathlib import Path

from limner.errors import UserError


def main(argv: list[str]) -> int:
    """`limner import hu-vqa model.pth --words W --answers A --to DIR`; the exit code."""
    parser = argparse.ArgumentParser(
        prog="limner import",
        description="Turns a published checkpoint into a model package. Every name and shape is checked.",
    )
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    hu = kinds.add_parser("hu-vqa", help="bottom-up-attention-vqa: model.pth of train.py, with its dictionary and labels")
    hu.add_argument("checkpoint", metavar="model.pth")
    hu.add_argument("--words", required=True, metavar="FILE", help="dictionary.pkl, or a JSON list of words")
    hu.add_argument("--answers", required=True, metavar="FILE", help="trainval_label2ans.pkl, or a JSON list of answers")
    hu.add_argument("--to", required=True, metavar="DIR", help="folder of the package to make")
    options = parser.parse_args(argv)
    folder = Path(options.to)
    if folder.exists():
        raise UserError(f"{folder}: is there already; give another --to, or remove it")
    return import_hu_vqa(Path(options.checkpoint), Path(options.words), Path(options.answers), folder)


def import_hu_vqa(checkpoint: Path, words: Path, answers: Path, folder: Path) -> int:
    """Makes a package from a checkpoint of bottom-up-attention-vqa and the two vocabularies it was trained with."""
    from limner.data.pickles import read_list
    from limner.models.updown_vqa import UpDownVQA
    from limner.weights import package
    from limner.weights.importers import convert_hu_vqa, hu_vqa_sizes, read_checkpoint

    state = read_checkpoint(checkpoint)
    sizes = hu_vqa_sizes(state)
    vocab = {"words": read_list(words, place=1), "answers": read_list(answers)}
    for name, entries in vocab.items():
        if len(entries) != sizes[name]:
            source = words if name == "words" else answers
            expected = f"{sizes[name]:,}, as {checkpoint} has"
            raise UserError(f"{source}: {len(entries):,} {name}, expected {expected}: they belong to two models")
    model = UpDownVQA(**sizes)  # type: ignore[arg-type]
    model.load_state_dict(convert_hu_vqa(state))
    meta = {
        "task": "vqa",
        "softmax": False,
        "features": {"dim": sizes["feature_dim"], "max_regions": 36, "extractor": "unknown", "provenance": {}},
        "metrics": {},
        "config": None,
        "imported": {"from": "bottom-up-attention-vqa", "file": checkpoint.name},
    }
    target = {"_target_": "limner.models.updown_vqa.UpDownVQA", **sizes}
    package.save(folder, package.Package(model=model, sizes=target, vocab=vocab, meta=meta))
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{folder}: {sizes['attention']} attention, {parameters:,} parameters, {sizes['answers']:,} answers")
    return 0
