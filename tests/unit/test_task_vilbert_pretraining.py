"""The pretraining task: losses with both kinds of region targets, scores that add up, the same on any processes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from tiny_dialog_data import wide
from tiny_pairs import CLASSES, data, drawn, make_files, model, task

from limner import inference
from limner.errors import UserError

CASES = [("captions", "regions"), ("captions", "plain"), ("questions", "regions")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_files(tmp_path_factory.mktemp("pairs"))


@pytest.fixture(params=CASES, ids="-".join)
def made(folder, request):
    return data(folder, request.param[0], store=request.param[1])


def alone(net, batch, n: int):
    """A pair of a batch through the model by itself: output, and features or classes of its predicted regions."""
    row = int(batch["image"][n])
    count, length = int(batch["mask"][row].sum()), int(batch["text_mask"][n].sum())
    feats, boxes = batch["feats"][row, :count].double(), batch["boxes"][row, :count].double()
    width, height = batch["size"][n].tolist()
    scale = torch.tensor([width, height, width, height], dtype=torch.float64)
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) / (width * height)
    shown = feats.clone()
    shown[batch["blanked"][n, 1 : count + 1]] = 0
    shown = torch.cat((shown.sum(0, keepdim=True) / count, shown))  # the whole image is what is left of its regions
    places = torch.cat((torch.tensor([[0, 0, 1, 1, 1.0]]), torch.cat((boxes / scale, area[:, None]), 1)))
    at = batch["regions_at"][n : n + 1, : count + 1]
    text = (batch[name][n : n + 1, :length] for name in ("tokens", "segments", "text_mask"))
    mask = torch.ones(1, count + 1, dtype=torch.bool)
    words_at = batch["words_at"][n : n + 1, :length]
    out = net(*text, shown[None], places[None], mask, words_at=words_at, regions_at=at)
    return out, feats[at[0, 1:]]


def by_hand(net, batch):
    """The three losses as means over the batch, and how many pairs are told right."""
    alignment, words, regions, features = [], [], [], []
    for n in range(len(batch["labels"])):
        out, targets = alone(net, batch, n)
        for found, part in ((alignment, out.alignment), (words, out.words), (regions, out.regions)):
            found.append(part)
        features.append(targets)
    found = torch.cat(regions)
    if "region_targets" in batch:
        targets = batch["region_targets"].double()
        third = (targets * (targets.log() - F.log_softmax(found, 1))).sum(1).mean()
    else:
        third = F.mse_loss(found, torch.cat(features))
    first = F.cross_entropy(torch.cat(alignment), batch["labels"])
    second = F.cross_entropy(torch.cat(words), batch["word_targets"])
    right = (torch.cat(alignment).argmax(1) == batch["labels"]).double().mean()
    return {"alignment": first, "words": second, "regions": third}, right


def test_losses(made):
    chosen = task(made, words_weight=0.5, regions_weight=2.0)
    assert not chosen.compares
    batch = wide(drawn(made.train_dataloader())[0])
    found = chosen.loss(batch)
    expected, _ = by_hand(chosen.model, batch)
    for name, value in expected.items():
        assert found[name].mean.item() == pytest.approx(value.item(), rel=1e-6), name
    total = expected["alignment"] + 0.5 * expected["words"] + 2 * expected["regions"]
    assert found["loss"].mean.item() == pytest.approx(total.item(), rel=1e-6)


def test_scores(made):
    """Of all batches of a split, against one large batch by hand; and of training's losses on the same batch."""
    made.settings["eval_batch_size"] = 2
    chosen = task(made, words_weight=0.5)
    rows = [row for batch in drawn(made.loader("val")) for row in chosen.rows(batch)]
    made.settings["eval_batch_size"] = 100
    (batch,) = drawn(made.loader("val"))
    expected, right = by_hand(chosen.model, wide(batch))
    scores = chosen.score(rows)
    for name, value in expected.items():
        assert scores[name] == pytest.approx(value.item(), rel=1e-5), name
    assert scores["score"] == pytest.approx(100 * right.item())
    total = expected["alignment"] + 0.5 * expected["words"] + expected["regions"]
    assert scores["loss"] == pytest.approx(total.item(), rel=1e-5)
    assert scores["loss"] == pytest.approx(chosen.loss(batch)["loss"].mean.item(), rel=1e-5)
    found = sum(row["right_words"] for row in rows) / sum(row["masked_words"] for row in rows)
    assert scores["right_words"] == pytest.approx(100 * found)
    assert chosen.details()["task"] == "visdial_pretraining"


def test_scores_do_not_depend_on_the_processes(made, monkeypatch):
    chosen = task(made)
    whole = chosen.score([row for batch in drawn(made.loader("val")) for row in chosen.rows(batch)])
    shared = {}
    for rank in range(2):
        monkeypatch.setattr(made, "share", lambda rank=rank: (rank, 2))
        shared |= {row["id"]: row for batch in drawn(made.loader("val")) for row in chosen.rows(batch)}
    assert chosen.score([shared[number] for number in sorted(shared)]) == pytest.approx(whole, rel=1e-6)


def test_what_has_no_weight_is_left_out(made):
    chosen = task(made, words_weight=0.0, regions_weight=0.0)
    (row, *_) = chosen.rows(drawn(made.loader("val"))[0])
    assert set(row) == {"id", "image_id", "label", "right", "alignment"}
    assert set(chosen.score([row])) == {"score", "loss", "alignment"}
    assert chosen.score([]) == {}


def test_gradients_reach_the_class_head(folder):
    made = data(folder)
    chosen = task(made)
    assert chosen.model.regions_head.output.out_features == CLASSES
    chosen.loss(wide(drawn(made.train_dataloader())[0]))["loss"].mean.backward()
    assert chosen.model.regions_head.output.weight.grad.abs().sum() > 0


def test_without_regions(folder):
    made = data(folder, features=[])
    chosen = task(made, model(made, fusion="text", text_connections=[], image_connections=[]))
    batch = drawn(made.loader("val"))[0]
    assert set(chosen.loss(batch)) == {"loss", "alignment", "words"}
    assert "regions" not in chosen.score(chosen.rows(batch))


def test_packages(made):
    described = task(made, words_weight=0.5).describe()
    assert described["text"] == {"lowercase": True, "max_length": 36}
    assert described["signature"] == "alignment x 1; masked words x 0.5, regions x 1"
    module = inference.module_for(described["task"])
    net = object()
    assert module.one_model([SimpleNamespace(model=net)]) is net
    with pytest.raises(UserError, match="make no ensemble"):
        module.one_model([None, None])
    for use in (lambda: module.Predictor([None]), lambda: module.predict(None, None, None)):
        with pytest.raises(UserError, match="a pretraining stage predicts nothing yet"):
            use()
