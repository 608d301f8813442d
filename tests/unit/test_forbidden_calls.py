"""Nothing that comes from outside is run: no pickle but through the reader that can run nothing, no eval, no shell."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

CALLS = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "tempfile.mktemp",
    "marshal.load", "marshal.loads",
    "pickle.load", "pickle.loads", "pickle.Unpickler", "shelve.open", "joblib.load", "dill.load", "dill.loads",
    "yaml.load", "yaml.full_load", "yaml.unsafe_load", "torch.hub.load", "torch.jit.load", "runpy.run_path",
}  # fmt: skip
NEEDED = {"torch.load": ("weights_only", True)}
REFUSED = (("allow_pickle", True), ("shell", True), ("trust_remote_code", True))
REVIEWED: dict[str, str] = {}
"""`file:call` -> why it may stand there"""


def names(tree: ast.AST) -> dict[str, str]:
    """What imported names stand for: `from torch import load as x` -> {"x": "torch.load"}."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return found


def called(node: ast.Call, known: dict[str, str]) -> str:
    """The dotted name of what is called, "" for anything else; NumPy's short name is written out."""
    first, *rest = ast.unparse(node.func).split(".")
    return ".".join([known.get(first, first), *rest])


def faults(source: str) -> Iterator[str]:
    """`line: call` of every call that must not be."""
    tree = ast.parse(source)
    known = names(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = called(node, known)
        given = {word.arg: getattr(word.value, "value", None) for word in node.keywords}
        wrong = name in CALLS
        wrong = wrong or (name in NEEDED and given.get(NEEDED[name][0]) is not NEEDED[name][1])
        wrong = wrong or any(given.get(word) is value for word, value in REFUSED)
        if wrong:
            yield f"{node.lineno}: {name}"


def test_the_source_has_none(root):
    found = []
    files = [path for folder in ("src", "scripts") for path in sorted((root / folder).rglob("*.py"))]
    for path in files:
        place = path.relative_to(root)
        found += [f"{place}:{fault}" for fault in faults(path.read_text(encoding="utf-8"))]
    assert len(files) > 200
    assert [one for one in found if one.replace(one.split(":")[1] + ":", "") not in REVIEWED] == []


@pytest.mark.parametrize(
    "line",
    [
        "import pickle as p; p.load(f)",
        "from pickle import loads; loads(b)",
        "import torch; torch.load(f)",
        "import torch; torch.load(f, weights_only=False)",
        "from torch import load as read; read(f)",
        "import numpy as np; np.load(f, allow_pickle=True)",
        "import subprocess; subprocess.run(x, shell=True)",
        "import os; os.system(x)",
        "eval(x)",
        "import yaml; yaml.load(f)",
    ],
)
def test_each_is_seen(line):
    assert len(list(faults(line))) == 1


@pytest.mark.parametrize(
    "line",
    ["import torch; torch.load(f, weights_only=True)", "model.eval()", "re.compile(x)", "import numpy; numpy.load(f)"],
)
def test_what_is_allowed(line):
    assert list(faults(line)) == []


def test_programs_are_started_from_lists(root: Path):
    """A command is a list of words: what a user typed never becomes a line for a shell."""
    found = []
    for path in (root / "src").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        known = names(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and called(node, known) in ("subprocess.run", "subprocess.Popen"):
                first = node.args[0] if node.args else None
                if isinstance(first, ast.JoinedStr | ast.Constant):
                    found.append(f"{path}:{node.lineno}")
    assert found == []
