"""The Up-Down captioner against the published code: the imported model computes what the original computed."""

from __future__ import annotations

import pytest
import torch
from captioner_golden import SETS, load

from limner.caption_losses import cross_entropy
from limner.models.captioner_words import word_layer_log_probs, word_loss
from limner.weights import names

CLOSE = 1e-12


@pytest.fixture(params=SETS)
def golden(request, shared):
    return load(shared, request.param)


def states_of(golden):
    captions = golden.captions()
    return captions, golden.model.states(golden.feats, golden.mask, given=golden.given, **captions)


def test_log_probabilities_of_given_captions(golden):
    captions = golden.captions()
    output = golden.model(golden.feats, golden.mask, given=golden.given, **captions)
    found = golden.their_columns(output.logits.log_softmax(1))
    expected = golden.arrays["tf_logprobs"][output.caption, output.step]
    assert (found - expected).abs().max() < CLOSE
    assert len(found) == captions["lengths"].sum() == golden.arrays["label_masks"].sum() - len(captions["lengths"])


def test_prepared_regions_and_five_steps(golden):
    model = golden.model
    state = model.begin(**golden.inputs)
    prepared = state.regions
    bias = model.attention.query.bias  # stands on the regions' side of our tanh, and everything there is doubled
    keys = (prepared.regions.keys / 2 - bias)[golden.mask]
    assert (prepared.regions.regions - golden.arrays["p_att"]).abs().max() < CLOSE
    assert (keys - golden.arrays["pp_att"][golden.mask]).abs().max() < CLOSE
    vector = model.global_net(golden.feats, golden.mask, golden.given, torch.float64)
    assert (vector - golden.arrays["p_fc"]).abs().max() < CLOSE
    read = golden.arrays["labels"][:, 0]
    for t in range(5):
        tokens = golden.to_ours(read[:, t])
        tokens[read[:, t] == 0] = golden.words + 1 if t == 0 else golden.words
        _, state, attention = model.step(tokens, state)
        for ours, theirs in ((("h1", "h2"), "step_h"), (("c1", "c2"), "step_c")):
            found = torch.stack([getattr(state, name) for name in ours])
            assert (found - golden.arrays[theirs][t]).abs().max() < CLOSE, (t, theirs)
        assert (attention.sum(1) - 1).abs().max() < CLOSE
        assert not attention[~golden.mask].any()


def test_cross_entropy(golden):
    captions, states = states_of(golden)
    layer = golden.model.word_layer
    loss = cross_entropy(states, layer, captions["tokens"])
    assert loss.mean.item() == pytest.approx(golden.numbers["lm_loss"], abs=CLOSE)
    targets = states.targets(captions["tokens"])
    log_probs = word_layer_log_probs(states.hidden, layer.weight, layer.bias, targets)
    total = torch.zeros(len(captions["image"]), dtype=log_probs.dtype).index_add(0, states.caption, -log_probs)
    each = total / torch.bincount(states.caption, minlength=len(total))
    assert each.tolist() == pytest.approx(golden.numbers["lm_loss_none"], abs=CLOSE)
    same = word_loss(states.hidden, layer.weight, layer.bias, targets).log_probs
    assert (same - log_probs).abs().max() < CLOSE


def test_label_smoothing(golden):
    captions, states = states_of(golden)
    loss = cross_entropy(states, golden.model.word_layer, captions["tokens"], smoothing=0.1)
    assert loss.mean.item() == pytest.approx(golden.numbers["label_smoothing_0.1"], abs=CLOSE)


@pytest.mark.parametrize("fused", [True, False])
def test_gradients(golden, fused):
    """Norms of the cross-entropy's gradient, for every parameter; the two ways to it are alike."""
    captions, states = states_of(golden)
    layer = golden.model.word_layer
    if fused:
        loss = cross_entropy(states, layer, captions["tokens"]).mean
    else:
        targets = states.targets(captions["tokens"])
        loss = -word_layer_log_probs(states.hidden, layer.weight, layer.bias, targets).mean()
    loss.backward()
    parameters = dict(golden.model.named_parameters())
    ours = {
        f"{prefix}.{leaf}": f"{entry.ours}.{leaf}"
        for prefix, entry in names.RT_CAPTIONER["none"].items()
        for leaf in entry.leaves
    }
    expected = golden.numbers["lm_grad_norms"]
    assert set(expected) == set(ours)
    assert len(ours) == len(parameters)
    for theirs, norm in expected.items():
        assert parameters[ours[theirs]].grad.norm().item() == pytest.approx(norm, abs=CLOSE), theirs


def test_reward_gradients(golden):
    """The policy gradient through `word_loss`: samples and rewards of the published code, gradient norms equal."""
    sequences, rewards = golden.arrays["sc_seq"], golden.arrays["sc_reward"]
    image = torch.arange(4).repeat_interleave(5)
    ended = sequences == 0
    lengths = torch.where(ended.any(1), ended.int().argmax(1) + 1, sequences.shape[1])
    start = torch.full((len(sequences), 1), golden.words + 1)
    tokens = torch.cat((start, golden.to_ours(sequences)), dim=1)
    states = golden.model.states(golden.feats, golden.mask, image, tokens, lengths, given=golden.given)
    layer = golden.model.word_layer
    loss = word_loss(
        states.hidden, layer.weight, layer.bias, states.targets(tokens), factors=rewards[states.caption]
    ).total / len(states.step)
    expected = golden.numbers["reward_criterion"]
    assert loss.item() == pytest.approx(expected["loss"], abs=CLOSE)
    loss.backward()
    norms = {name: p.grad.norm().item() for name, p in golden.model.named_parameters()}
    for prefix, entry in names.RT_CAPTIONER["none"].items():
        for leaf in entry.leaves:
            want = expected["grad_norms"][f"{prefix}.{leaf}"]
            assert norms[f"{entry.ours}.{leaf}"] == pytest.approx(want, abs=CLOSE), (prefix, leaf)
