"""The tasks' losses with the detector's classes, out of a batch as the data modules make it, against published ones."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from test_vilbert_golden import CLOSE, load

from limner.data.dialog_regions import ImageInput
from limner.tasks.vilbert_pretraining import PretrainingTask
from limner.tasks.visdial import VisDialTask

LOSSES = {"words": "lm_loss", "regions": "img_loss", "alignment": "nsp_loss", "loss": "loss"}


def with_golden_image(kind: type[VisDialTask], golden) -> VisDialTask:
    """A task that sees the golden images, whose whole image is given and whose regions are hidden already."""

    class Task(kind):
        trainer = SimpleNamespace(world_size=1)

        def seen(self, batch):
            return ImageInput(*(golden.inputs[name] for name in ("feats", "boxes", "mask")))

        def hidden(self, seen, blanked):
            return seen.feats

    return Task(golden.model)


@pytest.mark.parametrize("kind", [VisDialTask, PretrainingTask])
@pytest.mark.parametrize("dtype", list(CLOSE), ids=str)
def test_losses(shared, dtype, kind):
    golden = load(shared, "a", dtype)
    given, at = golden.arrays, golden.heads
    batch = {name: golden.inputs[name] for name in ("tokens", "segments", "text_mask")}
    batch |= {"dialog": torch.arange(len(batch["tokens"])), "labels": given["in/next_sentence_labels"].flatten()}
    batch |= {"words_at": at["words_at"], "word_targets": given["in/mask"][at["words_at"]]}
    batch |= {"regions_at": at["regions_at"], "blanked": torch.zeros_like(at["regions_at"])}
    batch["region_targets"] = given["in/image_target"][at["regions_at"]]
    batch |= {name: torch.arange(len(batch["tokens"])) for name in ("id", "image_id")}
    task = with_golden_image(kind, golden)
    found = {name: loss.mean.item() for name, loss in task.loss(batch).items()}
    assert found.keys() == LOSSES.keys()
    for name, theirs in LOSSES.items():
        assert found[name] == pytest.approx(golden.expected(theirs).item(), abs=CLOSE[dtype]), name
    if kind is PretrainingTask:
        scores = task.score(task.rows(batch))
        for name, value in found.items():
            assert scores[name] == pytest.approx(value, abs=CLOSE[dtype]), name
