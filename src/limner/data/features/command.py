"""`limner features check|info|convert|extract`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

from limner.data.features.check import check, describe
from limner.data.features.convert import convert
from limner.data.features.formats import FORMATS
from limner.data.features.native import OPTIONAL
from limner.data.features.progress import time_left
from limner.data.features.store import FeatureStore
from limner.errors import listing


def main(argv: list[str] | None = None) -> int:
    """Runs one verb.

    Returns:
        The exit code: 0 when all is well, 1 when `check` found problems.
    """
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["extract"]:  # key=value words, as the other composed commands
        from limner.extract.command import main as extract

        return extract(argv[1:])
    arguments = _parser().parse_args(argv)
    return arguments.run(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="limner features", description="Files of region features.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    verb = verbs.add_parser("check", help="read every byte and name what is wrong; exit code 1 when anything is")
    verb.add_argument("files", nargs="+", metavar="FILE")
    verb.set_defaults(run=_check)
    verb = verbs.add_parser("info", help="what a file holds")
    verb.add_argument("files", nargs="+", metavar="FILE")
    verb.set_defaults(run=_info)
    verb = verbs.add_parser(
        "convert", help="make a limner store of features in any known format; stopped, it goes on later"
    )
    verb.add_argument("file", metavar="FILE", help="a file, or a folder of files")
    verb.add_argument("--out", required=True, metavar="NEW.h5", help="the file to make; it must not exist")
    names = ", ".join(one.name for one in FORMATS)
    verb.add_argument("--from", dest="form", metavar="FORMAT", help=f"default: what a look at FILE says; {names}")
    verb.add_argument("--extractor", metavar="NAME", help="what computed the features; files of one model must agree")
    verb.add_argument("--drop", action="append", default=[], choices=OPTIONAL, help="leave out this of the regions")
    verb.add_argument("--skip-bad", action="store_true", help="leave out damaged images instead of stopping at one")
    verb.set_defaults(run=_convert)
    verbs.add_parser("extract", help="from images: limner features extract images=PATH out=FILE", add_help=False)
    return parser


def _check(arguments: argparse.Namespace) -> int:
    wrong = 0
    for path in arguments.files:
        problems = check(path, progress=progress_of("checked"))
        wrong += bool(problems)
        for problem in problems:
            print(problem)
        if not problems:
            store = FeatureStore(path)
            kept = "every hash matches" if store.layout.hashes is not None else "no hashes in this layout"
            print(f"{path}: good: {len(store):,} images, {len(store.layout.features):,} regions of {store.dim}, {kept}")
    return int(wrong > 0)


def _info(arguments: argparse.Namespace) -> int:
    for path in arguments.files:
        for key, value in describe(path).items():
            if isinstance(value, bool):
                value = "yes" if value else "no"
            elif isinstance(value, dict):
                value = ", ".join(f"{name}={item}" for name, item in value.items()) or "none"
            elif isinstance(value, list):
                value = ", ".join(value) or "none"
            elif isinstance(value, int):
                value = f"{value:,}"
            print(f"{key:<12} {value}")
    return 0


def _convert(arguments: argparse.Namespace) -> int:
    done = convert(
        arguments.file,
        arguments.out,
        form=arguments.form,
        extractor=arguments.extractor,
        drop=tuple(arguments.drop),
        skip_bad=arguments.skip_bad,
        progress=time_left("converted"),
    )
    print(f"{arguments.out}: {done.images:,} images")
    if done.left_out:
        print(f"left out {len(done.left_out):,} images whose features are all zero (ids {listing(done.left_out)})")
    if done.repeated:
        print(f"{len(done.repeated):,} images stand twice with equal features, kept once ({listing(done.repeated)})")
    for problem in done.bad:
        print(f"left out: {problem}")
    return 0


def progress_of(verb: str) -> Callable[[int, int], None] | None:
    """A line that renews itself twice a second, for people only."""
    if not sys.stderr.isatty():
        return None
    last = 0.0

    def show(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last > 0.5 or done == total:
            last = now
            print(
                f"\r{verb} {done:,} of {total:,} images", end="\n" if done == total else "", file=sys.stderr, flush=True
            )

    return show
