"""Every config key is read somewhere, and every experiment says what it is for. Part of `make lint`.

    python scripts/check_configs.py

That files and dataclasses have the same keys, that every option of every group composes and every debug preset works on
every experiment is tested in tests/unit/test_schema.py.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from limner.paths import conf_dir
from limner.schema import GROUPS, TARGETED, VERBS
from limner.schema.keys import documented

ROOT = Path(__file__).resolve().parents[1]
TORCH = "torch."
"""A class of torch's has its keys as arguments: nobody here reads them. Lightning's trainer likewise."""


def unread() -> list[str]:
    """A line for each key of the schema that no line of the source names, outside of the schema."""
    files = [path for path in (ROOT / "src").rglob("*.py") if "schema" not in path.parts]
    words = set(re.findall(r"\w+", "\n".join(path.read_text(encoding="utf-8") for path in files)))
    words |= set(re.findall(r"data\.(\w+)", "\n".join(path.read_text() for path in conf_dir().rglob("*.yaml"))))
    found = []
    for cls in [*VERBS.values(), *GROUPS.values(), *TARGETED]:
        if str(getattr(cls, "_target_", "")).startswith(TORCH) or cls is GROUPS["trainer"]:
            continue
        found += [
            f"schema: {cls.__name__}.{name} is read nowhere in src/" for name in documented(cls) if name not in words
        ]
    return found


def unexplained() -> list[str]:
    """A line for each option of a group whose file does not begin with a comment that says what it is for."""
    found = []
    for path in sorted(conf_dir().rglob("*.yaml")):
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("# @package")]
        if not lines or not re.match(r"# \S+ \S+", lines[0]):
            found.append(f"{path.relative_to(ROOT)}: begins without a comment that says what it is for")
    return found


def main() -> int:
    faults = [*unread(), *unexplained()]
    print("\n".join(faults) if faults else "configs: every key is read, every file says what it is for")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
