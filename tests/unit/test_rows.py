"""Rows: unique by id, written whole, read back as they were."""

from __future__ import annotations

import gzip
import json

import pytest

from limner.errors import UserError
from limner.metrics import rows


def test_unique_keeps_the_first_and_sorts():
    given = [{"id": 3, "n": 0}, {"id": 1, "n": 1}, {"id": 3, "n": 2}]
    assert rows.unique(given) == [{"id": 1, "n": 1}, {"id": 3, "n": 0}]
    assert rows.unique([]) == []


@pytest.mark.parametrize("name", ["rows.jsonl", "deep/rows.jsonl.gz"])
def test_round_trip(tmp_path, name):
    given = [{"id": 1, "answer": "café", "top5": [["a", 0.5]]}, {"id": 2, "answer": None}]
    path = tmp_path / name
    rows.write(path, given)
    assert list(rows.read(path)) == given
    content = gzip.decompress(path.read_bytes()) if name.endswith("gz") else path.read_bytes()
    assert [json.loads(line) for line in content.decode("utf-8").splitlines()] == given
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_failed_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows.write(path, [{"id": 1}])

    def failing():
        yield {"id": 2}
        raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match="No space left on device"):
        rows.write(path, failing())
    assert list(rows.read(path)) == [{"id": 1}]
    assert [p.name for p in tmp_path.iterdir()] == ["rows.jsonl"]


def test_rows_that_fail_on_the_way_leave_no_part(tmp_path):
    """An answer that cannot be computed is not a full disk: its own error comes through, and nothing is left."""

    def failing():
        yield {"id": 2}
        raise UserError("no features for image 7")

    with pytest.raises(UserError, match="no features for image 7"):
        rows.write(tmp_path / "rows.jsonl", failing())
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"rows\.jsonl: rows cannot be written \("):
        rows.write(tmp_path / "file" / "rows.jsonl", [{"id": 1}])
