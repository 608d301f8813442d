"""The machine: versions, cores, memory, GPUs, Java, disk, wandb."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import requires, version
from pathlib import Path

from limner.doctor.finding import FAULT, NOTE, OK, Finding
from limner.metrics.java_parts import parts_there

FREE = 2 * 1024**3  # bytes: less than this on the disk of the runs is worth a word


def versions() -> Iterator[Finding]:
    """Python, limner, and every package it needs with the bound it must meet."""
    from packaging.requirements import Requirement

    yield Finding(OK, "python", f"{platform.python_version()}, {platform.platform()}")
    yield Finding(OK, "limner", version("limner"))
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
    for place in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(place)
        bf16 = "bf16" if torch.cuda.is_bf16_supported() else "no bf16"
        yield Finding(OK, f"gpu {place}", f"{about.name}, {about.total_memory / 1024**3:.0f} GiB, {bf16}")


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
            advice = f"choose another with paths.{name}=DIR"
            yield Finding(FAULT, name, f"{text}, cannot be written ({error.strerror}): {advice}")
            continue
        yield Finding(OK if free >= FREE else NOTE, name, text + ("" if free >= FREE else ": little room"))


def wandb() -> Finding:
    """Which version, whether a key is there (never the key), and the mode that the environment asks for."""
    try:
        found = version("wandb")
    except ModuleNotFoundError:
        return Finding(FAULT, "wandb", "not installed: pip install wandb, or train with logger=files")
    mode = os.environ.get("WANDB_MODE")
    told = "a key is there" if wandb_key() else "no key: runs stay offline (wandb login; logger.mode=online)"
    return Finding(OK, "wandb", f"{found}, {told}" + (f", WANDB_MODE={mode}" if mode else ""))


def wandb_key() -> bool:
    """Is there a key to log in to wandb with, in the environment or in netrc?"""
    import netrc

    keyed = bool(os.environ.get("WANDB_API_KEY"))
    with suppress(OSError, netrc.NetrcParseError):
        keyed = keyed or any("wandb" in host for host in netrc.netrc().hosts)
    return keyed
