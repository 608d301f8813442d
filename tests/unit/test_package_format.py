"""Versions of the package format, and hashes that notice what is no longer what was saved."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from small_vqa import package as make

import limner
from limner.errors import UserError
from limner.weights import package
from limner.weights.manifest import FORMAT, hash_of, hashes

OLD = Path(__file__).parents[1] / "packages"


@pytest.fixture
def folder(tmp_path):
    return package.save(tmp_path / "model", make())


def test_a_package_of_the_first_format_answers_as_it_did():
    told = json.loads((OLD / "format1.json").read_text())
    assert json.loads((OLD / "format1/model.json").read_text())["format"] == 1
    feats = np.linspace(-1, 1, 18, dtype=np.float32).reshape(3, 6)
    found = limner.load(OLD / "format1").answer(feats, told["question"]).top5
    assert [text for text, _ in found] == [text for text, _ in told["top5"]]
    assert [p for _, p in found] == pytest.approx([p for _, p in told["top5"]], abs=1e-6)


def test_saved_again_it_is_of_this_format(tmp_path):
    old = package.read(OLD / "format1")
    described = json.loads((package.save(tmp_path / "new", old) / "model.json").read_text())
    assert described["format"] == FORMAT == 2
    assert described["licence"] == "unknown"
    assert described["config"] == old.meta["config"]
    assert package.read(tmp_path / "new").vocab == old.vocab


def test_a_later_format_is_refused_in_one_line(folder):
    content = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**content, "format": FORMAT + 1}))
    with pytest.raises(UserError, match=r"format 3 is newer than this limner reads \(2\): update limner") as caught:
        limner.load(folder)
    assert "\n" not in str(caught.value)


def test_one_flipped_bit_is_noticed(folder):
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(UserError, match=r"model.safetensors is not what was saved with it \(its xxh3 differs"):
        package.read(folder)


def test_weights_of_another_training_are_noticed(folder, tmp_path):
    other = load_file(package.save(tmp_path / "other", make(seed=1)) / "model.safetensors")
    save_file(other, folder / "model.safetensors")
    with pytest.raises(UserError, match="not what was saved"):
        package.read(folder)


def test_words_in_another_order_are_noticed(folder):
    vocab = json.loads((folder / "vocab.json").read_text())
    vocab["words"].reverse()
    (folder / "vocab.json").write_text(json.dumps(vocab))
    with pytest.raises(UserError, match=r"vocab.json is not what was saved"):
        package.read(folder)


@pytest.mark.parametrize("wrong", [None, [], {"model.safetensors": 3}])
def test_a_package_of_this_format_has_its_hashes(folder, wrong):
    content = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**content, "xxh3": wrong}))
    with pytest.raises(UserError, match="xxh3"):
        package.read(folder)


@pytest.mark.parametrize("wrong", ["[]", '{"words": 3}', '{"words": "is it"}'])
def test_a_vocabulary_of_another_shape(folder, wrong):
    (folder / "vocab.json").write_text(wrong)
    with pytest.raises(UserError, match="expected lists of words by name"):
        package.read(folder)


def test_hashes_are_those_of_the_files(folder, tmp_path):
    import xxhash

    content = (folder / "model.safetensors").read_bytes()
    assert hashes(folder)["model.safetensors"] == xxhash.xxh3_64_hexdigest(content)
    (tmp_path / "empty").write_bytes(b"")
    assert hash_of(tmp_path / "empty") == xxhash.xxh3_64_hexdigest(b"")


def test_the_card_says_how_it_was_trained_and_under_which_licence(tmp_path):
    made = make()
    made.meta |= {"limner": "0.1.0", "licence": "CC BY 4.0", "signature": "cross-entropy", "measured": "vqa|3"}
    data = {"_target_": "limner.data.vqa.VQAData", "fit": ["train"], "select": "val", "test": None, "batch_size": 512}
    optim = {"_target_": "torch.optim.Adamax", "lr": 0.002}
    trainer = {"max_epochs": 30, "precision": "32-true"}
    made.meta["config"] = {"name": "vqa", "seed": 1, "data": data, "optim": optim, "trainer": trainer, "weights": None}
    card = (package.save(tmp_path / "model", made) / "README.md").read_text()
    for line in (
        "A UpDownVQA for the task `vqa`, made by limner 0.1.0.",
        "- licence of the training data: CC BY 4.0",
        "- signature: cross-entropy",
        "Measured as `vqa|3`.",
        "- data: VQAData, splits fit ['train'], select val, batches of 512",
        '- optim: Adamax {"lr": 0.002}',
        "- epochs: 30, precision 32-true, seed 1",
        "- regions: 6 numbers each, extractor `test`",
    ):
        assert line in card.splitlines()
    assert (
        "unknown; see the page of the data set" in (package.save(tmp_path / "other", make()) / "README.md").read_text()
    )
