"""Stands for `limner train` in tests of sweeps: `python sweep_training.py WORDS`, a process with a known objective.

The score is highest at `optim.lr=0.3`. `seed=13` fails. With LIMNER_TEST_EPOCHS=N:SECONDS it has N epochs, and waits
after each; SIGTERM ends it after the epoch, with exit code 143, as it ends a training. LIMNER_TEST_CHILD=FILE: it
starts a process that ignores signals, and writes its number there.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path


def main(arguments: list[str]) -> int:
    words = dict(word.split("=", 1) for word in arguments)
    run = Path(words["paths.run"].strip("'"))
    epochs, _, seconds = os.environ.get("LIMNER_TEST_EPOCHS", "2:0").partition(":")
    stopped = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
    if os.environ.get("LIMNER_TEST_CHILD"):
        stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
        child = subprocess.Popen([sys.executable, "-c", stubborn])
        Path(os.environ["LIMNER_TEST_CHILD"]).write_text(str(child.pid))
    if words.get("seed") == "13":
        print("this seed is bad luck")
        return 2
    lr, size = float(words.get("optim.lr", 0.3)), float(words.get("model.hidden", 1))
    score = 100 - 100 * (lr - 0.3) ** 2 - 1 / size
    (run / "started.json").write_text(json.dumps({**words, "cores": sorted(os.sched_getaffinity(0))}))
    for epoch in range(int(epochs)):
        value = score - 10 / (epoch + 1)
        with open(run / "metrics.jsonl", "a") as file:
            file.write(json.dumps({"step": epoch + 1, "epoch": epoch, "val/score": value, "val/size": size}) + "\n")
        time.sleep(float(seconds))
        if stopped:
            return 143
    result = {"objective": value, "mode": "max", "epoch": int(epochs) - 1, "metrics": {"val/score": value}}
    (run / "result.json").write_text(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
