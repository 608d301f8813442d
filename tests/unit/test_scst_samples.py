"""Samplers: what is learned from is what was drawn, in the model's training mode, and nothing of the model changes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from small_scst import WORDS, batch, model, vocabulary

from limner.decode import Beam, Greedy, Sample
from limner.scst import samples as samplers


def drawn_log_probs(captioner, samples) -> torch.Tensor:
    logits = captioner.logits(samples.hidden)
    return F.log_softmax(logits, 1).gather(1, samples.targets[:, None])[:, 0]


def test_the_states_kept_are_those_that_were_drawn_from(monkeypatch):
    """With dropout every sample has its own masks: the log-probabilities learned from are those of the draw itself."""
    captioner, made = model(drop=0.5), batch()
    decoder = Sample(n=4, max_length=6, share_first=False)
    found = {}
    original = Sample.__call__
    monkeypatch.setattr(Sample, "__call__", lambda *a, **k: found.setdefault("decoded", original(*a, **k)))
    torch.manual_seed(0)
    samples = samplers.multinomial(captioner, made, decoder, vocabulary())
    decoded = found["decoded"]
    assert samples.tokens.shape[:2] == samples.lengths.shape == (3, 4)
    assert len(samples.hidden) == int(samples.lengths.sum())
    assert samples.hidden.requires_grad
    sums = torch.zeros(12).double().index_add(0, samples.sample, drawn_log_probs(captioner, samples))
    assert torch.allclose(sums.view(3, 4), decoded.logp, atol=1e-12, rtol=0)
    for row in range(12):
        mine = samples.targets[samples.sample == row].tolist()
        assert mine == samples.tokens.flatten(0, 1)[row, : samples.lengths.flatten()[row]].tolist()
    # the four samples of an image do not share their masks
    first = samples.hidden[:12].detach()
    assert not torch.allclose(first[0], first[1])


def test_samples_that_have_ended_leave_the_batch(monkeypatch):
    captioner, made = model(), batch()
    with torch.no_grad():
        captioner.word_layer.bias[captioner.eos] += 2.0
    rows = []
    original = type(captioner).step_hidden
    monkeypatch.setattr(type(captioner), "step_hidden", lambda *a: (rows.append(len(a[1])), original(*a))[1])
    torch.manual_seed(0)
    samples = samplers.multinomial(captioner, made, Sample(n=5, max_length=6, share_first=False), vocabulary())
    assert rows == [int((samples.lengths > t).sum()) for t in range(len(rows))]
    assert rows[-1] < rows[0] == 15


def test_unknown_words_are_never_sampled():
    captioner, made = model(), batch()
    with torch.no_grad():
        captioner.word_layer.bias[0] += 5.0  # <unk>
    torch.manual_seed(0)
    many = samplers.multinomial(captioner, made, Sample(n=50, max_length=4, share_first=False), vocabulary())
    assert (many.tokens != 0).all()


def test_what_is_learned_from_is_what_is_drawn_from():
    """Frequencies of the first word among many samples, at a temperature and without <unk>."""
    captioner, made, words = model(), batch([11]), vocabulary()
    with torch.no_grad():
        captioner.word_layer.weight.mul_(5)
        captioner.word_layer.bias[words.unk] += 2.0
    torch.manual_seed(0)
    samples = samplers.multinomial(captioner, made, Sample(n=20000, temperature=0.7, max_length=1), words)
    learned, layer = samplers.as_drawn(samples, captioner.word_layer, unknown=words.unk, temperature=0.7)
    share = F.linear(learned.hidden[:1], *layer).softmax(1)[0]
    assert share[words.unk] == 0
    counts = torch.bincount(samples.targets, minlength=len(share)) / 20000
    assert (counts - share).abs().max() < 0.015  # four standard deviations
    assert share.max() - share[1:].min() > 0.1


def test_beams_are_found_as_they_are_at_test_time_and_read_again_in_training():
    captioner, made = model(drop=0.5), batch()
    words = vocabulary()
    samples = samplers.beam(captioner, made, Beam(size=3, max_length=5), words)
    assert captioner.training
    captioner.eval()
    with torch.no_grad():
        state = captioner.begin(made["feats"], made["mask"])
        best = Beam(size=3, max_length=5)(captioner.step, state, words=len(words), vocabulary=words)
        again = samplers.beam(captioner, made, Beam(size=3, max_length=5), words)
    assert torch.equal(samples.tokens, best.tokens)
    sums = torch.zeros(9).double().index_add(0, again.sample, drawn_log_probs(captioner, again))
    assert torch.allclose(sums.view(3, 3), best.logp, atol=1e-12, rtol=0)
    assert not torch.allclose(samples.hidden, again.hidden)  # dropout was on
    assert samples.hidden.requires_grad


def test_a_beam_that_finds_fewer_captions_than_it_is_wide():
    """One token at most: 8 words and the end, less <unk>, are 8 captions for a beam of 12."""
    samples = samplers.beam(model(), batch([11]), Beam(size=12, max_length=1), vocabulary())
    assert samples.lengths.tolist() == [[1] * len(WORDS) + [0] * (12 - len(WORDS))]
    assert len(samples.hidden) == len(WORDS)


def test_every_module_comes_back_in_the_mode_it_was_in():
    captioner = model(batch_norm="both")
    captioner.region_net.eval()  # someone keeps batch norm frozen
    before = [module.training for module in captioner.modules()]

    def search() -> None:
        with samplers.evaluating(captioner):
            assert not any(module.training for module in captioner.modules())
            assert not torch.is_grad_enabled()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        search()
    assert [module.training for module in captioner.modules()] == before
    assert torch.is_grad_enabled()


def test_the_greedy_caption_draws_nothing():
    captioner, made = model(drop=0.5), batch()
    torch.manual_seed(7)
    samplers.decoded_by(Greedy(max_length=5), captioner, made, vocabulary())
    after = torch.rand(1)
    torch.manual_seed(7)
    assert torch.equal(after, torch.rand(1))
