"""What `limner features convert` costs on a TSV of bottom-up-attention, beside decoding its base64 and nothing else.

    OMP_NUM_THREADS=1 python scripts/benchmarks/convert.py [--images 1500] [--folder DIR]

Lines are as published: 36 regions of 2,048 float32, 393,216 characters of base64. CPU seconds of the whole process, all
threads and the system's part included (reading, writing and closing); decoding is done on the lines in memory. Files go
to a temporary folder (0.9 GB for 1,500 images) and are deleted. Peak memory is that of the process so far, first after
a third of the images, then after all: what a conversion needs does not grow with its file.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from limner.data.features import FeatureStore, convert
from limner.data.features.formats import base64_rows

REGIONS, DIM, KINDS = 36, 2048, 16


def write(path: Path, images: int) -> list[bytes]:
    """The file; returns the base64 of the different feature columns in it. Features are as sparse as real ones."""
    rng = np.random.default_rng(0)
    values = [np.maximum(rng.standard_normal((REGIONS, DIM)), 0).astype(np.float32) for _ in range(KINDS)]
    columns = [base64.b64encode(features) for features in values]
    boxes = base64.b64encode(np.tile(np.array([1, 2, 100, 200], np.float32), (REGIONS, 1)))
    with path.open("wb") as file:
        for image in range(images):
            file.write(b"%d\t640\t480\t%d\t%s\t%s\r\n" % (image + 1, REGIONS, boxes, columns[image % KINDS]))
    return columns


def cpu(work: Callable[[], object]) -> float:
    """CPU seconds of a call."""
    began = time.process_time()
    work()
    return time.process_time() - began


def peak() -> float:
    """MB that this process has held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def report(name: str, seconds: float, images: int, alone: float) -> None:
    each, rate = 1e6 * seconds / images, images * REGIONS * DIM * 4 * 4 / 3 / seconds / 1e9
    print(f"{name:<44} {each:7.0f} us an image  {rate:6.2f} GB/s of base64  {seconds / alone:5.2f} x")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1500)
    parser.add_argument("--folder", type=Path, help="where to write; default: a temporary folder")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        few, count = max(1, given.images // 3), given.images
        write(folder / "few.tsv", few)
        columns = write(folder / "all.tsv", count)
        repeat = [columns[k % KINDS] for k in range(min(count, 300))]
        alone = cpu(lambda: [binascii.a2b_base64(text) for text in repeat]) * count / len(repeat)
        report("base64 alone, standard library", alone, count, alone)
        fast = base64_rows._fast
        if fast is not None:
            cost = cpu(lambda: [fast(text, validate=True) for text in repeat]) * count / len(repeat)
            report("base64 alone, pybase64", cost, count, alone)
        convert(folder / "few.tsv", folder / "few.h5")
        before = peak()
        if fast is not None:
            cost = cpu(lambda: convert(folder / "all.tsv", folder / "all.h5"))
            report("convert, with pybase64", cost, count, alone)
            (folder / "all.h5").unlink()
            base64_rows._fast = None
        cost = cpu(lambda: convert(folder / "all.tsv", folder / "all.h5"))
        report("convert, standard library alone", cost, count, alone)
        size = (folder / "all.tsv").stat().st_size / 1e6
        print(
            f"peak memory: {before:.0f} MB after {few:,} images, {peak():.0f} MB after {count:,} ({size:,.0f} MB TSV)"
        )
        last = FeatureStore(folder / "all.h5").read(np.array([count - 1])).feats[0]
        original = np.frombuffer(base64.b64decode(columns[(count - 1) % KINDS]), np.float32).reshape(REGIONS, DIM)
        assert np.array_equal(last, original.astype(np.float16)), "the last image is not what was written"


if __name__ == "__main__":
    main()
