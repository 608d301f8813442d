"""Processes of torchrun, srun and several machines: who they are, what they agree on, what Slurm is asked for."""

from __future__ import annotations

import socket

import pytest
import torch

from limner import launchers
from limner.errors import UserError
from limner.strategies import Sharded, chosen, joined, part

SRUN = {"SLURM_NTASKS": "8", "SLURM_PROCID": "5", "SLURM_NTASKS_PER_NODE": "4", "SLURM_NNODES": "2"}


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    monkeypatch.setattr(launchers, "_STORES", [])
    for name in ("RANK", "WORLD_SIZE", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT", "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("environment", "shape"),
    [
        ({}, ("auto", 3)),
        ({"RANK": "5", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4"}, (4, 2)),
        ({"RANK": "1", "WORLD_SIZE": "2"}, (2, 1)),
        (SRUN, (4, 2)),
        ({**SRUN, "SLURM_NTASKS": "1"}, ("auto", 3)),
    ],
)
def test_launchers_say_how_many(environment, shape):
    assert launchers.shape("auto", 3, environment) == shape


def test_the_first_process_decides(monkeypatch):
    """A store is kept by the first process; another hears of it. Both are this process here."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    for name, value in {"WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("RANK", "0")
    assert launchers.agree("LIMNER_TEST_AGREED", lambda: "a folder") == "a folder"
    monkeypatch.setenv("RANK", "1")
    assert launchers.agree("LIMNER_TEST_AGREED", lambda: "another") == "a folder"
    monkeypatch.delenv("LIMNER_TEST_AGREED")


def test_what_is_missing_is_said(monkeypatch):
    monkeypatch.setenv("NODE_RANK", "0")
    with pytest.raises(UserError, match="set MASTER_ADDR and MASTER_PORT"):
        launchers.agree("LIMNER_TEST_AGREED", lambda: "x")
    monkeypatch.delenv("NODE_RANK")
    for name, value in {"SLURM_NTASKS": "2", "SLURM_PROCID": "0"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("SLURM_NTASKS_PER_NODE", raising=False)
    with pytest.raises(UserError, match="--ntasks-per-node=N"):
        launchers.cluster()


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({}, None),
        ({"SLURM_JOB_ID": "123"}, "slurm 123"),
        ({"SLURM_JOB_ID": "125", "SLURM_ARRAY_JOB_ID": "120", "SLURM_ARRAY_TASK_ID": "3"}, "slurm 120_3"),
        ({"SLURM_JOB_ID": "1; reboot"}, None),
    ],
)
def test_the_job(environment, name):
    assert launchers.job(environment) == name


def test_requeue(tmp_path, monkeypatch):
    assert launchers.requeue() is None
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "there is no scontrol here" in str(launchers.requeue())
    tool = tmp_path / "scontrol"
    tool.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n')
    tool.chmod(0o755)
    assert launchers.requeue() == "job 77 is requeued and will go on here"
    assert (tmp_path / "asked").read_text() == "requeue 77\n"
    tool.write_text("#!/bin/sh\necho not allowed >&2\nexit 1\n")
    assert launchers.requeue() == "job 77 is not requeued: not allowed"


def test_strategies():
    assert isinstance(chosen("fsdp", precision="bf16-mixed", trains=True), Sharded)
    assert not isinstance(chosen("fsdp", precision="32-true", trains=False), Sharded)


def test_parts_are_put_together_again():
    whole = torch.arange(12.0).view(3, 4)
    parts = [part(whole, 0, 5), part(whole, 5, 7)]
    assert torch.equal(joined(parts, whole.shape), whole)
    step = torch.tensor(3.0)  # of Adam: no vector, the same everywhere
    assert part(step, 0, 5) is step
    assert joined([step, step], whole.shape) is step
