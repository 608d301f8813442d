"""What every import refuses: code in a checkpoint, another model's checkpoint, a full disk; nothing is left behind."""

from __future__ import annotations

import json
import resource
from pathlib import Path

import pytest
import torch
from published_hu import ANSWERS, WORDS, checkpoint
from safetensors.torch import save_file
from small_packages import captioner
from small_vqa import package as make

import published_captioners
import published_vilbert
from limner.cli import main
from limner.weights.recognise import recognise

KINDS = {  # kind -> its arguments beside the checkpoint
    "hu-vqa": ["--words", "words.json", "--answers", "answers.json"],
    "ruotianluo": ["--infos", "infos_ID.pkl"],
    "vilbert": ["--vocab", "vocab.txt", "--config", "config.json"],
    "bert": ["--vocab", "vocab.txt"],
}
CHECKPOINTS = {  # kind -> its checkpoint, and what it is called
    "hu-vqa": (lambda: checkpoint("concat"), "bottom-up-attention-vqa"),
    "ruotianluo": (published_captioners.ruotianluo, "ImageCaptioning.pytorch (updown, topdown)"),
    "vilbert": (published_vilbert.state, "visdial-bert"),
    "bert": (published_vilbert.bert_state, "BERT"),
}


class Runs:
    """Its pickle would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Everything that the commands want beside checkpoints."""
    monkeypatch.chdir(tmp_path)
    published_captioners.write(tmp_path)
    published_captioners.write_caffe(tmp_path)
    published_vilbert.write(tmp_path)
    (tmp_path / "words.json").write_text(json.dumps(WORDS))
    (tmp_path / "answers.json").write_text(json.dumps(ANSWERS))
    return tmp_path


def refused(capsys, kind: str, file: str) -> str:
    assert main(["import", kind, file, *KINDS[kind], "--to", "package"]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert not Path("package").exists()
    assert not list(Path().glob(".package*"))
    return line


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("kind", KINDS)
def test_code_in_a_checkpoint_is_never_run(files, capsys, kind, zipped):
    state = CHECKPOINTS[kind][0]() | {"extra": Runs(files / "it was run")}
    torch.save(state, files / "evil.pth", _use_new_zipfile_serialization=zipped)
    assert "evil.pth: cannot be read: it needs code, " in refused(capsys, kind, "evil.pth")
    assert not (files / "it was run").exists()


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("kind", KINDS)
def test_both_containers_are_read(files, capsys, kind, zipped):
    torch.save(CHECKPOINTS[kind][0](), files / "good.pth", _use_new_zipfile_serialization=zipped)
    image = [f"{key}={value}" for key, value in published_vilbert.SIZES.items() if key.startswith(("image_", "joint_"))]
    more = ["--feature-dim", "6", "--model", *(word.replace(" ", "") for word in image)] if kind == "bert" else []
    assert main(["import", kind, "good.pth", *KINDS[kind], *more, "--to", "package"]) == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("other", CHECKPOINTS)
def test_a_checkpoint_of_another_model_says_whose_it_is(files, capsys, kind, other):
    if kind == other:
        return
    make_state, name = CHECKPOINTS[other]
    torch.save(make_state(), files / "other.pth")
    line = refused(capsys, kind, "other.pth")
    assert f"other.pth: this is a checkpoint of {name}: limner import {other}" in line


def test_other_files(files, capsys):
    assert "is an HDF5 file" in refused(capsys, "hu-vqa", "lstm.caffemodel.h5")
    torch.save({"state_dict": {}, "pytorch-lightning_version": "2.5", "epoch": 3}, files / "best.ckpt")
    assert "is a checkpoint of a run; of limner's runs take the package" in refused(capsys, "hu-vqa", "best.ckpt")
    save_file(make().model.state_dict(), files / "model.safetensors")
    assert "of limner itself: take the run's package" in refused(capsys, "vilbert", "model.safetensors")
    torch.save({"conv1.weight": torch.zeros(2)}, files / "resnet.pth")
    assert "resnet.pth: not a ViLBERT checkpoint" in refused(capsys, "vilbert", "resnet.pth")


def test_whose_names_they_are():
    assert recognise(captioner().model.state_dict()).what == "limner itself"
    assert recognise(published_vilbert.state("")).what == "vilbert_beta"
    bare = (name.removeprefix("bert.") for name in published_vilbert.bert_state())
    assert recognise(bare).what == "BERT"
    att2in = {"embed.0.weight": 0, "core.a2c.weight": 0, "logit.weight": 0}
    assert recognise(att2in).kind is None
    assert recognise({"conv1.weight": 0}) is None
    assert recognise([]) is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_disk_leaves_nothing(files, capsys, monkeypatch, kind):
    """Here no file may grow beyond 2 kB."""
    torch.save(CHECKPOINTS[kind][0](), files / "model.pth")
    monkeypatch.setitem(KINDS, "bert", [*KINDS["bert"], "--model", "text_heads=2"])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    try:
        line = refused(capsys, kind, "model.pth")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "package: the model package could not be written" in line
    assert "File too large" in line
