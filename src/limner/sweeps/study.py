"""A study on disk: Optuna's journal in the sweep's folder, who may write it, and what a crash has left in it."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from limner.errors import UserError, listing
from limner.files import only_writer, write_json
from limner.paths import shown
from limner.reports.source import read_json
from limner.run import make_folder
from limner.schema.older import fill
from limner.sweeps.space import Range, Space, plain
from limner.unfinished import FREE

NAME = "search"
LOST = "lost"  # an attribute of a trial that ended with its sweep: it does not count, its parameters come again
AGAIN = "again"  # the number of the lost trial that a trial repeats
DIED = "died"  # the repeated trial was killed, not stopped: if this one is, too, that is the end of it


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """The folder of a search for this process alone, until the block ends or the process dies.

    Raises:
        UserError: another process searches there, or the folder cannot be made.
    """
    make_folder(folder)
    with open(folder / ".lock", "a+", encoding="utf-8") as file:
        try:
            only_writer(file, folder)
        except UserError:
            file.seek(0)
            who = file.read().strip() or "another process"
            advice = "more jobs at a time: sweep.jobs=N with a parallel launcher; another search: sweep.name=NAME"
            raise UserError(f"{shown(folder)}: {who} searches here already; {advice}") from None
        except OSError as error:
            raise UserError(
                f"{file.name}: cannot be locked ({error.strerror}): choose another disk, paths.outputs=DIR"
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield


def compared(config: Any, space: Space) -> dict[str, Any]:
    """A configuration without what may change from start to start, and without what is searched."""
    found = {key: value for key, value in config.items() if key not in (*FREE, "sweep", "logger")}
    for name in space:
        *path, last = name.lstrip("+").partition("@")[0].split(".")
        node: Any = found
        for part in path:
            node = node.get(part) if isinstance(node, dict) else None
        if isinstance(node, dict):
            node.pop(last, None)
    return found


def claim(folder: Path, config: DictConfig, space: Space, objectives: Mapping[str, str]) -> None:
    """Notes what the study searches, or compares it with what it has searched so far.

    Raises:
        UserError: another space, other objectives or another configuration: their trials cannot be compared.
    """
    now = {"parameters": plain(space), "objectives": [list(one) for one in objectives.items()]}
    current = OmegaConf.to_container(config, resolve=True)
    before = read_json(folder / "sweep.json")
    if not before:
        write_json(folder / "sweep.json", {**now, "config": current})
        return
    advice = f"begin another study with sweep.name=NAME, or delete {shown(folder)}"
    for part in ("parameters", "objectives"):
        if before[part] != now[part]:
            was, found = (json.dumps(which[part]) for which in (before, now))
            raise UserError(f"{shown(folder)}: the study has the {part} {was}, the command {found}; {advice}")
    saved = OmegaConf.create(before["config"])
    assert isinstance(saved, DictConfig)
    then, today = OmegaConf.to_container(fill(saved)), json.loads(json.dumps(current))
    changed = different(compared(then, space), compared(today, space))
    if changed:
        what = f"another configuration ({listing(changed)})"
        raise UserError(f"{shown(folder)}: the study was begun with {what}; {advice}")


def different(one: Any, other: Any, prefix: str = "") -> list[str]:
    """Dotted keys whose values differ."""
    if not isinstance(one, dict) or not isinstance(other, dict):
        return [] if one == other else [prefix]
    missing = object()
    keys = sorted({*one, *other})
    dot = f"{prefix}." if prefix else ""
    return [k for key in keys for k in different(one.get(key, missing), other.get(key, missing), f"{dot}{key}")]


class Study:
    """Optuna's study in a folder.

    Args:
        folder: of the search.
        directions: of the objectives, max or min, to begin a study; None: it is there.
    """

    def __init__(self, folder: Path, directions: list[str] | None = None):
        optuna = import_optuna()
        self.folder = folder
        journal = folder / "journal.log"
        if directions is not None:
            mend(journal)
        storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(journal)))
        if directions is None:
            self.optuna = optuna.load_study(study_name=NAME, storage=storage)
        else:
            ways = ["maximize" if way == "max" else "minimize" for way in directions]
            self.optuna = optuna.create_study(storage=storage, study_name=NAME, directions=ways, load_if_exists=True)

    def trials(self, *states: str) -> list[Any]:
        """The trials, in order; states: RUNNING, COMPLETE, ... (none: all)."""
        from optuna.trial import TrialState

        chosen = tuple(TrialState[state] for state in states) or None
        return self.optuna.get_trials(deepcopy=False, states=chosen)

    def trial(self, number: int) -> Any:
        return self.trials()[number]

    def finished(self) -> int:
        """Trials that count: done, pruned, or failed."""
        return sum(LOST not in trial.user_attrs for trial in self.trials("COMPLETE", "PRUNED", "FAIL"))

    def report(self, number: int, epoch: int, value: float) -> None:
        """A validation of a running trial."""
        trial = self.trial(number)
        if not trial.state.is_finished():
            self.optuna._storage.set_trial_intermediate_value(trial._trial_id, epoch, value)

    def tell(self, number: int) -> dict[str, Any]:
        """Finishes a trial with what its job.json says; a job without one died."""
        from optuna.trial import TrialState

        found = read_json(self.folder / str(number) / "job.json")
        if found.get("state") == "done":
            self.optuna.tell(number, found["values"])
        else:
            reported = bool(self.trial(number).intermediate_values)
            pruned = found.get("state") == "pruned" and reported
            self.optuna.tell(number, state=TrialState.PRUNED if pruned else TrialState.FAIL)
        return found

    def recover(self) -> list[int]:
        """What a killed sweep has left: jobs that had ended are told, others are tried once again.

        Returns:
            The numbers of the lost trials.
        """
        lost = []
        for trial in self.trials("RUNNING"):
            if (self.folder / str(trial.number) / "job.json").is_file():
                self.tell(trial.number)
            elif DIED in trial.user_attrs:
                self.end(trial.number, "failed", reason="it died a second time with its sweep")
            else:
                self.repeat(trial.number, died=True)
                lost.append(trial.number)
        return lost

    def repeat(self, number: int, *, died: bool) -> None:
        """Gives up a running trial; its parameters come again.

        Args:
            died: it was killed. One that was stopped politely may be repeated as often as one likes.
        """
        trial = self.trial(number)
        self.optuna._storage.set_trial_user_attr(trial._trial_id, LOST, True)
        if not any(other.user_attrs.get(AGAIN) == number for other in self.trials()):  # killed in this place, too
            attributes: dict[str, Any] = {AGAIN: number}
            self.optuna.enqueue_trial(
                trial.params, user_attrs=attributes | ({DIED: True} if died or DIED in trial.user_attrs else {})
            )
        self.end(number, LOST)

    def end(self, number: int, state: str, **more: Any) -> None:
        """Fails a trial that has no result."""
        write_json(self.folder / str(number) / "job.json", {"state": state, "exit_code": None, "values": None, **more})
        self.tell(number)


def mend(journal: Path) -> None:
    """Cuts off a line that a full disk or a power cut left half written: Optuna could not read what follows it."""
    if not journal.is_file():
        return
    text = journal.read_bytes()
    whole = text.rfind(b"\n") + 1
    if whole < len(text):
        os.truncate(journal, whole)


def import_optuna() -> Any:
    """Optuna, quiet.

    Raises:
        UserError: it is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise UserError("sweep: Optuna is not installed: pip install 'limner[sweeps]'") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def distributions(space: Space) -> dict[str, Any]:
    """The space for Optuna."""
    from optuna import distributions as kinds

    def one(part: Any) -> Any:
        if not isinstance(part, Range):
            return kinds.CategoricalDistribution(part.values)
        if part.whole:
            return kinds.IntDistribution(int(part.low), int(part.high), log=part.log, step=int(part.step or 1))
        return kinds.FloatDistribution(part.low, part.high, log=part.log, step=part.step)

    return {name: one(part) for name, part in space.items()}
