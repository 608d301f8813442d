"""What the model says of some items, as a table in wandb: the picture, its regions and the attention to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytorch_lightning as pl

from limner.loggers.names import EXAMPLES, EXAMPLES_EACH
from limner.loggers.wandb_run import WandbRun
from limner.metrics.rows import Row
from limner.reports.command import images_of
from limner.reports.examples import one_an_image, shuffled
from limner.reports.gallery import Gallery
from limner.reports.pictures import Ground, shrunk
from limner.reports.source import Source, number
from limner.reports.tasks import TASKS
from limner.reports.tasks.base import PlainItem, TaskReport

COLUMNS: list[str | int] = ["id", "picture", "about", "said", "people", "score"]
SHOWN = 8
"""Regions drawn for one attention map, the strongest first."""
FEW = 1000
"""So many rows are completed before some are chosen, which then know their image: one an image is shown."""


class Examples(pl.Callback):
    """Logs a table of examples, after each validation or once at the end.

    After a validation the items come from its first batch, the same each time: it is predicted once more with
    everything that reports show, by every process, so that none waits for another.

    Args:
        wandb: where they go.
        source: the run; says where its pictures and features are.
        count: how many items.
        split: the split of validations.
        each: after each validation; else at the end, from the rows of the last evaluation.
        tested: an evaluation follows the training; without one the rows of the last validation are shown.
    """

    def __init__(self, wandb: WandbRun, source: Source, *, count: int, split: str, each: bool, tested: bool):
        self.wandb, self.source, self.count, self.split = wandb, source, count, split
        self.each, self.tested = each, tested
        self._rows: list[Row] = []
        self._gallery: tuple[frozenset[int], Gallery] | None = None

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        if batch_idx > 0 or (self.tested and not self.each):
            return
        pl_module.detailed = True
        try:
            with self.wandb.safely():
                self._rows = pl_module.rows(batch)
        finally:
            pl_module.detailed = False

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.each and trainer.is_global_zero:
            self.show(trainer, EXAMPLES_EACH, self._rows, self.split)

    def at_end(self, trainer: pl.Trainer, rows: Sequence[Row], split: str | None) -> None:
        """Logs the table that is wanted at the end; on the first process.

        Args:
            rows: of the evaluation after the training.
            split: its split; None: there was none.
        """
        if split is None:
            rows, split = self._rows, self.split
        self.show(trainer, EXAMPLES, rows, split)

    def show(self, trainer: Any, name: str, rows: Sequence[Row], split: str) -> None:
        """Logs a table of some of the rows."""
        if self.wandb.experiment is None or not rows:
            return
        with self.wandb.safely():  # pictures that cannot be read end no training either
            few = rows if len(rows) <= FEW else chosen(rows, self.count)
            told = trainer.datamodule.with_truth(few, split)
            self.wandb.log_metrics({name: self.table(chosen(told, self.count))}, trainer.global_step)

    def table(self, rows: Sequence[Row]) -> Any:
        """The rows as wandb's table with the columns `COLUMNS`."""
        import wandb

        task = next((task for task in TASKS.values() if rows and task.row_key in rows[0]), TaskReport())
        gallery = self.gallery(frozenset(row["image_id"] for row in rows if isinstance(row.get("image_id"), int)))
        lines = []
        for row in rows:
            told = task.told(row)
            picture = picture_of(row, gallery)
            line = [str(row["id"]), picture, told.title, told.said, " | ".join(told.people), task.item(row).score]
            lines.append(line)
        return wandb.Table(columns=COLUMNS, data=lines)

    def gallery(self, images: frozenset[int]) -> Gallery:
        """The pictures and regions of images; found once where they are the same each time."""
        if self._gallery is None or self._gallery[0] != images:
            self._gallery = images, Gallery(self.source, images_of(self.source, None), images)
        return self._gallery[1]


def chosen(rows: Sequence[Row], count: int) -> list[Row]:
    """Rows that stand for all, the same every time, at most one an image."""
    items = {row["id"]: row for row in rows}
    plain = [PlainItem(row["id"], row.get("image_id"), None) for row in rows]
    return [items[one.id] for one in one_an_image(shuffled(plain), count)]


def picture_of(row: Row, gallery: Gallery) -> Any:
    """The picture of a row with its regions as boxes that the browser shows and hides, as wandb's image.

    Of attention `(R,)` they are called `attention`, of attention to regions at each of T words `(T, R)` by the words;
    without attention all regions are shown. None where there is neither picture nor region.
    """
    import wandb

    image, attention = row.get("image_id"), row.get("attention") or []
    by_word = bool(attention) and isinstance(attention[0], list)
    ground = gallery.ground(image, max(map(len, attention)) if by_word else len(attention))
    if not ground.width:
        return None
    groups = {"attention" if attention else "regions": attention}
    if by_word:
        groups = {f"{k:02d} {word}": shares for k, (word, shares) in enumerate(zip(row["tokens"], attention), start=1)}
    boxes = {name: list(drawn(ground, shares)) for name, shares in groups.items()}
    labels = {0: "region"}
    layers = {name: {"box_data": found, "class_labels": labels} for name, found in boxes.items() if found}
    return wandb.Image(shrunk(gallery.paths.get(image), ground), boxes=layers)


def drawn(ground: Ground, shares: Sequence[float]) -> Iterator[Mapping[str, Any]]:
    """Regions as wandb's boxes, in fractions of the picture: the strongest ones, or all where no attention is known."""
    if ground.boxes is None:
        return
    places = sorted(range(len(shares)), key=lambda k: -shares[k])[:SHOWN] if shares else range(len(ground.boxes))
    for k in places:
        x, y, x2, y2 = ground.boxes[k].tolist()
        if x2 <= x or y2 <= y:
            continue  # padding
        label = ground.labels[k] if k < len(ground.labels) else ""
        share = number(shares[k]) if shares else None
        told = label if share is None else f"{100 * share:.0f} % {label}".strip()
        position = {"minX": x / ground.width, "maxX": x2 / ground.width}
        position |= {"minY": y / ground.height, "maxY": y2 / ground.height}
        box: dict[str, Any] = {"position": position, "class_id": 0, "box_caption": told or f"region {k + 1}"}
        yield box if share is None else {**box, "scores": {"attention": share}}
