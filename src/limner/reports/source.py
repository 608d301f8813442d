"""Where reports and comparisons read: run folders, folders of evaluations, files of rows."""

from __future__ import annotations

import gzip
import json
import math
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from limner.errors import UserError, listing
from limner.metrics.rows import Row

ROWS = "rows.jsonl.gz"


class Item(Protocol):
    """What tables and comparisons keep of a row, whatever its task; attention and the like stay in the file."""

    @property
    def id(self) -> Any: ...

    @property
    def image(self) -> int | None: ...

    @property
    def score(self) -> float | None:
        """The number that is compared, in percent; None where nobody annotated. Its mean is that of the split."""

    @property
    def truth(self) -> Hashable:
        """What was asked and what people said, comparable in one process: equal ids must have equal truths."""


I = TypeVar("I", bound=Item)  # noqa: E741 - the item of a task


@dataclass
class Source:
    """A run, an evaluation, or both: the parts that are there."""

    given: str
    run: Path | None = None  #: the run folder, when there is one
    evaluation: Path | None = None  #: the folder with rows and metrics.json
    rows: Path | None = None
    split: str | None = None
    config: dict[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        folder = self.run or self.evaluation
        assert folder is not None
        return folder

    def value(self, key: str, default: Any = None) -> Any:
        """A value of the run's configuration by its dotted key."""
        found: Any = self.config
        for part in key.split("."):
            if not isinstance(found, dict) or part not in found:
                return default
            found = found[part]
        return found

    def json(self, name: str) -> dict[str, Any]:
        """A JSON file of the run folder; empty when there is none."""
        return read_json(self.run / name) if self.run else {}

    def metrics(self) -> dict[str, Any]:
        """metrics.json of the evaluation; empty when there is none."""
        return read_json(self.evaluation / "metrics.json") if self.evaluation else {}

    def located(self, path: str) -> Path | None:
        """A path of the configuration: it counts from the folder where the run was started, which lies above the run
        folder or is the folder we are in."""
        above = list(self.run.parents) if self.run else []
        found = (folder / path for folder in [*above, Path.cwd()])
        return next((place for place in found if place.exists()), None)


def find(given: str, split: str | None = None) -> Source:
    """What stands at a path.

    Args:
        given: a run folder, a folder of one evaluation (in a run or elsewhere), or a file of rows.
        split: which evaluation of a run; None: that of `data.test`, else `data.select`, else the first by name.

    Raises:
        UserError: there is nothing there, or it is none of these.
    """
    path = Path(given).absolute()
    if path.is_file() and ".jsonl" in path.suffixes:
        return evaluated(given, path.parent, path)
    if not path.is_dir():
        raise UserError(f"{given}: there is no such run or evaluation; limner ls runs shows the runs")
    if (path / ROWS).is_file() or (path / "metrics.json").is_file():
        return evaluated(given, path, path / ROWS)
    if not (path / "config.yaml").is_file():
        raise UserError(f"{given}: neither a run (no config.yaml) nor an evaluation (no {ROWS}); see limner ls runs")
    config = read_config(path)
    names = sorted(folder.name for folder in (path / "eval").glob("*") if folder.is_dir())
    data = config.get("data") or {}
    split = split or next((name for name in (data.get("test"), data.get("select"), *names) if name in names), None)
    source = Source(given, run=path, split=split or data.get("test") or data.get("select") or "val", config=config)
    if split in names:
        source.evaluation = path / "eval" / str(split)
        rows = source.evaluation / ROWS
        source.rows = rows if rows.is_file() else None
    return source


def evaluated(given: str, folder: Path, rows: Path) -> Source:
    """The source of one evaluation; it knows its run when it lies in RUN/eval/SPLIT."""
    run = folder.parent.parent if folder.parent.name == "eval" else None
    if run is not None and not (run / "config.yaml").is_file():
        run = None
    split = read_json(folder / "metrics.json").get("split")
    split = split or (folder.name if run else None)
    config = read_config(run) if run else {}
    return Source(given, run, folder, rows if rows.is_file() else None, split, config)


def read_config(run: Path) -> dict[str, Any]:
    """config.yaml of a run as plain dicts and lists."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    try:
        config = OmegaConf.to_container(OmegaConf.load(run / "config.yaml"))
    except (OSError, ValueError, YAMLError, OmegaConfBaseException) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{run / 'config.yaml'}: cannot be read ({reason}); it should be as the run saved it") from None
    return {str(key): value for key, value in config.items()} if isinstance(config, dict) else {}


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; empty when the file is not there."""
    if not path.is_file():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a whole JSON file ({error}); make it again, or delete it") from None


def interval_of(metrics: Mapping[str, Any], name: str) -> str:
    """The interval of a metric as text; empty when metrics.json has none."""
    ends = (metrics.get("intervals") or {}).get(name) or []
    low, high = [number(end) for end in ends] if len(ends) == 2 else (None, None)
    return "" if low is None or high is None else f"{low:.2f} to {high:.2f}"


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl, none when there is no file; one that a killed run left half written is left out."""
    lines = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else ():
        with suppress(json.JSONDecodeError):
            lines.append(json.loads(text))
    return [line for line in lines if isinstance(line, dict)]


def read_rows(path: Path, places: Collection[int] | None = None) -> Iterator[Row]:
    """The rows of a file, checked line by line.

    Args:
        places: only the rows at these places, counted from 0; the other lines are not parsed, which takes most of the
            time (a row holds the attention to every region).

    Raises:
        UserError: the file is cut off or no rows file, or a row has no id.
    """
    done = 0
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb") as file:
            for place, line in enumerate(file):
                if places is None or place in places:
                    row = json.loads(line)
                    if not isinstance(row, dict) or "id" not in row:
                        raise UserError(f"{path}: line {place + 1} has no id, expected one JSON object an item")
                    yield row
                done = place + 1
    except (EOFError, OSError, ValueError, zlib.error) as error:
        reason = "the file is cut off" if isinstance(error, EOFError) else str(error)
        raise UserError(f"{path}: cannot be read after line {done} ({reason}); evaluate again") from None


def read_items(path: Path, item: Callable[[Row], I]) -> list[I]:
    """The items of a rows file, in its order.

    Args:
        item: what is kept of a row.

    Raises:
        UserError: as `read_rows`, and for an id that stands twice.
    """
    items = [item(row) for row in read_rows(path)]
    if len({one.id for one in items}) < len(items):
        twice = [number for number, count in Counter(one.id for one in items).items() if count > 1]
        raise UserError(f"{path}: ids that stand twice: {listing(twice)}; expected one row an item")
    return items


def number(value: Any) -> float | None:
    """A finite number, or None."""
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None
