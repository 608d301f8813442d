"""The formats that `limner features convert` understands. A new one is a module here and a line in `FORMATS`."""

from __future__ import annotations

from pathlib import Path

from limner.data.features.formats.folders import ATT_FOLDER, MILVLG_FOLDER, MMF_FOLDER
from limner.data.features.formats.format import Entry, Format, Image, Source
from limner.data.features.formats.hdf5 import FGA_HDF5, M2_HDF5, STORE
from limner.data.features.formats.lmdb_rows import MMF_LMDB, VILBERT_LMDB
from limner.data.features.formats.tsv import ANDERSON_TSV, LXMERT_TSV
from limner.data.features.formats.vinvl import VINVL_TSV
from limner.data.features.layout import open_hdf5
from limner.errors import UserError, listing

__all__ = ["FORMATS", "Entry", "Format", "Image", "Source", "find", "named"]

#: Tried in this order.
FORMATS: tuple[Format, ...] = (
    STORE,
    M2_HDF5,
    FGA_HDF5,
    LXMERT_TSV,
    ANDERSON_TSV,
    VINVL_TSV,
    MMF_LMDB,
    VILBERT_LMDB,
    ATT_FOLDER,
    MILVLG_FOLDER,
    MMF_FOLDER,
)


def find(path: Path) -> Format:
    """The format of a file or folder, by a look at it.

    Raises:
        UserError: no format is like it.
    """
    for one in FORMATS:
        if one.matches(path):
            return one
    known = listing([one.name for one in FORMATS], show=len(FORMATS))
    if path.is_file() and path.suffix in (".h5", ".hdf5"):
        open_hdf5(path).close()  # says what is wrong with it
    if path.is_file() and path.stat().st_size == 0:
        raise UserError(f"{path}: is empty (0 bytes), expected region features: copy it again")
    if not path.exists():
        raise UserError(f"{path}: no such file or folder of features; check the path")
    raise UserError(f"{path}: is like no format known here ({known}); --from FORMAT says which it is meant to be")


def named(name: str) -> Format:
    """The format of a name."""
    for one in FORMATS:
        if one.name == name:
            return one
    raise UserError(f"--from {name}: no such format (known: {listing([one.name for one in FORMATS], show=99)})")
