"""A loss that is not finite ends the run; the batch that made it can be looked at, as docs/faults.md says."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import xxhash
from equal_runs import status

PAGE = Path(__file__).resolve().parents[2] / "docs/faults.md"


@pytest.fixture(scope="module")
def poisoned(toy, tmp_path_factory) -> tuple[Path, int]:
    """The toy world with one image whose regions are not numbers, and its id."""
    data = Path(shutil.copytree(toy, tmp_path_factory.mktemp("poisoned") / "toy"))
    asked = json.loads((data / "v2_OpenEnded_toy_train_questions.json").read_text())["questions"][40]["image_id"]
    with h5py.File(data / "regions.h5", "r+") as file:
        place = int(np.searchsorted(file["image_id"][:], asked))
        start, end = file["offsets"][place : place + 2]
        rows = np.full_like(file["features"][start:end], np.nan)
        file["features"][start:end] = rows
        file["row_hash"][place] = xxhash.xxh3_64_intdigest(np.ascontiguousarray(rows).data)
    return data, asked


def check(run: Path, data: Path, image: int, said: str) -> dict:
    """The file has the questions of the image among others, its regions and losses; the line names the file."""
    (line,) = [line for line in said.splitlines() if line.startswith("limner train:")]
    assert "train/loss is nan" in line
    assert "bad_batch.pt" in line
    assert status(run)["state"] == "failed"
    assert status(run)["exit_code"] == 2
    saved = torch.load(run / "bad_batch.pt", weights_only=True)
    questions = json.loads((data / "v2_OpenEnded_toy_train_questions.json").read_text())["questions"]
    about = {question["question_id"] for question in questions if question["image_id"] == image}
    batch = saved["batch"]
    rows = {row for number, row in zip(batch["id"].tolist(), batch["image"].tolist()) if number in about}
    assert rows
    finite = batch["feats"].isfinite().all(dim=(1, 2)) if batch["feats"].dim() == 3 else None
    assert {row for row, good in enumerate(finite.tolist()) if not good} == rows
    assert np.isnan(saved["losses"]["loss"])
    return saved


def test_the_batch_that_made_it_is_kept(forge, limner, poisoned):
    """Found at its own step, though a line is logged each 1,000 steps; the page's program reads it."""
    data, image = poisoned
    run = limner.folder / "run"
    words = [*limner.small(), f"paths.data={data.parent}", f"paths.run={run}", "trainer.log_every_n_steps=1000"]
    done = forge("train", *words, cwd=limner.folder, expect=2)
    saved = check(run, data, image, done.stderr)
    assert f"at step {saved['step']} " in done.stderr
    assert saved["batch_idx"] == saved["step"]
    assert 0 <= saved["batch_idx"] < 10
    (program,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    program = re.sub(r"outputs/\w+/[0-9-]+", str(run), program)
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert str(saved["step"]) in shown
    assert "feats" in shown


def test_the_process_that_had_it_writes_it(limner, poisoned):
    data, image = poisoned
    run = limner.folder / "run"
    words = [*limner.small(), f"paths.data={data.parent}", f"paths.run={run}", "trainer=ddp_cpu"]
    done = limner("train", *words, "trainer.log_every_n_steps=3", expect=2)
    saved = check(run, data, image, done.stderr)
    assert saved["rank"] in (0, 1)
