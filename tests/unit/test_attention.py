"""Attention and region pooling against one question at a time, written out."""

from __future__ import annotations

import pytest
import torch

from limner.models import attention, regions
from limner.models.attention import ConcatAttention, ProductAttention, chunked_scores, keep_mask, masked_softmax
from limner.models.layers import activate
from limner.models.regions import RegionBatch, group

IMAGES, R, D, H, Q = 4, 5, 6, 3, 7
IMAGE = torch.tensor([2, 0, 2, 3, 0, 2, 3])  # image 1 has no question; three, two and two questions


@pytest.fixture
def inputs():
    torch.manual_seed(3)
    mask = torch.ones(IMAGES, R, dtype=torch.bool)
    mask[0, 3:] = False
    mask[3, 1] = False  # padding need not stand last
    feats = torch.randn(IMAGES, R, D, dtype=torch.float64)
    return feats, mask, torch.randn(len(IMAGE), Q, dtype=torch.float64)


def batch(feats, mask, image=IMAGE, **options):
    return RegionBatch(feats, mask, image, torch.float64, **options)


def make(kind, **options):
    options = {"feature_dim": D, "question_dim": Q, "hidden": H, "dropout": 0.3} | options
    return kind(**options).double().eval()


def written_out(model, feats, mask, question):
    """Weights (B, G, R), one question and one region at a time."""
    rows = []
    for b, image in enumerate(IMAGE.tolist()):
        scores = []
        for r in range(R):
            if isinstance(model, ProductAttention):
                joint = model.region(feats[image, r]) * model.question(question[b])
            else:
                joint = activate(model.activation, model.joint(torch.cat((feats[image, r], question[b]))))
            scores.append(model.score(joint))
        scores = torch.stack(scores, dim=-1)  # [g, r]
        scores[:, ~mask[image]] = -torch.inf
        rows.append(scores.softmax(-1))
    return torch.stack(rows)


@pytest.mark.parametrize("glimpses", [1, 2])
@pytest.mark.parametrize("activation", ["relu", "gated_tanh", "elu"])
@pytest.mark.parametrize("weight_norm", [True, False])
@pytest.mark.parametrize("kind", [ProductAttention, ConcatAttention])
def test_weights_and_gradients(inputs, kind, activation, glimpses, weight_norm, monkeypatch):
    monkeypatch.setitem(attention.CHUNK, "cpu", 2 * R * H)  # several chunks
    monkeypatch.setattr(regions, "BLOCK", 3)
    feats, mask, question = inputs
    question.requires_grad_()
    model = make(kind, activation=activation, glimpses=glimpses, weight_norm=weight_norm)
    weights = model(batch(feats, mask), question)
    want = written_out(model, feats, mask, question)
    torch.testing.assert_close(weights, want, atol=1e-13, rtol=0)
    assert not weights[~mask[IMAGE].unsqueeze(1).expand_as(weights)].any()
    factor = torch.randn_like(want)
    leaves = [question, *model.parameters()]
    ours = torch.autograd.grad((weights * factor).sum(), leaves)
    theirs = torch.autograd.grad((want * factor).sum(), leaves)
    for a, b in zip(ours, theirs):
        torch.testing.assert_close(a, b, atol=1e-13, rtol=0)


@pytest.mark.parametrize("kind", [ProductAttention, ConcatAttention])
def test_dropout_is_that_of_the_joint(inputs, kind, monkeypatch):
    """With the drawn masks put in by hand, the training path is the written-out formula."""
    monkeypatch.setitem(attention.CHUNK, "cpu", 2 * R * H)
    drawn = []

    def record(*args):
        drawn.append(keep_mask(*args))
        return drawn[-1]

    monkeypatch.setattr(attention, "keep_mask", record)
    feats, mask, question = inputs
    model = make(kind).train()
    question.requires_grad_()
    weights = model(batch(feats, mask), question)
    kept, scale = torch.cat([m for m, _ in drawn]).double(), drawn[0][1]
    assert 0 < kept.mean() < 1
    if kind is ProductAttention:
        joint = model.region(feats)[IMAGE] * model.question(question).unsqueeze(1)
    else:
        wide = question.unsqueeze(1).expand(-1, R, -1)
        joint = activate("relu", model.joint(torch.cat((feats[IMAGE], wide), dim=-1)))
    want = masked_softmax(model.score(joint * kept * scale).mT, mask[IMAGE].unsqueeze(1))
    torch.testing.assert_close(weights, want, atol=1e-13, rtol=0)
    factor, leaves = torch.randn_like(want), [question, *model.parameters()]
    ours = torch.autograd.grad((weights * factor).sum(), leaves)
    theirs = torch.autograd.grad((want * factor).sum(), leaves)
    for a, b in zip(ours, theirs):
        torch.testing.assert_close(a, b, atol=1e-13, rtol=0)


@pytest.mark.parametrize("drop", [0.0, 0.4])
def test_chunked_scores_gradcheck(drop):
    keys, question = torch.randn(IMAGES, R, H, dtype=torch.float64), torch.randn(len(IMAGE), H, dtype=torch.float64)
    weight = torch.randn(2, H, dtype=torch.float64)
    leaves = [x.requires_grad_() for x in (keys, question, weight)]

    def scores(*leaves):
        torch.manual_seed(0)  # the same mask in every call
        return chunked_scores(*leaves, IMAGE, lambda v, q: torch.tanh(v + q), drop)

    assert torch.autograd.gradcheck(scores, leaves)


def test_dropped_product_gradcheck():
    keys, queries = torch.randn(IMAGES, R, H, dtype=torch.float64), torch.randn(len(IMAGE), 2, H, dtype=torch.float64)

    def scores(*leaves):
        torch.manual_seed(0)
        return attention.dropped_product(*leaves, IMAGE, 0.4)

    assert torch.autograd.gradcheck(scores, [keys.requires_grad_(), queries.requires_grad_()])


def test_keep_mask_has_its_share_and_mean():
    torch.manual_seed(0)
    mask, scale = keep_mask((3, 333, 101), 0.2, torch.device("cpu"))
    assert mask.shape == (3, 333, 101)
    assert set(mask.unique().tolist()) == {0, 1}
    share = mask.double().mean().item()
    assert abs(share - 0.8) < 4 * (0.16 / mask.numel()) ** 0.5
    assert abs(scale - 1.25) < 1e-4
    # neighbours share a 64-bit draw and must still be independent
    flat = mask.flatten().double() - share
    for lag in (1, 2, 3, 4):
        assert abs((flat[lag:] * flat[:-lag]).mean().item()) < 4 * 0.16 / len(flat) ** 0.5


def test_masked_softmax_of_an_image_without_regions_is_zero():
    weights = masked_softmax(torch.randn(2, 3), torch.tensor([[True, False, True], [False, False, False]]))
    assert weights[1].tolist() == [0, 0, 0]
    assert weights[0, 1] == 0
    torch.testing.assert_close(weights[0].sum(), torch.tensor(1.0))


def test_groups():
    groups = group(IMAGE, IMAGES)
    assert groups.most == 3
    x = torch.arange(7) + 1
    assert groups.spread(x).tolist() == [[2, 5, 0], [0, 0, 0], [1, 3, 6], [4, 7, 0]]
    assert groups.collect(groups.spread(x)).tolist() == x.tolist()
    assert group(IMAGE[:0], IMAGES).collect(group(IMAGE[:0], IMAGES).spread(x[:0])).shape == (0,)


@pytest.mark.parametrize("stored", [torch.float16, torch.float32])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("padding", [False, True])
def test_blocks_are_the_whole(inputs, stored, normalize, relu, padding, monkeypatch):
    """Conversion block by block, without padded rows, against all features at once."""
    monkeypatch.setattr(regions, "BLOCK", 7)
    feats, mask, _ = inputs
    mask = mask if padding else torch.ones_like(mask)
    feats = feats.to(stored)
    weight = torch.randn(H, D, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(H, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(len(IMAGE), 2, R, dtype=torch.float64, requires_grad=True)
    got = batch(feats, mask, normalize=normalize)
    assert got.in_blocks
    whole = feats.double()
    whole = whole / whole.norm(dim=-1, keepdim=True) if normalize else whole
    keys = whole @ weight.t() + bias
    keys = (keys.clamp(min=0) if relu else keys) * mask.unsqueeze(2)
    pooled = torch.einsum("bgr,brd->bgd", weights, whole[IMAGE])
    ours = (got.project(weight, bias, relu=relu) * mask.unsqueeze(2), got.pool(weights))
    leaves = (weight, bias, weights)
    for a, b in zip(ours, (keys, pooled)):
        torch.testing.assert_close(a, b, atol=1e-13, rtol=0)
    ours = torch.autograd.grad(sum(x.pow(2).sum() for x in ours), leaves)
    theirs = torch.autograd.grad(keys.pow(2).sum() + pooled.pow(2).sum(), leaves)
    for a, b in zip(ours, theirs):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=0)


def test_features_that_need_a_gradient_get_one(inputs):
    feats, mask, question = inputs
    feats.requires_grad_()
    model = make(ProductAttention)
    made = batch(feats, mask)
    (made.pool(model(made, question)) ** 2).sum().backward()
    assert feats.grad[2].any()
    assert not feats.grad[1].any()
