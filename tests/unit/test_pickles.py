"""Pickles and arrays of other people's code: what is plain is read as pickle reads it, everything else is refused."""

from __future__ import annotations

import argparse
import collections
import io
import os
import pickle
import struct
import time
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limner.data.pickles import load_table, read_npy, read_npz, read_pickle
from limner.errors import UserError

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=8), st.binary(max_size=8)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(SCALARS, inner, max_size=4),
        st.tuples(inner, inner),
        st.frozensets(SCALARS, max_size=4),
        st.sets(SCALARS, max_size=4),
    ),
    max_leaves=12,
)
ARRAYS = [
    np.arange(6, dtype=">i4").reshape(2, 3),
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.array([], np.float16),
    np.array([True, False]),
    np.array(["cat", "dog"]),
    np.array([b"cat", b"a"]),
    np.array(2.5),
    np.array([{"a": [1, 2]}, None, (3,)], dtype=object),
    np.array({"bbox": np.ones((2, 4), np.float32), "num_boxes": 2}, dtype=object),
]


@settings(max_examples=60, deadline=None)
@given(VALUES, st.integers(0, 5))
def test_reads_as_pickle_does(value, protocol):
    found = read_pickle(pickle.dumps(value, protocol), "x.pkl")
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype} {array.shape}")
def test_arrays(array, protocol):
    found = read_pickle(pickle.dumps({"a": array, "again": [array]}, protocol), "x.pkl")
    for one in (found["a"], found["again"][0]):
        assert (one.dtype, one.shape) == (array.dtype, array.shape)
        assert one.flags.writeable
        assert repr(one) == repr(array)


@pytest.mark.parametrize("protocol", range(6))
def test_numbers_of_arrays_and_containers_of_the_library(protocol):
    value = [np.float32(2.5), np.int64(-3), collections.OrderedDict(b=1, a=2), bytearray(b"ab")]
    value += [collections.defaultdict(list, {"x": [1]}), collections.Counter("aab")]
    value.append(argparse.Namespace(rnn_size=1000, caption_model="updown"))
    found = read_pickle(pickle.dumps(value, protocol), "infos.pkl")
    assert found[:4] == [2.5, -3, {"b": 1, "a": 2}, b"ab"]
    assert (type(found[0]), list(found[2])) == (np.float32, ["b", "a"])
    assert found[4:] == [{"x": [1]}, {"a": 2, "b": 1}, {"rnn_size": 1000, "caption_model": "updown"}]


def test_what_python_2_wrote():
    """Texts as bytes of latin-1, old names of modules, an array's bytes as text; protocols 0 and 2."""
    zero = b"(dp1\nS'caf\\xe9'\np2\n(lp3\nI1\naL5L\naI01\naF1.5\nasVna\\u00efve\np4\nNs."
    assert read_pickle(zero, "x") == {"café": [1, 5, True, 1.5], "naïve": None}
    array = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85U\x01b\x87Rq\x03"
    array += b"(K\x01K\x02\x85cnumpy\ndtype\nq\x04U\x02f4K\x00K\x01\x87Rq\x05(K\x03U\x01<NNNJ\xff\xff\xff\xff"
    array += b"J\xff\xff\xff\xffK\x00tb\x89U\x08" + np.array([1.5, -2], "<f4").tobytes() + b"tb."
    assert read_pickle(array, "x").tolist() == [1.5, -2]
    namespace = b"ccopy_reg\n_reconstructor\n(cargparse\nNamespace\nc__builtin__\nobject\nNtR(dS'a'\nI3\nsb."
    assert read_pickle(namespace, "x") == {"a": 3}


class Calls:
    """Pickles as a call of anything."""

    def __init__(self, function, *args) -> None:
        self.call = (function, args)

    def __reduce__(self):
        return self.call


def raw(code: bytes) -> bytes:
    return b"\x80\x04" + code + b"."


DTYPE = b"cnumpy\ndtype\n(S'O8'\nI0\nI1\ntR"
ATTACKS = {
    "os.system": (pickle.dumps(Calls(os.system, "touch HACKED")), "asks for posix.system"),
    "eval": (pickle.dumps(Calls(eval, "open('HACKED', 'w')"), 0), "asks for builtins.eval"),
    "exec": (pickle.dumps([1, {"a": Calls(exec, "open('HACKED', 'w')")}]), "asks for builtins.exec"),
    "getattr": (raw(b"cbuiltins\ngetattr\n"), "asks for builtins.getattr"),
    "import": (raw(b"cbuiltins\n__import__\nS'os'\n\x85R"), "asks for builtins.__import__"),
    "dotted": (raw(b"\x8c\x05numpy\x8c\x10ndarray.__init__\x93"), "asks for numpy.ndarray.__init__"),
    "copyreg": (raw(b"ccopyreg\nadd_extension\n"), "asks for copyreg.add_extension"),
    "reconstructor": (
        raw(b"ccopyreg\n_reconstructor\n(cbuiltins\nlist\ncbuiltins\nobject\nNtR"),
        "reconstructs a builtins.list",
    ),
    "numpy.load": (raw(b"cnumpy\nload\n(S'x.npy'\nNI01\ntR"), "asks for numpy.load"),
    "numpy names": (raw(b"cnumpy.core.multiarray\nfromfile\n"), "asks for numpy._core.multiarray.fromfile"),
    "inst": (b"(S'true'\nios\nsystem\n.", "asks for os.system"),
    "persistent id": (raw(b"Pstorage\n"), "uses the opcode"),
    "extension": (raw(b"\x82\x01"), "uses the opcode"),
    "call of a value": (raw(b"S'x'\n)R"), "calls a str"),
    "attributes of a list": (raw(b"](S'a'\nI1\nI2\ntb"), "sets attributes of a list"),
    "attributes of a name": (raw(b"cnumpy\nndarray\n}b"), "sets attributes of a Name"),
    "a name itself": (raw(b"cnumpy\nndarray\n"), "holds numpy.ndarray itself"),
    "a type that lies": (raw(DTYPE + b"(I3\nS'<'\nN(S'a'\ntNI8\nI8\nI63\ntb"), "structured type"),
    "a type with fields": (raw(b"cnumpy\ndtype\n((S'a'\nS'O'\nttR"), "holds an array of the type"),
    "objects from bytes": (
        raw(b"cnumpy._core.multiarray\nscalar\n(" + DTYPE + b"S'12345678'\ntR"), "of 1 objects with str",
    ),
    "an array that is none": (
        raw(b"cnumpy._core.multiarray\n_reconstruct\n(cbuiltins\nlist\n(I0\ntS'b'\ntR"), "reconstructs something",
    ),
    "a huge array": (
        raw(b"cnumpy._core.numeric\n_frombuffer\n(S'ab'\ncnumpy\ndtype\n(S'f8'\nI0\nI1\ntR(I99999999999\ntS'C'\ntR"),
        "with 2 bytes of data",
    ),
    "a huge bytearray": (raw(b"\x96" + struct.pack("<Q", 1 << 40)), "is cut short"),
    "a huge text": (raw(b"\x8d" + struct.pack("<Q", 1 << 62)), "is cut short"),
    "a huge frame of memory": (raw(b"]r" + struct.pack("<I", (1 << 32) - 1) + b"j\x00\x00\x00\x00"), "KeyError"),
    "copies of copies": (
        raw(b"](" + b"I0\n" * 5000 + b"eq\x00(" + b"cbuiltins\nlist\n(h\x00tR" * 20000 + b"l"), "far more memory",
    ),
    "states of states": (
        raw(b"(}(" + b"".join(b"I%d\nN" % k for k in range(5000)) + b"uq\x000"
            + b"(iargparse\nNamespace\nh\x00b" * 20000 + b"l"), "far more memory",
    ),
    "a list that prints for ever": (raw(b"(]q\x00" + b"](h\x00h\x00eq\x00" * 40 + b"l"), "far more memory"),
    "a key that hashes for ever": (raw(b"})" + b"2\x86" * 60 + b"Ns"), "has a tuple for a key"),
    "deep": (raw(b"(" * 20_000 + b"l" * 20_000), "deep"),
    "itself": (raw(b"]q\x00h\x00a"), "holds itself"),
    "no mark": (raw(b"l"), "no mark"),
    "too little": (b"\x80\x04.", "is broken at byte"),
    "cut": (pickle.dumps({"a": "b" * 300})[:-20], "is cut short"),
    "empty": (b"", "is cut short"),
    "text": (b"{\"a\": 1}", "uses the opcode"),
    "a number of a million digits": (raw(b"L" + b"9" * 1_000_000 + b"L\n"), "is broken"),
}  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS)
def test_refused(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data, message = ATTACKS[name]
    began = time.process_time()
    with pytest.raises(UserError, match=message) as error:
        read_pickle(data, "rows.lmdb, key 9")
    assert str(error.value).startswith("rows.lmdb, key 9: ")
    assert "\n" not in str(error.value)
    assert time.process_time() - began < 1
    assert not list(tmp_path.iterdir())


def npy(array) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype} {array.shape}")
def test_npy(array):
    found = read_npy(npy(array), "a.npy")
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert repr(found) == repr(array)


def test_npy_refused(tmp_path):
    with pytest.raises(UserError, match=r"a.npy: is refused.*asks for posix.system"):
        read_npy(npy(np.array([Calls(os.system, "true")], dtype=object)), "a.npy")
    with pytest.raises(UserError, match=r"is cut short or too long: \(6,\) of float32 are 24 bytes, found 20"):
        read_npy(npy(np.zeros(6, np.float32))[:-4], "a.npy")
    with pytest.raises(UserError, match=r"is no .npy array"):
        read_npy(b"not an array", "a.npy")
    with pytest.raises(UserError, match=r"is no .npy array"):  # a header is data, too
        read_npy(b"\x93NUMPY\x01\x00\x20\x00" + b"__import__('os').abort()".ljust(32), "a.npy")
    path = tmp_path / "ids.npy"
    path.write_bytes(npy(np.arange(3)))
    assert load_table(path).tolist() == [0, 1, 2]


def test_npz(tmp_path):
    path = tmp_path / "9.npz"
    np.savez_compressed(path, x=np.ones((2, 3), np.float32), info=np.array({"image_id": 9}, dtype=object))
    found = read_npz(path)
    assert found["x"].tolist() == [[1, 1, 1], [1, 1, 1]]
    assert found["info"].item() == {"image_id": 9}
    np.savez(path, info=np.array(Calls(eval, "1/0"), dtype=object))
    with pytest.raises(UserError, match=r"9.npz, info: is refused.*builtins.eval"):
        read_npz(path)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(UserError, match=r"9.npz: cannot be read as an .npz archive"):
        read_npz(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for k in range(9):
            archive.writestr(f"{k}.npy", bytes(1 << 20))
    with zipfile.ZipFile(path) as archive:
        assert len(archive.infolist()) == 9
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("limner.data.pickles.ENTRY", 1 << 20)
        with pytest.raises(UserError, match="unpacks to 9,437,184 bytes"):
            read_npz(path)


def test_many_arrays_are_read_in_one_pass():
    """Replacing each in a memo of all would take minutes."""
    arrays = [np.arange(2) + k for k in range(4000)]
    began = time.process_time()
    found = read_pickle(pickle.dumps(arrays, 2), "x.pkl")
    assert time.process_time() - began < 2
    assert np.array_equal(np.stack(found), np.stack(arrays))
