"""`limner import vilbert`: files in every form become packages of the same numbers; what is wrong is one line."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import small_vilbert
import torch
from safetensors.torch import save_file
from tiny_captions import write_store
from tiny_visdial import content, judged, write

import limner
import published_vilbert as published
from limner import cli, evaluate
from limner.errors import UserError
from limner.weights import package
from limner.weights.command import main


@pytest.fixture
def files(tmp_path):
    return published.write(tmp_path)


def words(folder, *, checkpoint="basemodel", to="package", vocab="vocab.txt", told=("--config", "config.json")):
    paths = [str(folder / text) if text.endswith(".json") else text for text in told]
    return ["vilbert", str(folder / checkpoint), "--vocab", str(folder / vocab), "--to", str(folder / to), *paths]


def same_numbers(found, expected):
    """All heads of two models, on sequences of many lengths."""
    given = {name: t.float() if t.is_floating_point() else t for name, t in small_vilbert.batch().items()}
    heads = {"words_at": given["text_mask"], "regions_at": given["mask"][given["image"]]}
    with torch.no_grad():
        assert expected.eval()(**given).score.unique().numel() == len(given["tokens"])
        for one, other in zip(found.eval()(**given, **heads), expected.eval()(**given, **heads)):
            torch.testing.assert_close(one, other, atol=1e-6, rtol=0)


# --- every form of file ---


def zipped(state, path):
    torch.save(state, path)


def early(state, path):
    torch.save(state, path, _use_new_zipfile_serialization=False)


def nested(state, path):
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(2))])
    optimizer.zero_grad()
    torch.save({"model_state_dict": state, "optimizer_state_dict": optimizer.state_dict(), "iter_id": 7}, path)


def safe(state, path):
    save_file({name: tensor.clone() for name, tensor in state.items()}, path)


FORMS = [(zipped, prefix) for prefix in ("", "module.", "bert_pretrained.", "module.bert_pretrained.")]
FORMS += [(early, ""), (nested, "bert_pretrained."), (safe, "module.")]


@pytest.mark.parametrize(("form", "prefix"), FORMS)
def test_every_form_of_file(files, prefix, form):
    form(published.state(prefix), files / "file.safetensors" if form is safe else files / "file")
    assert main(words(files, checkpoint="file.safetensors" if form is safe else "file")) == 0
    made = package.read(files / "package")
    same_numbers(made.model, published.model())
    assert made.vocab == {"words": published.WORDS}


def test_half_precision_becomes_single(files):
    torch.save({name: tensor.half() for name, tensor in published.state().items()}, files / "half")
    assert main(words(files, checkpoint="half")) == 0
    made = package.read(files / "package").model
    assert {parameter.dtype for parameter in made.parameters()} == {torch.float32}
    expected = published.model().half().float()
    same_numbers(made, expected)


def test_what_is_told(files, capsys):
    assert cli.main(["import", *words(files)]) == 0
    out = capsys.readouterr().out.splitlines()
    assert re.fullmatch(
        r".*package: 3 text layers of 2 heads, 2 of the image \(3 heads\), 2 of co-attention \(2 heads\), fusion mul, "
        r"[\d,]+ parameters, 17 word parts",
        out[0],
    )
    unread = ", ".join(f"bert.{name}" for name in published.UNREAD)
    assert out[1:] == [f"left out, since visual dialog never reads it: {unread}"]


def test_what_the_package_says(files):
    main(words(files))
    made = package.read(files / "package")
    assert made.meta["task"] == "visdial"
    assert made.meta["text"] == {"lowercase": True, "max_length": 64, "history": None}
    assert made.meta["features"] == {"dim": 6, "max_regions": 36, "extractor": "unknown", "provenance": {}}
    assert made.meta["imported"] == {"from": "ViLBERT", "file": "basemodel"}
    expected = {**published.SIZES, "fusion": "mul", "dropout_text": 0.1, "checkpointing": False}
    assert made.sizes.items() >= expected.items()
    assert str(files) not in (files / "package/model.json").read_text()
    assert "imported from basemodel" in (files / "package/README.md").read_text()


# --- what shapes do not tell ---


def test_keys_on_the_command_line(files):
    main(words(files))
    main(words(files, to="again", told=("--model", *published.CHOSEN)))
    again = package.read(files / "again")
    assert again.sizes == package.read(files / "package").sizes
    same_numbers(again.model, published.model())


def test_keys_beat_the_configuration(files):
    (files / "config.json").write_text(
        json.dumps({**published.CONFIG, "fusion_method": "mul", "hidden_dropout_prob": 0})
    )
    main(words(files, told=("--config", "config.json", "--model", "fusion=sum", "dropout_fused=0.3")))
    made = package.read(files / "package")
    assert [made.sizes[name] for name in ("fusion", "dropout_text", "dropout_fused")] == ["sum", 0, 0.3]
    same_numbers(made.model, published.model(fusion="sum"))


def test_published_models_need_no_configuration(files):
    """Heads of 64 and 128, the last text layers and the first image layers connected."""
    sizes = {"text_hidden": 128, "text_heads": 2, "image_hidden": 256, "image_heads": 2, "joint_hidden": 256}
    torch.save(published.state(**sizes), files / "file")
    main(words(files, checkpoint="file", told=()))
    made = package.read(files / "package")
    assert made.sizes.items() >= {**published.SIZES, **sizes}.items()
    same_numbers(made.model, published.model(**sizes))


def test_a_cased_vocabulary(files):
    main([*words(files), "--cased"])
    assert package.read(files / "package").meta["text"]["lowercase"] is False


# --- with the other commands ---


def test_an_imported_model_ranks(files):
    main(words(files))
    regions = np.random.default_rng(0).normal(size=(3, 6)).astype(np.float32)
    ranked = limner.load(files / "package").rank(
        regions, dialog={"caption": "a red dog"}, question="is it big", candidates=["yes", "no", "two"]
    )
    assert sorted(one.answer for one in ranked) == ["no", "two", "yes"]
    assert len({one.score for one in ranked}) == 3


def test_an_imported_model_is_evaluated(files, capsys):
    main(words(files))
    file = content(1)
    write(files / "val.json", file)
    write(files / "dense.json", judged(file))
    write_store(files / "regions.h5", {100: 2, 107: 1, 114: 3, 121: 2})
    given = [f"model={files / 'package'}", "data=visdial", "trainer=cpu", f"out={files / 'out'}", "submission=true"]
    given += [f"data.dialogs.val={files / 'val.json'}", f"data.dense.val={files / 'dense.json'}"]
    given += [f"data.features=[{files / 'regions.h5'}]", f"data.cache={files / 'cache'}", "data.max_length=64"]
    assert evaluate.main(given, []) == 0
    assert "12 of 12 items" in capsys.readouterr().out
    metrics = json.loads((files / "out/metrics.json").read_text())["metrics"]
    assert {"ndcg", "mrr", "r1"} <= metrics.keys()
    assert cli.main(["submission", "check", str(files / "out/submission.json"), str(files / "val.json")]) == 0
    assert evaluate.main([*given, "data.dense.val=null"], []) == 0  # without relevances there is no NDCG
    metrics = json.loads((files / "out/metrics.json").read_text())["metrics"]
    assert "mrr" in metrics
    assert "ndcg" not in metrics


# --- what is refused ---


def refused(arguments) -> str:
    with pytest.raises(UserError) as caught:
        main(arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def without(state):
    del state["bert_pretrained.bert.t_pooler.dense.bias"], state["bert_pretrained.cls.predictions.bias"]
    return state


def misshapen(state):
    state["bert_pretrained.bert.v_pooler.dense.weight"] = torch.zeros(4, 5)
    state["bert_pretrained.bert.new.weight"] = torch.zeros(1)
    return state


def broken(state):
    state["bert_pretrained.bert.v_pooler.dense.bias"][1] = np.nan
    return state


def untied(state):
    state["bert_pretrained.cls.predictions.decoder.weight"] = torch.zeros(17, 8)
    return state


FAULTS = {
    without: "not a ViLBERT checkpoint: missing: bert.t_pooler.dense.bias, cls.predictions.bias",
    misshapen: "unknown: bert.new.weight; wrong shape: bert.v_pooler.dense.weight is [4, 5], expected [16, 6]",
    broken: "alignment_head.image_pooler.bias holds NaN or infinite numbers; take an earlier checkpoint",
    untied: "tied here: cls.predictions.decoder.weight and bert.embeddings.word_embeddings.weight",
    lambda state: published.bert_state(): "this is a checkpoint of BERT: limner import bert",
    lambda state: {"conv.weight": torch.zeros(1)}: "not a ViLBERT checkpoint: none of its 1 names is known",
}


@pytest.mark.parametrize("change", FAULTS)
def test_checkpoints_that_do_not_fit(files, change):
    torch.save(change(published.state()), files / "file")
    line = refused(words(files, checkpoint="file"))
    assert line.startswith(f"{files / 'file'}: ")
    assert FAULTS[change] in line
    assert not (files / "package").exists()


class Evil:
    def __reduce__(self):
        return (exec, ("raise SystemExit('the pickle was run')",))


def test_files_that_cannot_be_read(files):
    torch.save({"model_state_dict": published.state(), "args": Evil()}, files / "evil")
    assert "evil: cannot be read: it needs code" in refused(words(files, checkpoint="evil"))
    (files / "cut").write_bytes((files / "basemodel").read_bytes()[:5000])
    assert "cut: cannot be read" in refused(words(files, checkpoint="cut"))
    (files / "cut.safetensors").write_bytes(b"\x00" * 20)
    assert "cut.safetensors: cannot be read" in refused(words(files, checkpoint="cut.safetensors"))
    assert "nowhere: no such file" in refused(words(files, checkpoint="nowhere"))
    assert "nowhere.txt: no such file" in refused(words(files, vocab="nowhere.txt"))
    assert "nowhere.json: cannot be read" in refused(words(files, told=("--config", "nowhere.json")))
    assert sorted(p.name for p in files.iterdir() if p.is_dir()) == []


def test_another_vocabulary(files):
    (files / "short.txt").write_text("\n".join(published.WORDS[:-2]))
    line = refused(words(files, vocab="short.txt"))
    assert "short.txt: 15 word parts, expected 17, as " in line
    assert "they belong to two models" in line
    (files / "other.txt").write_text("\n".join(f"w{k}" for k in range(17)))
    assert "other.txt: has no [PAD], [UNK], [CLS], [SEP], [MASK]" in refused(words(files, vocab="other.txt"))
    assert not (files / "package").exists()


def test_an_existing_folder_is_left_alone(files):
    (files / "package").mkdir()
    (files / "package/mine.txt").write_text("mine")
    assert "package: is there already; give another --to" in refused(words(files))
    assert [p.name for p in (files / "package").iterdir()] == ["mine.txt"]


KEYS = {
    ("text_head=2",): r"text_head=2: --model sets keys of the config group `model`; it has no key 'text_head' "
    r"\(did you mean 'text_heads'\?\)",
    ("text_heads",): "'text_heads' is not a change",
    ("text_heads=two",): "--model text_heads: found 'two', expected int",
    ("fusion=max",): "--model fusion: found 'max', expected one of mul, sum, text",
    ("fusion=text",): "--model fusion=text: the checkpoint has an image stream; expected mul or sum",
    ("text_hidden=9", "text_layers=3"): "--model text_hidden=9, but its shapes say 8: leave out what shapes tell",
    ("text_heads=3",): r"model: text_heads=3 \(text_hidden=8 is not a multiple of it\)",
    ("text_connections=[1]",): "text_connections has 1 entries and image_connections 2",
}


@pytest.mark.parametrize("keys", KEYS)
def test_keys_that_cannot_be(files, keys):
    assert re.search(KEYS[keys], refused([*words(files), "--model", *keys]))
    assert not (files / "package").exists()


def test_configurations_that_cannot_be(files):
    (files / "config.json").write_text(json.dumps({**published.CONFIG, "hidden_act": "relu"}))
    assert "hidden_act='relu', expected gelu" in refused(words(files))
    (files / "config.json").write_text("[1]")
    assert "config.json: holds a list, expected an object" in refused(words(files))
