"""Feature files of other people's code for the commands of docs/features.md."""

from __future__ import annotations

from pathlib import Path

import old_features as old


def write(folder: Path) -> None:
    """A TSV, the folders of ImageCaptioning.pytorch and M2's file into `folder`."""
    made = old.images((2, 3))
    old.anderson_tsv(folder, made, "trainval_36.tsv")
    old.att_folder(folder, made)
    old.m2_hdf5(folder, made)
