"""`limner data get NAME`: a data set of others, from where it is published or from a folder."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from limner.errors import UserError
from limner.fetch.get import Outcome, get, wanted
from limner.fetch.progress import size, watching
from limner.fetch.sources import NAME
from limner.fetch.table import TABLE, DataSet, File, read_table


def main(argv: list[str] | None = None) -> int:
    """`limner data get [NAME] [--to DIR] [--from FOLDER] [--dry-run] [--table FILE]`. Returns the exit status."""
    given = _parser().parse_args(argv)
    sets = read_table(Path(given.table))
    if given.name is None:
        print("\n".join(f"{name:<19} {one.about}" for name, one in sets.items()))
        print("\nlimner data get NAME --dry-run shows files, sizes, licences and addresses")
        return 0
    if given.name not in sets:
        raise UserError(f"data get {given.name}: there is no such data set; there are {', '.join(sets)}")
    folder = Path(given.to or sets[given.name].to)
    files = list(wanted(given.name, sets))
    if given.dry_run:
        print("\n".join(_plan(sets, given.name, files, folder)))
        return 0
    by_hand = Path(given.by_hand) if given.by_hand else None
    if by_hand is not None and not by_hand.is_dir():
        raise UserError(f"--from {by_hand}: there is no such folder")
    try:
        with watching() as watch:
            outcome = get(files, folder, by_hand=by_hand, tell=_tell, watch=watch)
    except KeyboardInterrupt:
        print(f"interrupted; what came is kept in {folder}, the same command goes on", file=sys.stderr)
        return 130
    _report(outcome, sets, given.name, folder)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="limner data get",
        description="Fetches a data set, verifies and unpacks it; stopped, the same command goes on. Without a name: "
        "what can be fetched.",
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="one of the data sets of the table")
    parser.add_argument("--to", metavar="DIR", help="where to (default: where the configs look for it)")
    parser.add_argument(
        "--from", dest="by_hand", metavar="FOLDER", help="take files that were fetched by hand, packed or unpacked; "
        "nothing is asked of the network"
    )  # fmt: skip
    parser.add_argument("--dry-run", action="store_true", help="show what would be fetched, and fetch nothing")
    parser.add_argument("--table", default=str(TABLE), metavar="FILE", help="a table of one's own, as sets.yaml")
    return parser


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _plan(sets: Mapping[str, DataSet], name: str, files: list[tuple[DataSet, File]], folder: Path) -> list[str]:
    """What would be fetched: files, sizes, licences, addresses and their states."""
    lines = [f"{name}: {sets[name].about}", f"to {folder}"]
    owner = None
    for one, file in files:
        if one is not owner:
            owner = one
            lines += ["", f"{one.name}: licence: {one.licence}; {one.home}"]
        there = all((folder / place).is_file() for place in file.places)
        verified = ", sha256 known" if file.sha256 else ""
        lines.append(f"  {file.name}: {'is there' if there else size(file.size) + verified}")
        lines += [f"    -> {place}" for place in file.places]
        for address in file.addresses:
            told = f" ({address.told})" if address.told else ""
            lines.append(f"    {address.state:<10} {address.url}{told}")
    todo = [file for _, file in files if not all((folder / place).is_file() for place in file.places)]
    known = sum(file.size for file in todo if file.size is not None)
    unknown = sum(file.size is None for file in todo)
    more = f" and {unknown} of unknown size" if unknown else ""
    return [*lines, "", f"to fetch: {len(todo)} files, {size(known)}{more}"]


def _report(outcome: Outcome, sets: Mapping[str, DataSet], name: str, folder: Path) -> None:
    """What is there now, and what is left to do.

    Raises:
        UserError: files could not be had; one line with the reasons and the next step.
    """
    done = f"{folder}: {len(outcome.came)} files came, {len(outcome.there)} were there and are right"
    if outcome.lost:
        told = "; ".join(f"{file}: {', '.join(reasons)}" for file, reasons in outcome.lost.items())
        chosen = [sets[one] for one in (name, *sets[name].together)]
        advice = [one.advice for one in chosen if one.advice and any(file.name in outcome.lost for file in one.files)]
        by_hand = f"what you fetched by hand comes in with: limner data get {name} --to {folder} --from FOLDER"
        raise UserError(f"{done}, {len(outcome.lost)} are missing: {told}. Next: {'. '.join([*advice, by_hand])}")
    print(f"{done}; {NAME} tells where from")
    for step in sets[name].then:
        print(f"  next: {step.format(to=folder)}")
