"""Ensembles: the mean of probabilities, states of their own, and what cannot be averaged."""

from __future__ import annotations

import pytest
import torch
from brute_force import Speaker

from limner.decode import Beam, Greedy, ensemble
from limner.errors import UserError


def members(count=3, **options):
    speakers = [Speaker(words=5, images=4, seed=seed, **options) for seed in range(30, 30 + count)]
    return speakers, [(speaker.step, speaker.begin()) for speaker in speakers]


def averaged(tables, shares, average):
    logp = torch.stack([table.log_softmax(0) for table in tables])
    shares = torch.tensor(shares, dtype=torch.float64)[:, None] / sum(shares)
    return (logp.exp() * shares).sum(0).log() if average == "probability" else (logp * shares).sum(0)


@pytest.mark.parametrize("average", ["probability", "log_probability"])
@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 5.0]])
def test_mean_of_all_models_at_every_step(average, weights):
    speakers, pairs = members()
    step, state = ensemble(pairs, weights=weights, average=average)
    tokens = torch.full((4,), 6)
    for word in (0, 3):
        logits, state, attention = step(tokens, state)
        history = () if word == 0 else (0,)
        for image in range(4):
            tables = [speaker.table(image, history) for speaker in speakers]
            wanted = averaged([logits for logits, _ in tables], weights or [1.0] * 3, average)
            assert torch.allclose(logits[image], wanted, rtol=0, atol=1e-12)
            maps, shares = torch.stack([a for _, a in tables]), torch.tensor(weights or [1.0] * 3).double()
            assert torch.allclose(attention[image], (maps * (shares / shares.sum())[:, None]).sum(0))
        tokens = torch.zeros(4, dtype=torch.long)


def test_beams_of_an_ensemble_differ_from_its_members_and_one_alone_is_itself():
    speakers, pairs = members()
    step, state = ensemble(pairs)
    together = Beam(size=3, max_length=6, attention=True)(step, state, words=5)
    for speaker, (step, state) in zip(speakers, pairs):
        alone = Beam(size=3, max_length=6, attention=True)(step, state, words=5)
        single = Beam(size=3, max_length=6, attention=True)(*ensemble([(speaker.step, speaker.begin())]), words=5)
        assert torch.equal(alone.tokens, single.tokens)
        assert torch.allclose(alone.logp, single.logp, rtol=0, atol=1e-12)
        assert alone.tokens.tolist() != together.tokens.tolist()
    assert together.logp.exp().max() < 1


def test_the_same_model_twice_is_that_model():
    speaker = Speaker(words=5, images=4, seed=40)
    twice = Greedy(max_length=6)(*ensemble([(speaker.step, speaker.begin())] * 2), words=5)
    once = Greedy(max_length=6)(speaker.step, speaker.begin(), words=5)
    assert torch.equal(twice.tokens, once.tokens)
    assert torch.allclose(twice.token_logp, once.token_logp, rtol=0, atol=1e-12)


def test_a_word_that_one_model_rules_out():
    """The arithmetic mean halves it; the geometric one rules it out too."""
    logits = torch.tensor([[2.0, 0.0, 0.0]]), torch.tensor([[-torch.inf, 0.0, 0.0]])
    pairs = [(lambda tokens, state, one=one: (one, state, None), torch.zeros(1, 1)) for one in logits]
    step, state = ensemble(pairs)
    mean, _, attention = step(torch.zeros(1, dtype=torch.long), state)
    assert torch.allclose(mean.exp()[0, 0], logits[0].softmax(1)[0, 0] / 2)
    assert attention is None
    step, state = ensemble(pairs, average="log_probability")
    assert step(torch.zeros(1, dtype=torch.long), state)[0][0, 0] == -torch.inf


def test_attention_needs_the_same_regions():
    def step(regions):
        return lambda tokens, state: (torch.zeros(1, 3), state, None if regions is None else torch.ones(1, regions))

    for regions in ((2, 3), (2, None)):
        both, state = ensemble([(step(r), torch.zeros(1, 1)) for r in regions])
        assert both(torch.zeros(1, dtype=torch.long), state)[2] is None


def test_what_cannot_be_averaged():
    _, pairs = members(2)
    with pytest.raises(UserError, match="no models"):
        ensemble([])
    with pytest.raises(UserError, match="expected 2 positive numbers"):
        ensemble(pairs, weights=[1.0])
    with pytest.raises(UserError, match="expected 2 positive numbers"):
        ensemble(pairs, weights=[1.0, 0.0])
    with pytest.raises(UserError, match="probability, log_probability"):
        ensemble(pairs, average="median")
    step, state = ensemble(
        [(lambda _, state, w=w: (torch.zeros(1, w), state, None), torch.zeros(1, 1)) for w in (6, 5)]
    )
    with pytest.raises(UserError, match=r"\[6, 5\] tokens.*one vocabulary"):
        step(torch.zeros(1, dtype=torch.long), state)
