"""The Up-Down captioner: every variant is what a plain loop over captions and words computes, gradients too."""

from __future__ import annotations

import pytest
import torch
from plain_captioner import log_probs, regions_of

from limner.decode.state import select
from limner.errors import UserError
from limner.models.captioner_options import PAPER
from limner.models.updown_captioner import UpDownCaptioner

SIZES = {"words": 9, "feature_dim": 6, "embed_dim": 5, "hidden": 8, "attention_hidden": 7}
NO_DROPOUT = {f"dropout_{where}": 0.0 for where in ("words", "global", "regions", "output")}
EOS, BOS, PAD = 9, 10, 11
VARIANTS = {
    "widely used": {},
    "paper": {**PAPER, "init": "torch"},
    "given vector": {"global_source": "given", "global_dim": 4},
    "paper, given vector": {**PAPER, "init": "torch", "global_source": "given", "global_dim": 4},
    "batch norm before": {"batch_norm": "before"},
    "batch norm on both sides": {"batch_norm": "both"},
    "box geometry": {"geometry": True},
    "paper, box geometry": {**PAPER, "init": "torch", "geometry": True},
}


def make(**options) -> UpDownCaptioner:
    torch.manual_seed(5)
    return UpDownCaptioner(**SIZES | NO_DROPOUT | options).double()


@pytest.fixture
def batch() -> dict[str, torch.Tensor]:
    """Three images (3, 5 and 2 real regions), one of them with three captions, one caption empty."""
    torch.manual_seed(6)
    mask = torch.arange(5) < torch.tensor([[3], [5], [2]])
    corners = torch.rand(3, 5, 2, dtype=torch.float64) * 50
    return {
        "feats": torch.randn(3, 5, 6, dtype=torch.float64),
        "mask": mask,
        "boxes": torch.cat((corners, corners + 40), 2),
        "size": torch.tensor([[100.0, 90.0], [200.0, 100.0], [95.0, 95.0]], dtype=torch.float64),
        "given": torch.randn(3, 4, dtype=torch.float64),
    }


CAPTIONS = {
    "image": torch.tensor([0, 1, 1, 1, 2]),
    "tokens": torch.tensor(
        [
            [BOS, 3, 4, EOS, PAD, PAD],
            [BOS, 1, 1, 2, 8, EOS],
            [BOS, EOS, PAD, PAD, PAD, PAD],
            [BOS, 1, 5, 6, EOS, PAD],
            [BOS, PAD, PAD, PAD, PAD, PAD],
        ]
    ),
    "lengths": torch.tensor([3, 5, 1, 4, 0]),
}


def arguments(model: UpDownCaptioner, batch: dict) -> dict:
    """What of the batch this model takes beside feats and mask."""
    wanted = (["boxes", "size"] if model.geometry else []) + (["given"] if model.global_net.source == "given" else [])
    return {name: batch[name] for name in wanted}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("training", [False, True])
def test_equals_the_plain_loop(variant, training, batch):
    model = make(**VARIANTS[variant]).train(training)
    if training and VARIANTS[variant].get("batch_norm"):
        for norm in (model.region_net.norm_before, model.region_net.norm_after):
            if norm is not None:
                norm.momentum = 0.0  # so that running both ways leaves the statistics alike
    more = arguments(model, batch)
    output = model(batch["feats"], batch["mask"], **CAPTIONS, **more)
    plain = log_probs(model, *regions_of(model, batch["feats"], batch["mask"], **more), **CAPTIONS)
    found = output.logits.log_softmax(1)
    assert len(found) == CAPTIONS["lengths"].sum()
    for p, (caption, step) in enumerate(zip(output.caption.tolist(), output.step.tolist())):
        logs, weights = plain[caption]
        assert (found[p] - logs[step]).abs().max() < 1e-12
        count = len(weights[step])
        assert (output.attention[p, :count] - weights[step]).abs().max() < 1e-12
        assert not output.attention[p, count:].any()
    torch.manual_seed(7)
    push = torch.randn_like(found)
    (found * push).sum().backward()
    ours = {name: p.grad for name, p in model.named_parameters()}
    model.zero_grad()
    total = sum(
        (plain[c][0][t] * push[p]).sum() for p, (c, t) in enumerate(zip(output.caption.tolist(), output.step.tolist()))
    )
    total.backward()
    for name, parameter in model.named_parameters():
        assert (ours[name] - parameter.grad).abs().max() < 1e-11, name


@pytest.mark.parametrize("variant", VARIANTS)
def test_padded_regions_do_not_matter(variant, batch):
    model = make(**VARIANTS[variant]).train()
    more = arguments(model, batch)
    before = model(batch["feats"], batch["mask"], **CAPTIONS, **more).logits
    feats = torch.where(batch["mask"].unsqueeze(2), batch["feats"], 1e4)
    assert torch.equal(model(feats, batch["mask"], **CAPTIONS, **more).logits, before)


@pytest.mark.parametrize("variant", ["widely used", "paper"])
def test_steps_equal_given_captions(variant, batch):
    """`begin`, `select` and `step`, rows leaving when they end; gradients as of `forward`."""
    model = make(**VARIANTS[variant])
    output = model(batch["feats"], batch["mask"], **CAPTIONS)
    lengths, tokens = CAPTIONS["lengths"], CAPTIONS["tokens"]
    state = select(model.begin(batch["feats"], batch["mask"]), CAPTIONS["image"])
    live, logits = torch.arange(5), {}
    for t in range(5):
        state, live = select(state, (lengths[live] > t).nonzero().squeeze(1)), live[lengths[live] > t]
        made, state, attention = model.step(tokens[live, t], state)
        assert attention.shape == (len(live), 5)
        logits |= {(caption, t): made[row] for row, caption in enumerate(live.tolist())}
    order = list(zip(output.caption.tolist(), output.step.tolist()))
    stepwise = torch.stack([logits[key] for key in order])
    assert (stepwise - output.logits).abs().max() < 1e-12
    push = torch.randn_like(stepwise)
    names, parameters = zip(*model.named_parameters())
    once = torch.autograd.grad((output.logits * push).sum(), parameters)
    by_step = torch.autograd.grad((stepwise * push).sum(), parameters)
    for name, a, b in zip(names, once, by_step):
        assert (a - b).abs().max() < 1e-11, name


def test_gradients_after_a_partial_and_a_repeated_backward_pass(batch):
    """What an earlier pass noted for the shared weights must not count again."""
    model = make()
    logits = model(batch["feats"], batch["mask"], **CAPTIONS).logits
    weight = model.attention_lstm.weight_hh
    (expected,) = torch.autograd.grad(logits[-3:].square().sum(), weight, retain_graph=True)
    torch.autograd.grad(logits.sum(), model.words.weight, retain_graph=True)
    for _ in range(2):
        (again,) = torch.autograd.grad(logits[-3:].square().sum(), weight, retain_graph=True)
        assert torch.equal(again, expected)


def test_weights_that_changed_before_the_backward_pass_are_an_error(batch):
    """As with torch's own layers: the gradient would be that of no model."""
    model = make()
    loss = model(batch["feats"], batch["mask"], **CAPTIONS).logits.sum()
    with torch.no_grad():
        model.language_lstm.weight_hh.mul_(2)
    with pytest.raises(RuntimeError, match="changed between the forward and the backward"):
        loss.backward()


def test_region_features_get_gradients(batch):
    """Of a model that is joined to what makes the features."""
    for options in ({}, PAPER):
        model = make(**options)
        feats = batch["feats"].clone().requires_grad_()
        model(feats, batch["mask"], **CAPTIONS).logits.square().sum().backward()
        shifted, step = batch["feats"].clone(), 1e-6
        shifted[1, 3, 2] += step
        with torch.no_grad():
            a, b = (model(x, batch["mask"], **CAPTIONS).logits.square().sum() for x in (batch["feats"], shifted))
        assert feats.grad[1, 3, 2].item() == pytest.approx(((b - a) / step).item(), rel=1e-3, abs=1e-6)


def test_half_precision_features_and_autocast(batch):
    model = make().float()
    feats = batch["feats"].half()
    exact = model(feats.float(), batch["mask"], **CAPTIONS).logits
    assert torch.allclose(model(feats, batch["mask"], **CAPTIONS).logits, exact)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(feats, batch["mask"], **CAPTIONS)
        state = model.begin(feats, batch["mask"])
        assert model.step(torch.full((3,), BOS), state).state.c1.dtype == torch.float32
    assert (output.logits.float() - exact).abs().max() < 0.05
    output.logits.float().square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_no_captions_at_all(batch):
    model = make()
    none = {"image": torch.zeros(0, dtype=torch.long), "tokens": torch.zeros(0, 4, dtype=torch.long)}
    for captions in ({**none, "lengths": none["image"]}, {**CAPTIONS, "lengths": torch.zeros(5, dtype=torch.long)}):
        output = model(batch["feats"], batch["mask"], **captions)
        assert output.logits.shape == (0, 10)
        assert output.attention.shape == (0, 5)


def test_dropout_differs_between_captions_and_not_in_evaluation(batch):
    model = make(dropout_output=0.5)
    twins = {"image": torch.tensor([1, 1]), "tokens": CAPTIONS["tokens"][[1, 1]], "lengths": torch.tensor([5, 5])}
    logits = model(batch["feats"], batch["mask"], **twins).logits
    assert not torch.allclose(logits[0], logits[1])
    logits = model.eval()(batch["feats"], batch["mask"], **twins).logits
    assert torch.equal(logits[0], logits[1])


def test_scheduled_sampling(batch):
    """The first word is never replaced, with probability 1 all others are predicted ones; not in evaluation."""
    model = make()
    with torch.no_grad():
        model.word_layer.bias[4] += 1000  # it always predicts word 4
    given = model(batch["feats"], batch["mask"], **CAPTIONS, scheduled_sampling=1.0)
    fours = CAPTIONS["tokens"].clone()
    fours[:, 1:] = 4
    expected = model(batch["feats"], batch["mask"], **CAPTIONS | {"tokens": fours})
    assert torch.allclose(given.logits, expected.logits, atol=1e-9)
    told = model(batch["feats"], batch["mask"], **CAPTIONS)
    assert torch.allclose(given.logits[:4], told.logits[:4])
    assert not torch.allclose(given.logits, told.logits, atol=1e-3)
    model.eval()
    assert torch.equal(model(batch["feats"], batch["mask"], **CAPTIONS, scheduled_sampling=1.0).logits, told.logits)


def test_scheduled_sampling_with_a_small_probability_replaces_some(batch):
    model = make()
    torch.manual_seed(0)
    told = model(batch["feats"], batch["mask"], **CAPTIONS).logits
    rows = {"image": torch.ones(200, dtype=torch.long), "lengths": torch.full((200,), 2)}
    tokens = CAPTIONS["tokens"][[1]].expand(200, -1)
    logits = model(batch["feats"], batch["mask"], tokens=tokens, **rows, scheduled_sampling=0.25).logits
    changed = (logits[200:] - told[4]).abs().amax(1) > 1e-9  # step 1; the draw may be the same word by chance
    assert 20 <= changed.sum() <= 70


def test_the_release_starts_with_small_weights_and_open_forget_gates():
    model = make(**PAPER)
    for lstm in (model.attention_lstm, model.language_lstm):
        assert lstm.bias_ih.tolist() == [0] * 8 + [1] * 8 + [0] * 16
        assert not lstm.bias_hh.any()
    assert 0.008 < model.words.weight.std() < 0.012
    assert make(init="release", batch_norm="both").region_net.norm_after.weight.tolist() == [1] * 8


def test_wrong_options_are_one_error():
    with pytest.raises(UserError) as error:
        make(regions="grid", hidden=0, dropout_words=1.0, global_source="given", init="zeros")
    for part in ("regions='grid'", "hidden=0", "dropout_words=1.0", "global_dim=0", "init='zeros'"):
        assert part in str(error.value)
    with pytest.raises(UserError, match=r"dropout_regions=0.5 \(regions=raw has no layer"):
        make(regions="raw", dropout_regions=0.5)


def test_missing_inputs_are_named(batch):
    with pytest.raises(UserError, match="geometry=true"):
        make(geometry=True).begin(batch["feats"], batch["mask"])
    model = make(global_source="given", global_dim=4)
    with pytest.raises(UserError, match="none was given, expected 4 numbers"):
        model.begin(batch["feats"], batch["mask"])
    with pytest.raises(UserError, match="found one of 3 numbers, expected 4"):
        model.begin(batch["feats"], batch["mask"], given=batch["given"][:, :3])


@pytest.mark.parametrize("variant", VARIANTS)
def test_inference_mode_gives_the_same(variant, batch):
    """Evaluation runs in it; its tensors do not count their changes."""
    captioner = make(**VARIANTS[variant]).eval()
    more = {name: batch[name] for name in ("boxes", "size") if captioner.geometry}
    more |= {"given": batch["given"]} if "given" in variant else {}
    begin = torch.full((3,), BOS)
    expected = captioner.step(begin, captioner.begin(batch["feats"], batch["mask"], **more)).logits
    with torch.inference_mode():
        found = captioner.step(begin, captioner.begin(batch["feats"], batch["mask"], **more)).logits
    torch.testing.assert_close(found, expected.detach())
