"""The end of a sweep: its leaderboard, and a page with plots. `limner report SWEEP` makes them anew."""

from __future__ import annotations

from pathlib import Path

from limner.errors import UserError
from limner.files import write_whole
from limner.paths import shown
from limner.reports.page import Html, commands, menu, page, section, table, text
from limner.sweeps import leaderboard, plots
from limner.sweeps.leaderboard import Board, read_board

PAGE = "report.html"


def is_sweep(folder: Path) -> bool:
    """Is this the folder of a sweep, and not of a run?"""
    return not (folder / "config.yaml").is_file() and any(folder.glob("*/job.json"))


def finish(folder: Path) -> bool:
    """Writes and prints the leaderboard of a sweep, and writes its page; has a job failed?"""
    board = read_board(folder)
    if not board.jobs:
        print(f"no job has ended in {shown(folder)}")
        return False
    print("\n".join(leaderboard.write(board)))
    write_whole(folder / PAGE, report(board))
    print(f"\nsweep:  {shown(folder)}\nreport: {shown(folder / PAGE)}")
    return board.failed


def renew(folder: Path, out: Path | None) -> None:
    """`limner report SWEEP`.

    Raises:
        UserError: no job of the sweep has ended.
    """
    board = read_board(folder.absolute())
    if not board.jobs:
        raise UserError(f"{folder}: no job of the sweep has ended yet")
    leaderboard.write(board)
    out = out or folder.absolute() / PAGE
    write_whole(out, report(board))
    print(f"report: {shown(out.absolute())}")


def report(board: Board) -> str:
    """The page of a sweep."""
    counts = ", ".join(
        f"{n} {state}" for state in leaderboard.ORDER if (n := sum(j.state == state for j in board.jobs))
    )
    name = "/".join(board.folder.parts[-2:])
    parts = {"Best": section("Best", commands(*leaderboard.best_lines(board)))}
    if board.done:
        parts["Plots"] = section("Plots", Html(f'<div class="plots">{"".join(drawn(board))}</div>'))
    seeds = leaderboard.over_seeds(board)
    if seeds is not None:
        parts["Seeds"] = section("Seeds", table(*seeds))
    parts["Jobs"] = section("Jobs", table(*leaderboard.table(board)))
    head = f"<h1>{text(name)}</h1><p class='soft'>{text(counts)}</p>"
    return page(f"{name} - limner", head + menu(parts), parts.values())


def drawn(board: Board) -> list[str]:
    """The plots that the jobs allow."""
    figures = [plots.history(board, k) for k in range(len(board.objectives))]
    if len(board.objectives) > 1:
        figures.append(plots.trade(board))
    figures += [plots.validations(board), plots.parallel(board)]
    for k in range(len(board.objectives)):
        figures += [plots.against(board, name, k) for name in board.names]
    return [one for one in figures if one]
