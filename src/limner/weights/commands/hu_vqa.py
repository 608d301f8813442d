"""`limner import hu-vqa`: a checkpoint of bottom-up-attention-vqa and the two vocabularies it was trained with."""

from __future__ import annotations

import argparse
from pathlib import Path

from limner.weights.commands.checks import about_import, as_many, finite, naming, note_sorted, with_defaults

ABOUT = "bottom-up-attention-vqa: the model.pth of its train.py"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", metavar="model.pth", type=Path)
    parser.add_argument("--words", required=True, metavar="FILE", type=Path, help="dictionary.pkl, or JSON")
    parser.add_argument(
        "--answers", required=True, metavar="FILE", type=Path, help="trainval_label2ans.pkl or _ans2label.pkl, or JSON"
    )


def run(options: argparse.Namespace, folder: Path) -> int:
    """Makes the package; the exit code."""
    from limner.data.answers import AnswerVocabulary
    from limner.data.pickles import read_list
    from limner.data.text import MAX_LEN, Vocabulary
    from limner.models.updown_vqa import UpDownVQA
    from limner.weights import package
    from limner.weights.importers import convert_hu_vqa, hu_vqa_sizes, read_checkpoint, strip_prefix

    checkpoint, words, answers = options.checkpoint, options.words, options.answers
    state = read_checkpoint(checkpoint)
    with naming(checkpoint):
        sizes = hu_vqa_sizes(state) | {"question_length": MAX_LEN}
    finite(strip_prefix(state), checkpoint)
    vocab = {"words": read_list(words), "answers": read_list(answers)}
    note_sorted(vocab["words"], words)
    for name, source in (("words", words), ("answers", answers)):
        as_many(len(vocab[name]), int(sizes[name]), name, source, checkpoint)
    with naming(words):
        Vocabulary(vocab["words"])
    with naming(answers):
        AnswerVocabulary(vocab["answers"])
    model = UpDownVQA(**sizes)  # type: ignore[arg-type]
    model.load_state_dict(convert_hu_vqa(state))
    meta = {
        "task": "vqa",
        "softmax": False,
        "features": {"dim": sizes["feature_dim"], "max_regions": 36, "extractor": "unknown", "provenance": {}},
        **about_import(options, "bottom-up-attention-vqa"),
        "config": {  # enough to evaluate it: limner evaluate model=DIR data=...
            "name": "bottom-up-attention-vqa",
            "task": {"_target_": "limner.tasks.vqa.VQATask", "loss": "soft_bce"},
            "data": {"_target_": "limner.data.vqa.VQAData", "questions": {}},
        },
    }
    target = {"_target_": "limner.models.updown_vqa.UpDownVQA", **with_defaults(model, sizes)}
    package.save(folder, package.Package(model=model, sizes=target, vocab=vocab, meta=meta))
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{folder}: {sizes['attention']} attention, {parameters:,} parameters, {sizes['answers']:,} answers")
    return 0
