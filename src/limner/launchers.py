"""Processes that limner did not start itself: those of torchrun, srun, and of a person on several machines.

What they must agree on before training (which folder, which run is continued) the first process decides and the others
hear through torch's key-value store, at the address where they meet later anyway. Processes that Lightning starts hear
it from their parent, in the environment.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from limner.errors import UserError
from limner.processes import by_srun, by_torchrun, number, started_by_lightning, started_outside

PATIENCE = timedelta(minutes=10)
"""for which a process waits for the first one: machines of a job do not start in the same second"""

_STORES: list[Any] = []
"""kept until the process ends: what has been said can be heard as long as the first process keeps its store"""


def cluster() -> Any:
    """What tells Lightning which process this is (a `ClusterEnvironment`).

    Lightning would take every process inside a Slurm job for one that srun started, and would requeue the job itself,
    after a checkpoint of its own.

    Raises:
        UserError: srun was not told how many processes a machine has.
    """
    from pytorch_lightning.plugins.environments import (
        LightningEnvironment,
        SLURMEnvironment,
        TorchElasticEnvironment,
    )

    if by_torchrun():
        return TorchElasticEnvironment()
    if not by_srun():
        return LightningEnvironment()
    if "SLURM_NTASKS_PER_NODE" not in os.environ:
        raise UserError("srun: say --ntasks-per-node=N (and --nodes=M) in the place of --ntasks")
    return SLURMEnvironment(auto_requeue=False)


def shape(devices: Any, nodes: int, environment: Mapping[str, str] = os.environ) -> tuple[Any, int]:
    """Processes a machine, and machines: what torchrun or srun has started, else what the configuration says."""
    if by_torchrun(environment):
        processes = int(environment["WORLD_SIZE"])
        local = int(environment.get("LOCAL_WORLD_SIZE", processes))
        return local, processes // local
    if by_srun(environment):
        return int(environment["SLURM_NTASKS_PER_NODE"]), int(environment.get("SLURM_NNODES", "1"))
    return devices, nodes


def agree(variable: str, decide: Callable[[], str]) -> str:
    """What the first process decides, the same on all processes of a run.

    Args:
        variable: where the processes that Lightning will start find it, in the environment.
        decide: called on the first process only.

    Raises:
        UserError: the first process cannot be reached, or ended before it had decided (it says why itself).
    """
    if started_by_lightning() and variable in os.environ:
        return os.environ[variable]
    if started_outside():
        value = heard(variable, decide)
    else:
        value = decide()
    os.environ[variable] = value
    return value


def heard(key: str, decide: Callable[[], str]) -> str:
    """Says, on the first process, what `decide` decides; hears it on the others."""
    store = meeting()
    if number() == 0:
        value = decide()
        store.set(key, value)
        return value
    try:
        return store.get(key).decode()
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"the first process ended, or did not say in time how to go on ({reason})") from None


def meeting() -> Any:
    """The key-value store of the processes that were started together."""
    import torch.distributed as dist

    if _STORES:
        return _STORES[0]
    environment = cluster()
    if not (by_torchrun() or by_srun()) and not {"MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys():
        raise UserError(
            "NODE_RANK is set: set MASTER_ADDR and MASTER_PORT, too, to the address of machine 0 and a free port there"
        )
    address, port = environment.main_address, environment.main_port
    try:
        store = dist.TCPStore(
            address,
            port,
            is_master=number() == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True",
            timeout=PATIENCE,
            wait_for_workers=False,
            multi_tenant=True,  # torch opens the same one again when training begins
        )
    except RuntimeError as error:
        first = str(error).splitlines()[0]
        raise UserError(
            f"the processes cannot meet at {address}:{port}, from MASTER_ADDR, MASTER_PORT: {first}"
        ) from None
    _STORES.append(dist.PrefixStore(f"limner/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store))
    return _STORES[0]


def join(backend: str) -> None:
    """Makes the group of torchrun's processes, in a part of its store that belongs to this attempt alone.

    The store outlives the processes of an attempt that failed: those that are started anew would find the addresses of
    the dead there, and wait for them for ever.
    """
    import torch.distributed as dist

    if by_torchrun() and not dist.is_initialized():
        store = dist.PrefixStore("group", meeting())
        dist.init_process_group(backend, store=store, rank=number(), world_size=int(os.environ["WORLD_SIZE"]))


def job(environment: Mapping[str, str] = os.environ) -> str | None:
    """The job that this process belongs to, for status.json: `slurm 123`, `slurm 120_3` (of an array); else None."""
    name = environment.get("SLURM_JOB_ID")
    if "SLURM_ARRAY_JOB_ID" in environment:
        name = f"{environment['SLURM_ARRAY_JOB_ID']}_{environment.get('SLURM_ARRAY_TASK_ID', '')}"
    return f"slurm {name}" if name and re.fullmatch(r"\d+(_\d+)?", name) else None


def requeue() -> str | None:
    """Asks Slurm to put this job in its queue again; what to tell the user, None outside of Slurm.

    Slurm then ends what still runs of the job, and starts its script again when there is room.
    """
    found, tool = job(), shutil.which("scontrol")
    if found is None:
        return None
    name = found.split()[1]
    if tool is None:
        return f"job {name} is not requeued: there is no scontrol here"
    done = subprocess.run([tool, "requeue", name], capture_output=True, text=True, check=False)
    if done.returncode:
        reason = " ".join((done.stderr or done.stdout).split()) or f"exit code {done.returncode}"
        return f"job {name} is not requeued: {reason}"
    return f"job {name} is requeued and will go on here"
