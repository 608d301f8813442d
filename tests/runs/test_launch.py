"""Other ways to start several processes: torchrun, srun, machine by machine; and FSDP. All train what DDP trains."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from equal_runs import same, status

from limner.reports.source import read_metrics

KILL, USR1 = int(signal.SIGKILL), int(signal.SIGUSR1)
TORCHRUN = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "--max-restarts", "1")
SLURM = {"SLURM_JOB_ID": "77", "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_NNODES": "1",
         "SLURM_NODELIST": "localhost", "SLURM_JOB_NODELIST": "localhost", "SLURM_NODEID": "0"}  # fmt: skip


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return str(free.getsockname()[1])


def together(limner, words: list[str], each: list[dict[str, str]], *, interrupt: str = "") -> list[tuple[int, str]]:
    """Starts a `limner train` for each environment; their exit codes and what they wrote to stderr."""
    base = {k: v for k, v in os.environ.items() if not k.startswith(("LIMNER_", "PL_", "WANDB_", "SLURM_"))}
    base |= {"OMP_NUM_THREADS": "1"} | ({"LIMNER_TEST_INTERRUPT": interrupt} if interrupt else {})
    script = str(Path(__file__).with_name("interrupted.py"))
    processes = [
        subprocess.Popen(
            [sys.executable, script, "train", *limner.small(), *words],
            cwd=limner.folder, env={**base, **more}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for more in each
    ]  # fmt: skip
    try:
        said = [process.communicate(timeout=200)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, text) for process, text in zip(processes, said)]


def test_torchrun_goes_on_after_a_killed_worker(limner, trained_by_two):
    """SIGKILL of one worker in the second epoch: the other ends, both start anew and go on from the last checkpoint."""
    words = ["resume=auto", "trainer=ddp_cpu", f"paths.outputs={limner.folder / 'outputs'}"]
    done = limner("train", *limner.small(), *words, interrupt=f"step:14:{KILL}:1", launcher=TORCHRUN)
    (run,) = (limner.folder / "outputs/toy_vqa").iterdir()  # one folder, that nobody had to name
    assert "Signal 9" in done.stderr or "exitcode: -9" in done.stderr
    assert status(run)["state"] == "done"
    same(run, trained_by_two)


def test_slurm_ends_announced_and_requeued(limner, trained_by_two, tmp_path):
    """SIGUSR1 two minutes before the end: a checkpoint, `scontrol requeue`, and the same script goes on."""
    tool, asked = tmp_path / "bin/scontrol", tmp_path / "asked"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\necho "$@" >> {asked}\n')
    tool.chmod(0o755)
    path = {"PATH": f"{tool.parent}:{os.environ['PATH']}"}
    tasks = [{**SLURM, **path, "SLURM_PROCID": str(k), "SLURM_LOCALID": str(k)} for k in range(2)]
    words = ["resume=auto", "trainer=ddp_cpu", f"paths.outputs={limner.folder / 'outputs'}"]
    ended = together(limner, words, tasks, interrupt=f"step:14:{USR1}:1")
    assert [code for code, _ in ended] == [128 + USR1] * 2, ended
    assert "job 77 is requeued and will go on here" in ended[0][1]
    assert asked.read_text() == "requeue 77\n"
    (run,) = (limner.folder / "outputs/toy_vqa").iterdir()
    assert status(run)["state"] == "stopped"
    assert [code for code, _ in together(limner, words, tasks)] == [0, 0]
    assert [run] == list((limner.folder / "outputs/toy_vqa").iterdir())
    same(run, trained_by_two)


def test_two_machines_by_hand(limner, trained_by_two):
    """Each with NODE_RANK and the address of machine 0."""
    meet = {"MASTER_ADDR": "localhost", "MASTER_PORT": free_port()}
    words = ["trainer=ddp_cpu", "trainer.devices=1", "trainer.num_nodes=2", f"paths.run={limner.folder / 'run'}"]
    ended = together(limner, words, [{**meet, "NODE_RANK": str(k)} for k in range(2)])
    assert [code for code, _ in ended] == [0, 0], ended
    run = limner.folder / "run"
    assert status(run)["state"] == "done"
    assert (run / "metrics.jsonl").read_text() == (trained_by_two / "metrics.jsonl").read_text()
    mine, theirs = ((each / "package/model.safetensors").read_bytes() for each in (run, trained_by_two))
    assert mine == theirs


def test_fsdp_trains_as_ddp_does_and_resumes_to_the_byte(limner, trained_by_two):
    words = ["trainer=ddp_cpu", "trainer.strategy=fsdp"]
    whole = limner.train("whole", *words)
    pairs = zip(*(read_metrics(run / "metrics.jsonl") for run in (whole, trained_by_two)), strict=True)
    for mine, theirs in pairs:
        assert mine == pytest.approx(theirs, rel=1e-4), (mine, theirs)
    run = limner.train("run", *words, interrupt=f"step:14:{KILL}", expect=-KILL)
    moved = shutil.copytree(run, limner.folder / "moved")
    limner("train", f"resume={run}")
    same(run, whole)
    limner("train", f"resume={moved}", "trainer.strategy=ddp")  # either goes on from the other's checkpoint
    assert status(moved)["state"] == "done"
    done = limner("evaluate", f"run={run}", "split=test")
    assert "test: 81 of 81 items" in done.stdout
