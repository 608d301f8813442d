"""LMDB files with one pickled dict an image: ViLBERT's and visdial-bert's, and MMF's.

| from | key | dict |
|---|---|---|
| ViLBERT, visdial-bert | str(image_id) | image_id, image_h, image_w, num_boxes, boxes, features, cls_prob in base64 |
| MMF, pythia | relative path of the .npy file | features (K, D), bbox (K, 4), num_boxes, cls_prob, image_width ... |

`keys` holds the pickled list of all keys and is written last. visdial-bert's reader puts the whole image before the
regions; here it is made when a batch is (`limner.data.dialog_regions`).
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from limner.data.features.formats.base64_rows import image_of
from limner.data.features.formats.format import Entry, Format, Image, Source, fingerprint
from limner.data.features.formats.mmf_rows import merged
from limner.data.pickles import read_pickle
from limner.errors import UserError

_MAGIC = bytes.fromhex("dec0efbe")  # at byte 16 of the first page, as x86 and ARM write it


def is_lmdb(path: Path) -> bool:
    try:
        with _file(path).open("rb") as file:
            return file.read(20)[16:] == _MAGIC
    except OSError:
        return False


def _file(path: Path) -> Path:
    return path / "data.mdb" if path.is_dir() else path


def open_lmdb(path: Path) -> Any:
    """The environment, for reading.

    Raises:
        UserError: the package lmdb is missing, the file cannot be opened or is shorter than its pages.
    """
    try:
        import lmdb
    except ImportError:
        raise UserError(f"{path}: is an LMDB, which the package lmdb reads: pip install 'limner[lmdb]'") from None
    try:
        found = lmdb.open(str(path), readonly=True, lock=False, subdir=path.is_dir(), max_readers=1)
    except lmdb.Error as error:
        raise UserError(f"{path}: cannot be opened as an LMDB ({error}): copy it again") from error
    needed = (found.info()["last_pgno"] + 1) * found.stat()["psize"]
    size = _file(path).stat().st_size
    if size < needed:  # reading beyond the end of a map would end the process
        found.close()
        raise UserError(f"{path}: is cut short ({size:,} of {needed:,} bytes): copy it again")
    return found


def _first(path: Path) -> dict[str, Any]:
    """The first image's dict; {} when there is none."""
    with open_lmdb(path) as environment, environment.begin() as transaction:
        for key, value in transaction.cursor():
            if key != b"keys":
                row = read_pickle(value, f"{path}, key {_shown(key)}")
                return row if isinstance(row, dict) else {}
    return {}


def _holds(path: Path, *, arrays: bool) -> bool:
    if not is_lmdb(path):
        return False
    try:
        features = _first(path).get("features")
    except UserError:  # whoever opens it is told what
        return not arrays
    return isinstance(features, (str, bytes)) != arrays


def _open(path: Path, decoder: Callable[[Entry], Image], extractor: str) -> Source:
    with open_lmdb(path) as environment, environment.begin() as transaction:
        raw = transaction.get(b"keys")
        if raw is None:
            entries = environment.stat()["entries"]
            raise UserError(
                f"{path}: has no entry `keys`, which is written last (found {entries:,} other entries): "
                "its writer was stopped, or it holds no features; write or copy it again"
            )
        keys = read_pickle(raw, f"{path}, keys")
        total = environment.stat()["entries"] - 1
    if not isinstance(keys, list) or not all(isinstance(key, (bytes, str)) for key in keys):
        raise UserError(f"{path}: `keys` holds a {type(keys).__name__}, expected the list of all keys")
    if (listed := len(set(keys))) > total:  # an image that stands twice in a TSV is listed twice
        raise UserError(f"{path}: `keys` lists {listed:,} images, there are {total:,}: copy it again")

    def images() -> Generator[Entry, None, None]:
        with open_lmdb(path) as environment, environment.begin() as transaction:  # in the order of the disk
            rows = ((key, value) for key, value in transaction.cursor() if key != b"keys")
            for number, (key, value) in enumerate(rows, 1):
                yield Entry(f"{path}, key {_shown(key)}", _shown(key), value, number)

    return Source(images, decoder, total, extractor, fingerprint(_file(path)) | {"source": path.name})


def _shown(key: bytes) -> str:
    return key.decode("utf-8", "replace")


def _row(entry: Entry, *needed: str) -> dict[str, Any]:
    row = read_pickle(entry.data, entry.where)
    missing = [name for name in needed if not isinstance(row, dict) or name not in row]
    if missing:
        raise UserError(f"{entry.where}: lacks {', '.join(missing)}: is it this format?")
    return row


def _vilbert(entry: Entry) -> Image:
    row = _row(entry, "image_h", "image_w", "num_boxes", "boxes", "features")
    for name in ("features", "boxes", "cls_prob"):
        if not isinstance(row.get(name, b""), (str, bytes)):
            raise UserError(f"{entry.where}: {name} is a {type(row[name]).__name__}, expected base64")
    return image_of(row, entry.where)


def _mmf(entry: Entry) -> Image:
    row = _row(entry, "features")
    return merged(row["features"], row, entry.where)


VILBERT_LMDB = Format(
    "vilbert-lmdb",
    "an LMDB of ViLBERT or visdial-bert",
    lambda path: _holds(path, arrays=False),
    lambda path: _open(path, _vilbert, "bottom-up attention"),
)
MMF_LMDB = Format(
    "mmf-lmdb", "an LMDB of MMF", lambda path: _holds(path, arrays=True), lambda path: _open(path, _mmf, "mmf")
)
