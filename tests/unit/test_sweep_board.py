"""The leaderboard and the page of a sweep, from folders written here."""

from __future__ import annotations

import csv
import json
import shlex
from pathlib import Path

import pytest
from page_tags import Tags

from limner.sweeps import leaderboard, plots
from limner.sweeps.leaderboard import dominates, read_board
from limner.sweeps.report import finish, report


def write(
    folder: Path, number: int | str, state: str, words: list[str], values=None, objectives=None, curve=()
) -> None:
    job = folder / str(number)
    job.mkdir(parents=True)
    found = {"overrides": words, "config_dirs": ["/my conf"], "objectives": objectives or {"val/loss": "min"}}
    found |= {"state": state, "values": values, "seconds": 3.0, "exit_code": 0}
    (job / "job.json").write_text(json.dumps(found))
    lines = [json.dumps({"step": k, "epoch": k, "val/loss": value}) for k, value in enumerate(curve)]
    (job / "metrics.jsonl").write_text("\n".join(lines) + "\n")


@pytest.fixture
def sweep(tmp_path) -> Path:
    """Jobs in which the rate, an option and the seed differ; smaller is better."""
    base = ["experiment=toy_vqa", "name='it\\'s <b>'"]
    for number, (state, lr, optim, seed, value) in enumerate(
        [("done", "0.001", "adam", 1, 3.0), ("failed", "0.001", "sgd", 1, None), ("done", "0.1", "adam", 1, 1.0),
         ("pruned", "1.0", "adam", 1, None), ("done", "0.001", "adam", 2, 2.0)]
    ):  # fmt: skip
        words = [*base, f"optim.lr={lr}", f"optim={optim}", f"seed={seed}"]
        write(tmp_path, number, state, words, None if value is None else [value], curve=[5, value or 9])
    (tmp_path / "7").mkdir()
    (tmp_path / "7/job.json").write_text(json.dumps({"state": "lost", "values": None, "exit_code": None}))
    return tmp_path


def test_best_first_and_the_others_at_the_end(sweep):
    board = read_board(sweep)
    assert [job.number for job in board.jobs] == [2, 4, 0, 3, 1, 7]
    assert board.names == ["optim.lr", "optim", "seed"]
    assert board.failed
    leaderboard.write(board)
    with open(sweep / "leaderboard.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["state"] for row in rows] == ["done"] * 3 + ["pruned", "failed", "lost"]
    assert rows[0] == {"place": "1", "job": "2", "state": "done", "val/loss": "1.0", "front": "1", "seconds": "3.0",
                       "optim.lr": "0.1", "optim": "adam", "seed": "1"}  # fmt: skip
    lines = (sweep / "leaderboard.md").read_text().splitlines()
    assert lines[2] == "| 1 | 1.0000 | 2 | 0.1 | adam | 1 |"
    assert lines[5] == "|  | pruned | 3 | 1.0 | adam | 1 |"


def test_the_best_configuration_can_be_copied(sweep):
    """A shell reads the words back as the job had them."""
    (line,) = leaderboard.best_lines(read_board(sweep))
    words = ["experiment=toy_vqa", "name='it\\'s <b>'", "optim.lr=0.1", "optim=adam", "seed=1"]
    assert shlex.split(line) == ["limner", "train", "--config-dir=/my conf", *words]


def test_seeds_have_a_mean_and_a_deviation(sweep):
    head, rows = leaderboard.over_seeds(read_board(sweep))
    assert head == ["#mean val/loss", "#deviation", "#seeds", "optim.lr", "optim"]
    assert rows == [["1.0000", "", "1", "0.1", "adam"], ["2.5000", "0.7071", "2", "0.001", "adam"]]


def test_the_page_stands_alone(sweep, capsys):
    assert finish(sweep)
    shown = capsys.readouterr().out
    assert (sweep / "leaderboard.md").read_text() in shown
    page = (sweep / "report.html").read_text()
    assert Tags(page).loads == []
    assert "s &lt;b&gt;" in page
    assert "s <b>" not in page
    assert "<script" not in page
    assert "http" not in page
    assert page.count("<svg") == 6  # history, validations, all parameters, and three of them alone
    assert "1 ended early" in page
    assert "3 done, 1 pruned, 1 failed, 1 lost" in page


def test_a_sweep_without_a_finished_job(tmp_path, capsys):
    assert not finish(tmp_path)
    write(tmp_path, 0, "failed", ["a=1"])
    assert finish(tmp_path)
    assert "no job finished" in capsys.readouterr().out


def test_folders_named_by_their_overrides(tmp_path):
    """hydra.sweep.subdir may say how job folders are called."""
    for name in ("lr=1", "lr=2"):
        write(tmp_path, name, "done", [f"optim.{name}"], [float(name[-1])])
    board = read_board(tmp_path)
    assert [(job.number, job.folder.name) for job in board.jobs] == [(0, "lr=1"), (1, "lr=2")]
    assert Tags(report(board)).loads == []


def test_one_job_is_drawn(tmp_path):
    write(tmp_path, 0, "done", ["a=1"], [2.0])
    assert Tags(report(read_board(tmp_path))).loads == []


def test_rates_far_apart_stand_in_equal_ratios(sweep):
    board = read_board(sweep)
    axis = plots.axis_of(board.done, "optim.lr")
    assert axis.places == {0: pytest.approx(-3), 2: pytest.approx(-1), 4: pytest.approx(-3)}
    assert axis.marks == [(-3.0, "0.001"), (-2.0, "0.01"), (-1.0, "0.1")]
    assert plots.axis_of(board.jobs[:-1], "optim").marks == [(0.0, "adam"), (1.0, "sgd")]


def test_several_objectives(tmp_path):
    way = {"val/score": "max", "parameters": "min"}
    for number, values in enumerate([[9, 100], [8, 10], [7, 50], [9, 90]]):
        write(tmp_path, number, "done", [f"model.hidden={number}"], values, way)
    board = read_board(tmp_path)
    assert [(job.number, job.front) for job in board.jobs] == [(3, True), (1, True), (0, False), (2, False)]
    lines = leaderboard.write(board)
    assert lines[2] == "| 1 | 9.0000 | 90.0000 | * | 3 | 3 |"
    assert lines[-3:-1] == [f"limner train '--config-dir=/my conf' model.hidden={k}" for k in (3, 1)]
    page = report(board)
    assert Tags(page).loads == []
    assert "parameters against val/score" in page


def test_dominance():
    assert dominates([2, 1], [1, 1], [-1, 1])
    assert not dominates([1, 1], [1, 1], [-1, 1])
    assert not dominates([2, 2], [1, 1], [-1, 1])
