"""Narrow beams against a plain beam search over lists; what is skipped; ties; tiny vocabularies."""

from __future__ import annotations

import itertools
from collections import Counter

import brute_force
import pytest
import torch
from brute_force import Speaker, plain_beam, plain_diverse
from test_decode_exhaustive import LISTS, NORMS, RULES

from limner.decode import Beam, DiverseBeam, Greedy
from limner.errors import UserError

FINISHED = ["compete", "aside"]


def beams(speaker, **options):
    decoded = Beam(**options)(speaker.step, speaker.begin(), words=speaker.words)
    return decoded, [plain_beam(speaker, image, options) for image in range(speaker.images)]


@pytest.mark.parametrize("finished", FINISHED)
@pytest.mark.parametrize("norm", NORMS, ids=lambda norm: norm["length_norm"])
def test_equals_the_plain_search_under_every_combination_of_rules(norm, finished):
    speaker = Speaker(words=4, images=2, seed=2)
    for number, rules in enumerate(RULES):
        chosen = {key: value for key, value in rules.items() if value}
        size, temperature = (2, 3, 5)[number % 3], (1.0, 0.6)[number // 3 % 2]
        options = {**chosen, **LISTS, **norm, "finished": finished, "max_length": 5, "temperature": temperature}
        decoded, expected = beams(speaker, size=size, attention=number % 5 == 0, **options)
        brute_force.check(decoded, speaker, expected)


@pytest.mark.parametrize("finished", FINISHED)
@pytest.mark.parametrize("norm", NORMS, ids=lambda norm: norm["length_norm"])
def test_keep_returns_the_first_captions_of_the_whole_search(norm, finished):
    steps, rows = Counter(), Counter()
    for seed, keep in itertools.product(range(4), (None, 1, 2)):
        speaker = Speaker(words=6, images=4, seed=seed, ends=1.0)
        options = {**norm, "finished": finished, "max_length": 9, "size": 4}
        decoded = Beam(keep=keep, **options)(speaker.step, speaker.begin(), words=6)
        steps[keep] += len(speaker.rows)
        rows[keep] += sum(map(len, speaker.rows))
        brute_force.check(decoded, speaker, [plain_beam(speaker, i, options)[:keep] for i in range(4)])
        assert decoded.tokens.shape[1] == (keep or 4)
    assert steps[1] <= steps[2] <= steps[None]
    assert rows[1] < rows[2] < rows[None]  # it does less work


@pytest.mark.parametrize("finished", FINISHED)
@pytest.mark.parametrize("norm", NORMS, ids=lambda norm: norm["length_norm"])
def test_ties_are_decided(norm, finished):
    """Logits are 0 or 1, so most scores are equal: the result is still the one that the rule of ties names."""
    for seed in range(8):
        speaker = Speaker(words=5, images=2, seed=seed, levels=2)
        decoded, expected = beams(speaker, size=3, max_length=5, finished=finished, **norm)
        brute_force.check(decoded, speaker, expected)


@pytest.mark.parametrize("finished", FINISHED)
@pytest.mark.parametrize(("words", "length"), [(1, 1), (1, 3), (2, 2)])
def test_more_beams_than_captions(words, length, finished):
    speaker = Speaker(words=words, images=2, seed=3)
    decoded, expected = beams(speaker, size=12, max_length=length, finished=finished, attention=True)
    count = len(brute_force.every_caption(speaker, 0, {"max_length": length}))
    assert count < 12
    brute_force.check(decoded, speaker, expected)
    assert (decoded.score > -torch.inf).sum(1).tolist() == [count, count]
    assert (decoded.tokens[:, count:] == speaker.pad).all()


def test_one_beam_is_greedy():
    for rules in RULES[::5]:
        options = {**{key: value for key, value in rules.items() if value}, **LISTS, "max_length": 7}
        speaker = Speaker(words=4, images=5, seed=4)
        beam = Beam(size=1, attention=True, **options)(speaker.step, speaker.begin(), words=4)
        greedy = Greedy(attention=True, **options)(speaker.step, speaker.begin(), words=4)
        assert torch.equal(beam.tokens, greedy.tokens)
        assert torch.allclose(beam.logp, greedy.logp, rtol=0, atol=1e-12)
        assert torch.equal(beam.attention, greedy.attention)


@pytest.mark.parametrize("finished", FINISHED)
def test_only_rows_that_matter_reach_the_model(finished):
    """Step 0 has a row an image; no row has ended; an image's rows stand together; no row comes twice."""
    speaker = Speaker(words=5, images=6, seed=5, ends=2.0)
    Beam(size=3, keep=1, finished=finished, max_length=20)(speaker.step, speaker.begin(), words=5)
    assert speaker.rows[0] == [(image, ()) for image in range(6)]
    for rows in speaker.rows[1:]:
        assert all(speaker.eos not in history for _, history in rows)
        assert [image for image, _ in rows] == sorted(image for image, _ in rows)
        assert len(set(rows)) == len(rows)
    assert len(speaker.rows) < 20  # nothing is left to do before the maximum length
    counts = [len({image for image, _ in rows}) for rows in speaker.rows]
    assert counts[-1] < counts[0]  # images leave one by one


def test_when_everything_is_forbidden_the_caption_ends():
    """Two words, each allowed once, and EOS forbidden after either: after both, EOS at its own log-probability."""
    speaker = Speaker(words=2, images=3, seed=6)
    rules = {"once_only": True, "repeatable": (), "no_bad_endings": True, "bad_endings": (0, 1), "min_length": 1}
    for size in (1, 4):
        decoded, expected = beams(speaker, size=size, max_length=6, **rules)
        brute_force.check(decoded, speaker, expected)
        assert {tuple(sorted(tokens[:2])) for tokens in decoded.tokens[:, 0].tolist()} == {(0, 1)}
        assert (decoded.tokens[:, 0, 2] == speaker.eos).all()
        assert decoded.logp[:, 0].isfinite().all()


def test_a_batch_is_its_images():
    speaker = Speaker(words=6, images=5, seed=7)
    together = Beam(size=3, max_length=8, attention=True)(speaker.step, speaker.begin(), words=6)
    for image in range(5):
        state = speaker.begin()
        state = state._replace(image=state.image[image : image + 1], history=state.history[image : image + 1])
        alone = Beam(size=3, max_length=8, attention=True)(speaker.step, state, words=6)
        longest = alone.tokens.shape[2]
        assert torch.equal(alone.tokens[0], together.tokens[image, :, :longest])
        assert torch.equal(alone.score[0], together.score[image])
        assert torch.equal(alone.attention[0], together.attention[image, :, :longest])


def test_no_images():
    speaker = Speaker(words=3, images=1)
    state = speaker.begin()
    empty = state._replace(image=state.image[:0], history=state.history[:0])

    def step(tokens, state):
        return torch.zeros(len(tokens), 4), state, None

    for decoder in (Beam(size=2), Greedy(), DiverseBeam(size=4, groups=2)):
        decoded = decoder(step, empty, words=3)
        assert decoded.tokens.shape[0] == 0
        assert decoded.lengths.shape[:1] == (0,)


def test_half_precision_is_widened():
    def step(tokens, state):
        return torch.tensor([[0.5, 1.0, -2.0]], dtype=torch.bfloat16).expand(len(tokens), -1), state, None

    decoded = Beam(size=2, max_length=3)(step, torch.zeros(1, 1), words=2)
    assert decoded.logp.dtype == torch.float32
    assert torch.allclose(decoded.token_logp[0, 0], torch.tensor([0.5, 1.0, -2.0]).log_softmax(0)[1].expand(3))


@pytest.mark.parametrize("finished", FINISHED)
@pytest.mark.parametrize("norm", NORMS, ids=lambda norm: norm["length_norm"])
def test_diverse_beams_equal_the_plain_ones(norm, finished):
    for number, rules in enumerate(RULES[::7]):
        speaker = Speaker(words=5, images=2, seed=number, ends=0.5)
        size, groups = ((6, 3), (4, 2), (3, 3), (4, 1))[number % 4]
        options = {**{key: value for key, value in rules.items() if value}, **LISTS, **norm, "finished": finished}
        options |= {"max_length": 6, "size": size, "groups": groups, "diversity": (0.3, 1.7)[number % 2]}
        decoder = DiverseBeam(attention=number % 3 == 0, **options)
        decoded = decoder(speaker.step, speaker.begin(), words=5)
        brute_force.check(decoded, speaker, [plain_diverse(speaker, image, options) for image in range(2)])


def test_diverse_beams_differ_and_begin_with_a_beam_search():
    speaker = Speaker(words=8, images=3, seed=9)
    beam = Beam(size=2, max_length=6)(speaker.step, speaker.begin(), words=8)
    diverse = DiverseBeam(size=6, groups=3, diversity=2.0, max_length=6)(speaker.step, speaker.begin(), words=8)
    longest = beam.tokens.shape[2]
    assert torch.equal(diverse.tokens[:, :2, :longest], beam.tokens)
    firsts = diverse.tokens[:, ::2, 0]
    assert all(len(set(image)) == 3 for image in firsts.tolist())
    mild = DiverseBeam(size=6, groups=3, diversity=0.1, max_length=6)(speaker.step, speaker.begin(), words=8)
    assert (mild.score < mild.logp - 1e-6).any()  # the score holds penalties, the log-probability does not


@pytest.mark.parametrize(
    ("cls", "wrong", "says"),
    [
        (Beam, {"size": 0, "length_norm": "mean", "max_length": 0}, ["size=0", "length_norm='mean'", "max_length=0"]),
        (Beam, {"size": 3, "keep": 4}, ["keep=4", "size=3"]),
        (Beam, {"temperature": 0.0, "alpha": -1.0}, ["temperature=0.0", "greedy", "alpha=-1.0"]),
        (Beam, {"finished": "drop"}, ["compete, aside"]),
        (Beam, {"min_length": 30}, ["min_length=30", "max_length=20"]),
        (Greedy, {"trigram_penalty": -1.0}, ["trigram_penalty=-1.0"]),
        (DiverseBeam, {"size": 5, "groups": 3}, ["size=5", "groups=3"]),
        (DiverseBeam, {"diversity": -0.1}, ["diversity=-0.1"]),
    ],
)
def test_options_that_cannot_be(cls, wrong, says):
    with pytest.raises(UserError) as error:
        cls(**wrong)
    assert all(part in str(error.value) for part in says), error.value
    assert "\n" not in str(error.value)
