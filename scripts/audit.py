"""Are the dependencies few, explained, pinned, freely licensed, and free of faults that are known? Needs no network.

    python scripts/audit.py             # part of `make lint`
    python scripts/audit.py --online    # asks the database of vulnerabilities through pip-audit as well

1. Every dependency of the installed limner (pyproject.toml) has a row in docs/dependencies.md that says why.
2. Each is imported by the source, or is a tool or a plugin that is named as one there.
3. What is installed for them, with all that they need in turn, is pinned in constraints.txt at this version,
   and nothing else is.
4. Every licence is one of those allowed below.
5. Neither the pins nor the lower bounds of pyproject.toml fall into a range of scripts/advisories.json: faults that we
   know of, written as in OSV. The list is reviewed by hand; `--online` knows more.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
IMPORTED_AS = {"pytorch-lightning": "pytorch_lightning", "hydra-core": "hydra", "pillow": "PIL", "easy-vqa": "easy_vqa"}
ALLOWED = (
    "MIT", "BSD", "Apache", "PSF", "Python Software Foundation", "MPL", "Mozilla Public License", "0BSD", "Zlib", "CC0",
    "BSL-1.0", "LLVM-exception", "OLDAP", "ISC",
)  # fmt: skip
BUILD = {"hatchling", "tomlkit", "trove-classifiers", "pathspec", "pluggy", "packaging", "setuptools"}
"""pinned because the project is built with them"""


def direct() -> dict[str, Requirement]:
    """The direct dependencies by name, those of extras included."""
    named = [Requirement(text) for text in metadata.requires("limner") or []]
    return {canonicalize_name(one.name): one for one in named if one.name != "limner"}


def explained(page: str) -> Iterator[str]:
    """Faults of the table that says why each dependency is there."""
    rows = dict(re.findall(r"^\| `([\w-]+)` \| (.+?) \|", page, re.M))
    for name in sorted(direct().keys() - rows.keys()):
        yield f"docs/dependencies.md: has no row for {name}: say why it is needed, or take it out of pyproject.toml"
    for name in sorted(rows.keys() - direct().keys()):
        yield f"docs/dependencies.md: {name} is no dependency of pyproject.toml any more"
    text = "\n".join(
        path.read_text(encoding="utf-8") for folder in ("src", "scripts") for path in (ROOT / folder).rglob("*.py")
    )
    for name in sorted(direct().keys() & rows.keys()):
        module = IMPORTED_AS.get(name, name.replace("-", "_"))
        imported = re.search(rf"^\s*(import|from) {module}\b", text, re.M)
        if not imported and not re.search(r"\b(tool|plugin|tests)\b", rows[name]):
            yield f"pyproject.toml: {name} is imported nowhere in src/ or scripts/, and its row names no tool or plugin"


def closure() -> set[str]:
    """Names of everything installed that the dependencies need, directly or in turn."""
    found: set[str] = set()
    waiting = [(name, frozenset(one.extras)) for name, one in direct().items()]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        name, extras = waiting.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        try:
            needed = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue  # an extra that is not installed
        found.add(name)
        for text in needed:
            one = Requirement(text)
            wanted = [{"extra": extra} for extra in extras] or [{"extra": ""}]
            if one.marker is None or any(one.marker.evaluate(environment) for environment in wanted):
                waiting.append((canonicalize_name(one.name), frozenset(one.extras)))
    return found


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    found = [line.partition(";")[0].strip().split("==") for line in lines if "==" in line]
    return {canonicalize_name(name): version for name, version in found}


def pinned(installed: set[str], fixed: dict[str, str]) -> Iterator[str]:
    """Faults between what is installed and constraints.txt."""
    for name in sorted(installed):
        version = metadata.version(name).partition("+")[0]
        if fixed.get(name) != version:
            yield f"constraints.txt: {name} {version} is installed, pinned is {fixed.get(name, 'nothing')}"
    absent = {name for name in direct() if name not in installed}
    for name in sorted(fixed.keys() - installed - BUILD - absent):
        if not any(needs(parent, name) for parent in absent):
            yield f"constraints.txt: {name} is pinned, but nothing needs it"


def needs(parent: str, name: str) -> bool:
    """Is this a package of an extra that is not installed? Its own needs cannot be asked: the known ones stand here."""
    return name in {"pycocoevalcap": {"pycocotools"}}.get(parent, set())


def licence(name: str) -> str:
    """What a package says of its licence, the more precise first."""
    told = metadata.metadata(name)
    classifiers = [text for text in told.get_all("Classifier") or [] if text.startswith("License")]
    by_class = " AND ".join(text.rpartition("::")[2].strip() for text in classifiers)
    return told.get("License-Expression") or by_class or (told.get("License") or "").partition("\n")[0]


def licensed(installed: Iterable[str]) -> Iterator[str]:
    for name in sorted(installed):
        text = licence(name)
        parts = [part.strip("() ") for part in re.split(r"\bAND\b|\bOR\b|\bWITH\b", text)]
        wrong = [part for part in parts if not any(allowed in part for allowed in ALLOWED)]
        if wrong:
            yield f"{name}: licence {text!r} is not among those allowed ({', '.join(ALLOWED)})"


def affected(record: dict[str, Any], name: str, version: Version) -> bool:
    """Does an advisory in the form of OSV speak of this version?"""
    for entry in record["affected"]:
        if canonicalize_name(entry["package"]["name"]) != name:
            continue
        for one in entry["ranges"]:
            events = {key: Version(value) for event in one["events"] for key, value in event.items()}
            if events["introduced"] <= version and ("fixed" not in events or version < events["fixed"]):
                return True
    return False


def known_faults(records: list[dict[str, Any]], fixed: dict[str, str]) -> Iterator[str]:
    lowest = {
        name: next(part.version for part in one.specifier if part.operator == ">=") for name, one in direct().items()
    }
    for record in records:
        for where, versions in (("constraints.txt", fixed), ("pyproject.toml, its lower bound", lowest)):
            for name, version in versions.items():
                if affected(record, name, Version(version)):
                    yield f"{where}: {name} {version} has {record['id']}: {record['summary']}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--online", action="store_true", help="ask the database through pip-audit, too")
    options = parser.parse_args()
    records = json.loads((ROOT / "scripts/advisories.json").read_text(encoding="utf-8"))
    installed, fixed = closure(), pins()
    page = (ROOT / "docs/dependencies.md").read_text(encoding="utf-8")
    faults = [*explained(page), *pinned(installed, fixed), *licensed(installed), *known_faults(records, fixed)]
    for fault in faults:
        print(fault)
    core = sum("extra" not in str(one.marker) for one in direct().values())
    print(
        f"dependencies: {core} of the core, {len(direct()) - core} of extras, {len(installed)} packages in all, "
        f"{len(records)} advisories: {len(faults) or 'no'} faults"
    )
    if options.online:
        install = [sys.executable, "-m", "pip", "install", "--quiet", "pip-audit"]
        subprocess.run(install, check=True)
        audit = [sys.executable, "-m", "pip_audit", "-r", str(ROOT / "constraints.txt"), "--no-deps", "--disable-pip"]
        return subprocess.run(audit).returncode or bool(faults)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
