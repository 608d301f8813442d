"""Regions of dialogs that are predicted as the detector's classes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from tiny_dialog_data import COUNTS, data, drawn, make_files, model, task, wide
from tiny_pairs import CLASSES, probabilities, write_classes

from limner.errors import UserError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = make_files(tmp_path_factory.mktemp("dialogs"))
    write_classes(made / "classes.h5", COUNTS)
    return made


def with_classes(folder, **changes):
    return data(folder, features=[str(folder / "classes.h5")], **changes)


def test_losses_of_dialogs(folder):
    """Sequences of a dialog share the masks and targets of its image."""
    made = with_classes(folder, per_image=3, batch_size=12)
    assert made.sizes()["region_classes"] == CLASSES
    batch = wide(drawn(made.training_loader(dense=False))[0])
    chosen = task(made)
    seen = chosen.seen(batch)
    targets, rows, regions = [], [], []
    for n, dialog in enumerate(batch["dialog"].tolist()):
        image = int(batch["id"][dialog])
        for region in batch["regions_at"][dialog].nonzero().flatten().tolist():
            targets.append(torch.from_numpy(probabilities(image, COUNTS[image])[region - 1]).double())
            rows.append(n)
            regions.append(region)
    feats = seen.feats.masked_fill(batch["blanked"][..., None], 0.0)
    text = batch["tokens"], batch["segments"], batch["text_mask"]
    everywhere = torch.ones(len(batch["labels"]), feats.shape[1], dtype=torch.bool)
    out = chosen.model(*text, feats, seen.boxes, seen.mask, batch["dialog"], regions_at=everywhere)
    said = out.regions.view(len(everywhere), -1, CLASSES)[rows, regions]
    expected = F.kl_div(F.log_softmax(said, 1), torch.stack(targets), reduction="batchmean")
    found = chosen.loss(batch)["regions"]
    assert found.count == len(targets) > 10
    assert found.mean.item() == pytest.approx(expected.item(), rel=1e-3)  # targets are stored as float16


def test_an_evaluation_reads_no_classes(folder):
    assert "region_targets" not in drawn(with_classes(folder).loader("val"))[0]
    assert "region_targets" not in drawn(with_classes(folder).training_loader(dense=True))[0]


def test_classes_must_be_there_when_they_are_wanted(folder):
    assert data(folder).sizes()["region_classes"] == data(folder).store.dim
    with pytest.raises(UserError, match=r"data\.region_targets=classes"):
        data(folder, region_targets="classes").sizes()
    assert model(with_classes(folder)).regions_head.output.out_features == CLASSES
