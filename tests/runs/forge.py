"""Real processes of limner that start in a fraction of a second: forked from one that has imported torch and Lightning.

    with Forge() as forge:
        done = forge("train", "experiment=toy_vqa", cwd=folder)            # runs to its end
        life = forge.start("train", ..., cwd=folder)                       # os.kill(life.pid, SIGKILL)
        done = life.wait()

Each fork is a process group of its own with its own files for what it prints; it runs `limner.cli.main` and nothing of
it comes back but the exit code. Runs on several processes start new interpreters of themselves: start those for real.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Life:
    """A forked process that runs. `pid` may be killed."""

    forge: Forge
    pid: int
    printed: Path

    def ended(self) -> bool:
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        return False

    def wait(self) -> subprocess.CompletedProcess:
        code = int(self.forge.answer())
        out, err = ((self.printed / name).read_text() for name in ("out", "err"))
        return subprocess.CompletedProcess([], code, out, err)


class Forge:
    """The process that forks; one child at a time."""

    def __enter__(self) -> Forge:
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("LIMNER_", "PL_", "WANDB_", "SLURM_"))}
        environment |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "COLUMNS": "200"}
        self.process = subprocess.Popen(
            [sys.executable, __file__], env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        return self

    def __exit__(self, *_) -> None:
        self.process.communicate(timeout=60)

    def answer(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the forge has died"
        return line

    def start(self, *words: str, cwd: Path, **environment: str) -> Life:
        """Forks `limner WORDS` with `cwd` as its folder, and more environment variables."""
        printed = Path(tempfile.mkdtemp(dir=cwd))
        for name in ("out", "err"):
            (printed / name).touch()  # the child may be killed before it opens them
        request = {"words": words, "cwd": str(cwd), "environment": environment, "printed": str(printed)}
        assert self.process.stdin is not None
        print(json.dumps(request), file=self.process.stdin, flush=True)
        return Life(self, int(self.answer()), printed)

    def __call__(self, *words: str, cwd: Path, expect: int = 0, **environment: str) -> subprocess.CompletedProcess:
        """Runs `limner WORDS` to its end and checks the exit code."""
        done = self.start(*words, cwd=cwd, **environment).wait()
        assert done.returncode == expect, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done


def child(request: dict) -> None:
    """The forked process: as if started anew in the folder."""
    import interrupted

    from limner.cli import main

    os.setsid()
    os.chdir(request["cwd"])
    os.environ.update(request["environment"])
    for stream, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{request['printed']}/{name}", os.O_WRONLY | os.O_CREAT), stream)
    interrupted.prepare()
    sys.argv = ["limner", *request["words"]]
    sys.exit(main(request["words"]))


def serve() -> None:
    import h5py  # noqa: F401
    import pytorch_lightning  # noqa: F401
    import safetensors.torch  # noqa: F401
    import torch

    import limner.build
    import limner.evaluate
    import limner.hydra_app
    import limner.train  # noqa: F401

    torch.set_num_threads(1)  # no pool of threads, which a fork would not have
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            child(json.loads(line))
        print(pid, flush=True)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    serve()
