"""A Slurm of one machine for tests: `sbatch` keeps the script and runs it at once, `srun` starts its one task."""

from __future__ import annotations

import sys
from pathlib import Path

SBATCH = """#!{python}
import os, re, shutil, subprocess, sys
script = sys.argv[-1]
text = open(script).read()
shutil.copy(script, {kept!r})
array = re.search(r"--array=0-(\\d+)", text)
for task in range(int(array[1]) + 1 if array else 1):
    env = dict(os.environ, SLURM_JOB_ID=str(77 + task), SLURM_JOB_NAME="job", SLURM_JOB_NUM_NODES="1")
    env.update(SLURM_NTASKS="1", SLURM_NTASKS_PER_NODE="1", SLURM_JOB_NODELIST="here")
    if array:
        env.update(SLURM_ARRAY_JOB_ID="77", SLURM_ARRAY_TASK_ID=str(task))
    subprocess.Popen(["bash", script], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print("Submitted batch job 77")
"""
SRUN = """#!{python}
import os, sys
words = sys.argv[1:]
while words[0].startswith("--"):
    words = words[1:] if "=" in words[0] or words[0] == "--unbuffered" else words[2:]
os.environ.update(SLURM_PROCID="0", SLURM_LOCALID="0", SLURM_NODEID="0")
os.execvp(words[0], words)
"""
SACCT = "#!/bin/sh\necho 'JobID|State|NodeList'\n"


def install(folder: Path) -> tuple[Path, Path]:
    """Makes the three commands.

    Returns:
        The folder for PATH, and the file that will hold the last batch script.
    """
    commands, kept = folder / "slurm", folder / "kept.sh"
    commands.mkdir()
    for name, text in (("sbatch", SBATCH), ("srun", SRUN), ("sacct", SACCT)):
        path = commands / name
        path.write_text(text.replace("{python}", sys.executable).replace("{kept!r}", repr(str(kept))))
        path.chmod(0o755)
    return commands, kept
