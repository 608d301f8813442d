"""Sampling: the distribution, its cuts, what a draw depends on, and the graph that training keeps."""

from __future__ import annotations

import pytest
import torch
from brute_force import Speaker, every_caption

from limner.decode import Greedy, Sample, live_rows, select
from limner.decode.draws import draw, nucleus, uniforms
from limner.errors import UserError


def fair(counts: torch.Tensor, probabilities: torch.Tensor) -> bool:
    """Chi-squared: within 5 standard deviations of what the probabilities let expect."""
    expected = probabilities * counts.sum()
    assert (counts[expected == 0] == 0).all()
    counts, expected = counts[expected > 0], expected[expected > 0]
    free = len(counts) - 1
    return float(((counts - expected) ** 2 / expected).sum()) < free + 5 * (2 * free) ** 0.5


@pytest.mark.parametrize("width", [3, 64, 65, 300])
def test_draws_follow_the_softmax(width):
    generator = torch.Generator().manual_seed(width)
    scores = torch.randn(width, generator=generator, dtype=torch.float64)
    scores[1] = -torch.inf
    number = torch.rand(50_000, generator=generator, dtype=torch.float64)
    drawn = draw(scores.expand(len(number), -1), number)
    assert fair(torch.bincount(drawn, minlength=width), scores.softmax(0))


def test_draws_at_the_edges():
    """0 takes the first possible column, the last number below 1 the last one; a lone column is always taken."""
    scores = torch.full((3, 200), -torch.inf)
    scores[:2, 70:130] = torch.randn(60)
    scores[2, 131] = -50.0
    number = torch.tensor([0.0, 1 - 2**-53, 0.5], dtype=torch.float64)
    assert draw(scores, number).tolist() == [70, 129, 131]


def test_rare_columns_are_drawn_in_single_precision():
    """A column of probability 1e-7 behind ten thousand others: where a float32 running sum would lose it."""
    scores = torch.zeros(1, 10_011)
    scores[0, -1] = -6.9
    share = float(scores.double().softmax(1)[0, -1])
    above = draw(scores, torch.tensor([1 - share * 0.99], dtype=torch.float64))
    below = draw(scores, torch.tensor([1 - share * 1.01], dtype=torch.float64))
    assert (above.item(), below.item()) == (10_010, 10_009)


def test_uniform_numbers_are_uniform_and_unrelated():
    numbers = uniforms(3, torch.arange(500), samples=20, steps=20)
    assert numbers.shape == (20, 10_000)
    assert ((numbers >= 0) & (numbers < 1)).all()
    assert fair(torch.histc(numbers, 100, 0, 1), torch.full((100,), 0.01, dtype=torch.float64))
    table = numbers.view(20, 500, 20)
    for other in (table.roll(1, 0), table.roll(1, 1), table.roll(1, 2), uniforms(4, torch.arange(500), 20, 20)):
        correlation = torch.corrcoef(torch.stack([table.flatten(), other.flatten()]))[0, 1]
        assert abs(correlation) < 5 / numbers.numel() ** 0.5


def test_captions_have_the_probability_that_the_model_gives_them():
    speaker = Speaker(words=3, images=1, seed=21)
    captions = {c.tokens: c.logp for c in every_caption(speaker, 0, {"max_length": 3})}
    decoded = Sample(n=5_000, max_length=3, seed=5)(speaker.step, speaker.begin(), words=3)
    found = [tuple(t[:n]) for t, n in zip(decoded.tokens[0].tolist(), decoded.lengths[0].tolist())]
    order = {tokens: place for place, tokens in enumerate(captions)}
    counts = torch.bincount(torch.tensor([order[tokens] for tokens in found]), minlength=len(order))
    assert fair(counts, torch.tensor(list(captions.values()), dtype=torch.float64).exp())
    wanted = torch.tensor([captions[tokens] for tokens in found], dtype=torch.float64)
    assert torch.allclose(decoded.logp[0], wanted, rtol=0, atol=1e-12)
    assert torch.equal(decoded.logp, decoded.score)


def test_temperature_sharpens_and_counts_in_the_log_probability():
    speaker = Speaker(words=6, images=1, seed=22)
    decoded = Sample(n=5_000, max_length=1, seed=1, temperature=0.5)(speaker.step, speaker.begin(), words=6)
    share = (speaker.table(0, ())[0] / 0.5).softmax(0)
    tokens = decoded.tokens[0, :, 0]
    assert fair(torch.bincount(tokens, minlength=7), share)
    assert torch.allclose(decoded.logp[0], share.log()[tokens], rtol=0, atol=1e-12)


def test_top_k_and_nucleus_cut_the_tail():
    speaker = Speaker(words=9, images=1, seed=23)
    share = speaker.table(0, ())[0].softmax(0)
    order = share.argsort(descending=True)

    def counts(**options):
        decoded = Sample(n=5_000, max_length=1, seed=2, **options)(speaker.step, speaker.begin(), words=9)
        tokens = decoded.tokens[0, :, 0]
        assert torch.allclose(decoded.logp[0], share.log()[tokens], rtol=0, atol=1e-12)  # the model's own
        return torch.bincount(tokens, minlength=10)

    def cut(to):
        kept = torch.zeros(10, dtype=torch.float64)
        kept[order[:to]] = share[order[:to]]
        return kept / kept.sum()

    crossing = int((share[order].cumsum(0) < 0.8).sum()) + 1
    assert 2 < crossing < 9
    assert fair(counts(top_k=3), cut(3))
    assert fair(counts(top_p=0.8), cut(crossing))
    assert fair(counts(top_k=2, top_p=0.999), cut(2))
    assert fair(counts(top_p=1.0), share)
    assert fair(counts(top_k=99), share)
    assert set(counts(top_k=1).nonzero().flatten().tolist()) == {int(order[0])}
    assert set(counts(top_p=1e-9).nonzero().flatten().tolist()) == {int(order[0])}


@pytest.mark.parametrize("first", [1, 4, 100])
def test_nucleus_sorts_only_what_it_needs(first):
    scores = torch.randn(20, 50, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    scores[3] = 0.0  # as many columns as it takes
    scores[4, 1:] = -torch.inf
    cut = nucleus(scores, 0.7, first=first)
    for row in range(20):
        order = torch.sort(scores[row], descending=True, stable=True).indices
        share = scores[row].softmax(0)[order]
        wanted = order[: int((share.cumsum(0) - share < 0.7).sum())]
        assert sorted(wanted.tolist()) == (cut[row] > -torch.inf).nonzero().flatten().tolist()
        assert torch.equal(cut[row, wanted], scores[row, wanted])


def test_a_draw_belongs_to_its_image():
    """Neither the batch, nor its order, nor how many samples are drawn changes an image's samples."""
    speaker = Speaker(words=6, images=8, seed=24)
    keys = torch.arange(8) * 1000 + 17
    whole = Sample(n=3, max_length=7, seed=9)(speaker.step, speaker.begin(), words=6, keys=keys)
    some = torch.tensor([5, 2, 7])
    part = Sample(n=2, max_length=7, seed=9)(speaker.step, select(speaker.begin(), some), words=6, keys=keys[some])
    longest = part.tokens.shape[2]
    assert torch.equal(part.tokens, whole.tokens[some, :2, :longest])
    other = Sample(n=3, max_length=7, seed=10)(speaker.step, speaker.begin(), words=6, keys=keys)
    assert not torch.equal(whole.tokens[:, :, :3], other.tokens[:, :, :3])
    assert len({tuple(tokens) for tokens in whole.tokens.flatten(0, 1).tolist()}) > 12  # samples differ


def test_without_a_seed_torchs_generator_decides():
    speaker = Speaker(words=6, images=8, seed=24)

    def tokens():
        return Sample(n=2, max_length=7)(speaker.step, speaker.begin(), words=6).tokens.tolist()

    torch.manual_seed(1)
    first, second = tokens(), tokens()
    torch.manual_seed(1)
    assert tokens() == first != second


@pytest.mark.parametrize("share_first", [True, False])
def test_live_rows_say_whose_rows_the_step_saw(share_first):
    speaker = Speaker(words=5, images=6, seed=25, ends=1.0)
    decoder = Sample(n=3, max_length=9, seed=1, share_first=share_first, attention=True)
    decoded = decoder(speaker.step, speaker.begin(), words=5)
    rows = live_rows(decoded.lengths)
    flat = decoded.tokens.flatten(0, 1)
    assert len(rows) == len(speaker.rows) == decoded.tokens.shape[2]
    assert len(rows[-1]) < len(rows[1]) < 18  # captions leave when they have ended
    if share_first:
        assert speaker.rows[0] == [(image, ()) for image in range(6)]
    for t, (live, seen) in enumerate(zip(rows, speaker.rows)):
        if t or not share_first:
            assert seen == [(row // 3, tuple(flat[row, :t].tolist())) for row in live.tolist()]
    for row, length in enumerate(decoded.lengths.flatten().tolist()):
        for t, weights in enumerate(decoded.attention.flatten(0, 1)[row]):
            said = speaker.table(row // 3, tuple(flat[row, :t].tolist()))[1]
            assert torch.equal(weights, said if t < length else torch.zeros(3, dtype=torch.float64))


def test_sharing_the_first_step_changes_nothing_without_dropout():
    speaker = Speaker(words=5, images=6, seed=25)
    shared, own = (
        Sample(n=3, max_length=9, seed=1, share_first=share_first)(speaker.step, speaker.begin(), words=5)
        for share_first in (True, False)
    )
    assert torch.equal(shared.tokens, own.tokens)
    assert torch.equal(shared.token_logp, own.token_logp)


def test_a_step_may_keep_its_graph():
    """Hidden states kept by the step give, afterwards, the sampled captions' log-probabilities with gradients."""
    torch.manual_seed(0)
    words, hidden = 7, 5
    embed, recur, out = (
        torch.nn.Embedding(9, hidden),
        torch.nn.Linear(hidden, hidden),
        torch.nn.Linear(hidden, words + 1),
    )
    kept = []

    def step(tokens, state):
        state = torch.tanh(recur(state) + embed(tokens))
        kept.append(state)
        with torch.no_grad():
            return out(state), state, None

    decoded = Sample(n=4, max_length=6, share_first=False)(step, torch.randn(3, hidden), words=words)
    assert not decoded.logp.requires_grad
    rows = live_rows(decoded.lengths)
    assert [len(states) for states in kept] == [len(live) for live in rows]
    said = torch.cat([decoded.tokens.flatten(0, 1)[live, t] for t, live in enumerate(rows)])
    logp = out(torch.cat(kept)).log_softmax(1).gather(1, said[:, None])[:, 0]
    summed = torch.zeros(12).index_add(0, torch.cat(rows), logp)
    assert torch.allclose(summed, decoded.logp.flatten(), atol=1e-5)
    summed.sum().backward()
    assert all(part.weight.grad.abs().sum() > 0 for part in (embed, recur, out))


def test_the_other_decoders_keep_no_graph():
    weight = torch.ones(1, 4, requires_grad=True)

    def step(tokens, state):
        assert not torch.is_grad_enabled()
        return weight.expand(len(tokens), -1), state, None

    Greedy(max_length=2)(step, torch.zeros(2, 1), words=3)


def test_when_everything_is_forbidden_the_caption_ends():
    speaker = Speaker(words=2, images=4, seed=26)
    rules = {"once_only": True, "repeatable": (), "no_bad_endings": True, "bad_endings": (0, 1), "min_length": 1}
    for cut in ({}, {"top_k": 2}, {"top_p": 0.9}):
        decoded = Sample(n=3, max_length=8, seed=3, **rules, **cut)(speaker.step, speaker.begin(), words=2)
        assert (decoded.tokens[:, :, 2] == speaker.eos).all()
        assert decoded.lengths.eq(3).all()
        assert decoded.logp.isfinite().all()


def test_options_that_cannot_be():
    with pytest.raises(UserError, match=r"n=0 .*top_k=0 .*top_p=1\.5") as error:
        Sample(n=0, top_k=0, top_p=1.5)
    assert "\n" not in str(error.value)
