"""The list of logged names: models have the parts it says, gradients have the norms it promises."""

from __future__ import annotations

import math

import pytest
import torch
from small_vilbert import model as vilbert
from small_vqa import package

from limner.callbacks import gradient_norms
from limner.loggers import names
from limner.models.updown_captioner import UpDownCaptioner
from limner.reports.dashboard_panels import meaning


def parts_with_weights(model: torch.nn.Module) -> list[str]:
    return list(dict.fromkeys(name.partition(".")[0] for name, _ in model.named_parameters()))


def captioner() -> torch.nn.Module:
    return UpDownCaptioner(words=7, feature_dim=5, embed_dim=4, hidden=4, attention_hidden=3)


@pytest.mark.parametrize(
    ("task", "made"),
    [(names.VQA, lambda: package().model), (names.CAPTIONS, captioner), (names.DIALOG, vilbert)],
)
def test_parts_of_models(task, made):
    parts = parts_with_weights(made())
    assert set(parts) <= set(names.PARTS[task])
    assert set(names.PARTS[task]) - set(parts) <= {"global_net"}  # it has weights only where a vector comes with images
    assert set(names.grad_names(parts)) <= set(names.in_training(task))


def test_names_stand_once_and_say_something():
    for task in names.TASKS:
        listed = [*names.in_training(task), *names.in_test(task)]
        assert len(listed) == len(set(listed))
        assert {"train/loss", "lr", "grad/norm", "speed/items", "val/score", "test/score"} <= set(listed)
    every = [*names.STEPS, *names.SPEED, *names.SCORES]
    assert all(one.about and one.better in ("", "max", "min") and one.tasks for one in every)


def test_which_way_is_better():
    assert names.better("val/score") == "max"
    assert names.better("test/mean_rank") == "min"
    assert names.better("val/length") == names.better("val/my_own") == ""


def test_task_of_a_class():
    assert names.task_of("limner.tasks.vqa.VQATask") == "vqa"
    assert names.task_of("limner.tasks.vilbert_pretraining.PretrainingTask") == "visdial_pretraining"
    assert names.task_of("my_project.Task") == names.task_of("") == ""


def test_gradient_norms():
    model = torch.nn.ModuleDict(
        {"a": torch.nn.Linear(2, 2, bias=False), "b": torch.nn.Linear(2, 1), "c": torch.nn.Linear(1, 1)}
    )
    model["a"].weight.grad = torch.tensor([[3.0, 0.0], [0.0, 4.0]])
    model["b"].weight.grad, model["b"].bias.grad = torch.tensor([[0.0, 0.0]]), torch.tensor([12.0])
    assert gradient_norms(model) == pytest.approx({"norm": 13.0, "a": 5.0, "b": 12.0})  # c has none
    model["b"].bias.grad[0] = torch.nan
    assert math.isnan(gradient_norms(model)["norm"])
    model["b"].requires_grad_(False)  # a frozen part keeps what it had
    assert gradient_norms(model) == pytest.approx({"norm": 5.0, "a": 5.0})
    assert gradient_norms(torch.nn.Linear(1, 1)) == {}


def test_gradients_in_pieces(monkeypatch):
    """Two processes: this one has nothing of `b`; what is added up comes from all."""
    model = torch.nn.ModuleDict({name: torch.nn.Linear(1, 1, bias=False) for name in "ab"})
    model["a"].weight.grad = torch.tensor([[3.0]])
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda squares: squares.add_(torch.tensor([16.0, 144.0])))
    assert gradient_norms(model, shards=2) == pytest.approx({"norm": 13.0, "a": 5.0, "b": 12.0})


def test_the_table_of_the_docs(root):
    """docs/dashboards.md names every value with its tasks, its meaning, and which way is better."""
    lines = [line for line in (root / "docs/dashboards.md").read_text().splitlines() if line.startswith("| `")]
    told = {
        name.strip(" `"): line.split(" | ")[1:]
        for line in lines
        for name in line.split(" | ")[0].strip("| ").split(",")
    }
    expected: dict[str, tuple[set[str], str, str]] = {}
    for task in names.TASKS:
        short = task.removeprefix("visdial_")
        for name in [*names.in_training(task), *names.in_test(task)]:
            shown = "grad/PART" if name.startswith("grad/") and name != "grad/norm" else name
            listed = next((one for one in (*names.STEPS, *names.SPEED) if one.name == name), None)
            better = listed.better if listed else names.better(name)
            expected.setdefault(shown, (set(), meaning(name), better))[0].add(short)
    assert told.keys() == expected.keys()
    for name, (tasks, about, better) in expected.items():
        found = told[name]
        assert {*found[0].split(", ")} == ({"all"} if len(tasks) == len(names.TASKS) else tasks), name
        assert name == "grad/PART" or found[1] == about, name
        assert found[2].strip(" |") == better, name
