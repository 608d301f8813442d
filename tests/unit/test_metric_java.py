"""METEOR and SPICE through Java: found, called and read safely, and one line for whatever is missing or goes wrong.

A shell script stands for java here; the real programs run in tests/reference when they are installed.
"""

from __future__ import annotations

import importlib.machinery
import json
import os
import sys

import numpy as np
import pytest

from limner.metrics import java_parts

CAPTIONS, REFERENCES = ["a cat ||| on  a mat", ""], [["a cat", "the mat"], ["a dog"]]


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A folder that is found as pycocoevalcap, with empty programs."""
    folder = tmp_path / "pycocoevalcap"
    for jar in ("meteor/meteor-1.5.jar", "spice/spice-1.0.jar"):
        (folder / jar).parent.mkdir(parents=True)
        (folder / jar).touch()
    (folder / "spice/lib").mkdir()
    spec = importlib.machinery.ModuleSpec("pycocoevalcap", None, is_package=True)
    spec.submodule_search_locations = [str(folder)]
    monkeypatch.setattr(java_parts.importlib.util, "find_spec", lambda name: spec)
    return folder


@pytest.fixture
def java(tmp_path, monkeypatch):
    """Call it with Python code: the code is then what `java ARGUMENTS` runs."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def make(code: str) -> None:
        (folder / "code.py").write_text(f"import json, sys, time\n{code}\n")
        (folder / "java").write_text(f'#!/bin/sh\nexec "{sys.executable}" "{folder}/code.py" "$@"\n')
        (folder / "java").chmod(0o755)

    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/bin{os.pathsep}/usr/bin")
    return make


def test_meteor_of_counts():
    """A caption of COCO with what METEOR 1.5 told about it: 0.139106."""
    counts = np.zeros((2, 23))
    counts[0, :8] = 9, 9, 5, 4, 1, 1, 3, 3
    counts[0, 20:] = 3, 4, 4
    found = java_parts.meteor_score(counts)
    assert found.tolist() == pytest.approx([0.1391061475582007, 0.0])
    assert java_parts.meteor_score(counts.sum(0)) == pytest.approx(found[0])
    # a synonym of a content word counts 0.8, one of a function word, too, but as a third of it
    synonym = counts[0].copy()
    synonym[4:6], synonym[12:14] = 0, 1
    precision, recall = (0.75 * 0.8 + 0.25 * 3) / 4.25, (0.75 * 0.8 + 0.25 * 3) / 4.75
    mean = precision * recall / (0.85 * precision + 0.15 * recall)
    assert java_parts.meteor_score(synonym) == pytest.approx(mean * (1 - 0.6 * 0.75**0.2))


def test_meteor_is_asked_and_read(package, java):
    java(
        """
assert sys.argv[1:] == ["-Xmx2G", "-Dfile.encoding=UTF-8", "-jar", {!r}, "-", "-", "-stdio", "-l", "en", "-norm"]
lines = sys.stdin.read().splitlines()
assert lines == ["SCORE ||| a cat ||| the mat ||| a cat on a mat", "SCORE ||| a dog ||| "], lines
print("2 2 0 0 2 2 0 0", *["0.0"] * 12, "1.0 2.0 2.0")
print("3 2 0 0 1 1 0 0", *["0.0"] * 12, "1.0 1.0 1.0")
""".format(str(package / "meteor/meteor-1.5.jar"))
    )
    counts, note = java_parts.meteor(CAPTIONS, REFERENCES)
    assert note == ""
    # the first is its reference in one piece, which is no fragment; so it counts in a corpus, too
    assert counts[:, 20].tolist() == [0, 1]
    assert java_parts.meteor_score(counts)[0] == 1


@pytest.mark.parametrize("jar", ["meteor/meteor-1.5.jar", "spice/spice-1.0.jar"])
def test_what_is_missing(package, java, jar, monkeypatch):
    call, name = (java_parts.meteor, "METEOR") if "meteor" in jar else (java_parts.spice, "SPICE")
    monkeypatch.setenv("PATH", "")
    for program in java_parts.CORENLP:
        (package / "spice/lib" / program).touch()
    assert call(CAPTIONS, REFERENCES) == (
        None,
        f"{name} not computed: no java on the PATH; install a Java runtime (8 or later)",
    )
    (package / jar).unlink()
    assert call(CAPTIONS, REFERENCES)[1] == (
        f"{name} not computed: {package / jar} is missing; install pycocoevalcap again"
    )


def test_spice_says_what_no_package_carries(package, java):
    java("")
    first, second = java_parts.CORENLP
    (package / "spice/lib" / first).touch()
    assert java_parts.spice(CAPTIONS, REFERENCES) == (
        None,
        f"SPICE not computed: {second} missing in {package / 'spice/lib'}; "
        "take them out of http://nlp.stanford.edu/software/stanford-corenlp-full-2015-12-09.zip",
    )


WRONG = [
    ("sys.exit('no memory\\nat all')", "java ended with exit code 1: no memory"),
    ("sys.exit(3)", "java ended with exit code 3: no message"),
]


NO_COUNTS = "it did not answer 23 counts for each of 2 captions"


@pytest.mark.parametrize(("code", "told"), [*WRONG, ("print('1 2 3')", NO_COUNTS), ("print('x')", NO_COUNTS)])
def test_meteor_that_goes_wrong(package, java, code, told):
    java(code)
    counts, note = java_parts.meteor(CAPTIONS, REFERENCES)
    assert counts is None
    assert note == f"METEOR not computed: {told}"


def test_meteor_that_does_not_end(package, java):
    java("time.sleep(600)")
    assert java_parts.meteor(CAPTIONS, REFERENCES, timeout=0.6) == (None, "METEOR not computed: no end after 1 s")


@pytest.fixture
def corenlp(package):
    for program in java_parts.CORENLP:
        (package / "spice/lib" / program).touch()


def test_spice_is_asked_and_read(package, java, corenlp, tmp_path, monkeypatch):
    monkeypatch.setattr(java_parts.tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    java(
        """
heap, jar, program, given, cache, folder, out, path, *rest = sys.argv[1:]
assert (heap, jar, cache, out, rest) == ("-Xmx8G", "-jar", "-cache", "-out", ["-subset", "-silent"]), sys.argv
items = json.load(open(given))
assert items[0] == {"image_id": 0, "test": "a cat ||| on  a mat", "refs": ["a cat", "the mat"]}, items
scores = [{"image_id": n, "scores": {"All": {"f": [0.25, None][n]}}} for n in (1, 0)]
json.dump(scores, open(path, "w"))
"""
    )
    scores, note = java_parts.spice(CAPTIONS, REFERENCES)
    assert note == ""
    np.testing.assert_array_equal(scores, [0.25, np.nan])
    assert list((tmp_path / "temporary").iterdir()) == []
    assert sorted(path.name for path in (package / "spice").iterdir()) == ["lib", "spice-1.0.jar"]


@pytest.mark.parametrize(("code", "told"), [*WRONG, ("", "its program ended without readable results")])
def test_spice_that_goes_wrong(package, java, corenlp, code, told):
    java(code)
    assert java_parts.spice(CAPTIONS, REFERENCES) == (None, f"SPICE not computed: {told}")


def test_spice_that_answers_nonsense(package, java, corenlp):
    java(f"json.dump({json.dumps([{'image_id': 7, 'scores': {'All': {'f': 1}}}])}, open(sys.argv[8], 'w'))")
    assert java_parts.spice(CAPTIONS, REFERENCES)[1] == "SPICE not computed: its program ended without readable results"
