"""ViLBERT and BERT checkpoints: names old and new, what is wrong in one line, and the way back."""

from __future__ import annotations

import pytest
import small_vilbert
import torch

from limner.errors import UserError
from limner.models.vilbert import ViLBERT
from limner.weights import vilbert_importer
from limner.weights.importers import read_checkpoint
from limner.weights.vilbert_importer import (
    bert_sizes,
    convert_bert,
    convert_vilbert,
    export_vilbert,
    start_from_bert,
    vilbert_sizes,
)

CONFIG = {
    "num_attention_heads": 2,
    "v_num_attention_heads": 3,
    "bi_num_attention_heads": 2,
    "t_biattention_id": [1, 2],
    "v_biattention_id": [0, 1],
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.2,
}


@pytest.fixture
def model():
    return small_vilbert.model()


@pytest.fixture
def published(model):
    return export_vilbert(model.state_dict())


def bert(model):
    """The text stream alone, as BERT saves it."""
    state = export_vilbert(model.state_dict(), prefix="")
    parts = ("bert.embeddings.", "bert.encoder.layer.", "cls.predictions.")
    return {name: value for name, value in state.items() if name.startswith(parts)}


def same(found, expected):
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        assert torch.equal(tensor, expected[name]), name


def test_there_and_back(model, published):
    sizes = vilbert_sizes(published, CONFIG)
    assert sizes == {**small_vilbert.SIZES, "segments": 2, "dropout_text": 0.2}
    imported = convert_vilbert(published)
    assert imported.unused == []
    same(imported.weights, model.state_dict())
    ViLBERT(**sizes).load_state_dict(imported.weights)


def test_sizes_without_a_configuration(published):
    sizes = vilbert_sizes(published)
    assert [sizes[k] for k in ("text_heads", "image_heads", "joint_heads")] == [1, 1, 1]  # too small for heads of 64
    assert (sizes["text_connections"], sizes["image_connections"]) == ([1, 2], [0, 1])
    assert "fusion" not in sizes


@pytest.mark.parametrize("prefix", ["", "module.", "bert_pretrained.", "module.bert_pretrained."])
def test_prefixes(model, prefix):
    same(convert_vilbert(export_vilbert(model.state_dict(), prefix=prefix)).weights, model.state_dict())


def test_what_nothing_reads_is_told(published):
    extra = [
        "bert_pretrained.bert.embeddings.sep_embeddings.weight",
        "bert_pretrained.bert.encoder.c_layer.1.biOutput.q_dense2.bias",
        "bert_pretrained.vil_prediction.main.3.weight_g",
    ]
    found = convert_vilbert({**published, **dict.fromkeys(extra, torch.zeros(1))})
    assert found.unused == [name.removeprefix("bert_pretrained.") for name in extra]


def test_everything_that_is_wrong_in_one_line(published):
    del published["bert_pretrained.bert.t_pooler.dense.bias"]
    del published["bert_pretrained.bert.encoder.layer.1.attention.self.key.weight"]
    published["bert_pretrained.bert.new_embeddings.weight"] = torch.zeros(1)
    published["bert_pretrained.cls.predictions.bias"] = torch.zeros(3)
    published["bert_pretrained.cls.predictions.decoder.weight"] = torch.zeros(17, 8)
    with pytest.raises(UserError) as caught:
        convert_vilbert(published)
    line = str(caught.value)
    assert "\n" not in line
    for part in (
        "missing: bert.encoder.layer.1.attention.self.key.weight, bert.t_pooler.dense.bias;",
        "unknown: bert.new_embeddings.weight;",
        "wrong shape: cls.predictions.bias is [3], expected [17];",
        "tied here: cls.predictions.decoder.weight and bert.embeddings.word_embeddings.weight",
    ):
        assert part in line


def test_another_model_altogether():
    with pytest.raises(UserError, match=r"none of its 2 names is known: bert\.conv\.weight, bert\.conv\.bias$"):
        convert_vilbert({"conv.weight": torch.zeros(1), "conv.bias": torch.zeros(1)})


def test_another_activation(published):
    with pytest.raises(UserError, match="hidden_act='relu', expected gelu"):
        vilbert_sizes(published, {**CONFIG, "hidden_act": "relu"})


def old(state):
    return {name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
            for name, value in state.items()}  # fmt: skip


def pooled(state):
    """With what ViLBERT does without, and copies of tied tensors."""
    more = {"bert.pooler.dense.weight": torch.zeros(8, 8), "cls.seq_relationship.bias": torch.zeros(2)}
    more["bert.embeddings.position_ids"] = torch.arange(16)[None]
    return {**state, **more, "cls.predictions.decoder.bias": state["cls.predictions.bias"].clone()}


@pytest.mark.parametrize("change", [dict, old, pooled])
def test_bert(model, change):
    state = change(bert(model))
    fresh = small_vilbert.model(seed=1)
    before = {name: tensor.clone() for name, tensor in fresh.state_dict().items()}
    kept = start_from_bert(fresh, state)
    text = ("text_embedding.", "encoder.text_layers.", "words_head.")
    for name, tensor in fresh.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name]) == name.startswith(text), name
        assert torch.equal(tensor, before[name]) != name.startswith(text), name
    assert kept == [name for name in before if not name.startswith(text)]


def test_bert_without_its_head_and_prefix(model):
    state = {name.removeprefix("bert."): value for name, value in bert(model).items() if name.startswith("bert.")}
    expected = {name: t for name, t in model.state_dict().items() if name.startswith(("text_emb", "encoder.text"))}
    same(convert_bert(state).weights, expected)
    assert bert_sizes(state) == {
        "words": 17, "text_hidden": 8, "positions": 16, "segments": 2, "text_ffn": 12, "text_layers": 3, "text_heads": 1
    }  # fmt: skip


@pytest.mark.parametrize("changes", [{"words": 18}, {"text_layers": 4}, {"text_layers": 2}])
def test_bert_of_another_size(model, changes):
    with pytest.raises(UserError, match=r"differ\): set words=17, text_hidden=8, .*text_layers=3"):
        start_from_bert(small_vilbert.model(**changes), bert(model))


def test_a_file_that_holds_more(tmp_path, model, published):
    torch.save({"model_state_dict": published, "iter_id": 7, "optimizer_state_dict": {}}, tmp_path / "basemodel")
    state = read_checkpoint(tmp_path / "basemodel", inside=vilbert_importer.INSIDE)
    same(convert_vilbert(state).weights, model.state_dict())
    torch.save(published, tmp_path / "bare")
    assert read_checkpoint(tmp_path / "bare", inside=vilbert_importer.INSIDE).keys() == published.keys()
    torch.save({"model_state_dict": {}}, tmp_path / "empty")
    with pytest.raises(UserError, match="expected a state dict"):
        read_checkpoint(tmp_path / "empty", inside=vilbert_importer.INSIDE)
