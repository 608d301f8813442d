"""Do two processes reach each other? They add a tensor together for some seconds, as training with DDP does."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from limner.doctor.finding import FAULT, OK, Finding

PATIENCE = 60  # seconds beside the adding itself: two imports of torch on a slow disk


def pair(seconds: float = 5.0) -> Finding:
    """Starts two processes with gloo for so many seconds; a fault when one fails or does not end."""
    with tempfile.TemporaryDirectory(prefix="limner-doctor-") as folder:
        meeting = Path(folder, "meeting")
        command = [sys.executable, "-m", "limner.doctor.pair", str(meeting), str(seconds)]
        both = [
            subprocess.Popen([*command, str(rank)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for rank in range(2)
        ]
        try:
            told = [process.communicate(timeout=PATIENCE + seconds) for process in both]
        except subprocess.TimeoutExpired:
            advice = "a firewall, or GLOO_SOCKET_IFNAME names a wrong interface"
            return Finding(FAULT, "two processes", f"did not end within {PATIENCE + seconds:.0f} s: {advice}")
        finally:
            for process in both:
                process.kill()
                process.wait()
    for process, (_, errors) in zip(both, told):
        if process.returncode:
            last = (errors.strip().splitlines() or ["no message"])[-1]
            return Finding(FAULT, "two processes", f"exit code {process.returncode}: {last}")
    return Finding(OK, "two processes", told[0][0].strip())


def member(meeting: str, seconds: float, rank: int) -> int:
    """One of the two: adds 1 MiB of numbers with the other until the time is over, and checks every sum."""
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    count, begin = 0, time.perf_counter()
    going = torch.ones(1)
    while going.item() > 0:
        numbers = torch.full((1 << 18,), float(rank + 1))
        dist.all_reduce(numbers)
        if not bool((numbers == 3).all()):
            print(f"sum {count} of process {rank} is wrong", file=sys.stderr)
            return 1
        count += 1
        going[0] = float(time.perf_counter() - begin < seconds)
        dist.all_reduce(going, op=dist.ReduceOp.MIN)  # both end at the same sum
    rate = count / (time.perf_counter() - begin)
    if rank == 0:
        print(f"gloo adds 1 MiB {rate:,.0f} times a second, all {count:,} sums right")
    dist.destroy_process_group()
    return 0


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    sys.exit(member(sys.argv[1], float(sys.argv[2]), int(sys.argv[3])))
