"""Caption files of three kinds: what is read from them, what is refused and how."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_captions import SAID, coco, karpathy, spoken

from limner.data import caption_files
from limner.data.caption_files import load_captions, read_captions
from limner.data.caption_split import CaptionSplit, References, join, spans
from limner.errors import UserError
from limner.metrics.coco_tokens import tokenize

ALL = {image: captions for shown in SAID.values() for image, captions in shown.items()}


def write(path, content):
    path.write_text(json.dumps(content))
    return path


def told(split: CaptionSplit) -> dict[int, list[str]]:
    """Image -> captions as written, in the order of the split."""
    return {
        image: [split.raw(c) for c in range(split.first[i], split.first[i + 1])]
        for i, image in enumerate(split.image_id.tolist())
    }


def words(split: CaptionSplit) -> dict[int, list[list[str]]]:
    return dict(References(split, raw=False))


def tokenized(raw: str) -> list[str]:
    return [word for word in tokenize(raw).split(" ") if word]


def check(split: CaptionSplit) -> None:
    """The shapes and types that the class promises."""
    images, captions = len(split), split.captions
    assert (split.image_id.dtype, split.tokens.dtype, split.text.dtype) == (np.int64, np.int32, np.uint8)
    assert (split.first.shape, split.offsets.shape, split.where.shape) == (
        (images + 1,),
        (captions + 1,),
        (captions, 2),
    )
    assert (split.first[0], split.first[-1]) == (0, captions)
    assert (split.offsets[0], split.offsets[-1]) == (0, len(split.tokens))
    assert (np.diff(split.image_id) > 0).all()
    assert (np.diff(split.first) >= 0).all()
    assert (np.diff(split.offsets) >= 0).all()


# --- the three kinds ---


def test_karpathy(tmp_path):
    path = write(tmp_path / "dataset.json", karpathy())
    file = read_captions(path)
    check(file.whole)
    assert file.parts == ["train", "restval", "val", "test"]
    assert told(file.whole) == dict(sorted(ALL.items()))
    assert list(told(file.whole)) == sorted(ALL)  # a dict's equality does not see the order
    assert words(file.whole) == {image: [spoken(raw) for raw in captions] for image, captions in ALL.items()}
    for split, shown in SAID.items():
        chosen = load_captions(path, split=split)
        check(chosen)
        assert list(told(chosen).items()) == sorted(shown.items())
        assert words(chosen) == {image: [spoken(raw) for raw in captions] for image, captions in shown.items()}
    both = load_captions(path, split=["restval", "train"])
    assert list(told(both)) == [10, 11, 12, 13]
    mixed = {"images": [{"split": s, "imgid": i, "sentences": []} for i, s in ((9, "b"), (4, "a"), (7, "b"), (5, "a"))]}
    assert list(told(load_captions(write(path, mixed), split="a"))) == [4, 5]


def test_a_karpathy_files_own_words_are_taken_as_they_are(tmp_path):
    content = {
        "images": [{"split": "train", "cocoid": 1, "sentences": [{"tokens": ["A", "dog's", "."], "raw": "X y."}]}]
    }
    path = write(tmp_path / "dataset.json", content)
    assert words(load_captions(path)) == {1: [["A", "dog's", "."]]}
    assert words(load_captions(path, tokens="coco")) == {1: [["x", "y"]]}
    assert told(load_captions(path)) == {1: ["X y."]}


def test_karpathy_sentences_with_one_of_both(tmp_path):
    sentences = [{"raw": "A Dog, running."}, {"tokens": ["a", "cat"]}, {"tokens": [], "raw": "."}]
    path = write(tmp_path / "dataset.json", {"images": [{"split": "a", "imgid": 0, "sentences": sentences}]})
    assert words(load_captions(path)) == {0: [["a", "dog", "running"], ["a", "cat"], []]}
    assert told(load_captions(path)) == {0: ["A Dog, running.", "a cat", "."]}


def test_flickr_has_no_cocoid(tmp_path):
    path = write(tmp_path / "dataset_flickr8k.json", karpathy(id_field="imgid"))
    assert told(load_captions(path)) == dict(sorted(ALL.items()))
    content = karpathy()
    for number, record in enumerate(content["images"]):
        record["imgid"] = number  # COCO's file has both
    assert list(told(load_captions(write(path, content)))) == sorted(ALL)


def test_coco(tmp_path):
    shown = {30: ["A cat."], 7: ["A dog, and a ball.", "Two dogs!"], 9: []}
    path = write(tmp_path / "captions.json", coco(shown))
    split = load_captions(path)
    check(split)
    assert list(told(split).items()) == sorted(shown.items())  # 9 has none
    assert words(split) == {
        image: [[word for word in tokenize(raw).split(" ") if word] for raw in captions]
        for image, captions in shown.items()
        if captions
    }
    assert split.annotated
    content = coco(shown)
    content["annotations"] = content["annotations"][:1]
    turned = {key: content[key] for key in ("annotations", "images", "licenses", "info")}
    assert told(load_captions(write(path, turned))) == {7: [], 9: [], 30: ["A cat."]}
    bare = load_captions(write(path, {"annotations": content["annotations"]}))
    assert told(bare) == {30: ["A cat."]}


def test_coco_test_images_have_no_captions(tmp_path):
    content = coco({4: ["x"], 2: ["y"]})
    del content["annotations"]
    split = load_captions(write(tmp_path / "image_info_test2014.json", content))
    check(split)
    assert told(split) == {2: [], 4: []}
    assert not split.annotated
    assert words(split) == {}


def test_ones_own(tmp_path):
    path = write(tmp_path / "mine.json", {"12": ["A dog.", "A dog\nand  a cat"], "-3": ["Café ☕ \ud83d"], "5": []})
    split = load_captions(path)
    check(split)
    assert told(split) == {-3: ["Café ☕ \ud83d"], 5: [], 12: ["A dog.", "A dog\nand  a cat"]}
    assert words(split)[12] == [["a", "dog"], ["a", "dog", "and", "a", "cat"]]


_texts = st.lists(st.text(min_size=0, max_size=12), max_size=4)


@settings(max_examples=50, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(said=st.dictionaries(st.integers(-(10**17), 10**17), _texts, min_size=1, max_size=5))
def test_all_kinds_say_the_same(tmp_path, said):
    sentences = {
        "images": [
            {"split": "s", "imgid": image, "sentences": [{"raw": raw} for raw in captions]}
            for image, captions in said.items()
        ]
    }
    kinds = [sentences, coco(said), {str(image): captions for image, captions in said.items()}]
    for content in kinds:
        split = load_captions(write(tmp_path / "x.json", content))
        check(split)
        assert told(split) == said
        assert list(told(split)) == sorted(said)
        assert words(split) == {
            i: [[word for word in tokenize(raw).split(" ") if word] for raw in captions]
            for i, captions in said.items()
            if captions
        }


@pytest.mark.parametrize("name", ["x.json", "x.json.gz"])
def test_gzip_is_seen_by_its_bytes(tmp_path, name):
    (tmp_path / name).write_bytes(gzip.compress(json.dumps(karpathy()).encode()))
    assert told(load_captions(tmp_path / name, split="test")) == SAID["test"]


def test_ids_from_file_names(tmp_path):
    """`limner features extract` gives a picture the digits at the end of its name."""
    content = karpathy(id_field="imgid")
    for number, record in enumerate(content["images"]):
        record["imgid"] = 900 - number
    path = write(tmp_path / "dataset.json", content)
    assert told(load_captions(path, image_ids="filename")) == dict(sorted(ALL.items()))
    content = coco({1: ["one"], 2: ["two"]})
    content["images"][0]["file_name"] = "folder/picture_77.jpg"
    content["images"][1]["file_name"] = "picture_0033.png"
    assert told(load_captions(write(path, content), image_ids="filename")) == {33: ["two"], 77: ["one"]}
    assert told(load_captions(write(path, {"my_0042.jpg": ["x"], "7": []}), image_ids="filename")) == {7: [], 42: ["x"]}


# --- the cache ---


def test_cache_gives_the_same_without_reading(tmp_path, monkeypatch):
    path = write(tmp_path / "dataset.json", karpathy())
    first = read_captions(path, cache=tmp_path / "cache")
    other = read_captions(path, cache=tmp_path / "cache", tokens="coco")
    assert len(list((tmp_path / "cache").iterdir())) == 2
    moved = path.rename(tmp_path / "moved.json")
    monkeypatch.setattr(caption_files, "_Reader", None)
    second = read_captions(moved, cache=tmp_path / "cache")
    assert second.path == str(moved)
    assert second.parts == first.parts
    assert np.array_equal(second.part, first.part)
    for mine, its in ((second.whole, first.whole), (second.select(["val"]), first.select(["val"]))):
        check(mine)
        assert told(mine) == told(its)
        assert words(mine) == words(its)
    assert words(read_captions(moved, cache=tmp_path / "cache", tokens="coco").whole) == words(other.whole)
    write(moved, karpathy({"train": {1: ["Changed."]}}))
    with pytest.raises(TypeError):  # it wants to read again
        read_captions(moved, cache=tmp_path / "cache")


# --- what is refused ---

IMAGE = {"split": "train", "cocoid": 5, "filename": "a_5.jpg", "sentences": [{"tokens": ["a"], "raw": "A."}]}


def saying(tokens, raw):
    return {"images": [{**IMAGE, "sentences": [{"tokens": tokens, "raw": raw}]}]}


FAULTS = {
    "list": ([1], r"starts with '\[', expected '\{': Karpathy's \{.*or \{image id: \[captions\]\}$"),
    "another file": ({"questions": [], "info": 1}, r"found 'questions', 'info' at the top, expected Karpathy's"),
    "empty": ({}, r"found nothing at the top, expected Karpathy's"),
    "no images": ({"images": []}, r"holds no images$"),
    "image no object": ({"images": [3]}, r"images\[0\]: found 3, expected an object$"),
    "image without id": ({"images": [{"x": 1}]}, r"images\[0\]: field 'id' is missing, expected a whole number$"),
    "image id a text": ({"images": [{"id": "1"}]}, r"images\[0\]: field 'id' is '1', expected a whole number$"),
    "twice": (
        {"images": [{"id": i} for i in (4, 3, 4, 3)]},
        r"image ids stand twice: 3, 4; give all captions of an image in one place",
    ),
    "no cocoid": (
        {"images": [IMAGE, {"split": "val", "sentences": []}]},
        r"images\[1\]: field 'imgid' is missing, expected a whole number$",
    ),
    "id too large": ({"images": [{**IMAGE, "cocoid": 1 << 63}]}, r"field 'cocoid' is 9223372036854775808, expected a"),
    "no split": (
        {"images": [{**IMAGE, "split": None}]},
        r"images\[0\] \(id 5\): field 'split' is None, expected a name such as 'train'$",
    ),
    "no sentences": (
        {"images": [{"split": "a", "cocoid": 5}]},
        r"images\[0\] \(id 5\): field 'sentences' is missing, expected a list$",
    ),
    "sentence a text": (
        {"images": [IMAGE, {**IMAGE, "cocoid": 6, "sentences": [{"raw": "a", "tokens": ["a"]}, "A dog."]}]},
        r"images\[1\] \(id 6\): sentences\[1\]: found 'A dog\.', expected \{\"raw\": \"A dog\.\", \"tokens\": ",
    ),
    "token a number": (
        saying(["a", 3], "a"),
        r"sentences\[0\]: found \{'tokens': \['a', 3\], 'raw': 'a'\}, expected",
    ),
    "token empty": (
        {"images": [{**IMAGE, "sentences": [{"tokens": ["a", ""], "raw": "a"}]}]},
        r"sentences\[0\]: found",
    ),
    "tokens a text": (
        {"images": [{**IMAGE, "sentences": [{"tokens": "a b", "raw": "a b"}]}]},
        r"sentences\[0\]: found",
    ),
    "raw a number": (saying(["a"], 3), r"sentences\[0\]: found"),
    "raw missing": ({"images": [{**IMAGE, "sentences": [{"raw": None}]}]}, r"sentences\[0\]: found \{'raw': None\}"),
    "neither": ({"images": [{**IMAGE, "sentences": [{}]}]}, r"sentences\[0\]: found \{\}, expected"),
    "both kinds": (
        {"images": [IMAGE], "annotations": []},
        r"has both sentences and annotations, expected one",
    ),
    "annotation no object": (
        {"annotations": ["x"]},
        r"annotations\[0\]: found 'x', expected an object with image_id",
    ),
    "annotation without image": ({"annotations": [{"caption": "a"}]}, r"annotations\[0\]: field 'image_id' is missing"),
    "caption a number": (
        {"annotations": [{"image_id": 1, "caption": 2}]},
        r"annotations\[0\] \(image_id 1\): field 'caption' is 2, expected a text$",
    ),
    "lost captions": (
        {"images": [{"id": 1}], "annotations": [{"image_id": i, "caption": "a"} for i in (1, 9, 8, 9)]},
        r"captions of images that its list 'images' has not: ids 8, 9$",
    ),
    "own no list": ({"12": "A dog."}, r"image 12: found 'A dog\.', expected a list of captions$"),
    "own no text": (
        {"12": ["A dog.", {"caption": "x"}]},
        r"image 12: caption 1 is \{'caption': 'x'\}, expected a",
    ),
    "own name": ({"12": ["a"], "dog.jpg": ["b"]}, r"'dog\.jpg' beside '12' is no image id; expected Karpathy's"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_say_where_and_what(tmp_path, fault):
    content, message = FAULTS[fault]
    path = write(tmp_path / "file.json", content)
    with pytest.raises(UserError, match=message) as caught:
        load_captions(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"images": [{**IMAGE, "filename": "dog.jpg"}]},
            r"field 'filename' is 'dog\.jpg', expected the name of a",
        ),
        (
            {"images": [{"id": 3}]},
            r"images\[0\]: field 'file_name' is missing, expected the name of a file with",
        ),
        ({"images": [IMAGE, {**IMAGE, "cocoid": 6}]}, r"image ids stand twice: 5;"),
        ({"images": [IMAGE, {**IMAGE, "filename": "a_6.jpg"}]}, r"image ids stand twice: 5;"),
        ({"annotations": [{"image_id": 1, "caption": "x"}]}, r"lists no images with their file_name, which image_ids="),
    ],
)
def test_faults_of_file_names(tmp_path, content, message):
    with pytest.raises(UserError, match=message):
        load_captions(write(tmp_path / "file.json", content), image_ids="filename")


def test_faults_of_the_whole_file(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.json: no such file; check the path; limner data get coco_karpathy"):
        load_captions(tmp_path / "nowhere.json")
    (tmp_path / "cut.json").write_text(json.dumps(karpathy())[:300])
    with pytest.raises(UserError, match=r"cut\.json: invalid JSON at line 1, .*the file ends too early"):
        load_captions(tmp_path / "cut.json")
    (tmp_path / "more.json").write_text(json.dumps(karpathy()) + " x")
    with pytest.raises(UserError, match=r"more\.json: invalid JSON .*more text behind the end"):
        load_captions(tmp_path / "more.json")


def test_splits_that_are_not_there(tmp_path):
    path = write(tmp_path / "dataset.json", karpathy())
    message = r"dataset\.json: no image is of the split dev, x; it has train, restval, val, test: splits_in_file"
    with pytest.raises(UserError, match=message):
        load_captions(path, split=["val", "dev", "x"])
    path = write(tmp_path / "mine.json", {"1": ["a"]})
    with pytest.raises(UserError, match=r"mine\.json: names no splits, so it has no val; it is used as a whole$"):
        load_captions(path, split="val")


def test_options(tmp_path):
    path = write(tmp_path / "mine.json", {"1": ["a"]})
    with pytest.raises(UserError, match="tokens: found 'ptb', expected one of file, coco"):
        load_captions(path, tokens="ptb")
    with pytest.raises(UserError, match="image_ids: found 'name', expected one of id, filename"):
        load_captions(path, image_ids="name")


# --- splits as arrays ---


def test_take_and_join_are_each_others_inverse(tmp_path):
    whole = load_captions(write(tmp_path / "x.json", {str(i): [f"c {i} {k}" for k in range(i % 4)] for i in range(12)}))
    parts = [whole.take(np.arange(start, 12, 3)) for start in range(3)]
    for part in parts:
        check(part)
    again = join(parts)
    check(again)
    assert told(again) == told(whole)
    assert words(again) == words(whole)
    assert again.text is whole.text  # of one file: nothing to copy
    assert join([whole]) is whole
    assert told(whole.take([])) == {}
    other = load_captions(write(tmp_path / "y.json", {"-1": ["c é 3"], "40": ["z c"]}))
    both = join([other, whole])
    check(both)
    assert told(both) == {-1: ["c é 3"], **told(whole), 40: ["z c"]}
    assert words(both) == {**words(whole), **words(other)}
    assert len(both.words) == len(set(both.words))
    with pytest.raises(UserError, match="the joined splits: image ids stand twice: 0, 3, 6, 9;"):
        join([whole, parts[0]])


def test_counts(tmp_path):
    split = load_captions(write(tmp_path / "x.json", {"1": ["a dog", "a cat"], "2": ["a a mat"]}))
    assert split.counts() == {"a": 4, "dog": 1, "cat": 1, "mat": 1}
    assert split.take([1]).counts() == {"a": 2, "mat": 1}  # the table of words is that of the whole file


@given(counts=st.lists(st.integers(0, 4), min_size=1, max_size=8), data=st.data())
def test_spans(counts, data):
    offsets = np.concatenate([[0], np.cumsum(counts)])
    index = data.draw(st.lists(st.integers(0, len(counts) - 1), max_size=8))
    places, begins = spans(offsets, np.array(index, np.int64))
    assert places.tolist() == [k for row in index for k in range(offsets[row], offsets[row + 1])]
    assert begins.tolist() == [0, *np.cumsum([counts[row] for row in index]).tolist()]


def test_references_are_a_mapping(tmp_path):
    split = load_captions(write(tmp_path / "x.json", {"5": ["A dog.", "Dogs"], "2": [], "9": ["A cat"]}))
    raw, spoken_words = References(split, raw=True), References(split, raw=False)
    assert dict(raw) == {5: ["A dog.", "Dogs"], 9: ["A cat"]}
    assert dict(spoken_words) == {5: [["a", "dog"], ["dogs"]], 9: [["a", "cat"]]}
    assert len(raw) == 2
    assert list(raw) == [5, 9]
    assert 2 not in raw
    assert 10 not in raw
    assert raw.get(1, []) == []
