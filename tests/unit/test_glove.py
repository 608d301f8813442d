"""GloVe files: vectors for wanted words only, and clear lines about what is wrong with a file."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from limner.data.glove import read_glove
from limner.errors import UserError

LINES = "the 0.1 -2 3e-1\ncat 1 2 3\n\x85 7 7 7\ndog 4 5 6\n"


@pytest.fixture
def glove(tmp_path):
    path = tmp_path / "glove.3d.txt"
    path.write_text(LINES, encoding="utf-8")
    return path


def test_vectors_in_the_order_of_the_words_and_zeros_for_missing(glove):
    result = read_glove(glove, ["dog", "zebra", "the"], dim=3)
    assert result.vectors.dtype == np.float32
    assert np.array_equal(result.vectors, np.array([[4, 5, 6], [0, 0, 0], [0.1, -2, 0.3]], np.float32))
    assert result.found.tolist() == [True, False, True]
    assert result.summary().startswith("2 of 3 words")


def test_gzip_is_found_by_content(glove, tmp_path):
    packed = tmp_path / "packed.txt"
    packed.write_bytes(gzip.compress(LINES.encode()))
    assert np.array_equal(read_glove(packed, ["cat"], dim=3).vectors, [[1, 2, 3]])


def test_last_of_two_lines_counts(tmp_path):
    path = tmp_path / "g.txt"
    path.write_text("a 1 2\na 3 4\n")
    assert read_glove(path, ["a"], dim=2).vectors.tolist() == [[3, 4]]


def test_windows_line_ends_last_spaces_and_no_last_newline(tmp_path):
    path = tmp_path / "g.txt"
    path.write_bytes(b"a 1 2 \r\nb 3 4")
    assert read_glove(path, ["a", "b"], dim=2).vectors.tolist() == [[1, 2], [3, 4]]


def test_words_with_spaces_are_passed_over(tmp_path):
    path = tmp_path / "g.txt"
    path.write_text("a 1 2\n. . . 5 6\nb 3 4\n")
    assert read_glove(path, ["b"], dim=2).vectors.tolist() == [[3, 4]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a 1 2\n", "line 1 has 2 numbers, expected 3; use the file of this size"),
        ("a 1 2 3\nb 1 2\n", "line 2 has 2 numbers, expected 3"),
        ("a 1 2 3\nb 1 2 3 4\n", "line 2 has 4 numbers, expected 3"),
        ("a 1 x 3\n", "line 1, word 'a': not a number"),
        ("", "is empty"),
    ],
)
def test_bad_lines(tmp_path, text, message):
    path = tmp_path / "bad.txt"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        read_glove(path, ["a"], dim=3)
    assert str(path) in str(caught.value)


def test_missing_file_says_where_to_get_it(tmp_path):
    with pytest.raises(UserError, match=r"no such file; fetch it with: limner data get glove"):
        read_glove(tmp_path / "none.txt", ["a"])


def test_cut_gzip(tmp_path):
    path = tmp_path / "cut.gz"
    path.write_bytes(gzip.compress(LINES.encode() * 100)[:-20])
    with pytest.raises(UserError, match="damaged or cut gzip"):
        read_glove(path, ["a"], dim=3)


def test_zip_archive_is_told_apart(tmp_path):
    path = tmp_path / "glove.6B.zip"
    path.write_bytes(b"PK\x03\x04rest")
    with pytest.raises(UserError, match="unzip it"):
        read_glove(path, ["a"])
