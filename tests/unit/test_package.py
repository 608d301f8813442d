"""Model packages: what is saved is what is loaded; damage and mismatches are told in one line."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_vqa import package as make

import limner
from limner.errors import UserError
from limner.weights import package


@pytest.fixture
def folder(tmp_path):
    return package.save(tmp_path / "model", make())


def rewrite(path, **changes):
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, **changes}))


def test_round_trip(folder):
    before, after = make(), package.read(folder)
    assert after.sizes == before.sizes
    assert after.vocab == before.vocab
    assert after.meta["metrics"] == before.meta["metrics"]
    mine, theirs = before.model.state_dict(), after.model.state_dict()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert not after.model.training
    assert {p.name for p in folder.iterdir()} == {"model.safetensors", "model.json", "vocab.json", "README.md"}
    assert len({p.stat().st_mode for p in folder.iterdir()}) == 1  # who may read one may read all
    assert "| val/score | 50.00 |" in (folder / "README.md").read_text()


def test_three_lines_of_python(folder):
    model = limner.load(folder)
    features = np.ones((3, 6), np.float32)
    assert model.answer(features, "Is it red?").answer in make().vocab["answers"]


def test_loading_needs_neither_hydra_nor_lightning(folder):
    program = (
        f"import sys, limner; limner.load({str(folder)!r});"
        "print(sorted({'hydra', 'omegaconf', 'pytorch_lightning', 'wandb'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_saving_again_replaces(folder):
    (folder / "old.txt").write_text("")
    package.save(folder, make(seed=1))
    assert not (folder / "old.txt").exists()
    assert torch.equal(package.read(folder).model.state_dict()["question.words.weight"],
                       make(seed=1).model.state_dict()["question.words.weight"])  # fmt: skip
    assert [p.name for p in folder.parent.iterdir()] == ["model"]


def test_a_failed_save_keeps_the_old_package(folder, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(package, "save_file", full)
    with pytest.raises(UserError, match="No space left on device"):
        package.save(folder, make(seed=1))
    monkeypatch.undo()
    assert package.read(folder).vocab == make().vocab
    assert [p.name for p in folder.parent.iterdir()] == ["model"]


def test_not_a_package(tmp_path):
    with pytest.raises(UserError, match="is not a model package"):
        package.read(tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "vocab.json"])
def test_a_missing_file(folder, name):
    (folder / name).unlink()
    with pytest.raises(UserError, match=name):
        package.read(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "vocab.json", "model.json"])
def test_a_damaged_file(folder, name):
    (folder / name).write_bytes((folder / name).read_bytes()[:40])
    with pytest.raises(UserError, match=name):
        package.read(folder)


def test_other_weights(folder):
    weights = load_file(folder / "model.safetensors")
    first = sorted(weights)[0]
    del weights[first]
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(UserError, match=f"do not fit the sizes in model.json: {first} missing"):
        package.read(folder)


def test_other_sizes(folder):
    rewrite(folder / "model.json", model={**make().sizes, "hidden": 5})
    with pytest.raises(UserError, match="do not fit the sizes"):
        package.read(folder)


@pytest.mark.parametrize("name", ["words", "answers"])
def test_another_vocabulary(folder, name):
    rewrite(folder / "vocab.json", **{name: ["one", "two"]})
    with pytest.raises(UserError, match=f"2 {name}, but the model has"):
        package.read(folder)


def test_only_known_classes_are_imported(folder):
    rewrite(folder / "model.json", model={**make().sizes, "_target_": "os.system"})
    with pytest.raises(UserError, match=r"_target_ 'os.system' is not one of"):
        package.read(folder)
    rewrite(folder / "model.json", model={**make().sizes, "_target_": "limner.models.updown_vqa.NoSuch"})
    with pytest.raises(UserError, match="cannot be built"):
        package.read(folder)
    for wrong in ({"hidden": 10**12}, {"hidden": -1}, {"hidden": "4"}, {"answers": 0}, {"words": None}):
        rewrite(folder / "model.json", model={**make().sizes, **wrong})
        with pytest.raises(UserError, match=r"cannot be built|must be 1 or more"):
            package.read(folder)
    rewrite(folder / "model.json", model={**make().sizes, "colour": "red"})
    with pytest.raises(UserError, match="cannot be built"):
        package.read(folder)


def test_a_newer_format_and_no_format(folder):
    rewrite(folder / "model.json", format=package.FORMAT + 1)
    with pytest.raises(UserError, match="is newer than this limner reads"):
        package.read(folder)
    (folder / "model.json").write_text("[]")
    with pytest.raises(UserError, match="is it a model package"):
        package.read(folder)
