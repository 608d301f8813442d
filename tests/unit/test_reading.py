"""JSON arrays read one record at a time, whatever the size of the window, equal to `json.load`."""

from __future__ import annotations

import gzip
import itertools
import json
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from limner.data import reading
from limner.data.reading import json_members, json_records
from limner.errors import UserError

_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    records=st.lists(_values, max_size=6),
    before=_values,
    behind=_values,
    chunk=st.integers(1, 9),
    indent=st.none() | st.just(2),
    ascii_only=st.booleans(),
)
def test_equals_json_load_for_every_window(tmp_path, records, before, behind, chunk, indent, ascii_only):
    path = tmp_path / "x.json"
    text = json.dumps({"p": before, "wanted": records, "q": behind}, indent=indent, ensure_ascii=ascii_only)
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "_CHUNK", chunk)
        assert list(json_records(path, "wanted")) == records


def write(tmp_path, text: str | bytes):
    path = tmp_path / "x.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_plain_list_gzip_and_byte_order_mark(tmp_path):
    assert list(json_records(write(tmp_path, '[1, {"a": 2}] \n'), None)) == [1, {"a": 2}]
    assert list(json_records(write(tmp_path, gzip.compress(b"[12, 34]")), None)) == [12, 34]
    assert list(json_records(write(tmp_path, b'\xef\xbb\xbf{"k": []}'), "k")) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"k": [1,\n 2,\n oops]}', "line 3, column 2: Expecting value"),
        ('{"k": [{"a": 1}\n {"a": 2}]}', "line 2, column 2: found '{', expected ',' or ']'"),
        ('{"k": [{"a": 1}, {"a": "cut of', "the file ends too early"),
        ('{"k": [1, 2', "the file ends too early"),
        ('{"k": [1, 2]', "the file ends too early"),
        ('{"k": [1]} x', "line 1, column 12: more text"),
        ('{"k": 5}', "key 'k' holds no list"),
        ('{"info": 1, "other": [1]}', "no key 'k' at the top; found 'info', 'other'"),
        ("{}", "no key 'k' at the top; found none"),
        ("{k: 1}", "line 1, column 2: expected a key in double quotes"),
        ("[1]", r"starts with '\[', expected '\{'"),
        ("", "starts with '', expected"),
        (b'{"k": ["\xff"]}', "is not UTF-8"),
        (gzip.compress(b'{"k": [' + b"1," * 5000)[:-12], "damaged or cut gzip"),
    ],
)
@pytest.mark.parametrize("chunk", [3, 1 << 20])
def test_errors_say_where(tmp_path, monkeypatch, text, message, chunk):
    monkeypatch.setattr(reading, "_CHUNK", chunk)
    path = write(tmp_path, text)
    with pytest.raises(UserError, match=message) as caught:
        list(json_records(path, "k"))
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_fault_is_told_before_the_rest_of_a_long_file_is_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "_CHUNK", 100)
    monkeypatch.setattr(reading, "_LONGEST", 1000)
    path = write(tmp_path, "[{'a': 1}, " + "1, " * 100_000 + "1]")
    sizes = []
    grow = reading._Window._grow
    monkeypatch.setattr(reading._Window, "_grow", lambda self: (sizes.append(len(self._text)), grow(self))[1])
    with pytest.raises(UserError, match="line 1, column 3"):
        list(json_records(path, None))
    assert max(sizes) < 2000


def test_list_expected(tmp_path):
    with pytest.raises(UserError, match=r"starts with '\{', expected '\['"):
        list(json_records(write(tmp_path, "{}"), None))


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(UserError, match="no such file; ask mother"):
        list(json_records(tmp_path / "none.json", None, next_step="ask mother"))
    with pytest.raises(UserError, match="is a folder"):
        list(json_records(tmp_path, None))


# --- the members of an object ---


@settings(max_examples=60, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.dictionaries(st.text(max_size=3), _values, max_size=5),
    chunk=st.integers(1, 9),
    drawn=st.integers(0, 3),
)
def test_members_equal_json_load(tmp_path, content, chunk, drawn):
    """Whatever is drawn of a list before the next member is asked for."""
    path = tmp_path / "x.json"
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8", errors="surrogatepass")
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "_CHUNK", chunk)
        for name, value in json_members(path, expected="an object"):
            found[name] = list(itertools.islice(value, drawn)) if isinstance(value, Iterator) else value
    assert found == {name: value[:drawn] if isinstance(value, list) else value for name, value in content.items()}
    assert list(found) == list(content)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", r"starts with '\[', expected '\{': an object of images$"),
        ('{"a": [1, 2', "the file ends too early"),
        ('{"a": 1} {', "line 1, column 10: more text"),
        ('{"a": 1,}', "line 1, column 9: expected a key in double quotes"),
        ('{"a": 1 "b": 2}', "line 1, column 9: found '\"', expected ',' or '}'"),
    ],
)
def test_member_errors_say_where(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        for _ in json_members(write(tmp_path, text), expected="an object of images"):
            pass
