"""Imported checkpoints through the commands that a user types next: finetuned, evaluated, ranked together."""

from __future__ import annotations

import json

import pytest
import torch
from small_dialogs import cut

import published_vilbert as published
from limner.data.features.together import open_stores
from limner.data.visdial_files import load_split
from limner.data.wordpiece import WordPiece
from limner.weights import package

SIZES = {"text_hidden": 12, "text_layers": 2, "text_heads": 2, "text_ffn": 16, "positions": 256}
SIZES |= {"image_hidden": 6, "image_layers": 2, "image_heads": 3, "image_ffn": 8, "joint_hidden": 8, "joint_heads": 2}
SIZES |= {"text_connections": [1], "image_connections": [1]}
KEYS = [f"{name}={value}".replace(" ", "") for name, value in SIZES.items()]
UNSEEN = [key for key in KEYS if "heads" in key or "connections" in key]


@pytest.fixture
def checkpoint(limner):
    """`basemodel`, `pytorch_model.bin` and `vocab.txt` in the folder, with the words of the toy world."""
    split = load_split(limner.data / "visdial_1.0_train.json")
    texts = [text for pool in (split.captions, split.questions, split.answers) for text in pool]
    words = WordPiece.train(texts, size=300)
    (limner.folder / "vocab.txt").write_text("\n".join(words.words))
    dim = open_stores([limner.data / "regions.h5"]).dim
    sizes = {**SIZES, "words": len(words), "feature_dim": dim, "region_classes": 5}
    torch.save({"model_state_dict": published.state(**sizes)}, limner.folder / "basemodel")
    torch.save(published.bert_state(**sizes), limner.folder / "pytorch_model.bin")
    limner("import", "vilbert", "basemodel", "--vocab", "vocab.txt", "--to", "base", "--model", *UNSEEN)
    rest = [key for key in KEYS if not key.startswith(("text_h", "text_l", "text_f", "positions"))]
    more = ["--feature-dim", str(dim), "--region-classes", "5", "--model", "text_heads=2", *rest]
    limner("import", "bert", "pytorch_model.bin", "--vocab", "vocab.txt", "--to", "bert", *more)
    return limner.folder


def small(limner, *words: str) -> list[str]:
    files = cut(limner.data, limner.folder, train=6, val=4)
    given = ["experiment=toy_visdial", "logger=files", f"paths.data={limner.data.parent}", "data.history=null"]
    given += ["trainer.max_epochs=1", "data.batch_size=24", "optim.lr=0", "optim.weight_decay=0"]
    return [*given, *files, *(f"model.{key}" for key in KEYS), *words]


@pytest.mark.parametrize("start", ["base", "bert"])
def test_finetuned(limner, checkpoint, start):
    """At a learning rate of 0 the finetuned package is the imported one; its words too."""
    given = small(limner, f"weights={start}", "data.mask_regions=0", f"paths.run={limner.folder / 'run'}")
    done = limner("train", *given)
    assert "regions_head.output.weight, regions_head.output.bias: of another size there, begin anew" in done.stdout
    before, after = package.read(checkpoint / start), package.read(checkpoint / "run/package")
    assert after.vocab["words"] == before.vocab["words"]
    old, new = before.model.state_dict(), after.model.state_dict()
    kept = [name for name in old if not name.startswith("regions_head.output.")]
    assert all(torch.equal(old[name], new[name]) for name in kept)
    limner("evaluate", "run=run", "split=val")


def test_models_of_other_kinds_are_refused(limner, checkpoint):
    given = small(limner, "weights=base", "data.mask_regions=0")
    done = limner("train", *given, "model.text_heads=3", "model.text_connections=[2]", expect=2)
    line = "weights=base: its model was made with model.text_heads=2 (here 3), model.text_connections=[1] (here [2])"
    assert line in done.stderr
    done = limner("train", *given, "model.text_ffn=20", expect=2)
    assert "weights=base: its model is not of these sizes" in done.stderr


def test_two_imported_models_rank_together(limner, checkpoint):
    files = cut(limner.data, limner.folder, val=4)
    given = ["data=toy_visdial", "data.ranked=all", f"paths.data={limner.data.parent}", "submission=true", *files]
    for name, models in (("a", "base"), ("b", "bert"), ("ab", "[base,bert]")):
        limner("evaluate", f"model={models}", f"out={name}", *given)
    for name, more in (("mean", []), ("kept", ["--keep-first"])):
        ranked = [f"{folder}/submission.json" for folder in "ab"]
        limner("submission", "fuse", *ranked, *more, "--out", f"{name}.json")
        done = limner("submission", "score", f"{name}.json", "val.json", "--dense", "val_dense.json")
        assert done.stdout.startswith("NDCG")
    kept, first = (json.loads((checkpoint / name).read_text()) for name in ("kept.json", "a/submission.json"))
    assert [row["ranks"].index(1) for row in kept] == [row["ranks"].index(1) for row in first]
