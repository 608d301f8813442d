"""wandb offline, read back: one run over a kill and a resume, equal to metrics.jsonl; failures that end no training."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from equal_runs import same, status
from wandb_files import Offline, offline_runs

from limner.loggers import names
from limner.reports.source import read_metrics

GROUP = ["logger=wandb", "logger.group=search-7", "logger.tags=[toy]", "logger.examples=5"]
SHOWS = ["logger.examples_each_validation=true", "logger.artifacts=true"]


@pytest.fixture(scope="module")
def resumed(tmp_path_factory, toy) -> Path:
    """A run that was killed in its second epoch, between two checkpoints, and resumed."""
    from conftest import Limner

    limner = Limner(tmp_path_factory.mktemp("wandb"), toy)
    run = limner.train("run", *GROUP, *SHOWS, interrupt="step:14:9", expect=-9)
    limner("train", f"resume={run}")
    return run


@pytest.fixture(scope="module")
def last(resumed) -> Offline:
    return offline_runs(resumed)[-1]


def test_it_changes_nothing(resumed, trained):
    same(resumed, trained)


def test_one_run_over_the_resume(resumed, last):
    """The killed process wrote nothing yet; the resumed one shows the whole run under the same id."""
    identity = (resumed / "wandb_id.txt").read_text().strip()
    found = offline_runs(resumed)
    assert len(found) == 2
    assert all(one.folder.name.endswith(identity) for one in found)
    assert (last.run.run_id, last.run.run_group, list(last.run.tags)) == (identity, "search-7", ["toy"])
    assert list(last.logged()) == list(range(1, 31))


def test_values_are_those_of_the_files(resumed, last):
    expected: dict[int, dict] = {}
    for line in [*read_metrics(resumed / "metrics.jsonl"), *read_metrics(resumed / "speed.jsonl")]:
        step = line.pop("step")
        expected.setdefault(step, {}).update(line)
    for step, row in last.logged().items():
        shown = {name: value for name, value in row.items() if not name.startswith("examples")}
        assert shown == expected[step], step
    assert len(read_metrics(resumed / "speed.jsonl")) == 30  # the lines of the killed process are gone


def test_names_are_those_of_the_list(last):
    logged = {name for row in last.logged().values() for name in row}
    scores = [name for name in logged if not name.startswith("examples")]
    listed = {*names.in_training(names.VQA), *names.in_test(names.VQA)}
    assert set(scores) == listed - {"speed/gpu_memory"}
    assert {name.rpartition(".")[0] for name in logged if name.startswith("examples")} == {
        names.EXAMPLES,
        names.EXAMPLES_EACH,
    }


def test_configuration_code_and_summary(resumed, last):
    assert last.config["optim"]["_target_"] == "torch.optim.Adamax"
    assert last.config["trainer"]["max_epochs"] == 3
    made_with = json.loads((resumed / "versions.json").read_text())
    assert last.config["code"] == {name: made_with[name] for name in ("limner", "commit", "dirty")}
    assert last.run.git.commit == (made_with["commit"] or "")
    result = json.loads((resumed / "result.json").read_text())
    scores = [line["val/score"] for line in read_metrics(resumed / "metrics.jsonl") if "val/score" in line]
    assert last.summary["val/score"] == {"max": max(scores), "last": scores[-1]}
    assert last.summary["objective"] == result["objective"] == max(scores)
    assert last.summary["objective_epoch"] == result["epoch"]
    assert last.summary["test/score"] == result["metrics"]["test/score"]


def test_tables_pictures_and_package(resumed, last, toy):
    tables = [one for one in last.artifacts if one.type == "run_table"]
    assert len(tables) == 2 + 1  # validations of the second and third epoch, and the end
    said = {int(json.loads(line)["id"]) for line in rows(resumed)}
    for artifact in tables:
        table = last.table(artifact)
        assert table["columns"] == ["id", "picture", "about", "said", "people", "score"]
        assert len(table["data"]) == 5
        for number, picture, about, answer, people, score in table["data"]:
            assert f"question {number}, image " in about
            assert answer
            assert people
            assert 0 <= score <= 100
            boxes = picture["boxes"]["attention"]
            assert 0 < sum(box["scores"]["attention"] for box in boxes) <= 1.001
            assert all(0 <= box["position"][end] <= 1 for box in boxes for end in box["position"])
        pictures = [e for e in artifact.manifest.contents if e.path.endswith(".png")]
        assert len(pictures) == 5
        for entry in pictures:
            assert Path(entry.local_path).read_bytes().startswith(b"\x89PNG")
            assert resumed in Path(entry.local_path).parents  # the run folder holds all that there is to sync
    assert {int(line[0]) for line in last.table(tables[-1])["data"]} <= said
    (package,) = [one for one in last.artifacts if one.type == "model"]
    kept = {entry.path: Path(entry.local_path) for entry in package.manifest.contents}
    assert kept["model.safetensors"] == resumed / "package/model.safetensors"


def rows(run: Path) -> list[str]:
    import gzip

    return gzip.decompress((run / "eval/test/rows.jsonl.gz").read_bytes()).decode().splitlines()


def test_no_room_for_wandb(limner):
    """Its folder cannot be made: one warning, and the training goes on."""
    (limner.folder / "run").mkdir()
    (limner.folder / "run/wandb").write_text("in the way")
    run = limner.folder / "run"
    done = limner("train", *limner.small(), f"paths.run={run}", "logger=wandb", "trainer.max_epochs=1")
    told = [line for line in done.stderr.splitlines() if line]
    assert len(told) == 1, done.stderr
    assert told[0].startswith("warning: wandb: ")
    assert status(run)["state"] == "done"
    assert len(read_metrics(run / "metrics.jsonl")) == 10 + 1 + 1


CRASH = """
import os, signal, subprocess, sys, types
from pathlib import Path
from limner.loggers.wandb_run import WandbRun
from limner.run import RunFolder
config = types.SimpleNamespace(mode="offline", project="p", entity=None, group=None, tags=[])
run = WandbRun(config, RunFolder(Path(sys.argv[1])), {}, monitor="val/score", mode="max")
run.log_metrics({"a": 1.0}, 1)
for place in Path("/proc").glob("[0-9]*"):
    try:
        words, parent = (place / "cmdline").read_bytes(), (place / "stat").read_text().rsplit(")", 1)[1].split()[1]
    except OSError:
        continue
    if b"wandb-core" in words and int(parent) == os.getpid():
        os.kill(int(place.name), signal.SIGKILL)
        print("killed")
for step in range(2, 2000):
    run.log_metrics({"a": 1.0}, step)
run.finish({"objective": None, "epoch": None, "metrics": {}})
"""


@pytest.mark.skipif(sys.platform != "linux", reason="finds the service in /proc")
def test_its_service_is_killed(tmp_path):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
    done = subprocess.run(
        [sys.executable, "-c", CRASH, str(tmp_path)], env=environment, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout) == (0, "killed\n")
    assert done.stderr.count("warning: wandb: ") == 1, done.stderr
    assert "Traceback" not in done.stderr
