"""The VQA data module: which questions, words, answers and regions reach the model, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tiny_vqa import DIM, IMAGES, QUESTIONS, data, drawn, make_files, settings, write_split, write_store

from limner.data import vqa_files
from limner.data.text import Vocabulary, tokenize
from limner.data.vqa import VQAData
from limner.errors import UserError
from limner.models.updown_vqa import UpDownVQA
from limner.weights.package import Package

WORDS = ["is", "it", "red"]
ANSWERS = ["no", "yes", "red"]
GIVEN = {"words": WORDS, "answers": ANSWERS}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_files(tmp_path_factory.mktemp("vqa"))


# --- which questions, words and answers ---


def test_published_choices(folder):
    """Words of the splits in `words_from` in the order seen, answers counted over `answers_from`."""
    made = data(folder)
    assert list(made.words.words) == list(Vocabulary.build(q[2] for q in QUESTIONS["train"]).words)
    assert made.answers.answers == ("yes", "2", "no", "blue", "green", "red")  # most questions first, then by text
    assert made.sizes() == {"words": len(made.words), "answers": 6, "feature_dim": DIM, "question_length": 14}
    assert made.task_arguments() == {"answers": made.answers.texts}
    assert made.vocab() == {"words": list(made.words.words), "answers": list(made.answers.answers)}
    assert len(made.items["fit"]) == 7
    assert len(made.items["val"]) == 3
    assert "7 questions to train on" in made.summary()
    assert "reachable 100.00 %" in made.summary()
    assert "5 images x 6 features" in made.summary()


def test_rare_answers_are_left_out(folder):
    made = data(folder, min_answer_count=2)
    assert made.answers.answers == ("yes", "2", "no")
    assert made.items["fit"].scores(np.array([1])).tolist() == [[0.0, 0.0, 0.0]]  # "red": it stays without a target
    assert "reachable 71.43 %" in made.summary()  # 5 of 7


def test_train_and_val_together(folder):
    made = data(folder, fit=["train", "val"], words_from=["train", "val"])
    split = made.items["fit"].split
    assert split.question_id.tolist() == [q[0] for part in ("train", "val") for q in QUESTIONS[part]]
    assert split.questions == [q[2] for part in ("train", "val") for q in QUESTIONS[part]]
    joined = vqa_files.join([made.splits["train"], made.splits["val"]])
    assert np.array_equal(split.answers, joined.answers)
    assert split.strings == joined.strings
    seen = [number for batch in made.train_dataloader() for number in batch["id"].tolist()]
    assert sorted(seen) == sorted(split.question_id.tolist())


def test_several_files_are_one_split(folder, tmp_path):
    for part, records in (("a", QUESTIONS["train"][:3]), ("b", QUESTIONS["train"][3:])):
        write_split(tmp_path, part, records)
    both = {
        kind: {**settings(folder)[kind], "train": [str(tmp_path / f"{part}_{kind}.json") for part in "ab"]}
        for kind in ("questions", "annotations")
    }
    made = data(folder, **both)
    assert made.items["fit"].split.question_id.tolist() == [q[0] for q in QUESTIONS["train"]]
    assert made.fingerprint() == data(folder).fingerprint()
    both["annotations"]["train"] = both["annotations"]["train"][:1]
    with pytest.raises(UserError, match=r"data\.annotations\.train: 1 files for 2 question files: expected one for"):
        data(folder, **both)


def test_a_given_vocabulary_is_used_as_it_is(folder):
    made = data(folder, vocabulary=GIVEN, min_answer_count=100)
    assert made.vocab() == GIVEN
    assert made.sizes()["words"] == 3
    assert made.items["val"].batch(np.array([1]))["tokens"].tolist() == [[0, 1]]  # what colour IS IT today
    assert made.items["val"].batch(np.array([0]))["tokens"].tolist() == [[0, 1, 2]]


def test_limit(folder):
    made = data(folder, limit=2, min_answer_count=9)
    assert made.items["fit"].split.question_id.tolist() == [100, 101]
    assert made.items["val"].split.question_id.tolist() == [200, 201]
    assert set(made.answers.answers) == {"yes", "red", "green"}  # a count of 9 is not to be had
    assert len(data(folder, limit=1000).items["fit"]) == 7


def test_unknown_words(folder):
    made = data(folder, unknown_words="skip")
    words = [w for w in tokenize("What colour is it today?") if w != "today"]
    assert made.items["val"].batch(np.array([1]))["tokens"].tolist() == [[made.words.ids[w] for w in words]]
    with pytest.raises(UserError, match=r"words not in the vocabulary of 11: today \(first in 'What colour"):
        data(folder, unknown_words="error")


def test_answers_file(folder, tmp_path):
    path = tmp_path / "answers.json"
    for content in (ANSWERS, {"answers": ANSWERS}, {answer: label for label, answer in enumerate(ANSWERS)}):
        path.write_text(json.dumps(content))
        assert data(folder, answers_file=str(path)).answers.answers == tuple(ANSWERS)
    path.write_text(json.dumps({"yes": 0, "no": 2}))
    with pytest.raises(UserError, match=r"answers\.json: .*labels of 2 answers, expected each of 0 to 1 once"):
        data(folder, answers_file=str(path))
    path.write_text(json.dumps(["yes", "yes"]))
    with pytest.raises(UserError, match=r"data\.answers_file: .*answers\.json: .* stand twice: 'yes'"):
        data(folder, answers_file=str(path))
    path.write_text(json.dumps(["mauve", "puce", "a", "b"]))
    with pytest.raises(UserError, match=r"none of 7 training .* among the 4 .*\('mauve', 'puce', 'a' and 1 more\)"):
        data(folder, answers_file=str(path))
    with pytest.raises(UserError, match=r"nowhere\.json: cannot be read"):
        data(folder, answers_file=str(tmp_path / "nowhere.json"))


def test_a_split_that_is_not_there(folder):
    with pytest.raises(UserError, match=r"data\.questions has no split 'dev'; it has train, val$"):
        data(folder, select="dev")


def test_training_needs_answers(folder):
    annotations = {"val": settings(folder)["annotations"]["val"]}
    with pytest.raises(UserError, match=r"data\.annotations has no split 'train', but data\.fit trains on it"):
        data(folder, annotations=annotations, answers_from=["val"])


# --- Visual Genome ---


def visual_genome(folder, tmp_path, **changes):
    pairs = [
        {"id": 1, "qas": [{"qa_id": 5, "image_id": 1, "question": "Is it red?", "answer": "Yes."}]},
        {
            "id": 2,
            "qas": [
                {"qa_id": 6, "image_id": 2, "question": "What colour is it?", "answer": "mauve"},  # no such label
                {"qa_id": 7, "image_id": 2, "question": "What colour is the ball?", "answer": "blue"},
                {"qa_id": 8, "image_id": 2, "question": "How many?", "answer": "two."},
            ],
        },
        {"id": 3, "qas": [{"qa_id": 9, "image_id": 3, "question": "Is it red?", "answer": "no"}]},  # a val image
    ]
    images = [{"image_id": g, "coco_id": c} for g, c in ((1, 10), (2, 12), (3, 20), (4, None))]
    (tmp_path / "pairs.json").write_text(json.dumps(pairs))
    (tmp_path / "image_data.json").write_text(json.dumps(images))
    files = {"visual_genome": tmp_path / "pairs.json", "visual_genome_images": tmp_path / "image_data.json"}
    return data(folder, **{k: str(v) for k, v in files.items()}, **changes)


def test_visual_genome_joins_the_training_questions(folder, tmp_path):
    made = visual_genome(folder, tmp_path)
    fit = made.items["fit"]
    assert fit.split.question_id.tolist() == [q[0] for q in QUESTIONS["train"]] + [-5, -7, -8]
    assert fit.split.image_id[-3:].tolist() == [10, 12, 12]
    scores = fit.scores(np.arange(7, 10))
    assert [made.answers.answers[k] for k in scores.argmax(1)] == ["yes", "blue", "2"]
    assert scores.sum(1).tolist() == [1, 1, 1]
    assert len(made.items["val"]) == 3  # evaluation is left alone
    assert made.answers.answers == data(folder).answers.answers  # and so is the vocabulary


def test_visual_genome_on_validation_images_only_when_they_are_trained_on(folder, tmp_path):
    made = visual_genome(folder, tmp_path, fit=["train", "val"])
    assert made.items["fit"].split.question_id[-4:].tolist() == [-5, -7, -8, -9]


# --- features ---


def test_images_without_features(folder, tmp_path):
    records = [(900 + k, image, "Is it red?", "yes", "yes") for k, image in enumerate([10, *range(50, 60), 50])]
    write_split(tmp_path, "train", records)
    chosen = {kind: {"train": str(tmp_path / f"train_{kind}.json")} for kind in ("questions", "annotations")}
    for features in (["train"], ["train", "val"]):
        stores = [str(folder / f"{name}.h5") for name in features]
        with pytest.raises(UserError) as caught:
            data(folder, **chosen, features=stores, select="train", answers_from=["train"])
        line = str(caught.value)
        assert "\n" not in line
        assert "no features for 10 " in line
        assert "(ids 50, 51, 52, 53, 54 and 5 more)" in line


def test_a_question_only_model_needs_no_store(folder):
    made = data(folder, features=[])
    assert made.sizes()["feature_dim"] == 0
    assert made.features_rule() is None
    batch = drawn(made.train_dataloader())[0]
    assert batch["feats"].shape == (1, 1, 0)
    model = UpDownVQA(**made.sizes(), attention="none", embed_dim=3, hidden=3, classifier_hidden=3)
    assert model(batch["feats"], batch["mask"], batch["image"], batch["tokens"]).logits.shape == (3, 6)
    assert "no images" in made.summary()


def rules(**changes):
    return Package(model=None, sizes={}, vocab={}, meta={"features": changes or None})


def test_a_model_is_evaluated_on_its_own_features_only(folder):
    made = data(folder)
    made.expect(rules(**made.features_rule()))
    made.expect(rules(**{**made.features_rule(), "extractor": "unknown"}))
    made.expect(rules())  # a question-only model may see any
    with pytest.raises(UserError, match=r"data\.features: dim is 6, but the model was trained on 2048"):
        made.expect(rules(**{**made.features_rule(), "dim": 2048}))
    with pytest.raises(UserError, match=r"data\.features: extractor is test, but the model was trained on grid"):
        made.expect(rules(**{**made.features_rule(), "extractor": "grid"}))
    with pytest.raises(UserError, match=r"data\.features is empty, but the model was trained on image features"):
        data(folder, features=[]).expect(rules(**made.features_rule()))


# --- resume and reports ---


def changed_files(folder, tmp_path, change):
    records = [list(q) for q in QUESTIONS["train"]]
    change(records)
    write_split(tmp_path, "train", [tuple(r) for r in records])
    return {
        kind: {**settings(folder)[kind], "train": str(tmp_path / f"train_{kind}.json")}
        for kind in ("questions", "annotations")
    }


def set_to(column, value):
    def change(records):
        records[3][column] = value

    return change


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (set_to(0, 999), {"questions"}),
        (set_to(1, 10), {"questions"}),
        (set_to(2, "What colour is it?"), {"questions", "words"}),
        (set_to(4, "yes"), {"questions"}),  # one person of ten answers otherwise
        (set_to(3, "mauve"), {"questions", "answers"}),
    ],
)
def test_fingerprint_tells_what_changed(folder, tmp_path, change, named):
    before = data(folder).fingerprint()
    now = data(folder, **changed_files(folder, tmp_path, change)).fingerprint()
    assert {name for name in before if before[name] != now[name]} == named


def test_fingerprint_follows_the_features(folder, tmp_path):
    made = data(folder)
    assert made.state_dict() == {"data_fingerprint": data(folder).fingerprint()}
    other = write_store(tmp_path / "train.h5", IMAGES["train"], seed=1)
    now = data(folder, features=[str(other), str(folder / "val.h5")]).fingerprint()
    assert {name for name, value in made.fingerprint().items() if now[name] != value} == {"features"}


def test_rows_with_what_people_said(folder):
    made = data(folder)
    rows = [{"id": 200, "question_id": 200, "answer": "no"}, {"id": 201, "question_id": 201, "answer": "green"}]
    first, second = made.with_truth(rows, "val")
    assert first == {
        **rows[0],
        "image_id": 21,
        "question": "Is it red?",
        "answers": ["yes"] * 9 + ["no"],
        "accuracy": 30.0,
        "answer_type": "yes/no",
        "question_type": "is it",
    }
    assert (second["accuracy"], second["answer_type"]) == (100.0, "other")
    bare = VQAData(**settings(folder, fit=[], answers_from=[], words_from=[], annotations={}), vocabulary=GIVEN)
    bare.prepare()
    assert bare.with_truth(rows, "val") == rows


def test_submission_of_a_split_in_two_files(folder, tmp_path):
    for part, records in (("a", QUESTIONS["val"][:1]), ("b", QUESTIONS["val"][1:])):
        write_split(tmp_path, part, records)
    questions = {"train": settings(folder)["questions"]["train"]}
    questions["val"] = [str(tmp_path / f"{part}_questions.json") for part in "ab"]
    made = VQAData(**settings(folder, questions=questions))
    rows = [{"question_id": q[0], "answer": "yes"} for q in QUESTIONS["val"]]
    path = made.write_submission(tmp_path / "submission.json", "val", rows)
    assert json.loads(path.read_text()) == rows
    with pytest.raises(UserError, match="no answer to 1 of 3 questions: 202"):
        made.write_submission(tmp_path / "less.json", "val", rows[:2])
