"""The visual dialog task: losses over processes, exact dense gradients, rows and scores, optimiser groups."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_dialog_data import data, drawn, make_files, model, task, wide

from limner.data.dialog_regions import with_whole_image
from limner.errors import UserError
from limner.metrics.visdial import DialogMetrics
from limner.models import vilbert_parts
from limner.visdial_optim import BertAdamW, rate


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_files(tmp_path_factory.mktemp("dialogs"))


@pytest.fixture(scope="module")
def made(folder):
    return data(folder)


def plain(net, batch, n: int, *, blank: bool = True):
    """One sequence of a batch through the model, alone."""
    length = int(batch["text_mask"][n].sum())
    dialog = int(batch["dialog"][n])
    row = int(batch["image"][dialog])
    count = int(batch["mask"][row].sum())
    seen = with_whole_image(
        batch["feats"][row : row + 1, :count], batch["boxes"][row : row + 1, :count],
        batch["mask"][row : row + 1, :count], batch["size"][dialog : dialog + 1], regions=None,
    )  # fmt: skip
    feats = seen.feats.clone()
    if blank and "blanked" in batch:
        feats[0, batch["blanked"][dialog, : count + 1]] = 0
    text = (batch[name][n : n + 1, :length] for name in ("tokens", "segments", "text_mask"))
    more = {}
    if "words_at" in batch:
        more = {"words_at": batch["words_at"][n : n + 1, :length]}
    if "regions_at" in batch:
        more["regions_at"] = batch["regions_at"][dialog : dialog + 1, : count + 1]
    return net(*text, feats, seen.boxes, seen.mask, **more), seen.feats


def test_losses_of_the_base_stage(made):
    chosen = task(made, words_weight=0.5, regions_weight=2.0)
    batch = drawn(made.training_loader(dense=False))[0]
    found = chosen.loss(batch)
    alignment, words, regions, targets = [], [], [], []
    for n in range(len(batch["labels"])):
        out, feats = plain(chosen.model, batch, n)
        alignment.append(out.alignment)
        words.append(out.words)
        regions.append(out.regions)
        targets.append(feats[0][batch["regions_at"][batch["dialog"][n], : feats.shape[1]]])
    first = F.cross_entropy(torch.cat(alignment), batch["labels"])
    second = F.cross_entropy(torch.cat(words), batch["word_targets"])
    third = F.mse_loss(torch.cat(regions), torch.cat(targets).double())
    for name, value in (("alignment", first), ("words", second), ("regions", third)):
        assert found[name].mean.item() == pytest.approx(value.item(), rel=1e-5)
    assert found["loss"].mean.item() == pytest.approx((first + 0.5 * second + 2 * third).item(), rel=1e-5)
    assert chosen.training_step(batch, 0).item() == pytest.approx(found["loss"].mean.item())


def test_a_factor_of_zero_spares_its_head(made):
    found = task(made, words_weight=0.0, regions_weight=0.0).loss(drawn(made.training_loader(dense=False))[0])
    assert set(found) == {"loss", "alignment"}
    assert found["loss"].mean.item() == found["alignment"].mean.item()


def gradients(net) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None])


def test_two_processes_learn_what_one_does(made, monkeypatch):
    """Each loss is a mean over what it counts everywhere, not over what one process happens to have."""
    batch = drawn(data_of(made, batch_size=8))[0]

    def run(world: int):
        net = model(made)
        parts = [batch] if world == 1 else [share(batch, which) for which in range(2)]
        counts = {name: loss.count for name, loss in task(made).loss(batch).items()}
        for part in parts:
            chosen = task(made, net, processes=world)
            mine = {name: loss.count for name, loss in task(made, net).loss(part).items()}
            whole = {mine[name]: counts[name] for name in ("alignment", "words", "regions")}
            assert len(whole) == 3  # counts differ, so that a count says what it counts
            monkeypatch.setattr(chosen, "global_count", lambda _, count, whole=whole: whole[count])
            (chosen.training_step(part, 0) / world).backward()
        return gradients(net)

    torch.testing.assert_close(run(2), run(1), rtol=1e-6, atol=1e-8)


def data_of(made, **changes):
    made.settings |= changes
    return made.training_loader(dense=False)


def share(batch, which: int):
    """The first three dialogs of a batch, or the others."""
    dialogs = torch.arange(len(batch["id"]))
    mine = dialogs < 3 if which == 0 else dialogs >= 3
    kept = mine[batch["dialog"]]
    part = {name: batch[name][kept] for name in ("tokens", "segments", "text_mask", "labels", "words_at")}
    owner = batch["words_at"].nonzero()[:, 0]
    part["word_targets"] = batch["word_targets"][kept[owner]]
    part |= {name: batch[name][mine] for name in ("id", "size", "image", "regions_at", "blanked")}
    part["dialog"] = batch["dialog"][kept] - (0 if which == 0 else 3)
    return {**part, **{name: batch[name] for name in ("feats", "boxes", "mask")}}


@pytest.mark.parametrize("stage", ["dense", "dense_nsp"])
def test_dense_gradients_are_those_of_one_large_batch(made, stage):
    batch = wide(drawn(made.training_loader(dense=True))[0])
    found = {}
    for rows in (1, 10**6):  # one sequence at a time, or all together
        chosen = task(made, stage=stage, rows=rows, alignment_weight=0.3)
        assert chosen.compares
        losses = chosen.loss(batch)
        losses["loss"].mean.backward()
        found[rows] = losses["loss"].mean.item(), gradients(chosen.model)
    assert found[1][0] == pytest.approx(found[10**6][0], abs=1e-12)
    torch.testing.assert_close(found[1][1], found[10**6][1], rtol=1e-9, atol=1e-12)
    logits = torch.cat([plain(chosen.model, batch, n)[0].alignment for n in range(len(batch["labels"]))])
    target = batch["relevance"].softmax(1)
    scores = logits[:, 0].view_as(target).log_softmax(1)
    expected = (target * (target.log() - scores)).sum(1).mean()
    if stage == "dense_nsp":
        expected = expected + 0.3 * F.cross_entropy(logits, batch["labels"])
    assert found[1][0] == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("compared", [None, 3])
@pytest.mark.parametrize("layers", ["kept", "computed again"])
def test_dense_gradients_with_dropout_are_those_of_one_graph(folder, monkeypatch, compared, layers):
    """What a part draws when it is computed again is what it drew before, inside checkpointed layers, too."""
    made = data(folder, dense_options=compared, batch_size=10)
    batch = wide(drawn(made.training_loader(dense=True))[0])
    dropout = {f"dropout_{name}": 0.3 for name in ("text", "image", "text_attention", "image_attention", "fused")}
    found = []
    for one_graph in (True, False):
        if one_graph:
            monkeypatch.setattr(vilbert_parts, "in_parts", lambda each, parts: torch.cat([each(*p) for p in parts]))
        chosen = task(made, model(made, **dropout, checkpointing=layers != "kept"), stage="dense_nsp", rows=60)
        torch.manual_seed(3)
        loss = chosen.loss(batch)["loss"].mean
        after = torch.get_rng_state()
        loss.backward()
        assert torch.equal(torch.get_rng_state(), after)  # the next draw does not depend on the parts
        found.append((loss.item(), gradients(chosen.model)))
        monkeypatch.undo()
    assert found[0][0] == found[1][0]
    torch.testing.assert_close(found[1][1], found[0][1], rtol=1e-10, atol=1e-13)
    assert found[0][1].norm() > 1e-3


def rows_of(chosen, made, split="val"):
    return [row for batch in drawn(made.loader(split)) for row in chosen.rows(batch)]


def test_rows_are_those_of_options_alone(made):
    chosen = task(made)
    chosen.detailed = True
    batch = drawn(made.loader("val"))[0]
    rows = chosen.rows(batch)
    with torch.no_grad():
        alone = [plain(chosen.model, batch, n)[0].score.item() for n in range(len(batch["tokens"]))]
    assert [row["id"] for row in rows] == [10001, 10002, 10003, 10701, 10702, 10703]
    for row, start in zip(rows, range(0, 30, 5)):
        assert row["id"] == 100 * row["image_id"] + row["round_id"]
        np.testing.assert_allclose(row["scores"], alone[start : start + 5], atol=1e-4)
        order = sorted(range(5), key=lambda k: -alone[start + k])
        assert [row["ranks"][k] for k in order] == [1, 2, 3, 4, 5]


def test_scores(made):
    rows = rows_of(task(made), made)
    expected = DialogMetrics(made.splits["val"]).score(rows).corpus
    for main in ("mrr", "ndcg"):
        chosen = task(made, main=main)
        assert chosen.score(rows) == {}
        made.use(chosen, "val")
        found = chosen.score(rows)
        assert found["score"] == expected[main]
        assert list(found) == ["score", "ndcg", "mrr", "r1", "r5", "r10", "mean_rank"]
        assert found["r1"] == expected["r@1"]
    assert set(chosen.details()) == {"task", "metrics", "measured"}
    chosen.detailed = True
    chosen.score(rows)
    details = chosen.details()
    assert details["intervals"]["score"][0] <= found["score"] <= details["intervals"]["score"][1]
    assert details["per_round"]["2"]["rounds"] == 3
    assert sum(values["rounds"] for values in details["per_type"].values()) == 9


def test_scores_of_a_part_of_the_dialogs(made):
    """As `limit_val_batches` leaves them; an evaluation misses none."""
    chosen, split = task(made, main="ndcg"), made.splits["val"]
    made.use(chosen, "val")
    rows = rows_of(chosen, made)[3:]
    expected = DialogMetrics(split.take([1, 2])).score(rows).corpus
    found = chosen.score(rows)
    assert found["score"] == found["ndcg"] == expected["ndcg"]
    assert found["mrr"] == expected["mrr"]
    chosen.detailed = True
    with pytest.raises(UserError, match="3 missing"):
        chosen.score(rows)


def test_without_judged_rounds_mrr_stands_in(made, tmp_path):
    bare = data(make_files(tmp_path), dense={})
    chosen = task(bare, main="ndcg")
    bare.use(chosen, "val")
    chosen.detailed = True
    found = chosen.score(rows_of(chosen, bare))
    assert found["score"] == found["mrr"]
    assert chosen.details()["notes"] == ["no round is judged: score is MRR"]


def test_published_groups_and_schedule(made):
    optimizer = partial(BertAdamW, lr=2e-5, weight_decay=0.02)
    chosen = task(made, optimizer=optimizer, image_lr=3e-5, warmup_steps=10, total_steps=20, lowest_lr=1e-6)
    found = chosen.configure_optimizers()
    groups = {group["name"]: group for group in found["optimizer"].param_groups}
    assert {name: (group["initial_lr"], group["weight_decay"]) for name, group in groups.items()} == {
        "language, decay": (2e-5, 0.02),
        "language, no decay": (2e-5, 0.0),
        "image, decay": (3e-5, 0.02),
        "image, no decay": (3e-5, 0.0),
    }
    count = sum(len(group["params"]) for group in groups.values())
    assert count == len(list(chosen.model.parameters()))
    assert groups["image, decay"]["lr"] == pytest.approx(rate(1, 3e-5, warmup=10, total=20, floor=1e-6))
    plain_rate = task(made, optimizer=optimizer).configure_optimizers()["optimizer"]
    assert {group["lr"] for group in plain_rate.param_groups} == {2e-5}
    assert task(made).configure_optimizers() is None


def test_what_a_package_says(made):
    meta = task(made, stage="dense").describe()
    assert meta["task"] == "visdial"
    assert meta["text"] == {"lowercase": True, "max_length": 256, "history": None}
    assert meta["signature"] == "relevance of options"


@pytest.mark.parametrize("options", [{"stage": "denze"}, {"main": "r1"}])
def test_refusals(made, options):
    with pytest.raises(UserError, match=f"task.{next(iter(options))}={next(iter(options.values()))}: expected one of"):
        task(made, **options)
