"""`limner diff A B`: in what two model packages differ."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from limner.errors import UserError, listing
from limner.reports.text_table import columns
from limner.weights.info import told
from limner.weights.manifest import WEIGHTS, read_manifest, read_vocab

ELSE = ("task", "signature", "decode", "measured", "licence", "limner", "format")
SHOWN = 20  # tensors in the table, those that differ most


def main(argv: list[str]) -> int:
    """`limner diff A B`; the exit code."""
    parser = argparse.ArgumentParser(
        prog="limner diff",
        description="In what two model packages differ: sizes, vocabularies, weights, training configuration, metrics.",
    )
    parser.add_argument("a", metavar="A", help="a package, or the run folder it lies in")
    parser.add_argument("b", metavar="B")
    parser.add_argument("--all", action="store_true", help=f"every tensor that differs, not the first {SHOWN}")
    options = parser.parse_args(argv)

    from limner.schema.check import package_of

    first, second = (Path(package_of(path)) for path in (options.a, options.b))
    print("\n".join(differences(first, second, show=None if options.all else SHOWN)))
    return 0


def differences(first: Path, second: Path, *, show: int | None = SHOWN) -> Iterator[str]:
    """The lines of `limner diff`.

    Raises:
        UserError: one of them is no package, or a file is missing or damaged.
    """
    metas = [read_manifest(folder) for folder in (first, second)]
    vocabs = [read_vocab(folder) for folder in (first, second)]
    yield f"{first} and {second}"
    a, b = metas
    yield from section("sizes", keys(a["model"], b["model"]))
    for name in dict.fromkeys([*vocabs[0], *vocabs[1]]):
        yield told(name.replace("_", " "), lists(*(vocab.get(name, []) for vocab in vocabs)))
    yield from weights(first / WEIGHTS, second / WEIGHTS, show)
    yield from section("features", keys(flat(a.get("features") or {}), flat(b.get("features") or {})))
    yield from section("config", keys(flat(a.get("config") or {}), flat(b.get("config") or {})))
    yield from section("metrics", numbers(a.get("metrics") or {}, b.get("metrics") or {}))
    rest = [name for name in ELSE if a.get(name) != b.get(name)]
    yield from section("else", keys({k: a.get(k) for k in rest}, {k: b.get(k) for k in rest}))


def section(name: str, lines: Sequence[str]) -> Iterator[str]:
    """Differences under a name, a line each; one line when there are none."""
    yield f"  {name}" if lines else told(name, "equal")
    for line in lines:
        yield f"    {line}"


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A tree of dicts by dotted names."""
    found: dict[str, Any] = {}
    for name, value in tree.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return found


def keys(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """A line for each key whose values differ."""
    nothing = object()
    names = [name for name in dict.fromkeys([*a, *b]) if a.get(name, nothing) != b.get(name, nothing)]
    return [f"{name}: {a.get(name, 'not there')} -> {b.get(name, 'not there')}" for name in names]


def numbers(a: Mapping[str, float], b: Mapping[str, float]) -> list[str]:
    """A line for each metric that differs, with the difference."""
    found = keys(a, b)
    return [
        f"{line} ({b[name] - a[name]:+.2f})" if name in a and name in b else line
        for line, name in zip(found, (line.partition(":")[0] for line in found))
    ]


def lists(a: Sequence[str], b: Sequence[str]) -> str:
    """How two vocabularies differ, in words."""
    if list(a) == list(b):
        return f"equal ({len(a):,})"
    places = {word: place for place, word in enumerate(b)}
    shared = [word for word in a if word in places]
    moved = sum(places[word] != place for place, word in enumerate(a) if word in places)
    only = [sorted(set(one) - set(other)) for one, other in ((a, b), (b, a))]
    parts = [f"{len(a):,} and {len(b):,}: {len(shared):,} shared, {moved:,} of them at another place"]
    parts += [
        f"{len(words):,} only in {where} ({listing(map(repr, words[:3]), len(words))})"
        for where, words in zip("AB", only)
        if words
    ]
    return ", ".join(parts)


def weights(first: Path, second: Path, show: int | None) -> Iterator[str]:
    """How the tensors differ: a summary, then a table, the largest differences first. One is in memory at a time."""
    import torch
    from safetensors import SafetensorError, safe_open

    rows, same = [], 0
    try:
        with safe_open(first, framework="pt") as a, safe_open(second, framework="pt") as b:
            names = [set(a.keys()), set(b.keys())]
            for name in sorted(names[0] & names[1]):
                x, y = a.get_tensor(name), b.get_tensor(name)
                if x.shape != y.shape:
                    rows.append((float("inf"), [name, f"{list(x.shape)} and {list(y.shape)}", "", ""]))
                elif torch.equal(x, y):
                    same += 1
                else:
                    x, y = x.double(), y.double()
                    far = float((x - y).norm() / x.norm().clamp(min=1e-300))
                    rows.append((far, [name, str(list(x.shape)), f"{float((x - y).abs().max()):.3g}", f"{far:.3g}"]))
    except (SafetensorError, OSError) as error:
        raise UserError(f"{first} or {second}: cannot be read ({error}); copy the package again") from None
    for where, own in zip("AB", (names[0] - names[1], names[1] - names[0])):
        rows += [(float("inf"), [name, f"only in {where}", "", ""]) for name in sorted(own)]
    if not rows:
        yield told("weights", f"equal ({same:,} tensors)")
        return
    yield told("weights", f"{len(rows):,} of {same + len(rows):,} tensors differ")
    rows.sort(key=lambda row: -row[0])
    table = columns(["tensor", "shape", "#largest", "#relative"], [row for _, row in rows[:show]])
    yield from (f"    {line}" for line in table)
    if show is not None and len(rows) > show:
        yield f"    and {len(rows) - show:,} more (--all)"
