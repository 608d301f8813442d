"""Steps of visual dialog through Lightning: rates, accumulated and clipped gradients, heads left out, bf16."""

from __future__ import annotations

import json
import warnings
from functools import partial
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from tiny_dialog_data import data, drawn, make_files, model, task

from limner.callbacks import StepSeed
from limner.tasks.visdial import VisDialTask
from limner.visdial_optim import BertAdamW

STAGES = ["base", "dense", "dense_nsp"]
SGD = partial(torch.optim.SGD, lr=1.0)
LANGUAGE = {"fusion": "text", "text_connections": [], "image_connections": []}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_files(tmp_path_factory.mktemp("dialogs"))


class Watch(pl.Callback):
    """What each update saw: the rate of each group, and the gradients before they are clipped."""

    def __init__(self):
        self.rates, self.gradients, self.without = [], [], set()

    def on_after_backward(self, trainer, module):
        self.without |= {name for name, p in module.model.named_parameters() if p.requires_grad and p.grad is None}

    def on_before_optimizer_step(self, trainer, module, optimizer):
        self.rates.append({group["name"]: group["lr"] for group in optimizer.param_groups})
        self.gradients.append(flat(p.grad for p in module.model.parameters() if p.grad is not None))


def flat(tensors) -> torch.Tensor:
    return torch.cat([tensor.detach().flatten().clone() for tensor in tensors])


def lively(made, **changes):
    """A model whose scores differ from option to option."""
    net = model(made, **changes)
    for name, parameter in net.named_parameters():
        if "norm" in name and name.endswith("weight"):
            parameter.data += 1
    return net


def fit(made, net, *, trainer=None, **options):
    """Trains; returns the task and what was watched."""
    chosen, watch = VisDialTask(net, **{**made.task_arguments(), "optimizer": SGD, **options}), Watch()
    off = ("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing", "use_distributed_sampler")
    how = {"accelerator": "cpu", "devices": 1, "max_epochs": 1, "limit_val_batches": 0, **dict.fromkeys(off, False)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pl.Trainer(callbacks=[StepSeed(1), watch], **{**how, **(trainer or {})}).fit(chosen, made)
    return chosen, watch


def test_rates_of_the_published_schedule(folder, shared):
    """A schedule 5,000 times as short, two batches an update: update u has the rate after 10,000 u iterations."""
    golden = json.loads((shared / "golden/visdial/lr_schedule.json").read_text())
    rates = golden["lr_after_n_scheduler_steps"]
    _, watch = fit(
        data(folder, batch_size=2, dense_options=2, features=[]),
        model(data(folder, features=[]), **LANGUAGE),
        stage="dense",
        optimizer=partial(BertAdamW, lr=1e-4),
        image_lr=2e-5,
        warmup_steps=golden["warmup_steps"] // 5000,
        total_steps=golden["t_total"] // 5000,
        lowest_lr=golden["min_lr"],
        trainer={"max_epochs": 20, "limit_train_batches": 2, "accumulate_grad_batches": 2},
    )
    assert len(watch.rates) == 20
    compared = 0
    for stream, base in (("language", "0.0001"), ("image", "2e-05")):
        for update, found in enumerate(watch.rates, start=1):
            wanted = rates[base].get(str(10_000 * update))
            if wanted is not None:
                assert [found[f"{stream}, {kind}"] for kind in ("decay", "no decay")] == pytest.approx([wanted] * 2)
                compared += 1
    assert compared == 2 * 6  # after 10, 20, 50, 100, 150 and 200 thousand iterations


@pytest.mark.parametrize("stage", STAGES)
def test_an_update_of_two_batches_clipped(folder, stage):
    made = data(folder, batch_size=6)
    net = lively(made)
    before = flat(net.parameters())
    _, watch = fit(
        made, net, stage=stage,
        trainer={"limit_train_batches": 2, "accumulate_grad_batches": 2, "gradient_clip_val": 0.01},
    )  # fmt: skip
    mean = flat(torch.zeros_like(p) for p in net.parameters())
    again = task(made, lively(made), stage=stage)
    again.trainer.datamodule = made
    for batch in drawn(made.training_loader(dense=stage != "base"))[:2]:
        again.model.zero_grad()
        again.loss(batch)["loss"].mean.backward()
        mean += flat(torch.zeros_like(p) if p.grad is None else p.grad for p in again.model.parameters()) / 2
    assert mean.norm() > 0.02
    assert watch.gradients[0].norm().item() == pytest.approx(mean.norm().item(), rel=1e-6)
    moved = flat(net.parameters()) - before
    torch.testing.assert_close(moved, -0.01 * mean / mean.norm(), rtol=1e-4, atol=1e-9)


WITHOUT = {
    "base": ({"stage": "base"}, {}, set()),
    "no words": ({"words_weight": 0.0}, {}, {"words_head"}),
    "no regions": ({"regions_weight": 0.0}, {}, {"regions_head"}),
    "no regions masked": ({}, {"mask_regions": 0.0}, {"regions_head"}),
    "no words masked": ({}, {"mask_words": 0.0}, set()),  # a batch may happen to have none
    "dense": ({"stage": "dense"}, {}, {"words_head", "regions_head"}),
    "dense_nsp": ({"stage": "dense_nsp"}, {}, {"words_head", "regions_head"}),
    "language": ({}, {"features": []}, set()),
    "language, dense": ({"stage": "dense"}, {"features": []}, {"words_head"}),
}


@pytest.mark.parametrize("case", WITHOUT)
def test_all_that_is_trained_has_a_gradient(folder, case):
    """DDP waits for every parameter of the optimiser; the heads that nothing asks are in none, and do not decay."""
    options, changes, left = WITHOUT[case]
    made = data(folder, **changes)
    net = model(made, **(LANGUAGE if "features" in changes else {}))
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    optimizer = partial(BertAdamW, lr=0.1, weight_decay=0.5)
    _, watch = fit(made, net, **options, optimizer=optimizer, trainer={"limit_train_batches": 1})
    assert watch.without == set()
    moved = {name.partition(".")[0] for name, p in net.named_parameters() if not torch.equal(p, before[name])}
    assert {name.partition(".")[0] for name in before} - moved == left
    assert {name.partition(".")[0] for name, p in net.named_parameters() if not p.requires_grad} == left


@pytest.mark.parametrize("stage", STAGES)
def test_bf16_is_near_float32(folder, stage):
    made = data(folder, batch_size=10, dense_options=None)
    found = {}
    for precision in ("32-true", "bf16-mixed"):
        net = lively(made).float()
        how = {"precision": precision, "limit_train_batches": 1, "limit_val_batches": 1}
        chosen, watch = fit(made, net, stage=stage, rows=40, trainer=how)
        assert 0 < chosen.scores["mrr"] <= 100
        assert {p.dtype for p in net.parameters()} == {torch.float32}
        assert flat(net.parameters()).isfinite().all()
        found[precision] = chosen.epoch_means(), watch.gradients[0]
    (means, gradient), (rounded, rough) = found["32-true"], found["bf16-mixed"]
    assert rounded == pytest.approx(means, rel=0.05)
    assert rounded != means
    assert torch.cosine_similarity(gradient, rough, 0) > 0.99
    assert rough.norm() / gradient.norm() == pytest.approx(1, abs=0.1)


def test_the_heads_of_an_evaluation_are_left_alone(folder):
    made = data(folder)
    chosen = task(made, stage="dense")
    chosen.trainer = SimpleNamespace(datamodule=made)
    chosen.setup("test")
    assert all(p.requires_grad for p in chosen.model.parameters())
