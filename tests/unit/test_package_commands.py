"""`limner load`, `limner info` and `limner diff`: what they say of packages, and what they refuse."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_packages import captioner as make_captioner
from small_packages import dialogs as make_dialogs
from small_vqa import package as make

from limner.cli import main
from limner.weights import package
from limner.weights.manifest import hashes


@pytest.fixture
def folder(tmp_path):
    return package.save(tmp_path / "model", make())


def damaged(folder, change) -> None:
    """Changes the weights of a package as if they had been saved so."""
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")
    described = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**described, "xxh3": hashes(folder)}))


def said(capsys, *words) -> str:
    assert main([str(word) for word in words]) == 0
    return capsys.readouterr().out


def refused(capsys, *words) -> str:
    assert main([str(word) for word in words]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    return line


# --- load ---


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (make(), ["UpDownVQA, 274 parameters, 5 words, 4 answers", "a question is answered ('"]),
        (make(feature_dim=0, attention="none"), ["a question is answered"]),
        (make_captioner(), ["UpDownCaptioner, ", "6 words", "a caption is written ('"]),
        (make_captioner(geometry=True, global_source="given", global_dim=2), ["a caption is written"]),
        (make_dialogs(), ["ViLBERT", "two answers are ranked ('"]),
        (make_dialogs(task="visdial_pretraining"), ["two answers are ranked ('"]),
    ],
    ids=["vqa", "question only", "captions", "captions of all inputs", "dialogs", "pretraining"],
)
def test_a_good_package_loads(tmp_path, capsys, made, expected):
    folder = package.save(tmp_path / "model", made)
    line = said(capsys, "load", folder)
    assert line.startswith(f"loads: {folder}: ")
    assert "hashes right, shapes fit, numbers are finite" in line
    assert all(part in line for part in expected)


def test_the_package_in_a_run_folder(tmp_path, capsys):
    package.save(tmp_path / "run/package", make())
    assert f"loads: {tmp_path}/run: UpDownVQA" in said(capsys, "load", tmp_path / "run")


def test_numbers_that_are_not_finite(folder, capsys):
    damaged(folder, lambda weights: weights["classifier.output.bias"].fill_(float("nan")))
    line = refused(capsys, "load", folder)
    assert "model.safetensors: classifier.output.bias holds NaN or infinite numbers" in line


def test_damage(folder, capsys):
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(content)
    assert "is not what was saved with it" in refused(capsys, "load", folder)


def test_no_package(tmp_path, capsys):
    for words in (["load", tmp_path], ["info", tmp_path], ["diff", tmp_path, tmp_path]):
        assert "is not a model package" in refused(capsys, *words)


# --- info ---


def test_info_says_what_it_is(tmp_path, capsys):
    made = make_captioner(geometry=True)
    made.meta |= {"licence": "CC BY 4.0", "signature": "cross-entropy", "metrics": {"test/CIDEr": 113.5}}
    made.meta["imported"] = {"from": "somewhere", "file": "model.pth"}
    text = said(capsys, "info", package.save(tmp_path / "model", made))
    count = sum(p.numel() for p in made.model.parameters())
    for part in (
        f"{tmp_path}/model: UpDownCaptioner for the task captioning (format 2",
        f"{count:,} numbers in {len(made.model.state_dict())} tensors (F32)",
        "geometry=True",
        "6: '<unk>', 'a', 'red', 'circle', 'blue' and 1 more",
        "6 numbers each",
        "signature    cross-entropy",
        "test/CIDEr 113.50",
        "imported     from somewhere, file model.pth",
        "of the training data: CC BY 4.0",
    ):
        assert part in text
    parts = text.partition("parts")[2].splitlines()[0]
    assert sum(int(part.split()[-1].replace(",", "")) for part in parts.split(", ")) == count


def test_info_needs_no_torch(folder):
    program = (
        f"import sys; from limner.cli import main; main(['info', {str(folder)!r}]);"
        "print(sorted({'torch', 'pytorch_lightning', 'hydra'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n")


def test_info_of_a_damaged_file(folder, capsys):
    (folder / "model.safetensors").write_bytes(b"cut")
    assert "model.safetensors: cannot be read" in refused(capsys, "info", folder)


# --- diff ---


def test_equal_packages(folder, tmp_path, capsys):
    text = said(capsys, "diff", folder, package.save(tmp_path / "same", make()))
    assert [line.split()[1] for line in text.splitlines()[1:]] == ["equal"] * 8


def test_all_that_differs(folder, tmp_path, capsys):
    other = make()
    other.vocab = {"words": ["it", "is", "red", "what", "dog"], "answers": other.vocab["answers"]}
    other.meta |= {
        "metrics": {"val/score": 51.5, "test/score": 1.0},
        "config": {"optim": {"lr": 0.1}},
        "licence": "MIT",
    }
    with torch.no_grad():
        other.model.classifier.output.bias += 0.25
    text = said(capsys, "diff", folder, package.save(tmp_path / "other", other))
    assert "5 and 5: 4 shared, 2 of them at another place, 1 only in A ('colour'), 1 only in B ('dog')" in text
    assert "1 of 26 tensors differ" in text
    row = next(line for line in text.splitlines() if "classifier.output.bias" in line).split()
    far = 0.25 * 4**0.5 / make().model.classifier.output.bias.detach().norm().item()
    assert row[:3] == ["classifier.output.bias", "[4]", "0.25"]
    assert float(row[3]) == pytest.approx(far, rel=0.01)
    assert "val/score: 50.0 -> 51.5 (+1.50)" in text
    assert "test/score: not there -> 1.0" in text
    assert "optim.lr: not there -> 0.1" in text
    assert "licence: unknown -> MIT" in text


def test_models_of_other_sizes(folder, tmp_path, capsys):
    other = package.save(tmp_path / "other", make(hidden=5, weight_norm=False))
    text = said(capsys, "diff", folder, other)
    assert "hidden: 4 -> 5" in text
    assert "only in A" in text
    assert text.splitlines()[-1] == "  else         equal"
    shown = sum("only in" in line or " and [" in line for line in text.splitlines())
    assert f"and {int(text.partition(' of ')[0].split()[-1]) - 20} more (--all)" in text
    assert shown == 20
    everything = said(capsys, "diff", folder, other, "--all")
    assert "more (--all)" not in everything
