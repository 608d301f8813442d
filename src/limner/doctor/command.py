"""`limner doctor`: prints all findings; the exit code says whether one of them is a fault."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

from limner.doctor.finding import FAULT, Finding


def main(argv: list[str]) -> int:
    """0 when nothing stands in the way, 1 when something is broken."""
    parser = argparse.ArgumentParser(prog="limner doctor", description="What this machine has, and what is broken.")
    parser.add_argument("--config-dir", action="append", default=[], help="your own folder of configs")
    parser.add_argument("--outputs", default="outputs", help="folder of the runs (default: outputs)")
    parser.add_argument("--data", default="data", help="folder of the data sets (default: data)")
    parser.add_argument(
        "--seconds", type=float, default=5.0, help="of the check with two processes; 0: start no processes"
    )
    options = parser.parse_args(argv)
    faults = 0
    for finding in findings(options):
        print(finding, flush=True)
        faults += finding.state == FAULT
    print(f"{faults or 'no'} fault{'s' if faults > 1 else ''}")
    return 1 if faults else 0


def findings(options: argparse.Namespace) -> Iterator[Finding]:
    """All of them, the quick ones first."""
    from limner.doctor import data, machine, pair

    outputs = Path(options.outputs)
    yield from machine.versions()
    yield machine.extras()
    yield machine.cores()
    yield from machine.gpus()
    yield from machine.java()
    yield from machine.disk({"outputs": outputs, "data": Path(options.data), "temp": Path(tempfile.gettempdir())})
    yield machine.wandb(outputs)
    yield from data.data_sets(options.config_dir, Path(options.data))
    if options.seconds > 0:
        yield machine.wandb_service()
        yield pair.pair(options.seconds)
