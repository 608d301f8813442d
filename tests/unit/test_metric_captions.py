"""Captions as people write them, scored: any ids, one image, empty captions, what is missing."""

from __future__ import annotations

import numpy as np
import pytest

from limner.errors import UserError
from limner.metrics import captions as module
from limner.metrics.bootstrap import compare, intervals
from limner.metrics.captions import LABELS, CaptionMetrics, lines_of, score, text_frequencies

REFERENCES = {
    "cat.jpg": ["A cat sleeps on a mat.", "A cat on the mat", "There's a sleeping cat (grey)."],
    "dog.jpg": ["A dog runs in the park.", "Two dogs"],
    "sea.jpg": ["Waves on the beach!"],
}
CAPTIONS = {"sea.jpg": "Waves on the beach.", "cat.jpg": "a cat on a mat", "dog.jpg": ""}


def test_scores_of_a_corpus_and_of_images():
    scores = score(CAPTIONS, REFERENCES)
    assert list(scores.corpus) == [f"bleu_{n}" for n in range(1, 5)] + ["rouge_l", "cider_d", "cider"]
    assert list(scores.per_image) == list(REFERENCES)
    assert scores.notes == []
    for name in ("rouge_l", "cider_d", "cider"):
        mean = np.mean([values[name] for values in scores.per_image.values()])
        assert scores.corpus[name] == pytest.approx(mean)
    assert scores.per_image["sea.jpg"]["rouge_l"] == 100
    assert scores.per_image["sea.jpg"]["cider_d"] == pytest.approx(1000)  # 10 x cosine of 1, times 100
    assert set(scores.per_image["dog.jpg"].values()) == {0.0}
    # 5 + 4 words, all but the second "a" of the cat's caption in one reference together: 9 of 9
    assert scores.corpus["bleu_1"] == pytest.approx(100 * np.exp(1 - 11 / 9), abs=1e-6)


def test_words_and_text_are_alike():
    lists = {image: caption.lower().rstrip(".").split() for image, caption in CAPTIONS.items()}
    assert score(lists, REFERENCES).corpus == score(CAPTIONS, REFERENCES).corpus


def test_only_what_is_asked_for():
    assert list(score(CAPTIONS, REFERENCES, metrics=("cider_d",)).corpus) == ["cider_d"]
    with pytest.raises(UserError, match="metrics: unknown meteor, expected some of bleu, rouge, cider, cider_d"):
        score(CAPTIONS, REFERENCES, metrics=("bleu", "meteor"))


def test_prepared_references_score_again_and_again():
    metrics = CaptionMetrics(REFERENCES)
    first = metrics.score(CAPTIONS)
    other = metrics.score(dict.fromkeys(REFERENCES, "a dog runs with strange new words"))
    assert other.corpus != first.corpus
    again = metrics.score(CAPTIONS)
    assert (again.corpus, again.per_image) == (first.corpus, first.per_image)


def test_one_image():
    alone = {"cat.jpg": CAPTIONS["cat.jpg"]}, {"cat.jpg": REFERENCES["cat.jpg"]}
    scores = score(*alone)
    assert scores.corpus["cider_d"] == 0
    assert scores.notes == [
        f"{name} is 0: document frequencies of one image say nothing; give frequencies="
        for name in ("cider_d", "cider")
    ]
    given = score(*alone, frequencies=text_frequencies(REFERENCES))
    assert given.notes == []
    assert given.corpus["cider_d"] == pytest.approx(score(CAPTIONS, REFERENCES).per_image["cat.jpg"]["cider_d"])
    assert given.signature != scores.signature


def test_given_frequencies_are_saved_with_their_words(tmp_path):
    text_frequencies(REFERENCES).save(tmp_path / "df.npz")
    frequencies = module.DocumentFrequencies.load(tmp_path / "df.npz")
    assert frequencies.count(frequencies.words.index("cat")) == 1
    assert frequencies.count(frequencies.words.index("the")) == 3
    alone = {"x": "a cat"}, {"x": ["a cat on the mat"]}
    assert (
        score(*alone, frequencies=frequencies).corpus == score(*alone, frequencies=text_frequencies(REFERENCES)).corpus
    )


def test_frequencies_of_ids_do_not_fit_text():
    ids = module.DocumentFrequencies.build(module.ImageCaptions.of([[[1, 2]]]))
    with pytest.raises(UserError, match="frequencies: know token ids but no words; make them with text_frequencies"):
        CaptionMetrics(REFERENCES, frequencies=ids)


def test_another_tokenizer():
    scores = score({1: "A,B"}, {1: ["a b"]}, tokenizer=lambda text: text.lower().replace(",", " "))
    assert scores.per_image[1]["rouge_l"] == 100
    assert scores.signature.startswith("captions-1|tokens:<lambda>|df:references-1|images:1")


def test_captions_and_references_of_different_images():
    with pytest.raises(UserError) as caught:
        score({"cat.jpg": "x", "a": "y", "b": "z"}, REFERENCES)
    assert str(caught.value) == (
        "captions and references differ: 2 of 3 images have no caption (dog.jpg, sea.jpg) and 2 captions have no "
        "references (a, b); give one caption an image"
    )
    with pytest.raises(UserError, match=r"differ: 1 of 3 images have no caption \(sea.jpg\); give one"):
        score({"cat.jpg": "x", "dog.jpg": "y"}, REFERENCES)


def test_references_that_are_missing():
    with pytest.raises(UserError, match="images without any reference caption: 2; drop these images"):
        CaptionMetrics({1: ["a"], 2: []})
    with pytest.raises(UserError, match="references: no images"):
        CaptionMetrics({})


def test_java_parts_that_are_missing_cost_a_note(monkeypatch):
    monkeypatch.setattr(module.java_parts.importlib.util, "find_spec", lambda name: None)
    scores = score(CAPTIONS, REFERENCES, java=True)
    assert scores.corpus == score(CAPTIONS, REFERENCES).corpus
    assert scores.notes == [
        f"{name} not computed: pycocoevalcap is not installed; pip install 'limner[metrics]'"
        for name in ("METEOR", "SPICE")
    ]


def test_java_parts_that_are_there(monkeypatch):
    # counts of a caption of 4 words that is its reference, of another that shares none, of an empty one
    counts = np.zeros((3, 23))
    counts[0, :2] = counts[0, 4:6] = counts[0, 21:] = 4
    counts[1, :2] = counts[2, 1] = 4
    monkeypatch.setattr(module.java_parts, "meteor", lambda captions, references: (counts, ""))
    monkeypatch.setattr(module.java_parts, "spice", lambda *_: (np.array([0.5, np.nan, 0.1]), ""))
    scores = score(CAPTIONS, REFERENCES, java=True)
    assert [values["meteor"] for values in scores.per_image.values()] == [100, 0, 0]
    # precision 4 of 8, recall 4 of 12
    assert scores.corpus["meteor"] == pytest.approx(100 * (1 / 6) / (0.85 / 2 + 0.15 / 3))
    assert scores.corpus["spice"] == pytest.approx(30)
    assert list(scores.corpus) == [name for name in LABELS if name in scores.corpus]
    assert set(intervals(scores.statistics, samples=10)) == set(scores.corpus)


def test_table_for_people():
    scores = score(CAPTIONS, REFERENCES, metrics=("rouge", "cider_d"))
    lines = lines_of(scores, intervals(scores.statistics, samples=50))
    assert len(lines) == 2
    assert lines[0].startswith("ROUGE-L                 ")
    assert lines[1].startswith("CIDEr-D (COCO's CIDEr)  ")
    assert f"{scores.corpus['cider_d']:.2f}" in lines[1]
    assert " to " in lines[1]
    assert " to " not in lines_of(scores)[1]


def test_intervals_hold_the_corpus_and_differences_are_paired():
    references = {k: [f"word{k} and word{k % 7}", f"a word{k}"] for k in range(60)}
    good = {k: f"word{k} and more" for k in references}
    bad = {k: f"word{k}" if k % 3 else "nothing" for k in references}
    metrics = CaptionMetrics(references)
    one, two = metrics.score(good), metrics.score(bad)
    for name, (low, high) in intervals(one.statistics, samples=300).items():
        assert low <= one.corpus[name] <= high
    difference = compare(two.statistics, one.statistics, samples=300)["rouge_l"]
    assert difference.difference == pytest.approx(one.corpus["rouge_l"] - two.corpus["rouge_l"])
    assert difference.low > 0
