"""`limner report RUN`: a run or an evaluation as one HTML file that needs nothing else."""

from __future__ import annotations

import argparse
from pathlib import Path

from limner.errors import UserError
from limner.paths import shown
from limner.reports import sections
from limner.reports.page import menu, page
from limner.reports.several import above, several
from limner.reports.source import Source, find, read_items
from limner.reports.tasks import task_of
from limner.run import write_whole
from limner.sweeps.report import is_sweep, renew

ABOUT = """\
Makes one HTML file of a run: what was run, curves, where the model is right and wrong, and examples with pictures and
the regions it looked at. Of several runs: what differs between them, and their curves in the same plots. The page needs
no network and no script; send it to anyone."""


def main(argv: list[str]) -> int:
    """`limner report RUN [RUN ...] [--split NAME] [--images DIR] [--out FILE]`; the exit code."""
    parser = argparse.ArgumentParser(prog="limner report", description=ABOUT)
    parser.add_argument(
        "run", nargs="+", help="a run folder, or a folder with rows.jsonl.gz; several runs: their curves"
    )
    parser.add_argument("--split", help="which evaluation of the run (default: data.test, else data.select)")
    parser.add_argument("--images", help="folder with the pictures (default: images in the run's data.folder)")
    parser.add_argument("--examples", type=int, default=12, help="how many of the worst rows to show (default: 12)")
    parser.add_argument("--out", help="the file to write (default: report.html in the run, or runs.html above them)")
    options = parser.parse_args(argv)
    if options.images and not Path(options.images).is_dir():
        raise UserError(f"--images {options.images}: there is no such folder; give the one that holds the pictures")
    first = Path(options.run[0])
    if len(options.run) == 1 and is_sweep(first):
        renew(first, Path(options.out) if options.out else None)
        return 0
    sources = [find(run, options.split) for run in options.run]
    if len(sources) > 1:
        out = Path(options.out) if options.out else above(sources) / "runs.html"
        write_whole(out, several(sources))
        print(f"report: {shown(out.absolute())}")
        return 0
    source = sources[0]
    out = Path(options.out) if options.out else source.folder / "report.html"
    write_whole(out, report(source, images=options.images, show=max(options.examples, 0)))
    print(f"report: {shown(out.absolute())}")
    if source.rows is None:
        print("; make them with: ".join(["without examples: there are no rows", *sections.evaluating(source)]))
    return 0


def report(source: Source, *, images: str | None = None, show: int = 12) -> str:
    """The page of a source.

    Args:
        images: the folder of pictures; None: `images` in the run's `data.folder`, when it is there.
        show: how many of the worst rows to show; half as many others.

    Raises:
        UserError: a file of the run is broken. What is absent is said on the page.
    """
    task = task_of(source)
    items = read_items(source.rows, task.item) if source.rows else []
    parts = {"What was run": sections.what_was_run(source, task), "Training": sections.training(source, task)}
    missing = sections.missing_rows(source)
    if missing is not None:
        parts["Rows"] = missing
    else:
        parts |= task.sections(source, items, images_of(source, images), show)
    head = sections.headline(source, items, task)
    return page(f"{head_name(source)} - limner", head + menu(parts), parts.values())


def images_of(source: Source, given: str | None) -> Path | None:
    """The folder of pictures, when there is one."""
    if given:
        return Path(given).absolute()
    folder = source.value("data.folder")
    return source.located(f"{folder}/images") if folder else None


def head_name(source: Source) -> str:
    return "/".join(source.folder.parts[-2:])
