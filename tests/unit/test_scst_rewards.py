"""Rewards: ends that count or do not, a function of one's own, document frequencies that fit or are refused."""

from __future__ import annotations

import numpy as np
import pytest
from small_scst import SAID, WORDS, references, split, vocabulary

from limner.data.caption_words import CaptionVocabulary
from limner.errors import UserError
from limner.metrics.frequencies import DocumentFrequencies
from limner.scst.references import encoded, frequencies_of
from limner.scst.rewards import Rewards, ended


def rewards(**options) -> Rewards:
    count_end = options.get("count_end", True)
    return Rewards(encoded(split(), vocabulary(), end=count_end), vocabulary(), **options)


def score(judge: Rewards, *captions: str, image: int = 11, end: bool = True) -> list[float]:
    words = vocabulary()
    rows = [[*words.encode(caption.split()), *([words.eos] if end else [])] for caption in captions]
    tokens = np.full((len(rows), 12), words.pad)
    for row, ids in zip(tokens, rows):
        row[: len(ids)] = ids
    return judge(tokens, np.array([len(ids) for ids in rows]), np.full(len(rows), image)).tolist()


def test_training_captions_as_ids():
    words = vocabulary()
    captions = encoded(split(), words, end=True)
    assert captions.ids.tolist() == list(SAID)
    assert captions.counts.tolist() == [2, 2, 3]
    tokens, counts = captions.select(np.array([2]))
    red, unknown = [*words.encode(["a", "red", "square"]), words.eos], [1, words.unk, 5, words.eos]
    assert tokens.tokens.tolist() == red + unknown + [*words.encode(["red", "and", "blue"]), words.eos]
    assert (tokens.lengths.tolist(), counts.tolist()) == ([4, 4, 4], [3])
    without = encoded(split(), words, end=False)
    assert without.lengths.tolist() == [length - 1 for length in captions.lengths]
    assert words.eos not in without.tokens
    assert encoded(split({3: [], 4: ["a"], 7: ["", "red"]}), words, end=True).counts.tolist() == [1, 2]


def test_the_end_counts():
    """A caption that breaks off loses what its end would earn; when ends do not count it loses nothing."""
    counted, not_counted = rewards(), rewards(count_end=False)
    whole, broken = score(counted, "a red circle"), score(counted, "a red circle", end=False)
    assert whole[0] > broken[0]
    assert score(not_counted, "a red circle") == score(not_counted, "a red circle", end=False)
    fragment = "a red circle and a"
    assert score(not_counted, fragment)[0] / score(not_counted, "a red circle")[0] > (
        score(counted, fragment)[0] / whole[0]
    )
    # what stands behind the length does not matter, and an empty caption earns nothing
    assert score(counted, "") == [0.0]
    assert score(counted, "", end=False) == [0.0]


def test_ends_are_recognised():
    eos = vocabulary().eos
    tokens = np.array([[1, eos, 9], [1, 2, 3], [eos, 0, 0], [0, 0, 0]])
    assert ended(tokens, np.array([2, 3, 1, 0]), eos).tolist() == [True, False, True, False]


def test_weights_add_up():
    caption = "a red circle and a blue circle"
    single = [score(rewards(**{"cider_d": 0.0, name: 1.0}), caption)[0] for name in ("cider_d", "bleu_4", "rouge_l")]
    assert all(value > 0.1 for value in single)
    assert score(rewards(cider_d=0.5, bleu_4=2.0, rouge_l=-1.0), caption)[0] == pytest.approx(
        0.5 * single[0] + 2.0 * single[1] - single[2]
    )


def test_your_own_reward_gets_texts():
    seen = []

    def own(captions, references, *, image_ids):
        seen.append((captions, references, image_ids))
        return np.arange(len(captions))

    judge = rewards(cider_d=0.0, own=own, own_weight=0.5, texts=references())
    assert score(judge, "a red circle", "", "blue", image=15) == [0.0, 0.5, 1.0]
    texts = [list(references()[15])] * 3
    assert seen == [(["a red circle", "", "blue"], texts, [15, 15, 15])]


@pytest.mark.parametrize(
    ("returned", "told"),
    [([1.0], r"shape \(1,\)"), ([[1.0], [2.0]], r"shape \(2, 1\)"), ([1.0, float("nan")], "not finite")],
)
def test_your_own_reward_returns_something_else(returned, told):
    judge = rewards(cider_d=0.0, own=lambda *_, **__: returned, texts=references())
    with pytest.raises(UserError, match=f"scst.reward: returned .*{told}.* expected a finite number for each of 2"):
        score(judge, "a", "red")


def test_an_image_without_references():
    with pytest.raises(UserError, match="images 99"):
        score(rewards(), "a", image=99)


def test_document_frequencies_are_kept(tmp_path):
    captions = encoded(split(), vocabulary(), end=True)
    first = frequencies_of(captions, vocabulary(), count_end=True, cache=tmp_path)
    assert first.images == 3
    (file,) = tmp_path.iterdir()
    written = file.stat().st_mtime_ns
    again = frequencies_of(captions, vocabulary(), count_end=True, cache=tmp_path)
    assert file.stat().st_mtime_ns == written
    assert np.array_equal(again.keys, first.keys)
    assert np.array_equal(again.counts, first.counts)
    # other words, other captions, or ends that do not count are other files
    other = CaptionVocabulary([*WORDS[:-1], "or"])
    frequencies_of(encoded(split(), other, end=True), other, count_end=True, cache=tmp_path)
    frequencies_of(encoded(split(), vocabulary(), end=False), vocabulary(), count_end=False, cache=tmp_path)
    fewer = split({11: SAID[11]})
    frequencies_of(encoded(fewer, vocabulary(), end=True), vocabulary(), count_end=True, cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 4


def test_document_frequencies_that_do_not_fit_are_refused(tmp_path):
    captions = encoded(split(), vocabulary(), end=True)
    file = tmp_path / "df.npz"
    DocumentFrequencies.build(captions, words=vocabulary().words).save(file)
    assert frequencies_of(captions, vocabulary(), count_end=True, file=file).images == 3
    other = CaptionVocabulary([*WORDS[:-1], "or"])
    with pytest.raises(UserError, match="vocabulary"):
        frequencies_of(captions, other, count_end=True, file=file)
    with pytest.raises(UserError, match=r"counts the ends of captions, but scst.count_end=false"):
        frequencies_of(captions, vocabulary(), count_end=False, file=file)
    endless = tmp_path / "endless.npz"
    DocumentFrequencies.build(encoded(split(), vocabulary(), end=False), words=vocabulary().words).save(endless)
    with pytest.raises(UserError, match=r"counts no ends of captions, but scst.count_end=true"):
        frequencies_of(captions, vocabulary(), count_end=True, file=endless)
    with pytest.raises(UserError, match="no such file"):
        frequencies_of(captions, vocabulary(), count_end=True, file=tmp_path / "nowhere.npz")
