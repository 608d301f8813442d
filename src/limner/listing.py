"""`limner ls`: what there is. Experiments, config groups, every key with its meaning, runs."""

from __future__ import annotations

import argparse
from dataclasses import MISSING, is_dataclass
from pathlib import Path

from limner.errors import UserError
from limner.paths import conf_dir
from limner.preflight import group_names, group_options, suggest
from limner.run import RunFolder
from limner.schema import GROUPS, TARGETED, VERBS, target_of
from limner.schema.keys import documented


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="limner ls", description="Lists experiments, config groups, keys and runs.")
    parser.add_argument("what", nargs="?", help="a config group (optim, data, ...) or `runs`; nothing: an overview")
    parser.add_argument("--keys", action="store_true", help="every key with its type, default and meaning")
    parser.add_argument("--outputs", default="outputs", help="folder of the runs (default: outputs)")
    parser.add_argument("--config-dir", action="append", default=[], help="your own folder of configs")
    options = parser.parse_args(argv)
    if options.keys:
        print("\n".join(keys()))
    elif options.what == "runs":
        print("\n".join(runs(Path(options.outputs))))
    elif options.what:
        print("\n".join(describe(options.what, options.config_dir)))
    else:
        print("\n".join(overview(Path(options.outputs), options.config_dir)))
    return 0


def overview(outputs: Path, config_dirs: list[str]) -> list[str]:
    lines = ["experiments (limner train experiment=NAME):"]
    lines += describe("experiment", config_dirs)
    lines += ["", "config groups (group=option):"]
    for group in group_names(config_dirs):
        if group not in ("experiment", "hydra"):
            lines.append(f"  {group:<10} {', '.join(group_options(group, config_dirs))}")
    return [*lines, "", "latest runs (limner ls runs shows all):", *runs(outputs)[-5:]]


def describe(group: str, config_dirs: list[str]) -> list[str]:
    """The options of a group with the first comment of each file."""
    if group not in group_names(config_dirs):
        known = group_names(config_dirs)
        raise UserError(f"{group}: there is no such config group{suggest(group, known)}; there are {', '.join(known)}")
    lines = []
    for option in group_options(group, config_dirs):
        folder = next(f for f in [conf_dir(), *map(Path, config_dirs)] if (f / group / f"{option}.yaml").is_file())
        lines.append(f"  {option:<24} {first_comment(folder / group / f'{option}.yaml')}")
    return lines


def first_comment(path: Path) -> str:
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("# @"):
            continue
        return line[2:] if line.startswith("# ") else ""
    return ""


def keys() -> list[str]:
    """Every key of every schema: `name: type = default    meaning`."""
    lines = []
    named = [(f"limner {verb}", cls) for verb, cls in VERBS.items()]
    named += list(GROUPS.items()) + [(target_of(cls), cls) for cls in TARGETED]
    for title, cls in named:
        lines.append(f"\n{title}")
        for name, field in documented(cls).items():
            made = field.default if field.default is not MISSING else field.default_factory()
            default = "" if is_dataclass(made) else "null" if made is None else made
            kind = str(field.type).replace("common.", "")
            lines.append(f"  {f'{name}: {kind} = {default}':<48} {field.metadata['doc']}")
            if field.metadata["choices"]:
                lines.append(f"  {'':<48} one of {', '.join(map(str, field.metadata['choices']))}")
    return lines


def runs(outputs: Path) -> list[str]:
    """A line a run, the latest last: folder, state, objective, and why it ended when it is not done."""
    lines = []
    for path in sorted(outputs.glob("**/status.json"), key=lambda p: p.stat().st_mtime):
        run = RunFolder(path.parent)
        try:
            status, state = run.status(), run.state()
        except (ValueError, KeyError) as error:  # a damaged file must not hide the other runs
            status, state = {"reason": f"status.json cannot be read: {error}"}, "unknown"
        objective = status.get("objective")
        value = "" if objective is None else f"{objective:.2f}"
        reason = "" if state in ("done", "running") else str(status.get("reason", ""))[:80]
        if state in ("died", "stopped") and run.last.is_file():
            reason = f"limner train resume={run.path}"
        lines.append(f"  {path.parent!s:<48} {state:<8} {value:>8}  {reason}".rstrip())
    return lines or [f"  none in {outputs}/"]
