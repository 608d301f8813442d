"""Parameter groups, schedule and optimiser of visual dialog."""

from __future__ import annotations

import pytest
import small_vilbert
import torch

from limner.visdial_optim import BertAdamW, decays, parameter_groups, rate, scheduler, warmup_linear


def textbook(weights, gradients, *, lr, betas, eps, decay):
    """Kingma and Ba 2015, algorithm 1, with the optimiser's two differences; yields the weights after each step."""
    m, v = torch.zeros_like(weights), torch.zeros_like(weights)
    for t, g in enumerate(gradients, start=1):
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g * g
        size = lr * (1 - betas[1] ** t) ** 0.5 / (1 - betas[0] ** t)
        weights = weights - size * m / (v.sqrt() + eps)
        weights = weights - lr * decay * weights
        yield weights


@pytest.mark.parametrize("eps", [1e-6, 0.1])
def test_steps_are_the_textbook_ones(eps):
    made = torch.Generator().manual_seed(0)
    start, gradients = torch.randn(5, generator=made).double(), torch.randn(6, 5, generator=made).double()
    p = torch.nn.Parameter(start.clone())
    options = {"lr": 0.05, "betas": (0.8, 0.9), "eps": eps}
    optimizer = BertAdamW([p], **options, weight_decay=0.3)
    for g, expected in zip(gradients, textbook(start, gradients, **options, decay=0.3)):
        p.grad = g
        optimizer.step()
        torch.testing.assert_close(p.data, expected, atol=1e-14, rtol=0)


def test_parameters_that_miss_a_step_count_for_themselves():
    g = torch.full((2,), 0.3).double()
    always, late = (torch.nn.Parameter(torch.ones(2).double()) for _ in range(2))
    optimizer = BertAdamW([always, late], lr=0.1, eps=0.01)
    for step in range(3):
        always.grad = g
        late.grad = g if step else None
        optimizer.step()
    *_, before, last = textbook(torch.ones(2).double(), [g] * 3, lr=0.1, betas=(0.9, 0.999), eps=0.01, decay=0.01)
    torch.testing.assert_close(always.data, last, atol=1e-14, rtol=0)
    torch.testing.assert_close(late.data, before, atol=1e-14, rtol=0)


def test_state_continues_after_loading():
    g = torch.tensor([0.5, -1.0])
    found = []
    for interrupted in (False, True):
        p = torch.nn.Parameter(torch.ones(2))
        optimizer = BertAdamW([p], lr=0.1)
        for step in range(4):
            if interrupted and step == 2:
                saved = optimizer.state_dict()
                optimizer = BertAdamW([p], lr=0.1)
                optimizer.load_state_dict(saved)
            p.grad = g * (step + 1)
            optimizer.step()
        found.append(p.data.clone())
    assert torch.equal(*found)


def test_groups_hold_each_parameter_once():
    model = small_vilbert.model()
    model.encoder.image_layers[0].qkv.weight.requires_grad_(False)
    groups = parameter_groups(model, lr=1e-3, image_lr=2e-3, weight_decay=0.1)
    assert sorted((g["name"], g["lr"], g["weight_decay"]) for g in groups) == [
        ("image, decay", 2e-3, 0.1),
        ("image, no decay", 2e-3, 0.0),
        ("language, decay", 1e-3, 0.1),
        ("language, no decay", 1e-3, 0.0),
    ]
    grouped = [id(p) for g in groups for p in g["params"]]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == {id(p) for p in model.parameters() if p.requires_grad}


def test_what_decays():
    names = [name for name, _ in small_vilbert.model().named_parameters()]
    kept = {name for name in names if not decays(name, joint_norms=False)}
    assert kept == {name for name in names if name.endswith("bias") or "norm" in name}
    quirk = {name for name in kept if decays(name)}
    assert quirk == {f"encoder.joint_layers.{k}.{s}_after.norm1.weight" for k in (0, 1) for s in ("text", "image")}


def test_language_only_model_has_groups_too():
    model = small_vilbert.model(**small_vilbert.TEXT_ONLY)
    assert {g["name"].split(",")[0] for g in parameter_groups(model, lr=1.0, image_lr=2.0)} == {"language", "image"}


def test_warm_up_and_decay():
    assert [warmup_linear(s, warmup=4, total=8) for s in (0, 1, 4, 6, 8, 9)] == [0, 0.25, 1, 0.5, 0, 0]
    assert [rate(s, 1.0, warmup=4, total=8, floor=0.3) for s in (0, 1, 2, 4, 8)] == [0.3, 0.3, 0.5, 1, 0.3]
    assert warmup_linear(0, warmup=0, total=8) == 1


def test_scheduler_gives_each_group_its_floor():
    groups = [torch.nn.Parameter(torch.ones(1)) for _ in range(3)]
    rates = zip(groups, (1.0, 0.4, 0.0))
    optimizer = torch.optim.SGD([{"params": [p], "lr": lr} for p, lr in rates])
    schedule = scheduler(optimizer, warmup=4, total=8, floor=0.3)
    seen = []
    for _ in range(8):
        seen.append([round(group["lr"], 12) for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    assert [row[0] for row in seen] == [0.3, 0.5, 0.75, 1.0, 0.75, 0.5, 0.3, 0.3]
    assert [row[1] for row in seen] == [0.3, 0.3, 0.3, 0.4, 0.3, 0.3, 0.3, 0.3]
    assert [row[2] for row in seen] == [0.0] * 8
