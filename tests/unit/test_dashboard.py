"""`limner dashboard`: every name it shows is one that runs log, and nothing of it needs a network."""

from __future__ import annotations

import json
import sys

import pytest

from limner.errors import UserError
from limner.loggers import names
from limner.reports import dashboard
from limner.reports.dashboard_panels import every_name, meaning, sections


@pytest.fixture(autouse=True)
def no_login(monkeypatch, tmp_path):
    for name in ("WANDB_API_KEY", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def values(node, *keys):
    """Everything that stands under some keys, anywhere in a JSON document."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in keys:
                yield value
            else:
                yield from values(value, *keys)
    elif isinstance(node, list):
        for value in node:
            yield from values(value, *keys)


def shown(document) -> set[str]:
    """The names of all curves and bars, tables and axes."""
    found = {name for some in values(document, "metrics") for name in some}
    constants = [node for node in values(document, "key") if isinstance(node, dict) and node.get("type") == "string"]
    axes = [axis for axis in values(document, "accessor") if axis.startswith("summary:")]
    found |= {node["val"] for node in constants} | {axis.removeprefix("summary:") for axis in axes}
    return found | set(values(document, "targetKey"))


@pytest.mark.parametrize("task", names.TASKS)
def test_names_on_the_dashboard_are_logged(task, tmp_path, capsys):
    assert dashboard.main([task, "--out", "made.json"]) == 0
    assert capsys.readouterr().out == "dashboard: made.json\n"
    made = json.loads((tmp_path / "made.json").read_text())
    logged = {*names.in_training(task), *names.in_test(task), names.EXAMPLES, names.EXAMPLES_EACH, "objective"}
    for part in ("workspace", "report"):
        assert shown(made[part]) == logged - {"epoch"}, part
    assert set(every_name(task)) | {"epoch", "objective"} == logged
    first = (tmp_path / "made.json").read_bytes()
    dashboard.main([task, "--out", "made.json"])
    assert (tmp_path / "made.json").read_bytes() == first


def test_it_shows_the_runs_of_its_task(tmp_path):
    dashboard.main(["captioning", "--out", "made.json", "--project", "mine", "--entity", "team"])
    made = json.loads((tmp_path / "made.json").read_text())
    assert made["workspace"]["entity"] == "team"
    assert made["workspace"]["project"] == made["report"]["project"]["name"] == "mine"
    filters = list(values(made["workspace"], "filters"))
    assert '"name": "jobType"}, "op": "=", "value": "captioning"' in json.dumps(filters)
    titles = [section["name"] for section in made["workspace"]["spec"]["section"]["panelBankConfig"]["sections"]]
    assert titles == ["Scores", "Training", "Gradients", "Speed", "Test", "Examples", "Runs"]


def test_panels_do_not_lie_on_each_other(tmp_path):
    dashboard.main(["vqa", "--out", "made.json"])
    made = json.loads((tmp_path / "made.json").read_text())
    grids = [some for some in values(made, "panels") if isinstance(some, list) and some]
    assert len(grids) == 2 * 7
    for some in grids:
        places = [(panel["layout"]["x"], panel["layout"]["y"]) for panel in some]
        assert len(places) == len(set(places))


def test_every_name_is_explained():
    for task in names.TASKS:
        assert all(meaning(name) for name in [*names.in_training(task), *names.in_test(task)])
        assert all(panel.names for panels in sections(task).values() for panel in panels)


@pytest.mark.parametrize("words", [["vqa"], ["vqa", "--save"]])
def test_where_to_must_be_said_and_be_possible(words):
    with pytest.raises(UserError, match="no login to wandb" if "--save" in words else "--out FILE"):
        dashboard.main(words)


def test_what_the_server_says_is_one_line(monkeypatch):
    import wandb_workspaces.workspaces as workspaces

    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)

    def refuse(self):
        raise ValueError("no such\nproject")

    monkeypatch.setattr(workspaces.Workspace, "save", refuse)
    with pytest.raises(UserError, match="wandb says: no such project; --out FILE"):
        dashboard.main(["vqa", "--save", "--entity", "team"])


def test_without_the_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    monkeypatch.setitem(sys.modules, "wandb_workspaces.reports.v2", None)
    with pytest.raises(UserError, match=r"pip install 'limner\[dashboard\]'"):
        dashboard.main(["vqa", "--out", "made.json"])
