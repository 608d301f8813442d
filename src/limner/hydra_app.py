"""What Hydra's own command line does: `--cfg job`, `--help`, `--info`, and sweeps with `-m`.

In a sweep every job is a process of its own. Inside one process Lightning's DDP children would re-run the command line
of the whole sweep, and a failed job would leave its processes behind; a process group a job cures both.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from limner import preflight
from limner.errors import UserError
from limner.files import write_json, write_whole
from limner.paths import conf_dir
from limner.processes import Stopped, stoppable
from limner.run import RUN_ENV


def main(verb: str, overrides: list[str], config_dirs: list[str], flags: list[str]) -> int:
    """Runs Hydra's application for a verb; the exit code (1 when a job of a sweep failed)."""
    multirun = "-m" in flags or "--multirun" in flags
    if multirun and verb != "train":
        raise UserError("only limner train sweeps (-m): call it once for each")
    shows_config = {"-c", "--cfg"} & {f.partition("=")[0] for f in flags}
    if multirun or shows_config:
        preflight.compose(verb, one_job(overrides), config_dirs, checked=multirun)
    elif verb == "train" and not any(o.startswith("experiment=") for o in overrides):
        overrides = [*overrides, "experiment=toy_vqa"]  # help and info need some experiment to show
    search = [f"--config-dir={Path(folder).resolve()}" for folder in config_dirs]
    sweep: list[Path] = []

    @hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=verb)
    def application(config: DictConfig) -> float | None:
        return job(sweep, config_dirs)

    sys.argv = [f"limner {verb}", *search, *flags, *overrides]
    preflight.split_overrides(one_job(overrides), config_dirs)  # names an unknown option before Hydra does
    try:
        with stoppable():
            application()
    except Stopped as error:
        print(f"sweep stopped by {error}; the finished jobs are kept", file=sys.stderr)
        return error.exit_code
    return leaderboard(sweep[0]) if sweep else 0


def one_job(overrides: list[str]) -> list[str]:
    """The overrides of a sweep's first job: `lr=1,2` becomes `lr=1`."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    first = []
    for text in overrides:
        try:
            override = OverridesParser.create().parse_override(text)
        except HydraException:
            first.append(text)
            continue
        if override.is_sweep_override():
            value = next(iter(override.sweep_string_iterator()))
            text = f"{text.partition('=')[0]}={value}"
        if not text.startswith("hydra"):
            first.append(text)
    return first


def job(sweep: list[Path], config_dirs: list[str]) -> float:
    """One job of a sweep, as a process of its own with its own process group; its objective, NaN when it failed."""
    settings = HydraConfig.get()
    folder = Path(settings.runtime.output_dir)
    sweep[:] = [Path(settings.sweep.dir).absolute()]
    command = [sys.executable, "-m", "limner", "train"]
    for directory in config_dirs:
        command += ["--config-dir", directory]
    command += [*settings.overrides.task, f"paths.run='{folder}'"]
    environment = {key: value for key, value in os.environ.items() if key != RUN_ENV}
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        code = process.wait()
    except BaseException:
        end_group(process)
        raise
    if code < 0 or code >= 128:
        end_group(process)
    result = folder / "result.json"
    if code != 0 or not result.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "job.json", {"overrides": list(settings.overrides.task), "exit_code": code})
        print(f"job {settings.job.num} failed with exit code {code}; the others go on", file=sys.stderr, flush=True)
        return float("nan")
    objective = json.loads(result.read_text())["objective"]
    write_json(folder / "job.json", {"overrides": list(settings.overrides.task), "exit_code": 0})
    return float("nan") if objective is None else float(objective)


def end_group(process: subprocess.Popen) -> None:
    """Ends a job with all the processes it has started: politely, then for good."""
    for signum, patience in ((signal.SIGTERM, 30), (signal.SIGKILL, 5)):
        try:
            os.killpg(process.pid, signum)
            process.wait(timeout=patience)
        except (ProcessLookupError, PermissionError):
            return
        except subprocess.TimeoutExpired:
            continue


def leaderboard(sweep: Path) -> int:
    """Writes SWEEP/leaderboard.md and prints it, best objective first; 1 when a job failed."""
    jobs: list[dict[str, Any]] = []
    smaller = False  # is better
    for path in sorted(sweep.glob("*/job.json")):
        result = path.parent / "result.json"
        found = json.loads(result.read_text(encoding="utf-8")) if result.is_file() else {}
        smaller = smaller or found.get("mode") == "min"
        job = {"objective": found.get("objective"), "folder": path.parent.name}
        jobs.append({**json.loads(path.read_text(encoding="utf-8")), **job})
    sign = 1 if smaller else -1
    jobs.sort(key=lambda item: (item["objective"] is None, sign * (item["objective"] or 0)))
    lines = ["| objective | job | overrides |", "|---|---|---|"]
    for item in jobs:
        shown = "failed" if item["exit_code"] else "none" if item["objective"] is None else f"{item['objective']:.4f}"
        lines.append(f"| {shown} | {item['folder']} | {' '.join(item['overrides'])} |")
    write_whole(sweep / "leaderboard.md", "\n".join(lines) + "\n")
    print("\n".join(lines))
    print(f"sweep: {sweep}")
    return 1 if any(item["exit_code"] for item in jobs) else 0
