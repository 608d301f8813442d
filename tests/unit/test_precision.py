"""A step of VQA, of the captioner and of SCST in 16 bits: weights stay float32, gradients are near those of float32.

Dialogs: test_visdial_training. float16 goes with a scaled loss, as Lightning's 16-mixed does.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import small_scst
import torch
from small_vqa import ANSWERS, package
from torch import Tensor, nn

from limner.scst import SCST
from limner.tasks.captioning import CaptioningTask
from limner.tasks.vqa import VQATask

SCALE = {torch.float32: 1.0, torch.bfloat16: 1.0, torch.float16: 1024.0}


def vqa() -> tuple[Any, dict[str, Any]]:
    drawn = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    given = {
        "id": torch.arange(6),
        "feats": torch.randn(3, 4, 6, generator=drawn),
        "mask": torch.arange(4) < torch.tensor([4, 3, 2])[:, None],
        "image": torch.arange(6) % 3,
        "tokens": torch.randint(0, 5, (6, 4), generator=drawn),
        "scores": torch.rand(6, 4, generator=drawn),
    }
    return VQATask(package().model.train(), answers=ANSWERS), given


def captions(**options: Any) -> tuple[Any, dict[str, Any]]:
    words = {"vocabulary": small_scst.vocabulary(), "references": small_scst.references()}
    return CaptioningTask(small_scst.model(double=False), **words, **options), small_scst.batch(double=False)


def scst() -> tuple[Any, dict[str, Any]]:
    return captions(scst=SCST(samples=3, max_length=6))


def step(made: tuple[Any, dict[str, Any]], precision: torch.dtype) -> tuple[float, Tensor, nn.Module]:
    """Loss and gradient of a step."""
    task, given = made
    task._trainer = SimpleNamespace(world_size=1, global_step=0, is_global_zero=True, current_epoch=0)
    torch.manual_seed(1)
    with torch.autocast("cpu", dtype=precision, enabled=precision != torch.float32):
        total, count = next(iter(task.loss(given).values()))
    assert total.dtype == torch.float32  # losses are added up in float32
    (SCALE[precision] * total / count).backward()
    gradients = [p.grad.flatten() / SCALE[precision] for p in task.model.parameters() if p.grad is not None]
    return (total / count).item(), torch.cat(gradients), task.model


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("system", [vqa, captions])
def test_near_float32(system: Callable[[], tuple[Any, dict[str, Any]]], precision):
    loss, gradient, _ = step(system(), torch.float32)
    rounded, rough, model = step(system(), precision)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert rounded != loss
    assert rounded == pytest.approx(loss, rel=0.02)
    assert torch.cosine_similarity(gradient, rough, 0) > 0.99
    assert rough.norm() / gradient.norm() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_scst_in_16_bits(precision):
    """What is drawn may differ, so only its health can be compared."""
    loss, gradient, model = step(scst(), precision)
    assert gradient.isfinite().all()
    assert gradient.any()
    assert abs(loss) < 100
    assert {p.dtype for p in model.parameters()} == {torch.float32}
