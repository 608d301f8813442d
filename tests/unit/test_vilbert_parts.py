"""Sequences in parts: the numbers and gradients of one large batch, in the memory of one part."""

from __future__ import annotations

import weakref

import pytest
import small_vilbert
import torch
from hypothesis import given as cases
from hypothesis import strategies as st
from small_vilbert import TEXT_ONLY

from limner.models.vilbert_parts import alignment_in_parts, by_length, in_parts
from limner.visdial_losses import dense_relevance


@cases(st.lists(st.integers(1, 12), max_size=20), st.integers(1, 40), st.integers(0, 5))
def test_parts_by_length(lengths, rows, extra):
    parts = by_length(lengths, rows=rows, extra=extra)
    assert sorted(k for part in parts for k in part) == list(range(len(lengths)))
    sizes = [sum(lengths[k] + extra for k in part) for part in parts]
    assert all(size <= rows or len(part) == 1 for size, part in zip(sizes, parts))
    ordered = [lengths[k] for part in parts for k in part]
    assert ordered == sorted(ordered)
    for before, after in zip(sizes, parts[1:]):  # no part could have taken one more
        assert before + lengths[after[0]] + extra > rows


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("text_only", [False, True])
def test_gradients_of_a_loss_over_all_options(training, text_only):
    """Dense finetuning: the loss couples all options; in training, dropout is drawn twice alike."""
    model = small_vilbert.model(**(TEXT_ONLY if text_only else {})).train(training)
    given = small_vilbert.batch((5, 3, 7, 5, 2, 6), images=2)
    given = small_vilbert.text_of(given) if text_only else given
    relevance = torch.rand(2, 3).double()
    found = []
    for direct in (True, False):
        model.zero_grad()
        torch.manual_seed(3)
        if direct:  # the same parts, for the same dropout, in one graph
            logits = by_hand(model, given, rows=14)
        else:
            logits = alignment_in_parts(model, **given, rows=14)
        loss = dense_relevance(logits.unflatten(0, (2, 3)), relevance).mean
        loss.backward()
        found.append((logits, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}))
    torch.testing.assert_close(found[1][0], found[0][0], atol=1e-13, rtol=0)
    assert found[0][1].keys() == found[1][1].keys()
    for name, gradient in found[0][1].items():
        torch.testing.assert_close(found[1][1][name], gradient, atol=1e-13, rtol=1e-12, msg=name)
    if not training:
        torch.testing.assert_close(found[0][0], model(**given).alignment, atol=1e-13, rtol=0)


def by_hand(model, given, *, rows):
    parts = by_length(given["text_mask"].sum(1).tolist(), rows=rows, extra=4 if "feats" in given else 0)
    assert len(parts) > 1
    out = torch.empty(len(given["tokens"]), 2, dtype=torch.float64)
    for part in parts:
        mine = {name: given[name][part] for name in ("tokens", "segments", "text_mask")}
        if "feats" in given:
            mine |= {name: given[name] for name in ("feats", "boxes", "mask")} | {"image": given["image"][part]}
        out[part] = model(**mine).alignment
    return out


def test_an_image_for_each_sequence_by_default():
    model, given = small_vilbert.model(), small_vilbert.batch(images=5)
    del given["image"]
    torch.testing.assert_close(
        alignment_in_parts(model, **given, rows=10), model(**given).alignment, atol=1e-13, rtol=0
    )


def test_no_sequence_at_all():
    model, given = small_vilbert.model(), small_vilbert.batch()
    none = {name: x[:0] if name in ("tokens", "segments", "text_mask", "image") else x for name, x in given.items()}
    assert alignment_in_parts(model, **none).shape == (0, 2)


def test_what_is_kept_is_one_part():
    """What is computed inside is alive for one part at a time, in the forward pass and in the backward pass."""
    alive, most = set(), [0]

    class Inside(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            made = x * 2
            ctx.save_for_backward(made)
            key = object()
            alive.add(key)
            weakref.finalize(made, alive.discard, key)
            most[0] = max(most[0], len(alive))
            return made

        @staticmethod
        def backward(ctx, gradient):
            return gradient * 2 + 0 * ctx.saved_tensors[0]

    weight = torch.ones(3, requires_grad=True)
    outputs = in_parts(lambda k: Inside.apply(weight * k).sum()[None], [(k,) for k in range(8)])
    (outputs**2).sum().backward()
    assert most[0] <= 2
    assert weight.grad.tolist() == [sum(2 * (6 * k) * 2 * k for k in range(8))] * 3


def test_without_gradients():
    with torch.no_grad():
        outputs = in_parts(lambda x: x + 1, [(torch.zeros(2),), (torch.ones(1),)])
    assert outputs.tolist() == [1.0, 1.0, 2.0]
