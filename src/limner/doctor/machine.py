"""The machine: versions, cores, memory, GPUs, Java, disk, wandb."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import requires, version
from pathlib import Path

from limner.code_version import code_version
from limner.doctor.finding import FAULT, NOTE, OK, Finding
from limner.metrics.java_parts import parts_there

FREE = 2 * 1024**3  # bytes: less than this on the disk of the runs is worth a word


def versions() -> Iterator[Finding]:
    """Python, limner, and every package it needs with the bound it must meet."""
    from packaging.requirements import Requirement

    yield Finding(OK, "python", f"{platform.python_version()}, {platform.platform()}")
    code = code_version()
    commit = f", commit {code['commit'][:12]}" if code["commit"] else ", in no git repository"
    yield Finding(OK, "limner", f"{code['limner']}{commit}{', with changes' if code['dirty'] else ''}")
    for requirement in map(Requirement, requires("limner") or []):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            found = version(requirement.name)
        except ModuleNotFoundError:
            yield Finding(FAULT, requirement.name, f"not installed: pip install '{requirement}'")
            continue
        fits = requirement.specifier.contains(found, prereleases=True)
        more = "" if fits else f", but limner needs {requirement.specifier}: pip install '{requirement}'"
        yield Finding(OK if fits else FAULT, requirement.name, found + more)


def extras() -> Finding:
    """Which of the packages are here that only some commands need, and how the others are installed."""
    from packaging.requirements import Requirement

    here, missing = [], {}
    for requirement in map(Requirement, requires("limner") or []):
        marker = str(requirement.marker or "")
        if 'extra == "' not in marker or requirement.name == "limner":
            continue
        extra = marker.partition('extra == "')[2].partition('"')[0]
        if extra == "dev":
            continue
        try:
            here.append(f"{requirement.name} {version(requirement.name)}")
        except ModuleNotFoundError:
            missing[requirement.name] = extra
    lacks = [f"{name} (limner[{extra}])" for name, extra in missing.items()]
    parts = [", ".join(here) or "none is here", *([f"not here: {', '.join(lacks)}"] if lacks else [])]
    return Finding(NOTE if lacks else OK, "extras", "; ".join(parts))


def cores() -> Finding:
    """Cores that this process may use, memory, and what the thread settings say."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parts = [f"{allowed} of {os.cpu_count()} cores ({_processor()})"]
    with suppress(ValueError, OSError, AttributeError):
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
        parts.append(f"{memory:.0f} GiB of memory")
    with suppress(OSError, AttributeError):
        parts.append(f"load {os.getloadavg()[0]:.1f}")
    parts += [f"{name}={os.environ[name]}" for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY") if name in os.environ]
    return Finding(OK, "cores", ", ".join(parts))


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def gpus() -> Iterator[Finding]:
    """Each GPU that torch can use, and whether it computes with bf16."""
    import torch

    if not torch.cuda.is_available():
        built = torch.version.cuda
        why = "torch is built without CUDA" if built is None else f"torch is built for CUDA {built}, but sees no GPU"
        yield Finding(NOTE, "gpu", f"none: {why}; trainings run on the processor")
        return
    nccl = ".".join(map(str, torch.cuda.nccl.version())) if torch.distributed.is_nccl_available() else "none"
    yield Finding(OK, "cuda", f"{torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}, NCCL {nccl}")
    for place in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(place)
        bf16 = "bf16" if about.major >= 8 else "no bf16"
        free = torch.cuda.mem_get_info(place)[0] / 1024**3
        memory = f"{free:.0f} of {about.total_memory / 1024**3:.0f} GiB free"
        yield Finding(OK, f"gpu {place}", f"{about.name}, {memory}, {bf16}")


def java() -> Iterator[Finding]:
    """Java, and the programs of METEOR and SPICE."""
    command = shutil.which("java")
    if command is None:
        yield Finding(NOTE, "java", "not installed: METEOR and SPICE are left out, all other metrics need none")
        return
    try:
        told = subprocess.run([command, "-version"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        yield Finding(NOTE, "java", f"{command} does not answer ({error}): METEOR and SPICE are left out")
        return
    lines = (told.stderr or told.stdout).splitlines() or ["says no version"]
    yield Finding(OK, "java", lines[0])
    for name, missing in parts_there().items():
        yield Finding(NOTE if missing else OK, name, missing or "there")


def disk(folders: dict[str, Path]) -> Iterator[Finding]:
    """Room on the disks of some folders, and whether files can be written there. Nothing is left behind."""
    for name, folder in folders.items():
        there = folder.absolute()
        while not there.exists():
            there = there.parent
        free = shutil.disk_usage(there).free
        text = f"{folder}: {free / 1024**3:.1f} GiB free"
        try:
            with tempfile.TemporaryFile(dir=there) as file:
                file.write(b"limner")
        except OSError as error:
            advice = "choose another with " + ("TMPDIR=DIR" if name == "temp" else f"paths.{name}=DIR")
            yield Finding(FAULT, name, f"{text}, cannot be written ({error.strerror}): {advice}")
            continue
        yield Finding(OK if free >= FREE else NOTE, name, text + ("" if free >= FREE else ": little room"))


def wandb(outputs: Path) -> Finding:
    """Which version, whether a key is there (never the key), the mode that the environment asks for, what is not sent.

    Args:
        outputs: the folder of the runs.
    """
    try:
        found = version("wandb")
    except ModuleNotFoundError:
        return Finding(FAULT, "wandb", "not installed: pip install wandb, or train with logger=files")
    mode = os.environ.get("WANDB_MODE")
    told = [found, "a key is there" if wandb_key() else "no key: runs stay offline (wandb login; logger.mode=online)"]
    told += [f"WANDB_MODE={mode}"] if mode else []
    waiting = [file for file in outputs.glob("**/wandb/offline-run-*/*.wandb") if not synced(file).exists()]
    if waiting:
        told.append(f"{len(waiting)} offline folders in {outputs} were not sent (wandb sync FOLDER)")
    return Finding(OK, "wandb", ", ".join(told))


def synced(file: Path) -> Path:
    """The mark that `wandb sync` leaves beside a file it has sent."""
    return file.with_name(f"{file.name}.synced")


def wandb_service() -> Finding:
    """Does wandb's service start, and write a run?"""
    code = "import sys, wandb; run = wandb.init(mode='offline', dir=sys.argv[1]); run.log({'a': 1}); run.finish()"
    with tempfile.TemporaryDirectory(prefix="limner-doctor-") as folder:
        environment = {**os.environ, "WANDB_SILENT": "true", "WANDB_DATA_DIR": folder}
        try:
            done = subprocess.run(
                [sys.executable, "-c", code, folder], env=environment, capture_output=True, text=True, timeout=60,
                check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return Finding(FAULT, "wandb service", "does not answer within 60 s: train with logger=files")
        if done.returncode == 0 and list(Path(folder).glob("wandb/offline-run-*/*.wandb")):
            return Finding(OK, "wandb service", "starts and writes")
    last = (done.stderr.strip().splitlines() or ["wrote nothing"])[-1]
    return Finding(FAULT, "wandb service", f"{last}: train with logger=files")


def wandb_key() -> bool:
    """Is there a key to log in to wandb with, in the environment or in netrc?"""
    import netrc

    keyed = bool(os.environ.get("WANDB_API_KEY"))
    with suppress(OSError, netrc.NetrcParseError):
        keyed = keyed or any("wandb" in host for host in netrc.netrc().hosts)
    return keyed
