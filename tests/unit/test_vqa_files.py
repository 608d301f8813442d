"""Official question and annotation files: what is read, what is refused, and with which line."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest

from limner.data.answers import AnswerVocabulary
from limner.data.reading import json_records
from limner.data.visual_genome import coco_images, load_visual_genome
from limner.data.vqa_files import load_split, write_annotations, write_questions
from limner.data.vqa_split import VQASplit, join
from limner.errors import UserError


def question(number: int, **changes):
    return {"question_id": number, "image_id": number // 10, "question": f"what is {number}?", **changes}


def annotation(number: int, answers=("cat",) * 7 + ("dog",) * 3, **changes):
    return {
        "question_id": number,
        "image_id": number // 10,
        "answers": [{"answer": a, "answer_confidence": "yes", "answer_id": i + 1} for i, a in enumerate(answers)],
        "multiple_choice_answer": "cat",
        "answer_type": "other",
        "question_type": "what is",
        **changes,
    }


@pytest.fixture
def files(tmp_path):
    def make(questions, annotations=None):
        paths = [tmp_path / "questions.json"]
        paths[0].write_text(json.dumps({"info": {}, "questions": questions}))
        if annotations is not None:
            paths.append(tmp_path / "annotations.json")
            paths[1].write_text(json.dumps({"info": {}, "annotations": annotations, "data_type": "mscoco"}))
        return paths

    return make


def answers_of(split: VQASplit) -> list[list[str]]:
    return [[split.strings[i] for i in row if i >= 0] for row in split.answers]


def test_annotations_follow_the_order_of_the_questions(files):
    types = {12: "yes/no", 31: "other", 25: "number"}
    split = load_split(
        *files(
            [question(31), question(12), question(25)],
            [annotation(n, ["a", str(n)] * 5, answer_type=t, multiple_choice_answer=str(n)) for n, t in types.items()],
        )
    )
    assert split.question_id.tolist() == [31, 12, 25]
    assert split.image_id.tolist() == [3, 1, 2]
    assert split.questions == ["what is 31?", "what is 12?", "what is 25?"]
    assert answers_of(split) == [["a", str(n)] * 5 for n in (31, 12, 25)]
    assert [split.strings[i] for i in split.multiple_choice] == ["31", "12", "25"]
    assert [split.answer_types[i] for i in split.answer_type] == ["other", "yes/no", "number"]
    assert {split.question_types[i] for i in split.question_type} == {"what is"}
    assert split.annotated
    assert len(split) == 3


def test_test_split_has_no_annotations(files):
    split = load_split(*files([question(1)]))
    assert not split.annotated
    assert split.answers is None
    assert split.answer_types == []


def test_gzip_gives_the_same(files, tmp_path):
    plain = files([question(1)], [annotation(1)])
    packed = []
    for path in plain:
        packed.append(tmp_path / (path.name + ".gz"))
        packed[-1].write_bytes(gzip.compress(path.read_bytes()))
    assert answers_of(load_split(*packed)) == answers_of(load_split(*plain))


def test_cache_gives_equal_arrays_and_sees_a_change(files, tmp_path):
    paths = files([question(1), question(2)], [annotation(1), annotation(2, ["x"] * 10)])
    fresh = load_split(*paths)
    for _ in range(2):
        split = load_split(*paths, cache=tmp_path / "cache")
        for name in ("question_id", "image_id", "answers", "multiple_choice", "answer_type", "question_type"):
            assert np.array_equal(getattr(split, name), getattr(fresh, name))
            assert getattr(split, name).dtype == getattr(fresh, name).dtype
        assert (split.questions, split.strings, split.answer_types) == (fresh.questions, fresh.strings, ["other"])
    assert len(list((tmp_path / "cache").iterdir())) == 1
    paths = files([question(1), question(2)], [annotation(1), annotation(2, ["y"] * 10)])
    assert answers_of(load_split(*paths, cache=tmp_path / "cache"))[1] == ["y"] * 10


def test_cache_of_a_test_split(files, tmp_path):
    paths = files([question(1)])
    for _ in range(2):
        assert not load_split(*paths, cache=tmp_path / "cache").annotated


def test_one_answer_stands_for_ten_and_a_few_stay_a_few(files):
    split = load_split(*files([question(1), question(2)], [annotation(1, ["x"]), annotation(2, ["x", "y", "x"])]))
    assert answers_of(split) == [["x"] * 10, ["x", "y", "x"]]
    assert split.answers.shape == (2, 10)


def test_fields_absent_everywhere_have_stand_ins(files):
    records = [annotation(1, ["b", "c", "c"]), annotation(2, ["d", "e", "f"])]
    for record in records:
        for name in ("multiple_choice_answer", "answer_type", "question_type"):
            del record[name]
    split = load_split(*files([question(1), question(2)], records))
    assert [split.strings[i] for i in split.multiple_choice] == ["c", "d"]
    assert split.answer_types == split.question_types == ["unspecified"]
    assert split.answer_type.tolist() == [0, 0]


QUESTION_FAULTS = [
    ([question(1), 5], r"questions\[1\]: found 5, expected an object"),
    ([{"image_id": 1, "question": "x"}], r"questions\[0\]: field 'question_id' is missing, expected a whole number"),
    ([question(1, question_id="1")], r"field 'question_id' is '1', expected a whole number"),
    ([question(1, image_id=None)], r"field 'image_id' is None"),
    ([question(1, image_id=True)], r"field 'image_id' is True"),
    ([question(1, question_id=1 << 70)], "expected a whole number"),
    ([question(1), question(2, question="  ")], r"questions\[1\] \(question_id 2\): field 'question' is '  '"),
    ([question(1, question=7)], "field 'question' is 7, expected a text"),
    ([question(1), question(2), question(1), question(2)], "question_id stands twice: 1, 2;"),
    ([], "holds no records"),
]


@pytest.mark.parametrize(("records", "message"), QUESTION_FAULTS)
def test_question_faults(files, records, message):
    path = files(records)[0]
    with pytest.raises(UserError, match=message) as caught:
        load_split(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def without(record, name):
    return {key: value for key, value in record.items() if key != name}


ANNOTATION_FAULTS = [
    (annotation(2, []), r"annotations\[1\] \(question_id 2\): field 'answers' is \[\], expected a list of one to ten"),
    (without(annotation(2), "answers"), "field 'answers' is missing"),
    (annotation(2) | {"answers": 3}, "field 'answers' is 3"),
    (annotation(2) | {"answers": ["cat"]}, r"answers\[0\] is 'cat', expected \{"),
    (annotation(2, ["a", 5]), r"answers\[1\] is \{'answer': 5"),
    (annotation(2) | {"answers": [{"answer": "x"}, {"text": "y"}]}, r"answers\[1\] is \{'text': 'y'\}"),
    (annotation(2, multiple_choice_answer=None), "field 'multiple_choice_answer' is None, expected a text"),
    (annotation(2, answer_type=4), "field 'answer_type' is 4, expected a text"),
    (annotation(2, question_type=["what"]), "field 'question_type' is"),
    (without(annotation(2), "answer_type"), "'answer_type' is missing for questions 2; give it to all or to none"),
    (without(annotation(2), "multiple_choice_answer"), "'multiple_choice_answer' is missing for questions 2"),
    (without(annotation(2), "image_id"), "field 'image_id' is missing"),
    (annotation(1), "question_id stands twice: 1"),
]


@pytest.mark.parametrize(("record", "message"), ANNOTATION_FAULTS)
def test_annotation_faults(files, record, message):
    paths = files([question(1), question(2)], [annotation(1), record])
    with pytest.raises(UserError, match=message) as caught:
        load_split(*paths)
    assert str(caught.value).startswith(str(paths[1]))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("asked", "answered", "message"),
    [
        (range(1, 9), range(1, 2), r"questions without annotations .*: 2, 3, 4, 5, 6 and 2 more"),
        (range(1, 2), range(1, 4), r"annotations without questions .*: 2, 3; give two files of the same split"),
    ],
)
def test_questions_and_annotations_of_different_splits(files, asked, answered, message):
    with pytest.raises(UserError, match=message):
        load_split(*files([question(n) for n in asked], [annotation(n) for n in answered]))


def test_image_ids_must_agree(files):
    with pytest.raises(UserError, match="image_id differs for questions 2;"):
        load_split(*files([question(1), question(2)], [annotation(1), annotation(2, image_id=77)]))


def test_swapped_files_and_missing_file(files, tmp_path):
    questions, annotations = files([question(1)], [annotation(1)])
    with pytest.raises(UserError, match="no key 'questions' at the top; found 'info', 'annotations', 'data_type'"):
        load_split(annotations, questions)
    with pytest.raises(UserError, match=r"no such file; check the path; limner data get vqa_v2"):
        load_split(tmp_path / "none.json")


def test_invalid_json_tells_the_line(tmp_path):
    path = tmp_path / "questions.json"
    path.write_text('{"questions": [\n{"question_id": 1,\n "image_id" 2}]}')
    with pytest.raises(UserError, match="line 3, column 13"):
        load_split(path)


@pytest.mark.parametrize("suffix", ["json", "json.gz"])
def test_writers_make_official_files(tmp_path, suffix):
    questions, annotations = tmp_path / f"new/q.{suffix}", tmp_path / f"a.{suffix}"
    assert write_questions(questions, (question(n) for n in (1, 2)), data_subtype="toy") == 2
    assert write_annotations(annotations, [annotation(1), annotation(2)]) == 2
    content = questions.read_bytes()
    whole = json.loads(gzip.decompress(content) if suffix.endswith("gz") else content)
    assert whole["data_subtype"] == "toy"
    assert whole["task_type"] == "Open-Ended"
    assert whole["questions"] == [question(1), question(2)]
    assert list(json_records(annotations, "annotations")) == [annotation(1), annotation(2)]
    assert answers_of(load_split(questions, annotations)) == [["cat"] * 7 + ["dog"] * 3] * 2
    assert not list(tmp_path.rglob("*.partial"))


def test_a_failed_write_leaves_nothing(tmp_path):
    def records():
        yield question(1)
        raise ValueError("halfway")

    with pytest.raises(ValueError, match="halfway"):
        write_questions(tmp_path / "q.json", records())
    assert list(tmp_path.iterdir()) == []


def test_no_records_is_still_valid_json(tmp_path):
    assert write_questions(tmp_path / "q.json", []) == 0
    assert json.loads((tmp_path / "q.json").read_text())["questions"] == []


def test_take(files):
    split = load_split(*files([question(n) for n in (1, 2, 3)], [annotation(n, [str(n)]) for n in (1, 2, 3)])).take(
        [2, 0]
    )
    assert split.question_id.tolist() == [3, 1]
    assert split.questions == ["what is 3?", "what is 1?"]
    assert answers_of(split) == [["3"] * 10, ["1"] * 10]


def test_join_merges_the_tables(files):
    first = load_split(*files([question(1)], [annotation(1, ["a", "b"], answer_type="number")]))
    second = load_split(*files([question(2)], [annotation(2, ["b"] * 11 + ["c"], answer_type="other")]))
    both = join([first, second])
    assert both.question_id.tolist() == [1, 2]
    assert answers_of(both) == [["a", "b"], ["b"] * 11 + ["c"]]
    assert both.answers.dtype == first.answers.dtype
    assert [both.answer_types[i] for i in both.answer_type] == ["number", "other"]
    assert [both.strings[i] for i in both.multiple_choice] == ["cat", "cat"]
    assert len(set(both.strings)) == len(both.strings)


def test_join_faults(files):
    with_answers = load_split(*files([question(1)], [annotation(1)]))
    without_answers = load_split(*files([question(2)]))
    assert len(join([without_answers])) == 1
    with pytest.raises(UserError, match="all or none"):
        join([with_answers, without_answers])
    with pytest.raises(UserError, match="stands twice: 1"):
        join([with_answers, with_answers])


@pytest.fixture
def genome(tmp_path):
    pairs = tmp_path / "question_answers.json"
    pairs.write_text(
        json.dumps(
            [
                {
                    "id": image,
                    "qas": [
                        {"qa_id": image * 10 + k, "image_id": image, "question": f"q{k}?", "answer": answer}
                        for k, answer in enumerate(["A cat.", "Two.", "On the sofa."])
                    ],
                }
                for image in (1, 2, 3)
            ]
        )
    )
    images = tmp_path / "image_data.json"
    images.write_text(json.dumps([{"image_id": i, "coco_id": c} for i, c in ((1, 900), (2, None), (3, 700))]))
    return pairs, images


def test_visual_genome_keeps_pairs_with_a_known_answer(genome):
    split = load_visual_genome(genome[0], AnswerVocabulary(["2", "cat"]))
    assert split.question_id.tolist() == [-10, -11, -20, -21, -30, -31]
    assert split.image_id.tolist() == [1, 1, 2, 2, 3, 3]
    assert split.questions[:2] == ["q0?", "q1?"]
    assert answers_of(split)[:2] == [["cat"] * 10, ["2"] * 10]


def test_visual_genome_on_coco_images(genome):
    assert coco_images(genome[1]) == {1: 900, 3: 700}
    vocabulary = AnswerVocabulary(["cat"])
    split = load_visual_genome(genome[0], vocabulary, image_data=genome[1])
    assert split.image_id.tolist() == [900, 700]
    split = load_visual_genome(genome[0], vocabulary, image_data=genome[1], images=np.array([700]))
    assert split.question_id.tolist() == [-30]


def test_visual_genome_faults(genome, tmp_path):
    with pytest.raises(UserError, match="no pair is left"):
        load_visual_genome(genome[0], AnswerVocabulary(["zebra"]))
    with pytest.raises(UserError, match="record 0: expected 'qas'"):
        load_visual_genome(genome[1], AnswerVocabulary(["cat"]))
    with pytest.raises(UserError, match="is it image_data"):
        coco_images(genome[0])


def test_visual_genome_joins_a_vqa_split(files, genome):
    vqa = load_split(*files([question(11)], [annotation(11)]))
    both = join([vqa, load_visual_genome(genome[0], AnswerVocabulary(["cat"]))])
    assert len(both) == 4
    assert [both.answer_types[i] for i in both.answer_type] == ["other"] + ["visual genome"] * 3
