"""How fast region features reach the model: images/s, the share of the memory-copy rate, and the plain way beside it.

    OMP_NUM_THREADS=1 python scripts/benchmarks/loader.py [--images 5000] [--folder DIR]

The plain way is what the published code does: one h5py read an item from a (N, 36, 2048) float32 file, then torch's
`default_collate` of (features, boxes), in the training process. Both files are written to a temporary folder (2.2 GB
for 5,000 images), read once to warm the page cache, and deleted. The memory-copy rate is that of as many bytes
from one array to another, a batch at a time, taken between the other timings. All with one torch thread; the loader's
own thread works beside an idle consumer. Quiet the machine first: the rates share its memory with everyone else.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from limner.data.collate import RegionBuffers, gather_regions
from limner.data.features import FeatureStore, FeatureWriter
from limner.data.loader import BatchLoader
from limner.data.order import BatchOrder


class Row(NamedTuple):
    """One measured number."""

    name: str
    value: float
    unit: str


class PlainDataset(Dataset):
    """One image at a time from the old layout."""

    def __init__(self, path: Path, image_of_item: np.ndarray) -> None:
        self.file, self.image_of_item = h5py.File(path, "r"), image_of_item

    def __len__(self) -> int:
        return len(self.image_of_item)

    def __getitem__(self, item: int) -> tuple[torch.Tensor, torch.Tensor]:
        row = self.image_of_item[item]
        return torch.from_numpy(self.file["image_features"][row]), torch.from_numpy(self.file["image_bb"][row])


class Fixed(Sampler):
    """The batches of an order, so that both ways read the same items."""

    def __init__(self, batches: list[np.ndarray]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self):
        return iter(batch.tolist() for batch in self.batches)


def write(folder: Path, images: int, regions: int, dim: int) -> tuple[Path, Path]:
    """Random features in limner's layout (float16) and in the old one (float32)."""
    rng = np.random.default_rng(0)
    block = rng.random((64, regions, dim), dtype=np.float32)
    boxes = np.tile(np.array([0, 0, 100, 100], np.float32), (regions, 1))
    new, old = folder / "new.h5", folder / "old.hdf5"
    with FeatureWriter(new, dim=dim, extractor="random") as writer, h5py.File(old, "w") as file:
        features = file.create_dataset("image_features", (images, regions, dim), "f4")
        file.create_dataset("image_bb", data=np.broadcast_to(boxes, (images, regions, 4)))
        for image in range(images):
            writer.add(image, block[image % 64], boxes, (640, 480))
            features[image] = block[image % 64]
    return new, old


def run(
    *,
    images: int = 5000,
    regions: int = 36,
    dim: int = 2048,
    batch: int = 512,
    repeats: int = 10,
    folder: str | None = None,
) -> list[Row]:
    """Writes the files, measures, deletes them.

    Args:
        images: in the files; enough that they do not fit a processor's cache.
        regions: of an image.
        dim: numbers of a region.
        batch: items of a batch.
        repeats: passes over the data; the fastest counts (the plain way gets two).
        folder: where the temporary folder is made.

    Returns:
        The numbers, in the order to print them.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory(dir=folder) as place:
            new, old = write(Path(place), images, regions, dim)
            rows: list[Row] = []
            for name, each in (("one question an image", 1.0), ("5.4 questions an image, grouped", 5.4)):
                rows += _compare(name, each, new, old, images, batch, repeats)
            return rows
    finally:
        torch.set_num_threads(threads)


def _compare(name: str, each: float, new: Path, old: Path, images: int, batch: int, repeats: int) -> list[Row]:
    store = FeatureStore(new)
    image_of_item = np.random.default_rng(1).permutation(np.arange(round(images * each)) % images)
    items = len(image_of_item)
    order = BatchOrder(items, batch, seed=0, shuffle=True, groups=image_of_item, by_group=each > 1)
    buffers = RegionBuffers()
    loader = BatchLoader(
        order,
        lambda indices, slot: gather_regions(store, image_of_item[indices], buffers[slot])._asdict(),
        ahead=lambda indices: store.will_need(np.unique(image_of_item[indices])),
    )
    source = np.ones((batch, store.max_regions, store.dim), store.dtype)
    target = np.empty_like(source)
    plain = DataLoader(PlainDataset(old, image_of_item), batch_sampler=Fixed(order.batches(0)))
    moved = sum(len(np.unique(image_of_item[indices])) for indices in order.batches(0))

    bytes_of_image = source.nbytes / batch
    times = max(1, round(moved * bytes_of_image / source.nbytes))  # as many bytes as one pass of the loader

    def gather() -> None:
        for number, indices in enumerate(order.batches(0)):
            gather_regions(store, image_of_item[indices], buffers[number % len(buffers)])

    seconds, gathers, copies = [], [], []
    _consume(loader)  # warm: the page cache, the map's page table, the buffers
    for _ in range(repeats):
        copies.append(_time(lambda: [np.copyto(target, source) for _ in range(times)]))
        gathers.append(_time(gather))
        seconds.append(_time(lambda: _consume(loader)))
    _consume(plain)
    by_item = min(_time(lambda: _consume(plain)) for _ in range(2))
    fast = min(seconds)
    rate, memory = moved * bytes_of_image / fast, times * source.nbytes / min(copies)
    alone = moved * bytes_of_image / min(gathers)
    return [
        Row(f"{name}: loader", items / fast, "items/s"),
        Row(f"{name}: features moved", rate / 1e9, "GB/s"),
        Row(f"{name}: memory copy", memory / 1e9, "GB/s"),
        Row(f"{name}: loader, share of the memory-copy rate", 100 * rate / memory, "%"),
        Row(f"{name}: gather alone, share of it", 100 * alone / memory, "%"),
        Row(f"{name}: plain way", items / by_item, "items/s"),
        Row(f"{name}: loader / plain way", by_item / fast, "x"),
    ]


def _consume(batches: Iterable[object]) -> None:
    for _ in batches:
        pass


def _time(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    """Prints one line a number."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--folder", help="where to make the temporary folder (default: the system's)")
    arguments = parser.parse_args()
    for row in run(images=arguments.images, batch=arguments.batch, folder=arguments.folder):
        print(f"{row.name:<62} {row.value:>12,.1f} {row.unit}")


if __name__ == "__main__":
    main()
