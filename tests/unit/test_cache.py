"""The parse cache: found by content, rebuilt when damaged, harmless when it cannot be written."""

from __future__ import annotations

import numpy as np
import pytest

from limner.data.cache import cached, content_key
from limner.errors import UserError


class Builder:
    """Counts how often it is asked."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return {"x": np.arange(3, dtype=np.int16)}, {"names": ["é", "b"]}


def test_second_call_reads_what_the_first_wrote(tmp_path):
    build = Builder()
    for _ in range(2):
        arrays, meta = cached(tmp_path / "new", "entry", build)
        assert arrays["x"].dtype == np.int16
        assert arrays["x"].tolist() == [0, 1, 2]
        assert list(arrays) == ["x"]
        assert meta == {"names": ["é", "b"]}
    assert build.calls == 1
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["entry.npz"]


def test_no_folder_no_cache():
    build = Builder()
    cached(None, "entry", build)
    cached(None, "entry", build)
    assert build.calls == 2


@pytest.mark.parametrize("damage", [b"", b"not a zip", None])
def test_damaged_entry_is_built_again(tmp_path, damage):
    build = Builder()
    cached(tmp_path, "entry", build)
    path = tmp_path / "entry.npz"
    path.write_bytes(path.read_bytes()[:-30] if damage is None else damage)
    assert cached(tmp_path, "entry", build)[1] == {"names": ["é", "b"]}
    cached(tmp_path, "entry", build)
    assert build.calls == 2


def test_folder_that_cannot_be_made_costs_a_warning_only(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    arrays, _ = cached(tmp_path / "file" / "folder", "entry", Builder())
    assert arrays["x"].tolist() == [0, 1, 2]
    assert "not cached" in caplog.text


def test_key_follows_the_content_and_the_place_of_the_files(tmp_path):
    a, b, c = tmp_path / "a", tmp_path / "b", tmp_path / "c"
    a.write_text("one"), b.write_text("one"), c.write_text("two")
    assert content_key(a) == content_key(b) != content_key(c)
    assert content_key(a, c) != content_key(c, a)
    assert content_key(a) != content_key(a, None)
    with pytest.raises(UserError, match="no such file"):
        content_key(tmp_path / "none")
