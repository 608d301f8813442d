"""The list of logged names: models have the parts it says, gradients have the norms it promises."""

from __future__ import annotations

import pytest
import torch
from small_vilbert import model as vilbert
from small_vqa import package

from limner.callbacks import gradient_norms
from limner.loggers import names
from limner.models.updown_captioner import UpDownCaptioner


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
    assert gradient_norms(model)["norm"] != gradient_norms(model)["norm"]
    assert gradient_norms(torch.nn.Linear(1, 1)) == {}
