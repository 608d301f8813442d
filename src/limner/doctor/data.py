"""The data of the experiments: which files are here, their hashes, and what is in the feature stores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from omegaconf.errors import OmegaConfBaseException

from limner import preflight
from limner.doctor.finding import FAULT, NOTE, OK, Finding
from limner.errors import UserError, listing
from limner.schema.check import used_paths

WHOLE = 256 * 1024**2  # bytes: larger files are known by their size and their first and last MiB


def data_sets(config_dirs: list[str], folder: Path) -> Iterator[Finding]:
    """A finding for each experiment of whose files some are here, then one for each of these files.

    Args:
        config_dirs: the user's own folders of configs. folder: where data sets lie, as `paths.data`.
    """
    files: dict[Path, None] = {}
    bare = 0
    for name in preflight.group_options("experiment", config_dirs):
        try:
            config = preflight.compose("train", [f"experiment={name}"], config_dirs, checked=False)
            config.paths.data = str(folder)  # as an override it would be composed a second time
            paths = list(dict.fromkeys(Path(path) for _, path in used_paths(config.data)))
        except (UserError, OmegaConfBaseException) as error:
            yield Finding(FAULT, name, str(error).splitlines()[0])
            continue
        there = [path for path in paths if path.is_file()]
        files.update(dict.fromkeys(there))
        if not there:
            bare += bool(paths)
            continue
        missing = [str(path) for path in paths if path not in files]
        lacks = f"; not there: {listing(missing)}" if missing else ""
        yield Finding(NOTE if missing else OK, name, f"{len(there)} of {len(paths)} files{lacks}")
    if bare:
        more = "" if files else "; limner data toy data/toy draws a data set"
        yield Finding(NOTE, "experiments", f"no file of {bare} {'others' if files else 'experiments'} is here{more}")
    for path in files:
        yield store(path) if path.suffix in (".h5", ".hdf5") else Finding(OK, "file", f"{path}  {digest(path)}")


def store(path: Path) -> Finding:
    """What a feature store holds; a fault when it cannot be read."""
    from limner.data.features.store import FeatureStore

    try:
        found = FeatureStore(path)
        what = f"{len(found):,} images x {found.dim} features by {found.extractor}"
        return Finding(OK, "features", f"{path}  {what}  {found.fingerprint}")
    except UserError as error:
        return Finding(FAULT, "features", str(error))


def digest(path: Path) -> str:
    """Size and xxh3 of a file; of one above 256 MiB only the first and last MiB are hashed, and a `~` says so."""
    import xxhash

    size, state = path.stat().st_size, xxhash.xxh3_64()
    with open(path, "rb") as file:
        if size <= WHOLE:
            while block := file.read(1 << 20):
                state.update(block)
        else:
            state.update(file.read(1 << 20))
            file.seek(-(1 << 20), 2)
            state.update(file.read())
    return f"{size:,} bytes  {'' if size <= WHOLE else '~'}{state.hexdigest()}"
