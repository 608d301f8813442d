"""Features kept on the device: the batches that reach the model are the same as those read from the store."""

from __future__ import annotations

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from tiny_vqa import DIM, data, drawn, make_files

from limner.data import resident
from limner.data.features.together import open_stores
from limner.data.resident import ResidentRegions
from limner.errors import UserError
from limner.models.updown_vqa import UpDownVQA
from limner.optim import Constant
from limner.tasks.vqa import VQATask


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_files(tmp_path_factory.mktemp("vqa"))


def batches(module, loader) -> list[dict]:
    """What the model gets."""
    return drawn(module.on_after_batch_transfer(batch, 0) for batch in loader)


@pytest.mark.parametrize("fixed", [None, 1, 3, 36])
@pytest.mark.parametrize("chunk", [2, 1024])
@pytest.mark.parametrize("split", ["train", "val"])
def test_same_batches(folder, monkeypatch, fixed, chunk, split):
    monkeypatch.setattr(resident, "CHUNK", chunk)
    made = []
    for kept in (False, True):
        module = data(folder, max_regions=fixed, resident=kept)
        loader = module.train_dataloader() if split == "train" else module.val_dataloader()
        assert ("positions" in next(iter(loader))) == kept
        made.append(batches(module, loader))
    assert len(made[0]) == len(made[1]) == (3 if split == "train" else 2)
    for read, kept in zip(*made):
        assert read.keys() == kept.keys()
        for name, value in read.items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(kept[name])), name
            assert torch.is_tensor(value) == torch.is_tensor(kept[name])
            if torch.is_tensor(value):
                assert value.dtype == kept[name].dtype
    if fixed is None and split == "train":
        assert len({batch["feats"].shape[1] for batch in made[0]}) > 1  # adaptive region counts


def test_a_loader_given_alone_has_its_regions(folder):
    """`trainer.test(task, dataloaders=data.loader(split))` calls no hook of the data module."""
    module = data(folder, resident=True)
    batch = next(iter(module.loader("val")))
    assert batch["feats"].shape == (2, 3, DIM)
    assert module.on_after_batch_transfer(batch, 0) is batch
    assert module.resident is None


def test_training_and_then_evaluation(folder):
    """As `limner train` does: fit with the data module, then test on a loader."""
    module = data(folder, resident=True)
    model = UpDownVQA(**module.sizes(), embed_dim=4, hidden=4, classifier_hidden=4)
    options = {"optimizer": torch.optim.Adamax, "schedule": Constant()}
    task = VQATask(model, **module.task_arguments(), **options)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    settings = {"enable_model_summary": False, "use_distributed_sampler": False, "num_sanity_val_steps": 0}
    trainer = pl.Trainer(accelerator="cpu", max_epochs=1, **quiet, **settings)
    trainer.fit(task, module)
    assert module.resident is not None
    assert trainer.global_step == 3
    module.use(task, "val")
    trainer.test(task, dataloaders=module.loader("val"), verbose=False)
    assert {row["id"] for row in task.last_rows} == {200, 201, 202}


def test_all_stores_are_held_once(folder):
    store = open_stores([folder / "train.h5", folder / "val.h5"])
    held = ResidentRegions(store, torch.device("cpu"))
    assert held.feats.shape == (5, 4, DIM)
    assert held.feats.dtype == torch.float16
    assert held.mask.sum(1).tolist() == [2, 4, 1, 3, 2]
    assert np.array_equal(held.boxes[1, :4], store.read(np.array([1])).boxes[0])
    assert not held.feats[~held.mask].any()


def test_too_little_memory_is_one_line():
    class Huge:
        max_regions, dim, dtype = 10**6, 10**6, np.dtype(np.float16)

        def __len__(self):
            return 10**6

    with pytest.raises(UserError, match=r"data\.resident: [\d.]+ GiB of features do not fit on cpu: set it to false"):
        ResidentRegions(Huge(), torch.device("cpu"))
