"""ViLBERT against the published code: outputs, attention, losses, gradients, optimiser, names of the base."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from limner.models.vilbert import ViLBERT
from limner.visdial_losses import alignment, dense_relevance, masked_features, masked_regions, masked_words
from limner.visdial_optim import BertAdamW, decays, parameter_groups, rate, scheduler
from limner.weights import vilbert_names
from limner.weights.vilbert_importer import convert_vilbert, export_vilbert, vilbert_sizes

SETS = ("a", "c_sum_mse")
CLOSE = {torch.float32: 1e-5, torch.float64: 1e-10}
# what the published forward pass never reads: our model does without
UNREAD = ("token_type_embeddings_extension", "sep_embeddings", "q_dense1", "q_dense2")


@dataclass
class Golden:
    """A golden model in evaluation mode, its inputs, and what the published code computed in the same type."""

    model: ViLBERT
    arrays: dict[str, Tensor]
    numbers: dict[str, Any]
    dtype: torch.dtype

    @property
    def inputs(self) -> dict[str, Tensor]:
        a = self.arrays
        return {
            "tokens": a["in/tokens"],
            "segments": a["in/segments"],
            "text_mask": self.expected("attention_mask").bool(),
            "feats": a["in/image_feat"].to(self.dtype),
            "boxes": a["in/image_loc"].to(self.dtype),
            "mask": a["in/image_mask"].bool(),
        }

    @property
    def heads(self) -> dict[str, Tensor]:
        return {"words_at": self.arrays["in/mask"] >= 0, "regions_at": self.arrays["in/image_label"] == 1}

    def expected(self, name: str) -> Tensor:
        return self.arrays[f"{'out64' if self.dtype == torch.float64 else 'out32'}/{name}"]

    def losses(self) -> dict[str, Tensor]:
        out, targets = self.model(**self.inputs, **self.heads), self.arrays
        of_regions = masked_features if self.numbers["config"].get("predict_feature") else masked_regions
        return {
            "lm_loss": masked_words(out.words, targets["in/mask"][self.heads["words_at"]]).mean,
            "img_loss": of_regions(out.regions, targets["in/image_target"][self.heads["regions_at"]]).mean,
            "nsp_loss": alignment(out.alignment, targets["in/next_sentence_labels"]).mean,
        }


def arrays_of(path: Path) -> dict[str, Tensor]:
    with np.load(path) as file:
        return {key: torch.from_numpy(file[key]) for key in file.files}


def load(shared: Path, name: str, dtype: torch.dtype) -> Golden:
    folder = shared / "golden/visdial"
    numbers = json.loads((folder / f"tiny_vilbert_dialog_{name}.json").read_text())
    arrays = arrays_of(folder / f"tiny_vilbert_dialog_{name}.npz")
    state = {key[3:]: value for key, value in arrays.items() if key.startswith("sd/")}
    model = ViLBERT(**vilbert_sizes(state, numbers["config"]))
    model.load_state_dict(convert_vilbert(state).weights)
    return Golden(model.to(dtype).eval(), arrays, numbers, dtype)


@pytest.fixture(params=[(name, dtype) for name in SETS for dtype in CLOSE], ids=str)
def golden(request, shared):
    return load(shared, *request.param)


def assert_close(golden, found, name):
    torch.testing.assert_close(found, golden.expected(name), atol=CLOSE[golden.dtype], rtol=0, msg=lambda m: name + m)


def test_streams(golden):
    """Padding too, which the published code computes."""
    found = golden.model.encode(**golden.inputs)
    assert_close(golden, found.text, "sequence_output_t")
    assert_close(golden, found.image, "sequence_output_v")
    assert_close(golden, found.pooled_text, "pooled_output_t")
    assert_close(golden, found.pooled_image, "pooled_output_v")


def test_attention(golden):
    maps = golden.model.encode(**golden.inputs).maps
    assert (len(maps.text), len(maps.image), len(maps.joint)) == (3, 2, 2)
    for k, weights in enumerate(maps.text):
        assert_close(golden, weights, f"att_t_{k}")
    for k, weights in enumerate(maps.image):
        assert_close(golden, weights, f"att_v_{k}")
    for k, weights in enumerate(maps.joint):
        assert_close(golden, weights.text, f"att_c_{k}_text_over_image")
        assert_close(golden, weights.image, f"att_c_{k}_image_over_text")


@pytest.mark.parametrize("heads", ["asked for", "everywhere", "none"])
def test_heads(golden, heads):
    """The last layers compute what is asked for; the alignment alone takes another way through them."""
    at = {} if heads == "none" else golden.heads
    if heads == "everywhere":
        at = {"words_at": golden.inputs["text_mask"], "regions_at": torch.ones_like(at["regions_at"])}
    out, close = golden.model(**golden.inputs, **at), CLOSE[golden.dtype]
    assert_close(golden, out.alignment, "seq_relationship_score")
    for found, name, where in ((out.words, "_t", "words_at"), (out.regions, "_v", "regions_at")):
        if at:
            expected = golden.expected("prediction_scores" + name)[at[where]]
            torch.testing.assert_close(found, expected, atol=close, rtol=0)
        else:
            assert found is None


def test_losses(golden):
    found = golden.losses()
    for name, loss in found.items():
        assert_close(golden, loss.reshape(1), name)
    assert_close(golden, sum(found.values()), "loss")


def test_gradients(golden):
    """The norm for every parameter, under the published names; those without one there do not exist here."""
    sum(golden.losses().values()).backward()
    gradients = export_vilbert({name: parameter.grad for name, parameter in golden.model.named_parameters()})
    tied = "bert_pretrained.cls.predictions.decoder.weight"
    norms = golden.numbers["grad_norms_f64"]
    for name, expected in norms.items():
        if any(part in name for part in UNREAD):
            assert name not in gradients
            assert not expected
        elif name != tied:
            found = gradients[name].norm().item()
            assert found == pytest.approx(expected, abs=10 * CLOSE[golden.dtype]), name
    total = torch.stack([parameter.grad.norm() for parameter in golden.model.parameters()]).norm().item()
    expected = golden.numbers[f"grad_norm_total_{'f64' if golden.dtype == torch.float64 else 'f32'}"]
    assert total == pytest.approx(expected, abs=10 * CLOSE[golden.dtype])


def base(shared) -> dict[str, Any]:
    return json.loads((shared / "golden/visdial/state_dict_shapes_base.json").read_text())


def test_names_of_the_base(shared):
    """All 535 names are known, and those that are read are the base model, without a number being made."""
    published = base(shared)
    state = {name: torch.empty(shape, device="meta") for name, shape in published["state_dict"].items()}
    imported = convert_vilbert(state)
    unread = {name for name in published["state_dict"] if any(part in name for part in UNREAD)}
    assert {vilbert_names.PREFIX + name for name in imported.unused} == unread
    with torch.device("meta"):
        model = ViLBERT(**vilbert_sizes(state, published["config"]))
        standard = ViLBERT(words=30522)
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    assert {name: tensor.shape for name, tensor in imported.weights.items()} == shapes
    assert {name: tensor.shape for name, tensor in standard.state_dict().items()} == shapes
    told = vilbert_sizes(state, published["config"])
    assert all(told[key] == value for key, value in vilbert_sizes(state).items())
    left_out = sum(int(np.prod(published["state_dict"][name])) for name in unread)
    assert sum(parameter.numel() for parameter in model.parameters()) == 250_090_109 - left_out
    back = export_vilbert(model.state_dict())
    assert back.keys() == published["state_dict"].keys() - unread
    assert all(list(back[name].shape) == published["state_dict"][name] for name in back)


def test_groups_of_the_base(shared):
    """Learning rate and decay of each published name, by way of the parameter it is a part of here."""
    published = base(shared)
    with torch.device("meta"):
        model = ViLBERT(words=30522)
    ours = {row.theirs: row.ours for row in vilbert_names.rows(12, 6, 6)}
    groups = parameter_groups(model, lr=1.0, image_lr=2.0)
    group_of = {id(p): g for g in groups for p in g["params"]}
    parameters = dict(model.named_parameters())
    for name, theirs in published["lr_group"].items():
        if any(part in name for part in UNREAD):
            continue
        group = group_of[id(parameters[ours[name.removeprefix(vilbert_names.PREFIX)]])]
        assert group["lr"] == {"lr": 1.0, "image_lr": 2.0}[theirs], name
        assert group["weight_decay"] == published["weight_decay"][name], name


def test_schedule(shared):
    golden = json.loads((shared / "golden/visdial/lr_schedule.json").read_text())
    for base_rate, rates in golden["lr_after_n_scheduler_steps"].items():
        for step, expected in rates.items():
            found = rate(int(step), float(base_rate), warmup=golden["warmup_steps"], total=golden["t_total"],
                         floor=golden["min_lr"])  # fmt: skip
            assert found == pytest.approx(expected, rel=1e-12), (base_rate, step)


def test_trajectory_of_the_optimiser(shared):
    """Nine batches, an update after every second one; the first update has three, as published."""
    golden = load(shared, "a", torch.float64)
    numbers = json.loads((shared / "golden/visdial/optim_trajectory_a.json").read_text())
    every = numbers["batch_multiply"]
    groups = parameter_groups(golden.model, lr=numbers["lr"], image_lr=numbers["image_lr"])
    optimizer = BertAdamW(groups, betas=tuple(numbers["betas"]), eps=numbers["eps"])
    schedule = scheduler(optimizer, warmup=numbers["warmup_steps"], total=numbers["t_total"], floor=numbers["min_lr"],
                         every=every, ahead=every + 1)  # fmt: skip
    for batch, stepped in enumerate(numbers["optimizer_stepped"]):
        loss = sum(golden.losses().values()) / every
        assert loss.item() == pytest.approx(numbers["losses_already_divided"][batch], abs=1e-10)
        loss.backward()
        if stepped:
            rates = {group["name"].split(",")[0]: group["lr"] for group in optimizer.param_groups}
            expected = numbers["lr_after_scheduler_step"][batch]
            assert [rates["image"], rates["language"]] == pytest.approx(expected, rel=1e-12)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
    final = arrays_of(shared / "golden/visdial/optim_trajectory_a.npz")
    found = export_vilbert(golden.model.state_dict())
    for name, expected in final.items():
        name = name.removeprefix("end/")
        if not any(part in name for part in UNREAD):
            torch.testing.assert_close(found[name], expected, atol=1e-10, rtol=0, msg=name)


def test_decay_of_the_trajectory(shared):
    numbers = json.loads((shared / "golden/visdial/optim_trajectory_a.json").read_text())
    for row in vilbert_names.rows(3, 2, 2):
        lr, decay = numbers["groups"][vilbert_names.PREFIX + row.theirs]
        assert decays(row.ours) == (decay > 0), row.theirs
        assert lr in (numbers["lr"], numbers["image_lr"])


def test_dense_loss(shared):
    golden = arrays_of(shared / "golden/visdial/dense_loss.npz")
    logits = golden["nsp_scores"].requires_grad_()
    relevance = golden["gt_relevance"][golden["option_indices"]]
    for loss, value, gradient in (
        (dense_relevance(logits[None], relevance[None]), "ce_loss", "d_ce_d_scores"),
        (alignment(logits, golden["nsp_labels"]), "nsp_loss", "d_nsp_d_scores"),
    ):
        assert loss.mean.item() == pytest.approx(golden[value].item(), abs=1e-12)
        (found,) = torch.autograd.grad(loss.mean, logits)
        torch.testing.assert_close(found, golden[gradient], atol=1e-12, rtol=0)
