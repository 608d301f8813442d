"""`limner import`: published checkpoints become model packages."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from limner.errors import UserError, listing


def main(argv: list[str]) -> int:
    """`limner import hu-vqa model.pth --words W --answers A --to DIR`; the exit code."""
    parser = argparse.ArgumentParser(
        prog="limner import",
        description="Turns a published checkpoint into a model package. Every name and shape is checked.",
    )
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    hu = kinds.add_parser("hu-vqa", help="bottom-up-attention-vqa: the model.pth of its train.py")
    hu.add_argument("checkpoint", metavar="model.pth")
    hu.add_argument("--words", required=True, metavar="FILE", help="dictionary.pkl, or a JSON list of words")
    hu.add_argument("--answers", required=True, metavar="FILE", help="trainval_label2ans.pkl, or a JSON list")
    hu.add_argument("--to", required=True, metavar="DIR", help="folder of the package to make")
    options = parser.parse_args(argv)
    folder = Path(options.to)
    if folder.exists():
        raise UserError(f"{folder}: is there already; give another --to, or remove it")
    return import_hu_vqa(Path(options.checkpoint), Path(options.words), Path(options.answers), folder)


def import_hu_vqa(checkpoint: Path, words: Path, answers: Path, folder: Path) -> int:
    """Makes a package from a checkpoint of bottom-up-attention-vqa and the two vocabularies it was trained with."""
    from limner import __version__
    from limner.data.answers import AnswerVocabulary
    from limner.data.pickles import read_list
    from limner.data.text import MAX_LEN, Vocabulary
    from limner.models.updown_vqa import UpDownVQA
    from limner.weights import package
    from limner.weights.importers import convert_hu_vqa, hu_vqa_sizes, read_checkpoint, strip_prefix

    state = read_checkpoint(checkpoint)
    with naming(checkpoint):
        sizes = hu_vqa_sizes(state) | {"question_length": MAX_LEN}
    broken = [name for name, tensor in strip_prefix(state).items() if not tensor.isfinite().all()]
    if broken:
        raise UserError(f"{checkpoint}: {listing(broken)} holds NaN or infinite numbers; take an earlier checkpoint")
    vocab = {"words": read_list(words, place=1), "answers": read_list(answers)}
    for name, entries in vocab.items():
        if len(entries) != sizes[name]:
            source = words if name == "words" else answers
            expected = f"{sizes[name]:,}, as {checkpoint} has"
            raise UserError(f"{source}: {len(entries):,} {name}, expected {expected}: they belong to two models")
    with naming(words):
        Vocabulary(vocab["words"])
    with naming(answers):
        AnswerVocabulary(vocab["answers"])
    model = UpDownVQA(**sizes)  # type: ignore[arg-type]
    model.load_state_dict(convert_hu_vqa(state))
    meta = {
        "task": "vqa",
        "limner": __version__,
        "softmax": False,
        "features": {"dim": sizes["feature_dim"], "max_regions": 36, "extractor": "unknown", "provenance": {}},
        "metrics": {},
        "config": {  # enough to evaluate it: limner evaluate model=DIR data=...
            "name": "bottom-up-attention-vqa",
            "task": {"_target_": "limner.tasks.vqa.VQATask", "loss": "soft_bce"},
            "data": {"_target_": "limner.data.vqa.VQAData", "questions": {}},
        },
        "imported": {"from": "bottom-up-attention-vqa", "file": checkpoint.name},
    }
    target = {"_target_": "limner.models.updown_vqa.UpDownVQA", **sizes}
    package.save(folder, package.Package(model=model, sizes=target, vocab=vocab, meta=meta))
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{folder}: {sizes['attention']} attention, {parameters:,} parameters, {sizes['answers']:,} answers")
    return 0


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Puts the file in front of what is wrong with its content."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
