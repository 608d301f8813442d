"""VisDial's files: what is read from them, what is refused and how."""

from __future__ import annotations

import gzip
import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_visdial import content, expected, judged, told, write

from limner.data import visdial_files
from limner.data.text_pool import TextPool, join_pools
from limner.data.toy.visdial import visdial_files as toy_files
from limner.data.toy.world import scenes
from limner.data.visdial_files import from_dialogs, join, load_split
from limner.errors import UserError


def check(split):
    """The shapes and types that the class promises."""
    rounds = split.rounds
    assert split.first[0] == split.option_first[0] == 0
    assert (split.first[-1], split.option_first[-1]) == (rounds, len(split.options))
    assert len(split.captions) == len(split) == len(split.first) - 1 == len(split.shift)
    assert len(split.answer) == len(split.gt_index) == rounds == len(split.option_first) - 1
    assert split.dense_first[-1] == len(split.relevance)
    assert (np.diff(split.dense) > 0).all()
    kinds = {name: array.dtype for name, array in split.arrays().items()}
    assert {kinds[name] for name in ("image_id", "first", "option_first", "dense", "captions.offsets")} == {
        np.dtype("int64")
    }
    assert {kinds[name] for name in ("question", "answer", "gt_index", "options", "shift")} == {np.dtype("int32")}
    assert (kinds["relevance"], kinds["answers.text"]) == (np.dtype("float32"), np.dtype("uint8"))


@pytest.mark.parametrize("kind", ["train", "val", "test"])
def test_every_split(tmp_path, kind):
    file = content(split=kind)
    dense = [] if kind == "test" else judged(file, name="relevance" if kind == "train" else "gt_relevance")
    split = load_split(write(tmp_path / "d.json", file), write(tmp_path / "r.json", dense) if dense else None)
    check(split)
    assert told(split) == expected(file, dense)
    assert split.annotated is (kind != "test")
    if kind == "test":
        assert split.ranked.tolist() == (split.first[1:] - 1).tolist()
    else:
        assert split.ranked.tolist() == list(range(12))


def test_a_test_split_with_options_in_every_round_is_ranked_in_its_last(tmp_path):
    file = content()
    for dialog in file["data"]["dialogs"]:
        for said in dialog["dialog"]:
            del said["gt_index"]
    assert load_split(write(tmp_path / "d.json", file)).ranked.tolist() == [2, 5, 8, 11]


def test_processed_test_files_keep_the_number_of_the_round(tmp_path):
    file = content(split="test", rounds=4)
    for dialog in file["data"]["dialogs"]:
        dialog["round_id"] = len(dialog["dialog"])
    dialog = next(d for d in file["data"]["dialogs"] if len(d["dialog"]) > 1)
    dialog["dialog"].pop(0)
    split = load_split(write(tmp_path / "d.json", file))
    check(split)
    assert told(split) == expected(file)
    assert split.round_id[split.ranked].tolist() == [d["round_id"] for d in file["data"]["dialogs"]]
    assert split.shift.sum() == 1


def test_keys_in_any_order_and_gzip(tmp_path):
    file = content(1)
    data = file["data"]
    turned = {
        "data": {"dialogs": data["dialogs"], "more": [[1, {}], 2], "answers": data["answers"], "x": {"y": [1]}},
        "split": "val",
    }
    turned["data"]["questions"] = data["questions"]
    (tmp_path / "d.json").write_bytes(gzip.compress(json.dumps(turned, indent=1).encode()))
    assert told(load_split(tmp_path / "d.json")) == expected(file)


def test_the_toy_world(tmp_path):
    for split in ("train", "val", "test"):
        file, dense = toy_files(list(scenes(split, 12)), split)
        found = load_split(
            write(tmp_path / "d.json", file), None if dense is None else write(tmp_path / "r.json", dense)
        )
        check(found)
        assert told(found) == expected(file, dense or [])


def test_cache_gives_the_same_without_reading(tmp_path, monkeypatch):
    file = content()
    paths = write(tmp_path / "d.json", file), write(tmp_path / "r.json", judged(file))
    first = load_split(*paths, cache=tmp_path / "cache")
    monkeypatch.setattr(visdial_files, "_read_dialogs", None)
    again = load_split(*paths, cache=tmp_path / "cache")
    for name, array in first.arrays().items():
        assert np.array_equal(array, again.arrays()[name]), name
        assert array.dtype == again.arrays()[name].dtype, name
    monkeypatch.undo()
    other = load_split(paths[0], write(tmp_path / "r.json", judged(file, seed=5)), cache=tmp_path / "cache")
    assert told(other) != told(first)


def test_dense_annotations_of_other_images_are_counted(tmp_path):
    file = content(dialogs=5)
    dense = judged(file)
    del file["data"]["dialogs"][1], file["data"]["dialogs"][2]
    split = load_split(write(tmp_path / "d.json", file), write(tmp_path / "r.json", dense))
    assert split.unmatched == 2
    assert told(split) == expected(file, dense)
    lone = content(9, dialogs=1)
    lone["data"]["dialogs"][0]["image_id"] = 5
    with pytest.raises(UserError, match=r"r\.json: none of its 5 images is in .*d\.json; give two files of the same"):
        load_split(write(tmp_path / "d.json", lone), tmp_path / "r.json")


# --- faults ---

ROUND = {"question": 0, "answer": 1, "gt_index": 0, "answer_options": [1, 2]}
DIALOG = {"image_id": 7, "caption": "c", "dialog": [ROUND, ROUND]}


def file_of(*dialogs, **data):
    return {"data": {"questions": ["q"], "answers": ["a", "b", "c"], "dialogs": list(dialogs), **data}}


def with_round(**said):
    return file_of({**DIALOG, "dialog": [ROUND, {**ROUND, **said}]})


def without(name, place=1):
    dialog = json.loads(json.dumps(DIALOG))
    del dialog["dialog"][place][name]
    return file_of(dialog)


FAULTS = {
    "number": (7, r"starts with '7', expected '\{': VisDial's"),
    "empty list": ([], r"dialogs: holds no dialogs, expected at least one"),
    "no data": ({"questions": []}, r"has no data\.questions, data\.answers, data\.dialogs, found questions; expected"),
    "data a list": ({"data": []}, r"key 'data' holds no object; expected VisDial's"),
    "no answers": ({"data": {"questions": [], "dialogs": [DIALOG]}}, r"has no data\.answers, found data\.questions, "),
    "pool": (file_of(DIALOG, questions={"0": "q"}), r"data\.questions is \{'0': 'q'\}, expected a list"),
    "pool text": (file_of(DIALOG, answers=["a", 3]), r"data\.answers\[1\]: found 3, expected a text"),
    "empty": (file_of(), r"data\.dialogs: holds no dialogs, expected at least one"),
    "no object": (file_of([1]), r"data\.dialogs\[0\]: found \[1\], expected an object with image_id, caption"),
    "no id": (
        file_of({"caption": "c", "dialog": [ROUND]}),
        r"dialogs\[0\]: field 'image_id' is missing, expected a who",
    ),
    "id": (file_of({**DIALOG, "image_id": "7"}), r"dialogs\[0\]: field 'image_id' is '7', expected a whole number"),
    "id true": (file_of({**DIALOG, "image_id": True}), r"field 'image_id' is True"),
    "huge id": (
        file_of({**DIALOG, "image_id": 1 << 70}),
        r"field 'image_id' is 1180591620717411303424, expected a whole",
    ),
    "caption": (file_of({**DIALOG, "caption": None}), r"\(image_id 7\): field 'caption' is None, expected a text"),
    "rounds": (file_of({**DIALOG, "dialog": []}), r"field 'dialog' is \[\], expected a list of rounds"),
    "rounds object": (file_of({**DIALOG, "dialog": {"0": ROUND}}), r"field 'dialog' is \{'0': "),
    "round": (file_of({**DIALOG, "dialog": [ROUND, "q"]}), r"round 2 is 'q', expected an object with a question"),
    "no question": (without("question"), r"round 2: field 'question' is missing, expected a place: 0, 1, 2"),
    "question text": (with_round(question="q"), r"round 2: field 'question' is 'q', expected a place"),
    "question -1": (with_round(question=-1), r"round 2: field 'question' is -1, expected a place"),
    "answer -1": (with_round(answer=-1), r"round 2: field 'answer' is -1, expected a place"),
    "gt_index": (with_round(gt_index=0.5), r"round 2: field 'gt_index' is 0\.5, expected a place"),
    "options": (
        with_round(answer_options=[1, "x"]),
        r"field 'answer_options' is \[1, 'x'\], expected a list of places",
    ),
    "no options": (
        with_round(answer_options=[]),
        r"round 2: field 'answer_options' is \[\], expected a list of places",
    ),
    "options null": (with_round(answer_options=None), r"field 'answer_options' is None, expected a list of places"),
    "huge option": (with_round(answer_options=[1 << 40, 1]), r"field 'answer_options' is \[1099511627776, 1\]"),
    "round_id": (file_of({**DIALOG, "round_id": 1}), r"field 'round_id' is 1, expected a number of rounds, 2 or more"),
    "question outside": (with_round(question=1), r"dialogs: image 7, round 2: question is outside the 1 questions; is"),
    "answer outside": (with_round(answer=3), r"image 7, round 2: answer is outside the 3 answers"),
    "option outside": (with_round(answer_options=[0, 3]), r"round 2: answer_options has a place outside the 3 answers"),
    "option -1": (with_round(answer_options=[0, -1]), r"round 2: answer_options has a place outside the 3 answers"),
    "answer missing": (without("answer", 0), r"image 7, round 1: has no answer; only the last round of a dialog may"),
    "gt_index outside": (with_round(gt_index=2), r"round 2: gt_index is outside the answer_options"),
    "gt_index of none": (without("answer_options"), r"round 2: gt_index is outside the answer_options"),
    "twice": (file_of(DIALOG, DIALOG), r"dialogs: image ids stand twice: 7; VisDial has one dialog an image"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_say_where_and_what(tmp_path, fault):
    wrong, message = FAULTS[fault]
    path = write(tmp_path / "d.json", wrong)
    with pytest.raises(UserError, match=message) as caught:
        load_split(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


JUDGED = {"image_id": 7, "round_id": 2, "gt_relevance": [0.5, 1]}
DENSE_FAULTS = {
    "object": ({"data": []}, r"starts with '\{', expected '\['"),
    "record": ([[7]], r"record 0: found \[7\], expected \{\"image_id\": 1, \"round_id\": 1, "),
    "no round": ([{"image_id": 7}], r"record 0: found \{'image_id': 7\}, expected"),
    "round 3": (
        [{**JUDGED, "round_id": 3}],
        r"\(image_id 7\): field 'round_id' is 3, but its dialog has the rounds 1 to 2",
    ),
    "round 0": ([{**JUDGED, "round_id": 0}], r"field 'round_id' is 0, but its dialog has the rounds 1 to 2"),
    "round text": ([{**JUDGED, "round_id": "2"}], r"field 'round_id' is '2', but"),
    "no relevance": ([{"image_id": 7, "round_id": 2}], r"has neither gt_relevance nor relevance, expected a list of 2"),
    "size": (
        [{**JUDGED, "gt_relevance": [1, 0, 0]}],
        r"gt_relevance has 3 numbers, expected one for each of its 2 opt",
    ),
    "text": ([{**JUDGED, "gt_relevance": "11"}], r"gt_relevance is '11', expected one for each"),
    "texts": ([{**JUDGED, "gt_relevance": ["x", 1]}], r"gt_relevance is \['x', 1\], expected one"),
    "high": ([{**JUDGED, "gt_relevance": [0, 1.5]}], r"gt_relevance has 1\.5 in it, expected numbers from 0 to 1"),
    "negative": ([{"image_id": 7, "round_id": 2, "relevance": [-1, 0]}], r"relevance has -1 in it, expected numbers"),
    "twice": ([JUDGED, JUDGED], r"record 1 \(image_id 7\): round 2 of this image stands twice; expected it once"),
}


@pytest.mark.parametrize("fault", DENSE_FAULTS)
def test_faults_of_dense_annotations(tmp_path, fault):
    wrong, message = DENSE_FAULTS[fault]
    path = write(tmp_path / "dense.json", wrong)
    with pytest.raises(UserError, match=message) as caught:
        load_split(write(tmp_path / "d.json", file_of(DIALOG)), path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_faults_of_the_whole_file(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.json: no such file; check the path; limner data get visdial"):
        load_split(tmp_path / "nowhere.json")
    text = json.dumps(content())
    for cut in (text[:400], text[:-1], text[:-2]):
        (tmp_path / "cut.json").write_text(cut)
        with pytest.raises(UserError, match=r"cut\.json: invalid JSON at line 1, .*the file ends too early"):
            load_split(tmp_path / "cut.json")


# --- one's own dialogs ---


def test_own_dialogs():
    talk = [
        {"question": "is it big", "answer": "yes", "answer_options": ["no", "yes"], "gt_index": 1},
        {"question": "is it big", "answer_options": ["red", "no", "blue"]},
    ]
    split = from_dialogs([{"image_id": 4, "caption": "a dog", "dialog": talk}])
    check(split)
    (found,) = told(split)
    assert [said["options"] for said in found["dialog"]] == [["no", "yes"], ["red", "no", "blue"]]
    assert [said["answer"] for said in found["dialog"]] == ["yes", None]
    assert [said["gt_index"] for said in found["dialog"]] == [1, -1]
    assert (found["caption"], list(split.questions), sorted(split.answers)) == (
        "a dog",
        ["is it big"],
        ["blue", "no", "red", "yes"],
    )
    assert split.ranked.tolist() == [1]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ([], "mine[0]: list indices must be integers"),
        ({"image_id": 1, "caption": "c"}, "mine[0]: field 'dialog' is missing in {'image_id': 1"),
        ({"image_id": 1, "caption": "c", "dialog": [{"answer": "x"}]}, "mine[0]: field 'question' is missing in"),
        ({"image_id": 1, "caption": "c", "dialog": [{"question": 3}]}, "mine[0]: question 3 is no text; expected"),
        ({"image_id": 1, "caption": "c", "dialog": ["q"]}, "mine[0]: "),
        ({"image_id": 1, "caption": "c", "dialog": [{"question": "q", "answer_options": [1]}]}, "answer 1 is no text"),
        ({"image_id": 1, "caption": 2, "dialog": [{"question": "q"}]}, "mine[0] (image_id 1): field 'caption' is 2"),
        ({"image_id": 1, "caption": "c", "dialog": [{"question": "q"}] * 2}, "image 1, round 1: has no answer; only"),
    ],
)
def test_faults_of_own_dialogs(record, message):
    with pytest.raises(UserError) as caught:
        from_dialogs([record], "mine")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


# --- splits as arrays ---


@settings(max_examples=30, deadline=None, database=None)
@given(index=st.lists(st.integers(0, 4), unique=True, min_size=1), kind=st.sampled_from(["val", "test"]))
def test_take(tmp_path_factory, index, kind):
    file = content(3, dialogs=5, split=kind)
    dense = judged(file)[:3] if kind == "val" else []
    folder = tmp_path_factory.mktemp("x")
    split = load_split(write(folder / "d.json", file), write(folder / "r.json", dense) if dense else None)
    part = split.take(index)
    check(part)
    everything = expected(file, dense)
    assert told(part) == [everything[place] for place in index]


def test_join(tmp_path):
    files = [content(1, dialogs=3), content(2, dialogs=2, options=4), content(3, dialogs=2, split="test")]
    splits = []
    for number, file in enumerate(files):
        for dialog in file["data"]["dialogs"]:
            dialog["image_id"] += 1000 * number
        dense = judged(file) if number < 2 else None
        paths = write(tmp_path / f"d{number}.json", file), write(tmp_path / "r.json", dense)
        splits.append(load_split(paths[0], paths[1] if dense else None))
    both = join(splits)
    check(both)
    assert told(both) == [dialog for split in splits for dialog in told(split)]
    assert len(both.dense) == 5
    assert not both.annotated
    assert both.take([0, 1, 2, 3, 4]).annotated
    assert join(splits[:1]) is splits[0]
    with pytest.raises(UserError, match="the joined splits: image ids stand twice: 100, 107;"):
        join([splits[0], splits[0].take([1, 0])])


def test_frequent_answers(tmp_path):
    file = content(4, dialogs=30, split="test")
    split = load_split(write(tmp_path / "d.json", file))
    given_ones = [said["answer"] for dialog in file["data"]["dialogs"] for said in dialog["dialog"] if "answer" in said]
    counts = sorted(Counter(given_ones).items(), key=lambda pair: (-pair[1], pair[0]))
    expected_ones = [file["data"]["answers"][place] for place, _ in counts]
    assert split.frequent_answers(3) == expected_ones[:3]
    assert split.frequent_answers(1000) == expected_ones


@given(st.lists(st.text(max_size=8)), st.data())
def test_text_pools(texts, data):
    pool = TextPool.of(texts)
    assert list(pool) == texts
    assert [pool[place] for place in range(len(pool))] == texts
    index = data.draw(st.lists(st.integers(0, len(texts) - 1)) if texts else st.just([]))
    assert list(pool.take(index)) == [texts[place] for place in index]
    assert list(join_pools([pool, TextPool.of(["é\ud83d"]), pool])) == [*texts, "é\ud83d", *texts]
    with pytest.raises(IndexError):
        pool[len(texts)]


def test_a_pool_holds_texts_only():
    with pytest.raises(TypeError, match="found int, expected a text"):
        TextPool.of(["a", 3])


def test_dialogs_in_texts_are_a_file_too(tmp_path):
    """The place of an answer among its options is found; an answer that is none of them has no place."""
    rounds = [
        {"question": "is it big", "answer": "very", "answer_options": ["no", "very"]},
        {"question": "is it red", "answer": "it is", "answer_options": ["no", "yes"]},
        {"question": "is it blue", "answer_options": ["no", "yes"]},
    ]
    path = tmp_path / "train.json.gz"
    path.write_bytes(gzip.compress(json.dumps([{"image_id": 7, "caption": "a moon", "dialog": rounds}]).encode()))
    split = load_split(path, cache=tmp_path / "cache")
    assert split.gt_index.tolist() == [1, -1, -1]
    assert split.said(0) == ("is it big", "very")
    assert [split.answers[place] for place in split.options_of(1).tolist()] == ["no", "yes"]
    path.write_bytes(gzip.compress(b'[{"image_id": 7, "caption": "a moon"}]'))
    with pytest.raises(UserError, match=r"dialogs\[0\]: field 'dialog' is missing"):
        load_split(path)
