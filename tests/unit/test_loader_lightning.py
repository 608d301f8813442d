"""A run resumed from any checkpoint that Lightning can write sees the batches of the uninterrupted run."""

from __future__ import annotations

import warnings

import pytest
import torch

from limner.data.loader import BatchLoader
from limner.data.order import BatchOrder

pytestmark = pytest.mark.slow
BATCHES = 4


def train(folder, *, resume=None, accumulate: int = 1, epochs: int = 3, limit: int | None = None, keep: bool = True):
    """Trains a tiny model; returns its batches as (epoch, ids), its weights, and the checkpoints in order."""
    import pytorch_lightning as pl
    from pytorch_lightning.callbacks import Callback, ModelCheckpoint

    values = torch.linspace(-1, 1, 4 * BATCHES - 1)

    def make(items, slot):
        return {"id": torch.from_numpy(items.copy()), "x": values[torch.from_numpy(items)]}

    def loader(shuffle):
        return BatchLoader(BatchOrder(len(values), 4, seed=3, shuffle=shuffle), make)

    class Model(pl.LightningModule):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.weight = torch.nn.Parameter(torch.zeros(3))
            self.seen: list = []

        def training_step(self, batch, number):
            self.seen.append((self.current_epoch, tuple(batch["id"].tolist())))
            x = batch["x"][:, None] ** torch.arange(3)
            return ((x @ self.weight - batch["id"] / 10) ** 2).mean()

        def validation_step(self, batch, number):
            pass

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), lr=0.1)

    class Paths(Callback):
        saved: list = []  # noqa: RUF012

        def save(self, trainer, when):
            if keep and not trainer.sanity_checking:
                path = folder / f"{len(self.saved):03d}-{when}.ckpt"
                trainer.save_checkpoint(path)
                self.saved.append((path, len(trainer.lightning_module.seen)))

        def on_train_batch_end(self, trainer, *rest):
            self.save(trainer, "batch")

        def on_validation_end(self, trainer, *rest):
            self.save(trainer, "validation")

        def on_train_epoch_end(self, trainer, *rest):
            self.save(trainer, "epoch")

    paths = Paths()
    paths.saved = []
    model = Model()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = pl.Trainer(
            max_epochs=epochs,
            accelerator="cpu",
            devices=1,
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            callbacks=[paths],
            use_distributed_sampler=False,
            val_check_interval=2,
            accumulate_grad_batches=accumulate,
            limit_train_batches=limit,
            default_root_dir=folder,
        )
        assert ModelCheckpoint not in map(type, trainer.callbacks)
        trainer.fit(model, loader(True), loader(False), ckpt_path=resume)
    return model.seen, model.weight.detach().clone(), paths.saved


@pytest.mark.parametrize(("accumulate", "limit"), [(1, None), (2, None), (1, 2)])
def test_resume_is_exact(tmp_path, accumulate, limit):
    options = {"accumulate": accumulate, "limit": limit}
    seen, weight, saved = train(tmp_path, **options)
    order = BatchOrder(4 * BATCHES - 1, 4, seed=3, shuffle=True)
    drawn = [(e, tuple(batch.tolist())) for e in range(3) for batch in order.batches(e)[:limit]]
    assert seen == drawn
    checked = 0
    for path, done in saved:
        if accumulate == 2 and done % BATCHES % 2:
            continue  # gradients of half a step are in no checkpoint
        rest, resumed, _ = train(tmp_path, resume=path, keep=False, **options)
        assert rest == seen[done:], path.name
        assert torch.equal(resumed, weight), path.name
        checked += 1
    assert checked >= 12
