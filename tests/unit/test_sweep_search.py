"""Searches with a known objective: samplers, continuing after a crash, pruning, refusals. Jobs are real processes."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from small_sweep import SCRIPT, config

from limner.errors import UserError
from limner.processes import Stopped
from limner.sweeps import job as jobs
from limner.sweeps import study
from limner.sweeps.leaderboard import read_board
from limner.sweeps.search import Search
from limner.sweeps.space import space_of

LR = "optim.lr=interval(0.0,1.0)"
HIDDEN = "model.hidden=int(interval(1,64))"


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(jobs, "TRAIN", [sys.executable, str(SCRIPT)])
    monkeypatch.setattr(jobs, "LOOK", 0.01)


def search(folder: Path, settings, words: list[str]) -> Search:
    """Runs a search as the command does, with the jobs of a round one after the other."""
    folder.mkdir(exist_ok=True)

    def launch(batch):
        for overrides in batch:
            *task, subdir = overrides
            jobs.run_job(settings, folder / subdir.partition("=")[2], task, [])

    found = Search(folder, settings, words)
    found.run(launch)
    return found


def value(lr: float, hidden: float) -> float:
    return 100 - 100 * (lr - 0.3) ** 2 - 1 / hidden


def asked(folder: Path, settings, words: list[str], count: int, restart: bool) -> list[dict]:
    """The points that a search asks for when each is told its value; restart: by a new process each time."""
    folder.mkdir()
    from limner.sweeps.samplers import sampler

    one = Search(folder, settings, words)
    for _ in range(count):
        one = Search(folder, settings, words) if restart else one
        one.study.optuna.sampler = sampler(settings.sweep, len(one.study.trials()))
        trial = one.study.optuna.ask(study.distributions(one.space))
        lr, hidden = trial.params["optim.lr"], trial.params.get("model.hidden", 8)
        one.study.optuna.tell(trial, value(lr, hidden))
    return [trial.params for trial in one.study.trials()]


@pytest.mark.parametrize("kind", ["tpe", "random", "cmaes"])
def test_a_continued_study_asks_what_an_uninterrupted_one_asks(tmp_path, kind):
    words = [LR, HIDDEN]
    begun = [asked(tmp_path / str(again), config(sampler=kind), words, 16, again) for again in (False, True)]
    assert begun[0] == begun[1]
    assert len({point["optim.lr"] for point in begun[0]}) == 16
    assert begun[0] != asked(tmp_path / "other", config(sampler=kind, seed=2), words, 16, False)


@pytest.mark.parametrize("kind", ["tpe", "cmaes"])
def test_samplers_that_learn_come_nearer_than_chance(tmp_path, kind):
    def distance(points):
        return sum(abs(point["optim.lr"] - 0.3) for point in points[-12:]) / 12

    learned = asked(tmp_path / "a", config(sampler=kind), [LR, HIDDEN], 48, False)
    assert distance(learned) < 0.6 * distance(asked(tmp_path / "b", config(sampler="random"), [LR, HIDDEN], 48, False))
    assert all(0 <= p["optim.lr"] <= 1 and 1 <= p["model.hidden"] <= 64 for p in learned)


def test_a_search_in_two_commands(tmp_path, capsys):
    """The second command adds the missing jobs, in folders of their own; a failed job counts and does not stop it."""
    words = ["optim.lr=tag(log,interval(1e-3,1.0))", "seed=choice(1,13)"]
    search(tmp_path / "s", config(trials=3), words)
    before = [(tmp_path / "s" / str(k) / "job.json").read_text() for k in range(3)]
    capsys.readouterr()
    search(tmp_path / "s", config(trials=5, sampler="random"), words)
    assert "3 finished jobs" in capsys.readouterr().out
    assert [(tmp_path / "s" / str(k) / "job.json").read_text() for k in range(3)] == before
    board = read_board(tmp_path / "s")
    assert len(board.jobs) == 5
    states = {job.number: job.state for job in board.jobs}
    for job in board.jobs:
        assert states[job.number] == ("failed" if job.parameters["seed"] == "13" else "done")
        assert 1e-3 <= float(job.parameters["optim.lr"]) <= 1
    assert board.failed
    assert "failed" in states.values()
    assert [job.state for job in board.jobs] == sorted(states.values())  # done stands first
    assert "this seed is bad luck" in (board.jobs[-1].folder / "output.txt").read_text()
    search(tmp_path / "s", config(trials=5), words)  # nothing is left to do
    assert len(read_board(tmp_path / "s").jobs) == 5


def test_a_grid_has_every_point_once(tmp_path):
    words = ["optim.lr=0.1,0.3", "model.hidden=range(1,4)"]
    search(tmp_path / "s", config(sampler="grid", trials=2), words)
    assert len(read_board(tmp_path / "s").jobs) == 2
    search(tmp_path / "s", config(sampler="grid", trials=None, jobs=3), words)
    board = read_board(tmp_path / "s")
    points = [(job.parameters["optim.lr"], job.parameters["model.hidden"]) for job in board.jobs]
    assert sorted(points) == [(lr, str(h)) for lr in ("0.1", "0.3") for h in (1, 2, 3)]
    assert points[0] == ("0.3", "3")


def test_several_objectives_make_a_front(tmp_path):
    objectives = {"val/score": "max", "val/size": "min"}
    words = ["model.hidden=1,2,4", "optim.lr=0.3,0.9"]
    search(tmp_path / "s", config(sampler="grid", trials=None, objectives=objectives), words)
    board = read_board(tmp_path / "s")
    assert {(j.parameters["model.hidden"], j.parameters["optim.lr"]) for j in board.jobs if j.front} == {
        ("1", "0.3"), ("2", "0.3"), ("4", "0.3")
    }  # fmt: skip
    assert [job.front for job in board.jobs] == [True] * 3 + [False] * 3
    more = config(sampler="tpe", trials=2, objectives=objectives)
    search(tmp_path / "t", more, [LR, HIDDEN])
    assert all(len(job.values) == 2 for job in read_board(tmp_path / "t").jobs)


def test_a_job_without_the_objective_fails_and_says_so(tmp_path, capsys):
    search(tmp_path / "s", config(trials=1, objectives={"val/cider": "max"}), [LR])
    assert "there is no value of val/cider; the job has val/score, val/size" in capsys.readouterr().err
    assert read_board(tmp_path / "s").failed


def test_a_grid_without_validation_has_not_failed(tmp_path):
    grid = config()
    del grid["sweep"]
    grid.callbacks.monitor = "val/cider"
    assert jobs.run_job(grid, tmp_path / "0", ["seed=1"], [])["state"] == "unscored"
    assert not read_board(tmp_path).failed


def test_hopeless_jobs_are_ended(tmp_path, monkeypatch):
    """The second job is worse than the first at every epoch and ends in the middle, neither failed nor the best."""
    monkeypatch.setenv("LIMNER_TEST_EPOCHS", "60:0.02")
    settings = config(sampler="grid", trials=None, pruner="median", pruner_start_epochs=3)
    search(tmp_path / "s", settings, ["optim.lr=0.2,0.9,0.3"])
    board = read_board(tmp_path / "s")
    states = {job.parameters["optim.lr"]: job for job in board.jobs}
    assert [(job.parameters["optim.lr"], job.state) for job in board.jobs[:2]] == [("0.3", "done"), ("0.2", "done")]
    assert states["0.9"].state == "pruned"
    assert states["0.9"].values is None
    assert 3 <= len(states["0.9"].validations("val/score")) < 60
    assert states["0.9"].folder.joinpath("job.json").read_text().count('"exit_code": 143') == 1
    assert not board.failed
    trials = study.Study(tmp_path / "s").trials()
    assert trials[1].state.name == "PRUNED"
    assert trials[0].intermediate_values[1] == pytest.approx(value(0.2, 1) - 10)


def test_what_a_killed_sweep_left_is_tried_once_again(tmp_path, capsys):
    """Job 0 had ended, job 1 had not: it counts as lost, and its parameters come again; the second time is the last."""
    folder = tmp_path / "s"
    folder.mkdir()
    settings = config(trials=3)
    left = Search(folder, settings, [LR])
    kinds = study.distributions(left.space)
    trials = [left.study.optuna.ask(kinds) for _ in range(2)]
    jobs.run_job(settings, folder / "0", left.chosen(trials[0]), [])
    (folder / "1").mkdir()
    with open(folder / "journal.log", "ab") as file:
        file.write(b'{"op_code":5,"wor')  # half a line, of a full disk

    search(folder, settings, [LR])
    assert "job 1; tried once again" in capsys.readouterr().out
    board = {job.number: job for job in read_board(folder).jobs}
    assert {number: job.state for number, job in board.items()} == {0: "done", 1: "lost", 2: "done", 3: "done"}
    assert float(board[2].parameters["optim.lr"]) == trials[1].params["optim.lr"]
    assert not read_board(folder).failed

    again = Search(folder, config(trials=4), [LR])
    again.study.optuna.enqueue_trial({"optim.lr": 0.5}, user_attrs={study.AGAIN: 1, study.DIED: True})
    again.study.optuna.ask(kinds)
    assert Search(folder, config(trials=4), [LR]).study.recover() == []
    found = study.Study(folder)
    assert not found.trials("WAITING", "RUNNING")
    assert found.finished() == 4
    assert {job.number: job.state for job in read_board(folder).jobs}[4] == "failed"


def test_jobs_that_were_stopped_begin_anew_as_often_as_it_takes(tmp_path):
    """A signal stops the search in its first job, three times: the fourth start runs that job, and it counts once."""
    folder = tmp_path / "s"
    folder.mkdir()

    def stop(batch):
        raise Stopped(signal.SIGTERM)

    for _ in range(3):
        with pytest.raises(Stopped):
            Search(folder, config(trials=1), [LR]).run(stop)
    search(folder, config(trials=1), [LR])
    trials = study.Study(folder).trials()
    assert [trial.state.name for trial in trials] == ["FAIL"] * 3 + ["COMPLETE"]
    assert len({trial.params["optim.lr"] for trial in trials}) == 1
    assert not read_board(folder).failed


def test_two_sweeps_on_one_study(tmp_path):
    """The second is told who holds it; a killed one holds nothing."""
    program = (
        f"from limner.sweeps.study import held\nimport pathlib, time\nwith held(pathlib.Path({str(tmp_path)!r})):\n"
    )
    with subprocess.Popen([sys.executable, "-c", program + " print(1, flush=True); time.sleep(60)"],
                          stdout=subprocess.PIPE) as other:  # fmt: skip
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(UserError, match=f"process {other.pid} on .* searches here already"), study.held(tmp_path):
            pass
        other.kill()
    with study.held(tmp_path):
        pass


def test_another_search_in_the_folder_is_refused(tmp_path):
    settings, objectives = config(), {"val/score": "max"}
    del settings["callbacks"]
    settings.optim = {"lr": 0.1, "eps": 1e-8}

    def claim(words, objectives=objectives, **more):
        study.claim(tmp_path, OmegaConf.merge(settings, more), space_of({}, words), objectives)

    claim([LR])
    claim([LR], optim={"lr": 0.7}, logger={"group": "x"}, sweep={"trials": 99, "seed": 5})
    for words, said in ((["optim.lr=interval(0.0,2.0)"], '"high": 2.0'), ([LR, HIDDEN], "parameters")):
        with pytest.raises(UserError, match=said):
            claim(words)
    with pytest.raises(UserError, match="the study has the objectives"):
        claim([LR], {"val/score": "min"})
    with pytest.raises(UserError, match=r"another configuration \(optim.eps\); begin another study with sweep.name"):
        claim([LR], optim={"eps": 0.1})


def test_a_launcher_that_starts_nothing_ends_the_search(tmp_path):
    (tmp_path / "s").mkdir()

    def launch(batch):
        raise RuntimeError("sbatch: not found")

    with pytest.raises(UserError, match="cannot run jobs: RuntimeError: sbatch: not found"):
        Search(tmp_path / "s", config(), [LR]).run(launch)
