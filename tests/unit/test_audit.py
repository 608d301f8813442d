"""The checks of dependencies find what they are for."""

from __future__ import annotations

import importlib.util
import json
from types import ModuleType

import pytest
from packaging.version import Version


@pytest.fixture(scope="module")
def audit(root) -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit", root / "scripts/audit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_of_reasons(audit, root):
    page = (root / "docs/dependencies.md").read_text()
    row = next(line for line in page.splitlines() if line.startswith("| `h5py` |"))
    assert "has no row for h5py" in next(audit.explained(page.replace(row + "\n", "")))
    assert "left-pad is no dependency" in next(audit.explained(page + "| `left-pad` | fashion |\n"))
    assert any("mypy is imported nowhere" in line for line in audit.explained(page.replace("a tool, types", "types")))


def test_pins(audit):
    fixed = audit.pins()
    installed = audit.closure()
    assert {"torch", "hydra-core", "antlr4-python3-runtime", "ruff"} <= installed
    assert "torch" in next(audit.pinned(installed, fixed | {"torch": "1.0"}))
    assert any("left-pad is pinned, but" in line for line in audit.pinned(installed, fixed | {"left-pad": "1"}))


def test_licences(audit, monkeypatch):
    monkeypatch.setattr(audit, "licence", lambda name: "MIT AND AGPL-3.0")
    assert "'MIT AND AGPL-3.0' is not among those allowed" in next(audit.licensed(["x"]))


def test_advisories(audit, root):
    records = json.loads((root / "scripts/advisories.json").read_text())
    assert "CVE-2025-32434" in next(audit.known_faults(records, {"torch": "2.5.1"}))
    urllib3 = next(record for record in records if record["id"] == "CVE-2024-37891")
    found = {
        text: audit.affected(urllib3, "urllib3", Version(text)) for text in ("1.26.18", "1.26.19", "2.2.1", "2.2.2")
    }
    assert found == {"1.26.18": True, "1.26.19": False, "2.2.1": True, "2.2.2": False}
