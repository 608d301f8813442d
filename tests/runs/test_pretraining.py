"""The stages of visual dialog through the command line: captions, questions, dialogs; each starts from the one before.

The regions of the toy world get classes, so that masked regions are predicted as published.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from equal_runs import logged
from safetensors.torch import load_file
from small_dialogs import cut

from limner.data.features import FeatureStore, FeatureWriter
from limner.loggers import names

CLASSES = 4
SMALL = ["logger=files", "trainer.threads=1", "trainer.max_epochs=1", "trainer.log_every_n_steps=1"]
MODEL = [f"model.{key}={value}" for key, value in {
    "text_hidden": 16, "text_layers": 2, "text_heads": 2, "text_ffn": 24, "image_hidden": 16, "image_layers": 2,
    "image_heads": 2, "image_ffn": 24, "joint_hidden": 16, "joint_heads": 2, "text_connections": [1],
    "image_connections": [1],
}.items()]  # fmt: skip
ALL = ["task.alignment_weight=1", "data.wrong_pairs=0.5", "data.mask_regions=0.15"]  # the three losses, as published
STILL = ["optim.lr=0", "task.image_lr=0"]  # a stage that learns nothing shows what it began with


@pytest.fixture(scope="module")
def classes(tmp_path_factory, toy) -> Path:
    """The toy world's regions with classes drawn for them."""
    store = FeatureStore(toy / "regions.h5")
    out = tmp_path_factory.mktemp("classes") / "regions.h5"
    with FeatureWriter(out, dim=store.dim, extractor="with classes", classes=CLASSES) as writer:
        for place, image in enumerate(store.image_ids.tolist()):
            feats, boxes, _ = store.read(np.array([place]))
            probs = np.random.default_rng(image).dirichlet(np.ones(CLASSES), len(feats[0]))
            writer.add(image, feats[0], boxes[0], store.size(place), class_probs=probs)
    return out


@pytest.fixture(scope="module")
def limner(tmp_path_factory, toy):
    from conftest import Limner

    return Limner(tmp_path_factory.mktemp("stages"), toy)


def train(limner, store: Path, stage: str, *words: str) -> Path:
    run = limner.folder / stage
    common = [*SMALL, *MODEL, f"paths.data={limner.data.parent}", f"data.features=[{store}]", f"paths.run={run}"]
    limner("train", f"experiment=toy_{stage}", *common, *words)
    return run


@pytest.fixture(scope="module")
def captions(limner, classes) -> Path:
    return train(limner, classes, "visdial_pretrain_cc", *ALL, "data.limit=24", "data.batch_size=40")


@pytest.fixture(scope="module")
def questions(limner, classes, captions) -> Path:
    return train(limner, classes, "visdial_pretrain_vqa", *ALL, f"weights={captions}", "data.limit=60", *STILL)


@pytest.fixture(scope="module")
def dialogs(limner, classes, questions, toy) -> Path:
    files = cut(toy, limner.folder, train=8, val=4)
    options = ["data.mask_regions=0.15", "trainer.check_val_every_n_epoch=1", "test_after_fit=false", *STILL]
    return train(limner, classes, "visdial", f"weights={questions / 'package'}", *files, *options)


def package(run: Path, name: str):
    return json.loads((run / "package" / f"{name}.json").read_text())


def test_stages_carry_words_and_weights_on(captions, questions, dialogs):
    first = load_file(captions / "package" / "model.safetensors")
    assert first["regions_head.output.weight"].shape[0] == CLASSES
    words = package(captions, "vocab")["words"]
    for later in (questions, dialogs):
        assert package(later, "vocab")["words"] == words
        found = load_file(later / "package" / "model.safetensors")
        assert found.keys() == first.keys()
        assert all(found[name].equal(first[name]) for name in first)


def test_names_are_those_of_the_list(captions):
    listed = {*names.in_training(names.PRETRAINING), *names.in_test(names.PRETRAINING)}
    found = logged(captions)
    assert {name for name in listed if not name.startswith("test/")} - {"speed/gpu_memory"} <= found <= listed


def test_what_is_logged(captions):
    lines = [json.loads(line) for line in (captions / "metrics.jsonl").read_text().splitlines()]
    trained = [line for line in lines if "train/loss" in line]
    assert len(trained) == 3  # 24 images with five captions each
    for line in trained:
        parts = [line[f"train/{name}"] for name in ("alignment", "words", "regions")]
        assert line["train/loss"] == pytest.approx(sum(parts), rel=1e-4)
    (validated,) = [line for line in lines if "val/loss" in line]
    parts = [validated[f"val/{name}"] for name in ("alignment", "words", "regions")]
    assert validated["val/loss"] == pytest.approx(sum(parts), rel=1e-6)
    assert json.loads((captions / "result.json").read_text())["objective"] == validated["val/loss"]


def test_evaluations_agree_on_any_processes(limner, captions):
    """The numbers of training's validation, of one process and of two."""
    for name, words in {"one": [], "two": ["trainer=ddp_cpu"]}.items():
        limner("evaluate", f"run={captions}", "split=val", f"out={limner.folder / name}", *words)
    one, two = (json.loads((limner.folder / name / "metrics.json").read_text()) for name in ("one", "two"))
    assert one["items"] == two["items"] == 80  # 16 images with five captions each
    assert two["metrics"] == pytest.approx(one["metrics"], rel=1e-5)
    assert set(one["metrics"]) == {"score", "loss", "alignment", "words", "regions", "right_words"}


def test_a_pretrained_package_predicts_nothing(limner, captions, classes):
    said = limner("predict", f"model={captions / 'package'}", f"features={classes}", "out=rows.jsonl", expect=2)
    assert "a pretraining stage predicts nothing yet" in said.stderr
    assert said.stderr.count("\n") == 1
