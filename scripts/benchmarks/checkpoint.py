"""What writing a checkpoint costs training: weights and optimiser states at full size, on the disk of a folder.

    python scripts/benchmarks/checkpoint.py [--only vqa,vilbert] [--folder DIR] [--times N]

pause: seconds that training stands still (`WholeFiles.save_checkpoint`). on disk: seconds until the file has its name,
which a thread waits for. share: of the time, with a save each ten minutes (`callbacks.save_every_minutes`); shortest
epoch: how long an epoch must be, so that its checkpoint costs 3 %.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from limner.checkpoint_files import WholeFiles, read_checkpoint

MINUTES, LIMIT = 10, 0.03


def vqa() -> tuple[nn.Module, torch.optim.Optimizer]:
    from limner.models.updown_vqa import UpDownVQA

    model = UpDownVQA(words=19_901, answers=3_129, feature_dim=2048)
    return model, torch.optim.Adamax(model.parameters())


def vilbert() -> tuple[nn.Module, torch.optim.Optimizer]:
    from limner.models.vilbert import ViLBERT

    model = ViLBERT(words=30_522, feature_dim=2048, region_classes=1_601)
    return model, torch.optim.AdamW(model.parameters())


MODELS: dict[str, Callable[[], tuple[nn.Module, torch.optim.Optimizer]]] = {"vqa": vqa, "vilbert": vilbert}


def checkpoint(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """What a run saves, after a first step."""
    for parameter in model.parameters():
        parameter.grad = torch.zeros(()).expand_as(parameter)
    optimizer.step()
    return {"state_dict": model.state_dict(), "optimizer_states": [optimizer.state_dict()], "global_step": 1}


def measure(name: str, folder: Path, times: int) -> str:
    saved = checkpoint(*MODELS[name]())
    files, path = WholeFiles(), folder / "last.ckpt"
    pauses, waits = [], []
    for _ in range(times):
        begin = time.perf_counter()
        files.save_checkpoint(saved, path)
        pauses.append(time.perf_counter() - begin)
        files.wait()
        waits.append(time.perf_counter() - begin)
    size, pause, wait = path.stat().st_size, statistics.median(pauses), statistics.median(waits)
    again = read_checkpoint(path)["state_dict"]
    assert all(torch.equal(again[key], value) for key, value in saved["state_dict"].items())
    return (
        f"{name}: {size / 1e6:,.0f} MB, pause {pause:.2f} s, on disk after {wait:.2f} s; "
        f"share each {MINUTES} minutes {100 * pause / (60 * MINUTES):.2f} %, "
        f"shortest epoch for {100 * LIMIT:.0f} %: {pause / LIMIT:.0f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(MODELS), help="which models (default: all)")
    parser.add_argument("--folder", default=".", help="a folder on the disk to measure (default: here)")
    parser.add_argument("--times", type=int, default=3, help="saves, of which the median is shown (default: 3)")
    options = parser.parse_args()
    for name in options.only.split(","):
        if name not in MODELS:
            parser.error(f"{name} is none of {', '.join(MODELS)}")
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            print(measure(name, Path(folder), options.times), flush=True)


if __name__ == "__main__":
    main()
