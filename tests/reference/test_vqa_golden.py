"""Up-Down VQA against the published code: outputs, gradients, training steps and checkpoints of random small models."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from limner.errors import UserError
from limner.losses import soft_bce
from limner.models.question import QuestionEncoder
from limner.models.updown_vqa import UpDownVQA
from limner.weights import importers, names

MODELS = ["baseline0", "baseline0_newatt"]


def right_padded(tokens: torch.Tensor, pad: int) -> torch.Tensor:
    """Rows padded on the left as rows padded on the right."""
    rows = torch.full_like(tokens, pad)
    for row, source in zip(rows, tokens):
        real = source[source != pad]
        row[: len(real)] = real
    return rows


class Golden:
    def __init__(self, folder, name):
        data = np.load(folder / f"{name}.npz")
        self.data = {key: torch.from_numpy(np.asarray(data[key])) for key in data.files}
        self.state = self.part("sd/")
        table = names.HU_VQA_CONCAT if name == "baseline0" else names.HU_VQA_PRODUCT
        self.ours = {f"{old}.{leaf}": f"{new.ours}.{leaf}" for old, new in table.items() for leaf in new.leaves}

    def part(self, prefix):
        return {key[len(prefix) :]: value for key, value in self.data.items() if key.startswith(prefix)}

    def model(self, dtype=torch.float32):
        model = UpDownVQA(**importers.hu_vqa_sizes(self.state))
        model.load_state_dict(importers.convert_hu_vqa(self.state))
        return model.to(dtype).eval()

    def inputs(self, model):
        feats = self.data["in/v"].to(model.question.words.weight.dtype)
        tokens = right_padded(self.data["in/q"], model.question.pad)
        return feats, torch.ones(feats.shape[:2], dtype=torch.bool), torch.arange(len(feats)), tokens


@pytest.fixture(params=MODELS)
def golden(request, shared):
    return Golden(shared / "golden/vqa", request.param)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_outputs_loss_and_gradients(golden, dtype):
    model = golden.model(dtype)
    output = model(*golden.inputs(model))
    want = golden.part("out/")
    torch.testing.assert_close(output.logits.float(), want["logits"], atol=2e-6, rtol=0)
    torch.testing.assert_close(output.attention.float(), want["att"].squeeze(-1), atol=1e-6, rtol=0)
    scores = golden.data["in/a"]
    loss = soft_bce(output.logits, scores).mean
    torch.testing.assert_close(loss.float(), want["loss"], atol=0, rtol=1e-6)
    chosen = torch.zeros_like(scores).scatter_(1, output.logits.argmax(1, keepdim=True), 1.0) * scores
    assert torch.equal(chosen, want["score"])
    loss.backward()
    gradients = {name: p.grad.float() for name, p in model.named_parameters()}
    for name, gradient in golden.part("grad/").items():
        torch.testing.assert_close(gradients.pop(golden.ours[name]), gradient, atol=2e-6, rtol=1e-5, msg=name)
    assert not gradients
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 0.25)
    torch.testing.assert_close(norm.float(), want["grad_norm"], atol=0, rtol=1e-6)


def test_five_training_steps(golden):
    """Adamax with clipping, dropout 0: losses, norms, weights and the logits after.

    Adamax makes full steps of any gradient, rounding noise too. So weights are compared but for the few entries whose
    gradient is noise: the bias of the attention score (a softmax does not see a shift) and those below 1e-7.
    """
    model = golden.model().train()
    for module in model.modules():
        if hasattr(module, "dropout") and isinstance(module.dropout, float):
            module.dropout = 0.0
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    optimiser = torch.optim.Adamax(model.parameters())
    trace = []
    for _ in range(5):
        loss = soft_bce(model(*golden.inputs(model)).logits, golden.data["in/a"]).mean
        optimiser.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 0.25)
        optimiser.step()
        trace.append([loss.item(), norm.item()])
    np.testing.assert_allclose(trace, golden.data["train5/loss_gradnorm"], rtol=2e-6)
    model.eval()
    torch.testing.assert_close(model(*golden.inputs(model)).logits, golden.data["train5/logits"], atol=1e-5, rtol=0)
    state = model.state_dict()
    for name, value in golden.part("train5/sd/").items():
        gradient = golden.data[f"grad/{name}"]
        noise = (gradient != 0) & (gradient.abs() < 1e-7)
        assert noise.sum() <= 20
        ours = torch.where(noise, value, state[golden.ours[name]])
        if name != "v_att.linear.bias":
            torch.testing.assert_close(ours, value, atol=1e-5, rtol=0, msg=name)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("suffix", ["model", "model_torch03"])
def test_checkpoint_files(shared, name, suffix):
    """As train.py saves them: `module.` prefix, old serialisation, weight_g with and without an axis."""
    golden = Golden(shared / "golden/vqa", name)
    state = importers.read_checkpoint(shared / f"golden/vqa/{name}.{suffix}.pth")
    assert all(key.startswith("module.") for key in state)
    model = UpDownVQA(**importers.hu_vqa_sizes(state)).eval()
    model.load_state_dict(importers.convert_hu_vqa(state))
    logits = model(*golden.inputs(model)).logits
    torch.testing.assert_close(logits, golden.data["out/logits"], atol=2e-6, rtol=0)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("bi", [0, 1])
@pytest.mark.parametrize("kind", ["GRU", "LSTM"])
def test_question_embedding(shared, kind, bi, layers):
    """Every encoder over every way to compute it: the golden inputs are vectors, so each becomes a word of its own."""
    case = f"{kind}_bi{bi}_l{layers}"
    data = np.load(shared / "golden/vqa/question_embedding.npz")
    part = {key[len(case) + 1 :]: torch.from_numpy(data[key]) for key in data.files if key.startswith(case + "/")}
    x = part["x"]  # [3, 14, 20]
    encoder = QuestionEncoder(
        words=x.shape[0] * x.shape[1],
        embed_dim=x.shape[2],
        hidden=part["sd/rnn.weight_hh_l0"].shape[1],
        encoder=kind.lower(),
        layers=layers,
        bidirectional=bool(bi),
    )
    encoder.load_state_dict({key[3:]: value for key, value in part.items() if key.startswith("sd/")}, strict=False)
    with torch.no_grad():
        encoder.words.weight[:-1] = x.flatten(0, 1)
    tokens = torch.arange(x.shape[0] * x.shape[1]).view(x.shape[:2])
    lengths = torch.full((len(tokens),), tokens.shape[1])
    torch.testing.assert_close(encoder(tokens), part["out"], atol=1e-6, rtol=0)
    torch.testing.assert_close(encoder._plain(tokens, lengths), part["out"], atol=1e-6, rtol=0)
    if not bi:
        torch.testing.assert_close(encoder._packed(tokens, lengths), part["out"], atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", MODELS)
def test_full_size_names_shapes_and_count(shared, name):
    meta = json.loads((shared / "golden/vqa/models_meta.json").read_text())[f"{name}_fullscale"]
    state = {key: torch.empty(shape, device="meta") for key, shape in meta["state_dict"]}
    converted = importers.convert_hu_vqa(state)
    with torch.device("meta"):
        model = UpDownVQA(**importers.hu_vqa_sizes(state))
    assert {key: value.shape for key, value in model.state_dict().items()} == {
        key: value.shape for key, value in converted.items()
    }
    assert sum(p.numel() for p in model.parameters()) == meta["parameters"]
    assert len(list(model.parameters())) == meta["trainable_tensors"]


def tiny_checkpoint():
    sizes = {"rows": 8, "embed_dim": 5, "hidden": 4, "feature_dim": 6, "classifier_hidden": 7, "answers": 3}
    return {
        f"module.{prefix}.{leaf}": torch.rand(importers._shape(shape, sizes))
        for prefix, entry in names.HU_VQA_PRODUCT.items()
        for leaf, shape in entry.leaves.items()
    }


def test_sizes_from_shapes():
    sizes = importers.hu_vqa_sizes(tiny_checkpoint())
    assert sizes == {
        "words": 7,
        "embed_dim": 5,
        "hidden": 4,
        "feature_dim": 6,
        "classifier_hidden": 7,
        "answers": 3,
        "attention": "product",
        "dropout_attention": 0.2,
    }


def test_all_that_is_wrong_with_a_checkpoint_is_one_error():
    state = tiny_checkpoint()
    del state["module.q_net.main.0.bias"], state["module.w_emb.emb.weight"]
    state["module.q_emb.rnn.weight_ih_l1"] = torch.zeros(12, 4)
    state["module.extra"] = torch.zeros(1)
    state["module.v_att.linear.weight_g"] = torch.zeros(2)
    state["module.v_net.main.0.bias"] = torch.zeros(9)
    with pytest.raises(UserError) as error:
        importers.convert_hu_vqa(state)
    line = str(error.value)
    assert "\n" not in line
    assert "missing: w_emb.emb.weight, q_net.main.0.bias" in line
    assert "unknown: q_emb.rnn.weight_ih_l1, extra" in line
    assert "v_att.linear.weight_g is [2], expected []" in line
    assert "v_net.main.0.bias is [9], expected [4]" in line


def test_files_that_are_not_state_dicts(tmp_path):
    path = tmp_path / "model.pth"
    with pytest.raises(UserError, match=r"model\.pth: no such file"):
        importers.read_checkpoint(path)
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(UserError, match=r"model\.pth: cannot be read: it is not a torch file"):
        importers.read_checkpoint(path)
    torch.save(torch.nn.Linear(2, 2), path)  # needs code to be read
    with pytest.raises(UserError, match=r"it needs code, torch\.nn\.modules\.linear\.Linear, which is never run"):
        importers.read_checkpoint(path)
    torch.save({"weight": torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(UserError, match="cannot be read, it is damaged"):
        importers.read_checkpoint(path)
    torch.save({"epoch": 3, "weight": torch.zeros(1)}, path)
    with pytest.raises(UserError, match="expected tensors only, found others under: epoch"):
        importers.read_checkpoint(path)
    torch.save([1, 2], path)
    with pytest.raises(UserError, match="found a list"):
        importers.read_checkpoint(path)
