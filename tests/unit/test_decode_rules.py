"""Rules by words: vocabularies, `<unk>`, what users forbid, rules of their own; what cannot be."""

from __future__ import annotations

import pytest
import torch
from brute_force import Speaker

from limner.data.caption_words import CaptionVocabulary
from limner.decode import Beam, DiverseBeam, Greedy, Sample
from limner.errors import UserError

WORDS = ["<unk>", "a", "cat", "dog", "on", "mat"]
DECODERS = [Greedy, Sample, Beam, DiverseBeam]


@pytest.fixture
def vocabulary():
    return CaptionVocabulary(WORDS)


@pytest.fixture
def speaker():
    return Speaker(words=len(WORDS), images=12, seed=11)


def texts(decoder, speaker, vocabulary) -> list[str]:
    decoded = decoder(speaker.step, speaker.begin(), words=speaker.words, vocabulary=vocabulary)
    return [text for captions in decoded.texts(vocabulary) for text in captions]


@pytest.mark.parametrize("cls", DECODERS)
def test_unknown_words_appear_only_when_asked_for(cls, speaker, vocabulary):
    torch.manual_seed(0)
    never = " ".join(texts(cls(max_length=8), speaker, vocabulary))
    asked = " ".join(texts(cls(max_length=8, allow_unk=True), speaker, vocabulary))
    assert "<unk>" not in never
    assert "<unk>" in asked


@pytest.mark.parametrize("cls", DECODERS)
def test_forbidden_words_never_appear(cls, speaker, vocabulary):
    torch.manual_seed(0)
    found = " ".join(texts(cls(max_length=8, forbid=["cat", 3, "submarine"]), speaker, vocabulary)).split()
    assert found
    assert not {"cat", "dog"} & set(found)


def test_words_in_lists_mean_their_ids(speaker, vocabulary):
    by_word = Beam(no_bad_endings=True, bad_endings=["a", "on", "of"], once_only=True, repeatable=["a", "the"])
    by_id = Beam(no_bad_endings=True, bad_endings=[1, 4], once_only=True, repeatable=[1])
    assert texts(by_word, speaker, vocabulary) == texts(by_id, speaker, vocabulary)
    assert texts(by_word, speaker, vocabulary) != texts(Beam(), speaker, vocabulary)
    for text in texts(by_word, speaker, vocabulary):
        words = text.split()
        assert len(words) == len(set(words)) + max(words.count("a") - 1, 0)


def test_a_rule_of_ones_own(speaker, vocabulary):
    def alternates(scores, history):
        """The word "a" stands at even places only."""
        if history.shape[1] % 2:
            scores[:, 1] = -torch.inf

    for text in texts(Beam(rules=[alternates], max_length=9), speaker, vocabulary):
        assert "a" not in text.split()[1::2]
    assert any("a" in text.split()[1::2] for text in texts(Beam(max_length=9), speaker, vocabulary))


def test_minimum_length_counts_words(speaker, vocabulary):
    short = min(len(text.split()) for text in texts(Greedy(), speaker, vocabulary))
    assert short < 4
    assert min(len(text.split()) for text in texts(Greedy(min_length=4), speaker, vocabulary)) == 4


def test_log_probabilities_are_the_models_own(speaker, vocabulary):
    """Rules choose; what is chosen counts as without them."""
    decoded = Greedy(no_repeat=True, forbid=["a"], trigram_penalty=1.0, max_length=6)(
        speaker.step, speaker.begin(), words=6, vocabulary=vocabulary
    )
    for image, (tokens, length) in enumerate(zip(decoded.tokens[:, 0].tolist(), decoded.lengths[:, 0].tolist())):
        for t in range(length):
            own = speaker.table(image, tuple(tokens[:t]))[0].log_softmax(0)[tokens[t]]
            assert abs(own - decoded.token_logp[image, 0, t]) < 1e-12


def test_words_need_a_vocabulary(speaker):
    with pytest.raises(UserError, match=r"decode\.bad_endings names words \(a, an.*vocabulary"):
        Greedy(no_bad_endings=True)(speaker.step, speaker.begin(), words=6)
    with pytest.raises(UserError, match=r"decode\.forbid: found ids 6, expected ids of words: 0 to 5"):
        Greedy(forbid=[6])(speaker.step, speaker.begin(), words=6)


def test_models_that_do_not_fit():
    def silent(tokens, state):
        return torch.zeros(len(tokens), 4), state, None

    def broken(tokens, state):
        return torch.full((len(tokens), 4), torch.nan), state, None

    for decoder in (Greedy, Sample, Beam, DiverseBeam):
        with pytest.raises(UserError, match="returns no attention"):
            decoder(attention=True)(silent, torch.zeros(2, 1), words=3)
        with pytest.raises(UserError, match="predicts 4 tokens, expected 10"):
            decoder()(silent, torch.zeros(2, 1), words=9)
        with pytest.raises(UserError, match="not finite"):
            decoder()(broken, torch.zeros(2, 1), words=3)
