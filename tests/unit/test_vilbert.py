"""ViLBERT: the packed, shared, partial computation against the plain one, and what belongs to training."""

from __future__ import annotations

import pytest
import small_vilbert
import torch
from small_vilbert import NO_DROPOUT, TEXT_ONLY

from limner.errors import UserError
from limner.models import vilbert_layout
from limner.models.vilbert import ViLBERT, ViLBERTOutput
from limner.models.vilbert_layers import SelfLayer, Wanted
from limner.models.vilbert_layout import Group

CLOSE = {"atol": 1e-12, "rtol": 0}
SHAPES = {
    "published": {},
    "image layers before the first connection": {"image_connections": [1, 2]},
    "connection after the last layers": {"text_connections": [1, 3], "image_connections": [0, 2]},
    "connection before any layer": {"text_connections": [0, 2], "image_connections": [0, 0]},
    "more layers after the last connection": {"text_connections": [1], "image_connections": [0]},
    "no connection": {"text_connections": [], "image_connections": []},
    "one text layer": {"text_layers": 1, "text_connections": [], "image_connections": []},
    "sum": {"fusion": "sum"},
}


def plain(model, given, words_at=None, regions_at=None):
    """The three heads from everything that the encoder computes."""
    all_ = model.encode(**given)
    alignment = model.alignment_head(all_.text[:, 0], all_.image[:, 0])
    words = None if words_at is None else model.words_head(all_.text[words_at], model.text_embedding.words.weight)
    regions = None if regions_at is None else model.regions_head(all_.image[regions_at])
    return ViLBERTOutput(alignment, words, regions)


def asked(given):
    """Some tokens and regions, of which not every sequence has one."""
    words_at = torch.zeros_like(given["text_mask"])
    words_at[0, 2] = words_at[2, 5] = words_at[2, 3] = True
    regions_at = torch.zeros(len(words_at), 4, dtype=torch.bool)
    regions_at[1, 0] = regions_at[1, 3] = regions_at[4, 2] = True
    return {"words_at": words_at, "regions_at": regions_at}


def assert_same(found, expected):
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            torch.testing.assert_close(ours, theirs, **CLOSE)


@pytest.mark.parametrize("cost", [1, 1e9])
@pytest.mark.parametrize("shape", SHAPES)
def test_fast_way_is_the_plain_way(monkeypatch, shape, cost):
    monkeypatch.setitem(vilbert_layout.GROUP_FLOP, "cpu", cost)
    model, given = small_vilbert.model(**SHAPES[shape]), small_vilbert.batch()
    for heads in ({}, asked(given), {"words_at": asked(given)["words_at"]}):
        assert_same(model(**given, **heads), plain(model, given, **heads))


@pytest.mark.parametrize("training", [False, True])
def test_gradients_of_the_fast_way(training):
    model, given = small_vilbert.model(**NO_DROPOUT).train(training), small_vilbert.batch()
    heads = asked(given)
    found = []
    for way in (model(**given, **heads), plain(model, given, **heads)):
        model.zero_grad()
        sum((k + 1) * (head**2).sum() for k, head in enumerate(way)).backward()
        found.append({name: parameter.grad.clone() for name, parameter in model.named_parameters()})
    for name, gradient in found[0].items():
        torch.testing.assert_close(gradient, found[1][name], atol=1e-10, rtol=1e-10, msg=name)


def test_gradients_of_the_alignment_alone():
    model, given = small_vilbert.model(), small_vilbert.batch()
    found = []
    for way in (model(**given), plain(model, given)):
        model.zero_grad()
        (way.alignment**2).sum().backward()
        found.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys()
    for name, gradient in found[0].items():
        torch.testing.assert_close(gradient, found[1][name], atol=1e-10, rtol=1e-10, msg=name)


def test_what_padding_holds_does_not_matter():
    model, given = small_vilbert.model(), small_vilbert.batch()
    before = model(**given)
    given["tokens"] = torch.where(given["text_mask"], given["tokens"], 16 - given["tokens"])
    given["feats"][~given["mask"]] = 7.0
    given["segments"] = torch.where(given["text_mask"], given["segments"], 1 - given["segments"])
    assert_same(model(**given), before)


def test_an_image_for_each_sequence_by_default():
    model, given = small_vilbert.model(), small_vilbert.batch(images=5)
    given["image"] = torch.arange(5)
    expected = model(**given)
    del given["image"]
    assert_same(model(**given), expected)


def test_language_only():
    model, given = small_vilbert.model(**TEXT_ONLY), small_vilbert.text_of(small_vilbert.batch())
    assert not [name for name, _ in model.named_parameters() if "image" in name or "region" in name]
    words_at = asked(given)["words_at"]
    found = model(**given, words_at=words_at)
    all_ = model.encode(**given)
    torch.testing.assert_close(found.alignment, model.alignment_head(all_.text[:, 0], None), **CLOSE)
    expected = model.words_head(all_.text[words_at], model.text_embedding.words.weight)
    torch.testing.assert_close(found.words, expected, **CLOSE)
    assert found.regions is None
    assert all_.image is None
    assert all_.pooled_image is None


def test_half_precision_features():
    model, given = small_vilbert.model(), small_vilbert.batch()
    given["feats"] = given["feats"].half()
    expected = model(**{**given, "feats": given["feats"].double()})
    assert_same(model(**given), expected)


def test_maps():
    model, given = small_vilbert.model(), small_vilbert.batch()
    maps = model.encode(**given).maps
    assert [tuple(m.shape) for m in maps.text] == [(5, 2, 8, 8)] * 3
    assert [tuple(m.shape) for m in maps.image] == [(5, 3, 4, 4)] * 2
    over_tokens = [*maps.text, *(m.image for m in maps.joint)]
    over_regions = [*maps.image, *(m.text for m in maps.joint)]
    for weights, mask in (
        *((m, given["text_mask"]) for m in over_tokens),
        *((m, given["mask"][given["image"]]) for m in over_regions),
    ):
        torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]), **CLOSE)
        assert not weights.movedim(-1, 1)[~mask].any()
    assert [tuple(m.text.shape) for m in maps.joint] == [(5, 2, 8, 4)] * 2


def test_training_drops_in_each_sequence_by_itself():
    """Two equal sequences about one image: what is shared otherwise must not be shared here."""
    given = small_vilbert.batch(lengths=(4, 4), images=1, gap=False)
    for name in ("tokens", "segments"):
        given[name][1] = given[name][0]
    for only in ("dropout_text", "dropout_image", "dropout_text_attention", "dropout_image_attention"):
        model = small_vilbert.model(**{**NO_DROPOUT, only: 0.5}, joint_hidden=32).train()
        alignment = model(**given).alignment
        assert (alignment[0] - alignment[1]).abs().max() > 1e-4, only
    alignment = small_vilbert.model(**NO_DROPOUT).train()(**given).alignment
    torch.testing.assert_close(alignment[0], alignment[1], **CLOSE)


def test_mean_over_dropout_of_the_first_token_alone():
    """Dropped attention weights do not sum to 1, and the value's bias is weighted by them too."""
    torch.manual_seed(0)
    layer, draws = SelfLayer(8, 2, 4, dropout=0.0, dropout_attention=0.5).double(), 4000
    torch.nn.init.normal_(layer.qkv.bias)
    layer.after = torch.nn.Module()
    layer.after.forward = lambda attended, x: attended
    x, groups = torch.randn(3, 8).double().repeat(draws, 1), (Group(draws, 3, None),)
    first = torch.arange(0, 3 * draws, 3)
    with torch.no_grad():
        once, full = layer(x, groups, wanted=Wanted(first)), layer(x, groups)[first]
        error = 6 * full.std(0) / draws**0.5
        assert ((once.mean(0) - full.mean(0)).abs() < error).all()
        assert ((once.std(0) / full.std(0) - 1).abs() < 0.1).all()
        layer.eval()
        torch.testing.assert_close(layer(x, groups, wanted=Wanted(first)), layer(x, groups)[first], **CLOSE)


@pytest.mark.parametrize("heads", [False, True])
def test_checkpointing_changes_nothing(heads):
    found = []
    for checkpointing in (False, True):
        model, given = small_vilbert.model(checkpointing=checkpointing).train(), small_vilbert.batch()
        torch.manual_seed(5)
        out = model(**given, **(asked(given) if heads else {}))
        sum((head**2).sum() for head in out if head is not None).backward()
        found.append((out, {name: p.grad for name, p in model.named_parameters()}))
    assert_same(found[1][0], found[0][0])
    assert_same(tuple(found[1][1].values()), tuple(found[0][1].values()))


def test_checkpointing_keeps_less():
    kept = []
    for checkpointing in (False, True):
        model, given = small_vilbert.model(checkpointing=checkpointing).train(), small_vilbert.batch()
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, to=sizes: to.append(t.numel()) or t, lambda t: t):
            model(**given, **asked(given))
        kept.append(sum(sizes))
    assert kept[1] < kept[0] / 2


def test_maps_while_training_with_checkpoints():
    model, given = small_vilbert.model(checkpointing=True).train(), small_vilbert.batch()
    encoded = model.encode(**given)
    encoded.text.sum().backward()
    assert len(encoded.maps.text) == 3


def test_words_are_tied():
    model, given = small_vilbert.model(), small_vilbert.batch()
    model(**given, **asked(given)).words.sum().backward()
    assert model.text_embedding.words.weight.grad.abs().sum(1).min() > 0  # also of words that are nowhere in the text
    assert [name for name in model.state_dict() if name.startswith("words_head")] == [
        "words_head.bias",
        "words_head.dense.weight",
        "words_head.dense.bias",
        "words_head.norm.weight",
        "words_head.norm.bias",
    ]


@pytest.mark.parametrize("std", [None, 0.1])
def test_initial_weights(std):
    torch.manual_seed(0)
    more = {} if std is None else {"init_std": std}
    model = ViLBERT(**{**small_vilbert.SIZES, "words": 4000, **more})
    assert model.text_embedding.words.weight.std().item() == pytest.approx(std or 0.02, rel=0.05)
    assert model.encoder.text_layers[0].qkv.weight.std().item() == pytest.approx(std or 0.02, rel=0.2)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            assert not parameter.any(), name
        if "norm" in name and name.endswith("weight"):
            assert (parameter == 1).all(), name


def test_autocast():
    model, given = small_vilbert.model().float(), small_vilbert.batch()
    given |= {name: given[name].float() for name in ("feats", "boxes")}
    heads = asked(given)
    with torch.autocast("cpu", torch.bfloat16):
        low = [model(**given, **heads), model(**given)]
    high = [model(**given, **heads), model(**given)]
    for found, expected in zip(low, high):
        for ours, theirs in zip(found, expected):
            if theirs is not None:
                assert (ours.float() - theirs).norm() < 0.05 * theirs.norm()
                assert not torch.equal(ours.float(), theirs)


@pytest.mark.parametrize("training", [False, True])
def test_no_sequence_at_all(training):
    """A process may get no item of the last batch; its gradients are zero, not missing."""
    model, given = small_vilbert.model().train(training), small_vilbert.batch()
    none = {name: x[:0] if name in ("tokens", "segments", "text_mask", "image") else x for name, x in given.items()}
    heads = {name: x[:0] for name, x in asked(given).items()}
    out = model(**none, **heads)
    assert [tuple(x.shape) for x in out] == [(0, 2), (0, 17), (0, 5)]
    sum(x.sum() for x in out).backward()
    assert not any(parameter.grad.any() for parameter in model.parameters())
    assert model(**none).alignment.shape == (0, 2)


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("tokens", 17, "tokens: found 17, but the model knows 0 to 16"),
        ("tokens", -1, "tokens: found -1, but"),
        ("segments", 2, "segments: found 2, but the model knows 0 to 1"),
    ],
)
def test_ids_without_a_row(name, value, line):
    model, given = small_vilbert.model(), small_vilbert.batch()
    given[name][0, 1] = value
    with pytest.raises(UserError, match=line):
        model(**given)


def test_a_text_that_is_too_long():
    model = small_vilbert.model()
    with pytest.raises(UserError, match="positions: found 17, but the model knows 0 to 15; cut the text shorter"):
        model(**small_vilbert.batch((18, 3)))
    model(**small_vilbert.batch((16, 3)))  # padded to 17


def test_score_does_not_saturate():
    logits = torch.tensor([[30.0, -30.0], [31.0, -30.0], [-1.0, 1.0]])
    assert ViLBERTOutput(logits, None, None).score.tolist() == [60.0, 61.0, -2.0]


def test_every_wrong_option_in_one_line():
    with pytest.raises(UserError) as caught:
        ViLBERT(
            **{
                **small_vilbert.SIZES,
                "text_heads": 3,
                "image_layers": 0,
                "fusion": "max",
                "dropout_text": 1.0,
                "text_connections": [2, 1],
                "image_connections": [0],
            }
        )
    line = str(caught.value)
    assert "\n" not in line
    for part in (
        "text_heads=3 (text_hidden=8 is not a multiple",
        "image_layers=0 (must be 1",
        "fusion='max' (choose one of mul, sum, text)",
        "dropout_text=1.0",
        "text_connections=[2, 1] (must rise",
        "text_connections has 2 entries and image_connections 1",
    ):
        assert part in line


def test_language_only_has_no_connections():
    with pytest.raises(UserError, match=r"text_connections=\[1, 2\] \(fusion=text has no image stream: set \[\]\)"):
        ViLBERT(**{**small_vilbert.SIZES, "fusion": "text"})


def test_an_image_stream_needs_images():
    with pytest.raises(UserError, match="feats, boxes and mask"):
        small_vilbert.model()(**small_vilbert.text_of(small_vilbert.batch()))
