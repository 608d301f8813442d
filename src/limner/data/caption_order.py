"""Which captions make which batch: a pure function of (seed, epoch), and of the rank only for its slice.

Batches are of images, drawn by `BatchOrder` for all processes together; then the captions of each image are drawn, by
numbers that belong to the caption and not to the process. So N processes learn what one does, and a run that resumes
in the middle of an epoch draws that epoch again and skips.
"""

from __future__ import annotations

import numpy as np

from limner.data.caption_split import spans
from limner.data.order import BatchOrder


class CaptionOrder:
    """The batches of every epoch.

    Args:
        first: (I+1,) the captions of image i are first[i] .. first[i+1] - 1; each image has one at least.
        batch_size: images of one step over ALL processes.
        seed: of the drawing.
        captions_per_image: so many of each image's captions, drawn anew in each epoch, each once where there are
            enough; where there are not, all of them and then some again. None: all captions of every image.
        rank, world: this process, and how many there are; `world` must divide `batch_size`.

    Raises:
        UserError: when `world` does not divide `batch_size`.
        ValueError: for an image without captions, or a number of captions below one.
    """

    def __init__(
        self,
        first: np.ndarray,
        batch_size: int,
        *,
        seed: int,
        captions_per_image: int | None = None,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.first, self.counts, self.seed = np.asarray(first, np.int64), np.diff(first), seed
        if len(self.counts) and self.counts.min() < 1:
            raise ValueError("an image without captions cannot be trained on")
        if captions_per_image is not None and captions_per_image < 1:
            raise ValueError(f"captions_per_image is {captions_per_image}, expected 1 or more, or None")
        self.captions_per_image = captions_per_image
        self.images = BatchOrder(len(self.counts), batch_size, seed=seed, shuffle=True, rank=rank, world=world)

    def __len__(self) -> int:
        """Batches of an epoch, the same on every rank."""
        return len(self.images)

    def total(self, batch: int) -> int:
        """Images of a batch over all processes."""
        return self.images.total(batch)

    def batches(self, epoch: int) -> list[np.ndarray]:
        """This rank's batches of an epoch.

        Returns:
            `len(self)` arrays of caption indices, int64, ascending: the captions of an image stand together.
        """
        captions, starts = self._draw(epoch)
        return [np.sort(captions[spans(starts, images)[0]]) for images in self.images.batches(epoch)]

    def _draw(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The captions of an epoch, and where among them those of each image begin (I+1,)."""
        wanted = self.captions_per_image
        if wanted is None:
            return np.arange(self.first[-1]), self.first
        key = [number % 2**64 for number in (self.seed, epoch, 2)]  # BatchOrder draws with 0 and 1
        words = np.random.PCG64(np.random.SeedSequence(key)).random_raw(int(self.first[-1]))
        order = np.lexsort((words, np.repeat(np.arange(len(self.counts)), self.counts)))  # drawn within each image
        captions = order[self.first[:-1, None] + np.arange(wanted) % self.counts[:, None]]
        return captions.reshape(-1), np.arange(len(self.counts) + 1) * wanted
