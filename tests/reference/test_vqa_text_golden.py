"""Text, normal forms and soft targets equal to what the published code gave on real questions."""

from __future__ import annotations

import json

import numpy as np
import pytest

from limner.data.answers import AnswerVocabulary, soft_targets
from limner.data.text import Vocabulary, tokenize
from limner.data.vqa_files import load_split, write_annotations, write_questions
from limner.metrics.normalize import normalize_answer, plain_words, strip_punctuation


def golden(shared, name):
    return json.loads((shared / "golden/vqa" / name).read_text(encoding="utf-8"))


def test_tokenization(shared):
    data = golden(shared, "tokenization.json")
    vocabulary = Vocabulary(data["idx2word"])
    assert len(vocabulary) == data["ntoken"] == data["padding_idx"]
    assert len(data["rows"]) == 208
    for row in data["rows"]:
        assert tokenize(row["question"]) == row["words"]
        ids = vocabulary.encode(row["question"])
        assert vocabulary.encode(row["question"], 100) == row["ids"]
        assert [vocabulary.pad] * (14 - len(ids)) + ids == row["padded14"]


def test_dictionary_is_built_in_the_published_order(shared):
    words = golden(shared, "tokenization.json")["idx2word"]
    folder = shared / "data/vqa_v2_60k"  # the golden dictionary saw the test questions after these two
    texts = [text for name in ("train", "valid") for text in load_split(folder / f"questions_{name}.json.gz").questions]
    ours = Vocabulary.build(texts).words
    assert ours == tuple(words[: len(ours)])
    assert len(ours) > 7000


def test_normalize(shared):
    rows = golden(shared, "normalize.json")["rows"]
    assert len(rows) == 335
    for row in rows:
        assert strip_punctuation(row["raw"]) == row["punct"]
        assert plain_words(row["punct"]) == row["digit_article"]
        assert normalize_answer(row["raw"]) == row["preprocess_answer"]


@pytest.mark.parametrize(("normalize", "column"), [(False, "target"), (True, "target_if_preprocessed")])
def test_soft_scores(shared, tmp_path, normalize, column):
    data = golden(shared, "softscore.json")
    rows = data["rows"]
    assert len(rows) == 302
    texts = [{"question_id": r["question_id"], "image_id": r["image_id"], "question": "what?"} for r in rows]
    write_questions(tmp_path / "q.json", texts)
    write_annotations(tmp_path / "a.json", rows)
    vocabulary = AnswerVocabulary(data["label2ans"])
    targets = soft_targets(load_split(tmp_path / "q.json", tmp_path / "a.json"), vocabulary, normalize=normalize)
    for place, row in enumerate(rows):
        part = slice(targets.offsets[place], targets.offsets[place + 1])
        found = {vocabulary.answers[label]: score for label, score in zip(targets.labels[part], targets.scores[part])}
        assert found == {answer: np.float32(score) for answer, score in row[column].items()}
        if not normalize:
            stored = dict(zip(row["labels"], np.float32(row["scores"])))
            assert dict(zip(targets.labels[part].tolist(), targets.scores[part])) == stored


def test_vocabulary_counts_and_reachable_maximum(shared):
    data, statistics = golden(shared, "softscore.json"), golden(shared, "softscore_stats.json")
    folder = shared / "data/vqa_v2_60k"
    splits = {
        name: load_split(folder / f"questions_{name}.json.gz", folder / f"annotations_{name}.json.gz")
        for name in ("train", "valid")
    }
    vocabulary = AnswerVocabulary.build(list(splits.values()), min_count=data["min_occurence"])
    assert set(vocabulary.answers) == set(data["label2ans"])
    counts = [data["occurence"][answer] for answer in vocabulary.answers]
    assert counts == sorted(counts, reverse=True)
    for name, split in splits.items():
        for normalize, column in ((False, "raw"), (True, "preprocessed")):
            targets = soft_targets(split, vocabulary, normalize=normalize)
            assert targets.reachable() == pytest.approx(statistics[name][f"upper_bound_{column}"], abs=1e-7)
            empty = int((np.diff(targets.offsets) == 0).sum())
            assert empty == statistics[name][f"empty_{column[:3]}"]
