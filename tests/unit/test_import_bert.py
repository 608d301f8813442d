"""`limner import bert`: the text stream is BERT's, the rest is drawn from a seed; the package can be trained."""

from __future__ import annotations

import json
import re

import pytest
import torch
from plain_bert import masked_words
from safetensors.torch import save_file

import published_vilbert as published
from limner import cli
from limner.errors import UserError
from limner.weights import package
from limner.weights.command import main
from limner.weights.vilbert_importer import convert_bert

TEXT = ("text_embedding.", "encoder.text_layers.", "words_head.")
SMALL = ["image_hidden=6", "image_heads=3", "image_layers=2", "image_ffn=7", "joint_hidden=4", "joint_heads=2"]


@pytest.fixture
def files(tmp_path):
    return published.write(tmp_path)


def words(folder, *more, checkpoint="pytorch_model.bin", to="package", keys=SMALL):
    paths = [str(folder / checkpoint), "--vocab", str(folder / "vocab.txt"), "--to", str(folder / to)]
    given = ["--feature-dim", "6", "--region-classes", "5", "--config", str(folder / "config.json")]
    return ["bert", *paths, *given, *more, "--model", *keys]


def weights(folder, name="package"):
    return package.read(folder / name).model.state_dict()


def differing(one, other):
    return {name for name in one if not torch.equal(one[name], other[name])}


# --- what comes from where ---


def test_the_text_stream_is_berts(files, capsys):
    assert cli.main(["import", *words(files)]) == 0
    found = weights(files)
    for name, tensor in convert_bert(published.bert_state()).weights.items():
        assert torch.equal(found[name], tensor), name
    out = capsys.readouterr().out.splitlines()
    assert "3 text layers of 2 heads, 2 of the image (3 heads), 2 of co-attention (2 heads), fusion mul" in out[0]
    drawn = "alignment_head, encoder.image_layers, encoder.joint_layers, image_embedding, regions_head"
    assert out[1] == f"drawn with seed 1, to be trained: {drawn}"
    assert f"drawn with seed 1, to be trained: {drawn}" in (files / "package/README.md").read_text()


def test_masked_words_are_those_of_a_plain_bert(files):
    """Padding plays no part: a sequence gets the same beside a longer one."""
    main(words(files, keys=["fusion=text"]))
    model = package.read(files / "package").model.double()
    state = {name: tensor.double() for name, tensor in published.bert_state().items() if tensor.is_floating_point()}
    tokens, segments = torch.randint(17, (2, 9)), torch.randint(2, (2, 9))
    mask = torch.arange(9) < torch.tensor([9, 6])[:, None]
    with torch.no_grad():
        found = model(tokens, segments, mask, words_at=mask).words
    rows = [masked_words(state, tokens[k, :n], segments[k, :n], heads=2) for k, n in enumerate((9, 6))]
    torch.testing.assert_close(found, torch.cat(rows), atol=1e-10, rtol=0)


def test_the_rest_is_drawn_from_the_seed(files):
    main(words(files))
    torch.rand(3)  # the state of the process plays no part, and stays
    before = torch.random.get_rng_state()
    main(words(files, to="again"))
    main(words(files, "--seed", "2", to="other"))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not differing(weights(files), weights(files, "again"))
    changed = differing(weights(files), weights(files, "other"))
    assert changed
    assert not any(name.startswith(TEXT) for name in changed)


def test_what_the_package_says(files):
    main(words(files))
    made = package.read(files / "package")
    sizes = {"words": 17, "text_hidden": 8, "text_layers": 3, "text_heads": 2, "text_ffn": 12, "positions": 64}
    sizes |= {"feature_dim": 6, "region_classes": 5, "image_layers": 2, "fusion": "mul"}
    sizes |= {"text_connections": [1, 2], "image_connections": [0, 1]}  # the last of three, the first of two
    assert made.sizes.items() >= sizes.items()
    assert made.meta["task"] == "visdial"
    assert made.meta["features"]["dim"] == 6
    assert made.meta["imported"] == {"from": "BERT", "file": "pytorch_model.bin"}


@pytest.mark.parametrize("change", [dict, published.old_names])
def test_every_form_of_file(files, change):
    main(words(files))
    torch.save(change(published.bert_state()), files / "renamed")
    main(words(files, checkpoint="renamed", to="renamed_package"))
    assert not differing(weights(files), weights(files, "renamed_package"))
    (files / "folder").mkdir()
    state = change(published.bert_state())
    save_file({name: tensor.clone() for name, tensor in state.items()}, files / "folder/model.safetensors")
    main(words(files, checkpoint="folder", to="folder_package"))
    assert not differing(weights(files), weights(files, "folder_package"))
    assert package.read(files / "folder_package").meta["imported"]["file"] == "model.safetensors"


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_a_model_in_parts(files, kind):
    """transformers cuts large models into files, with an index beside them."""
    name = {"safetensors": "model", "bin": "pytorch_model"}[kind]
    state, folder = list(published.bert_state().items()), files / "folder"
    folder.mkdir()
    where = {}
    for number, part in enumerate((state[::2], state[1::2]), start=1):
        file = f"{name}-0000{number}-of-00002.{kind}"
        tensors = {key: tensor.clone() for key, tensor in part}
        (save_file if kind == "safetensors" else torch.save)(tensors, folder / file)
        where |= dict.fromkeys(tensors, file)
    index = folder / f"{name}.{kind}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": where}))
    main(words(files))
    for path in ("folder", f"folder/{index.name}"):
        main(words(files, checkpoint=path, to=f"from-{len(path)}"))
        assert not differing(weights(files), weights(files, f"from-{len(path)}"))
    for changed, said in (
        ({"a": "../pytorch_model.bin"}, "names files that are not beside it: ../pytorch_model.bin"),
        ({"a": "nowhere.bin"}, "files that it names are missing: nowhere.bin"),
        ({"a": file}, "names tensors that its files do not have: a"),
        ({}, 'has no "weight_map"'),
        ([], 'has no "weight_map"'),
    ):
        index.write_text(json.dumps({"weight_map": changed}))
        assert f"{index}: {said}" in refused(words(files, checkpoint="folder", to="wrong"))


def test_a_model_without_heads_and_prefix(files, capsys):
    """As BertModel saves it."""
    bare = {name.removeprefix("bert."): t for name, t in published.bert_state().items() if name.startswith("bert.")}
    torch.save(bare, files / "bare")
    main(words(files, checkpoint="bare"))
    main(words(files, to="whole"))
    changed = differing(weights(files), weights(files, "whole"))
    assert {name.split(".")[0] for name in changed} == {"words_head"}
    assert "regions_head, words_head" in capsys.readouterr().out


def test_published_sizes_are_the_default(files):
    """A text stream of twelve layers is connected as published; two sizes are made small here to save time."""
    torch.save(published.bert_state(text_hidden=64, text_heads=1, text_layers=12), files / "twelve")
    (files / "config.json").write_text("{}")
    main(words(files, checkpoint="twelve", keys=["image_hidden=8", "joint_hidden=8"]))
    sizes = package.read(files / "package").sizes
    told = {"text_heads": 1, "image_layers": 6, "image_heads": 8, "image_ffn": 1024, "joint_heads": 8}
    told |= {"text_connections": [6, 7, 8, 9, 10, 11], "image_connections": [0, 1, 2, 3, 4, 5], "dropout_text": 0.1}
    assert sizes.items() >= told.items()


def test_fewer_layers_than_connections(files):
    """Three text layers and six of the image: each text layer is followed by co-attention."""
    main(words(files, keys=["image_hidden=8", "image_ffn=8", "joint_hidden=8"]))
    sizes = package.read(files / "package").sizes
    assert (sizes["image_layers"], sizes["text_connections"], sizes["image_connections"]) == (6, [0, 1, 2], [0, 1, 2])


def test_text_alone(files, capsys):
    main(words(files, keys=["fusion=text"]))
    made = package.read(files / "package")
    assert made.meta["features"] is None
    assert made.sizes["text_connections"] == made.sizes["image_connections"] == []
    assert "drawn with seed 1, to be trained: alignment_head\n" in capsys.readouterr().out


# --- what is refused ---


def refused(arguments) -> str:
    with pytest.raises(UserError) as caught:
        main(arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def broken(state):
    state["bert.encoder.layer.1.output.dense.bias"][0] = torch.inf
    return state


def without(state):
    del state["bert.encoder.layer.1.output.dense.bias"], state["cls.predictions.bias"]
    return state


FAULTS = {
    broken: "encoder.text_layers.1.after.down.bias holds NaN or infinite numbers",
    without: "not a BERT checkpoint: missing: bert.encoder.layer.1.output.dense.bias, cls.predictions.bias",
    lambda state: {**state, "classifier.weight": torch.zeros(1)}: "not a BERT checkpoint: unknown: classifier.weight",
    lambda state: published.state(): "this is a checkpoint of visdial-bert: limner import vilbert",
    lambda state: {"conv.weight": torch.zeros(1)}: "not a BERT checkpoint: none of its 1 names is known",
}


@pytest.mark.parametrize("change", FAULTS)
def test_checkpoints_that_do_not_fit(files, change):
    torch.save(change(published.bert_state()), files / "file")
    line = refused(words(files, checkpoint="file"))
    assert line.startswith(f"{files / 'file'}: ")
    assert FAULTS[change] in line
    assert not (files / "package").exists()


def test_what_cannot_be(files):
    (files / "empty").mkdir()
    line = refused(words(files, checkpoint="empty"))
    assert re.search(
        r"empty: has none of model\.safetensors, .*pytorch_model\.bin, .*; give the checkpoint's file", line
    )
    line = refused(words(files, keys=[*SMALL, "text_layers=4"]))
    assert "pytorch_model.bin: --model text_layers=4, but its shapes say 3: leave out what shapes tell" in line
    assert "model: image_heads=4" in refused(words(files, keys=[*SMALL, "image_heads=4"]))
    (files / "config.json").write_text(json.dumps({"hidden_act": "relu"}))
    assert "hidden_act='relu', expected gelu" in refused(words(files))
    (files / "vocab.txt").write_text("\n".join([*published.WORDS, "more"]))
    (files / "config.json").write_text("{}")
    assert "vocab.txt: 18 word parts, expected 17, as " in refused(words(files))
    assert not (files / "package").exists()
