"""The scripts for clusters: bash reads them, they start what they say, and what a user types arrives unchanged."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from limner.preflight import compose

TYPED = ["experiment=vqa_updown", "name='two words'", "data.batch_size=256"]
SCRIPTS = {"slurm.sh": "srun", "torchrun.sh": "torchrun"}  # what it starts


def run(root: Path, tmp_path: Path, name: str, **environment: str) -> subprocess.CompletedProcess:
    tool = tmp_path / SCRIPTS[name]
    tool.write_text('#!/bin/sh\necho "cores=$SRUN_CPUS_PER_TASK"\nprintf "%s\\n" "$@"\n')
    tool.chmod(0o755)
    path = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_CPUS_PER_TASK": "8", **environment}
    command = ["bash", str(root / "scripts/cluster" / name), *TYPED]
    return subprocess.run(command, env=path, capture_output=True, text=True)


@pytest.mark.parametrize("name", SCRIPTS)
def test_it_starts_a_training_that_composes(name, root, tmp_path):
    done = run(root, tmp_path, name, HEAD="node0")
    assert done.returncode == 0, done.stderr
    words = done.stdout.splitlines()
    at = words.index("train")
    assert words[at - 1] == "limner"
    assert words[-3:] == TYPED  # last: `trainer=fsdp` takes the place of ours
    config = compose("train", [word for word in words[at + 1 :] if word != "resume=auto"], checked=False)
    assert (config.name, config.trainer.num_nodes, config.trainer.strategy) == ("two words", 2, "ddp")
    assert "resume=auto" in words


def test_what_torchrun_is_told(root, tmp_path):
    words = run(root, tmp_path, "torchrun.sh", HEAD="node0", NODES="4", GPUS="8").stdout.splitlines()
    assert {"--nnodes=4", "--nproc-per-node=8", "--rdzv-endpoint=node0:29400", "--max-restarts=3"} <= set(words)
    done = run(root, tmp_path, "torchrun.sh")
    assert done.returncode != 0
    assert "HEAD=NAME: the machine where all of them meet" in done.stderr


def test_slurm_is_told_what_limner_needs(root, tmp_path):
    assert run(root, tmp_path, "slurm.sh").stdout.splitlines()[0] == "cores=8"
    text = (root / "scripts/cluster/slurm.sh").read_text()
    for option in ("--ntasks-per-node=4", "--signal=USR1@120", "--requeue"):
        assert f"#SBATCH {option}" in text
    assert all((root / "scripts/cluster" / name).stat().st_mode & 0o111 for name in SCRIPTS)
