"""WordPiece: signs, files, the hub, learning, and the texts as ids."""

from __future__ import annotations

import random
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from tiny_visdial import words

from limner.data import wordpiece
from limner.data.text_pool import TextPool
from limner.data.wordpiece import SIGNS, WordPiece
from limner.errors import UserError


def parts(text, pieces):
    return [pieces.words[number] for number in pieces.encode(text)]


def test_ids_are_places():
    pieces = words()
    assert (pieces.pad, pieces.unk, pieces.cls, pieces.sep, pieces.mask) == (0, 1, 2, 3, 4)
    assert len(pieces) == len(pieces.words) == 25
    assert parts("The DOGs, playing réd?", pieces) == ["the", "dog", "##s", "[UNK]", "play", "##ing", "red", "[UNK]"]
    assert pieces.decode(pieces.encode("dogs playing")) == "dogs playing"
    assert pieces.encode("") == pieces.encode(" \n") == []


def test_signs_in_a_text_are_text():
    pieces = WordPiece([*SIGNS, "[", "]", "sep", "mask"])
    assert parts("[SEP] [MASK]", pieces) == ["[", "sep", "]", "[", "mask", "]"]


def test_cased():
    pieces = WordPiece([*SIGNS, "a", "A", "é"], lowercase=False)
    assert parts("A a é", pieces) == ["A", "a", "é"]
    assert WordPiece(pieces.words).encode("A é") == [5, 1]  # its "é" is "e", which is not there
    assert pieces != WordPiece(pieces.words)
    assert pieces.fingerprint != WordPiece(pieces.words).fingerprint


def test_many_texts_are_the_texts_one_by_one(tmp_path, monkeypatch):
    pieces, rng = words(), random.Random(0)
    texts = [
        " ".join(rng.choice(["dogs", "a", "é", "x", "\ud83d", "yes"]) for _ in range(rng.randrange(6)))
        for _ in range(40)
    ]
    for chunk in (7, 1000):
        monkeypatch.setattr(wordpiece, "_CHUNK", chunk)
        flat, offsets = pieces.encode_all(texts)
        assert (flat.dtype, offsets.dtype) == (np.int32, np.int64)
        found = [flat[start:end].tolist() for start, end in pairwise(offsets)]
        assert found == [pieces.encode(text) for text in texts]
    none, zero = pieces.encode_all([])
    assert (len(none), zero.tolist()) == (0, [0])
    # the cache
    pool = TextPool.of(texts)
    for _ in range(2):
        got = pieces.encode_pool(pool, cache=tmp_path)
        assert np.array_equal(got[0], flat)
        assert np.array_equal(got[1], offsets)
        assert len(list(tmp_path.iterdir())) == 1
        monkeypatch.setattr(WordPiece, "encode_all", None)  # the second time from the file
    monkeypatch.undo()
    WordPiece([*words().words, "more"]).encode_pool(pool, cache=tmp_path)
    pieces.encode_pool(TextPool.of(texts[1:]), cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("lowercase", [True, False])
def test_plain_texts_are_what_the_library_makes_of_them(lowercase):
    """Words that are looked up one by one, against the library on the whole text: all of ASCII and more."""
    letters = "abcdefghijklmnopqrstuvwxyzABC0123456789é"
    pieces = WordPiece([*SIGNS, *letters, *(f"##{c}" for c in letters), *"'-[]?", "don", "dog"], lowercase=lowercase)
    rng, characters = random.Random(1), [chr(code) for code in (*range(130), 0xE9, 0x4E2D, 0x2028, 0xA0)]
    texts = ["".join(rng.choices(characters, k=rng.randrange(25))) for _ in range(2000)]
    texts += ["don't", "x-ray's [SEP]", "a" * 100, "a" * 101, "Dog DOG dog", "  ", "a_b"]
    flat, offsets = pieces.encode_all(texts)
    whole = [one.ids for one in pieces._tokenizer.encode_batch(texts, add_special_tokens=False)]
    assert [flat[start:end].tolist() for start, end in pairwise(offsets)] == whole


def test_files(tmp_path):
    path = tmp_path / "vocab.txt"
    # BERT's vocabulary has line separators of Unicode among its parts
    path.write_bytes("\n".join([*SIGNS, "a", "\u2028", "b\x85", "c"]).encode() + b"\n")
    for source in (path, str(path), tmp_path):
        pieces = WordPiece.load(source)
        assert pieces.words == (*SIGNS, "a", "\u2028", "b\x85", "c")
    path.write_bytes("\r\n".join([*SIGNS, "a"]).encode())
    assert WordPiece.load(path).words == (*SIGNS, "a")
    assert WordPiece.load(path, lowercase=False).lowercase is False


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[PAD]\n[UNK]\na", r"vocab\.txt: has no \[CLS\], \[SEP\], \[MASK\], expected BERT's five signs"),
        ("\n".join([*SIGNS, "a", "b", "a"]).encode(), r"vocab\.txt: parts stand twice: 'a'; each needs one place"),
        (b"\xff\xfe", r"vocab\.txt: is not UTF-8 text"),
        (None, r"vocab\.txt: no such file; give a vocab\.txt, or a"),
    ],
)
def test_faults_of_files(tmp_path, content, message):
    if content is not None:
        (tmp_path / "vocab.txt").write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        WordPiece.load(tmp_path / "vocab.txt")
    assert "\n" not in str(caught.value)


def test_the_hub(tmp_path, monkeypatch):
    (tmp_path / "v").write_text("\n".join([*SIGNS, "hub"]))
    asked = []
    monkeypatch.setattr(wordpiece, "download", lambda name: asked.append(name) or str(tmp_path / "v"))
    assert WordPiece.load("bert-base-uncased").words[-1] == "hub"
    assert WordPiece.load("google-bert/bert-base-uncased").words[-1] == "hub"
    assert asked == ["bert-base-uncased", "google-bert/bert-base-uncased"]
    for path in ("/no/vocab", "./vocab", "a/b/c", "no.txt", "bert/vocab.txt", "~/vocab"):
        with pytest.raises(UserError, match="no such file"):
            WordPiece.load(path)
    assert len(asked) == 2


def test_a_hub_that_does_not_answer(monkeypatch):
    import huggingface_hub

    def fail(name, file):
        assert (name, file) == ("bert-base-uncased", "vocab.txt")
        raise OSError("no network\nmany lines more")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    told = (
        r"^wordpiece: 'bert-base-uncased' is no file here, and the hub does not give it \(no network\); download its "
    )
    with pytest.raises(UserError, match=told) as caught:
        WordPiece.load("bert-base-uncased")
    assert "\n" not in str(caught.value)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda name, file: "there/" + file)
    assert wordpiece.download("x") == "there/vocab.txt"


LEARN = """
import random
from limner.data.wordpiece import WordPiece
rng = random.Random(3)
words = ["".join(rng.choice("abcdéfgh") for _ in range(rng.randint(2, 7))) for _ in range(200)]
texts = [" ".join(rng.choice(words) for _ in range(6)) for _ in range(300)]
if __name__ == "__main__":
    print(WordPiece.train(texts, size=150).fingerprint)
"""


def test_learning_repeats_in_every_process():
    """The library itself numbers the parts of a trained vocabulary in another order in each process."""
    found = {
        subprocess.run([sys.executable, "-c", LEARN], capture_output=True, text=True, check=True).stdout
        for _ in range(3)
    }
    assert len(found) == 1
    space: dict = {"__name__": "x"}
    exec(LEARN, space)
    turned = WordPiece.train(space["texts"][::-1], size=150)
    assert {turned.fingerprint + "\n"} == found


def test_learning():
    texts = ["the dogs play", "the dog plays", "the dogs, the dog"] * 5 + ["Zebra é"]
    pieces = WordPiece.train(texts, size=60)
    assert pieces.words[:5] == SIGNS
    assert {"the", "dog"} <= set(pieces.words)
    assert len(pieces) <= 60
    assert pieces.unk not in [number for text in texts for number in pieces.encode(text)]
    assert len(WordPiece.train(texts, size=5)) == 5 + 2 * len(set("thedogsplayszebra,e"))  # every character is there
    assert parts("dog", WordPiece.train(texts, size=5)) == ["d", "##o", "##g"]
    assert parts("zebra", WordPiece.train(texts, size=999, min_count=2)) != ["zebra"]
    assert parts("zebra", WordPiece.train(texts, size=999, min_count=1)) == ["zebra"]


def test_faults_of_learning():
    with pytest.raises(UserError, match="the texts to learn from have no word"):
        WordPiece.train(["", " "])
    with pytest.raises(UserError, match="size 3, min_count 2; expected at least 5 and 1"):
        WordPiece.train(["a"], size=3)


def test_json():
    for pieces in (words(), WordPiece([*SIGNS, "A"], lowercase=False)):
        again = WordPiece.from_json(pieces.to_json())
        assert again == pieces
        assert again.fingerprint == pieces.fingerprint
    for wrong in ([], {"words": "a"}, {}):
        with pytest.raises(UserError, match=r"vocab\.json: expected an object with the key \"words\""):
            WordPiece.from_json(wrong, "vocab.json")
    with pytest.raises(UserError, match=r"vocab\.json: found 3, expected texts"):
        WordPiece.from_json({"words": [*SIGNS, 3]}, "vocab.json")
