"""Sweeps from the command line: what is searched, mistakes in one line, and a whole search in one process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from limner import cli, preflight
from limner.errors import UserError
from limner.listing import keys
from limner.sweeps import job as jobs
from limner.sweeps.job import quoted
from limner.sweeps.leaderboard import read_board
from limner.sweeps.space import Choices, Range, combinations, read, space_of

SCRIPT = Path(__file__).with_name("sweep_training.py")
TOY = "experiment=toy_vqa"
LR = "optim.lr=interval(0.0,1.0)"

BAD = {
    f"sweep=serach {LR}": ["there is no such sweep (did you mean 'search'?)", "vqa_lr"],
    f"sweep=search {LR} sweep.trails=3": ["no key 'trails' in sweep (did you mean 'sweep.trials'?)"],
    f"sweep=search {LR} sweep.trials=x sweep.sampler=tpee sweep.jobs=0": [
        "sweep.trials: found 'x', expected int | None (jobs in all", "found 'tpee', expected one of tpe, random, cmaes",
        "sweep.jobs: found 0, expected at least 1",
    ],
    f"sweep=vqa_tradeoff {LR} sweep.trials=null sweep.name=a/b resume=outputs/x sweep.pruner=median "
    "+sweep.objectives={val/cider:up,speed:max}": [
        "sweep.trials: found 'null', expected a number: sampler tpe", "sweep.name=a/b: expected the name of a folder",
        "resume=outputs/x: a search makes new runs", "objectives.val/cider: found 'up', expected one of max, min",
        "several objectives cannot be compared in the middle", "objectives.speed: expected a validation metric",
    ],
    "sweep=search optim.lrr=interval(0,1)": ["no key 'lrr' in optim (did you mean 'optim.lr'?)"],
    "sweep=search": ["nothing is searched: give a key a range, such as optim.lr=interval(1e-4,1e-2)"],
    f"sweep=search {LR} optim=adam,adamm": ["there is no such optim (did you mean 'adam'?)"],
    f"sweep=search {LR} sweep.sampler=cmaes": ["needs two ranges of numbers, found optim.lr"],
    f"sweep=search {LR} hydra/launcher=jobli": ["there is no such launcher; there are basic"],
    "-m seed=1,2 hydra/launcher=submitit_slurm hydra.launcher.tasks_per_node=4": ["expected 1: each job starts its"],
    "-m seed=1,2 trainer.num_nodes=2": ["trainer.num_nodes: a job of a sweep runs on one machine"],
    f"-m {LR}": ["optim.lr: a grid needs values", "sweep=search"],
}  # fmt: skip


@pytest.fixture(autouse=True)
def _in_a_folder_with_data(tmp_path, monkeypatch):
    """Empty files stand for the toy world: what is checked is that they exist."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(jobs, "TRAIN", [sys.executable, str(SCRIPT)])
    monkeypatch.setattr(jobs, "LOOK", 0.01)
    data = preflight.compose("train", [TOY], checked=False).data
    for path in [data.features, *data.questions.values(), *data.annotations.values()]:
        Path(path if isinstance(path, str) else path[0]).parent.mkdir(parents=True, exist_ok=True)
        Path(path if isinstance(path, str) else path[0]).touch()


@pytest.mark.parametrize("typed", BAD)
def test_mistakes_are_one_line(capsys, tmp_path, typed):
    assert cli.main(["train", TOY, *typed.split()]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    for said in BAD[typed]:
        assert said in lines[0]
    assert not (tmp_path / "outputs").exists()


def test_a_mistake_in_a_preset_of_ones_own(capsys, tmp_path):
    (tmp_path / "mine/sweep").mkdir(parents=True)
    text = "defaults: [search]\nname: mine\nparameters: {optim.lr: 'intervall(0,1)'}\n"
    (tmp_path / "mine/sweep/mine.yaml").write_text(text)
    assert cli.main(["train", TOY, "sweep=mine", "--config-dir", "mine"]) == 2
    assert "'optim.lr=intervall(0,1)' is not an override" in capsys.readouterr().err
    (tmp_path / "mine/experiment").mkdir()
    experiment = "# @package _global_\ndefaults: [toy_vqa, _self_]\nsweep: {trials: 3}\n"
    (tmp_path / "mine/experiment/hidden.yaml").write_text(experiment)
    assert cli.main(["train", "experiment=hidden", "--config-dir", "mine"]) == 2
    assert "a search is begun on the command line, with sweep=NAME" in capsys.readouterr().err


def test_a_mistake_imports_nothing_heavy(tmp_path):
    program = (
        f"import sys; from limner.cli import main; code = main(['train', '{TOY}', 'sweep=toy', 'sweep.jobs=x']);"
        "heavy = {'torch', 'pytorch_lightning', 'optuna', 'wandb'} & set(sys.modules); sys.exit(f'{code} {heavy}')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.stderr.splitlines()[-1] == "2 set()"


def test_the_configuration_of_a_sweeps_first_job(capfd):
    assert cli.main(["train", "--cfg", "job", "-m", TOY, "sweep=toy", "optim.lr=0.25,0.5"]) == 0
    shown = capfd.readouterr().out
    assert "lr: 0.25" in shown
    assert "sampler: tpe" in shown


def test_keys_are_listed():
    shown = "\n".join(keys())
    for name in ("sampler: str = tpe", "pruner_start_epochs: int = 1", "parameters: dict[str, Any]", "pin: str = none"):
        assert name in shown


@pytest.mark.parametrize("name", [name for name in preflight.group_options("sweep", []) if name != "search"])
def test_every_preset_says_what_it_searches(name):
    config = preflight.compose("train", [TOY, f"sweep={name}"], checked=False)
    assert config.sweep.name == name
    assert space_of(config.sweep.parameters, []) or name == "grid"


@pytest.mark.slow
def test_a_search_from_the_command_line(capsys, tmp_path):
    """The command's range takes the place of the preset's, a single value ends it; the same command goes on."""
    words = ["train", TOY, "sweep=toy", "optim.lr=interval(0.2,0.4)", "model.hidden=64", "logger=files", "name='a b'"]
    assert cli.main([*words, "sweep.trials=2"]) == 0
    assert cli.main([*words, "sweep.trials=3", "seed=13", "sweep.name=other"]) == 1
    assert cli.main([*words, "sweep.trials=4"]) == 0
    assert "2 finished jobs" in capsys.readouterr().out
    board = read_board(tmp_path / "outputs/sweeps/a b/toy")
    assert board.names == ["optim.lr"]
    assert [job.number for job in sorted(board.jobs, key=lambda job: job.number)] == [0, 1, 2, 3]
    assert all(0.2 <= float(job.parameters["optim.lr"]) <= 0.4 for job in board.jobs)
    started = json.loads((board.jobs[0].folder / "started.json").read_text())
    assert started["model.hidden"] == "64"
    assert started["logger.group"] == "'toy'"
    assert not [key for key in started if key.startswith(("sweep", "hydra"))]
    assert cli.main([*words, "optim.lr=interval(0.2,0.5)"]) == 2
    assert "the study has the parameters" in capsys.readouterr().err
    assert cli.main(["report", str(board.folder), "--out", "page.html"]) == 0
    assert (tmp_path / "page.html").read_text() == (board.folder / "report.html").read_text()
    assert len(read_board(tmp_path / "outputs/sweeps/a b/other").jobs) == 3


@pytest.mark.slow
def test_grids_need_no_optuna(capsys, tmp_path):
    assert cli.main(["train", "-m", TOY, "optim.lr=0.1,0.3", "seed=1,2"]) == 0
    (sweep,) = (tmp_path / "outputs/sweeps/toy_vqa").iterdir()
    shown = capsys.readouterr().out
    assert "The same configuration with several seeds" in shown
    assert read_board(sweep).jobs[0].parameters == {"optim.lr": "0.3", "seed": "1"}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("interval(1e-4,1e-2)", Range(1e-4, 1e-2)),
        ("tag(log,interval(1e-4,1e-2))", Range(1e-4, 1e-2, log=True)),
        ("int(interval(16,64))", Range(16, 64)),
        ("tag(log,int(interval(16,64)))", Range(16, 64, log=True)),
        ("range(16,65,16)", Range(16, 64, 16)),
        ("range(1,6)", Range(1, 5, 1)),
        ("range(0.1,0.5,0.1)", Range(0.1, 0.4, 0.1)),
        ("choice(a,2,'b c')", Choices(("a", "2", "b\\ c"))),
        ("1e-3,true", Choices(("0.001", "True"))),
    ],
)
def test_what_is_searched(text, found):
    read_one = read(f"key={text}")
    assert type(read_one) is type(found)
    assert read_one == (found if isinstance(found, Choices) else pytest.approx(found))
    if isinstance(found, Range):
        assert isinstance(found.low, int) == isinstance(read_one.low, int)


@pytest.mark.parametrize("text", ["interval(1,0)", "interval(1,1)", "tag(log,interval(0,1))", "3", "glob(*)"])
def test_what_cannot_be_searched(text):
    with pytest.raises(UserError, match=r"expected|glob"):
        read(f"key={text}")


def test_points_of_a_grid():
    space = space_of({"b": "range(0,3)"}, ["a=x,y", "b=range(1,3)", "c=7"])
    assert combinations(space) == [{"a": a, "b": b} for a in "xy" for b in (1, 2)]


@pytest.mark.parametrize("text", ["plain", "it's", "a b,c=d", "back\\slash", "\\'", "ends\\", "[x]{y}(z)"])
def test_quoted_values_come_back(text):
    assert preflight.parse(f"paths.run={quoted(text)}").value() == text
