"""Single rows as cards: the rows that were chosen are read again, with everything that stands in the file."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from limner.metrics.rows import Row
from limner.reports.gallery import Gallery
from limner.reports.page import Html, section
from limner.reports.source import I, Source, read_rows


class Group(NamedTuple):
    """Rows that are shown under one title."""

    items: Sequence[Any]
    kind: str = ""  #: class of its cards: good, bad, or none
    about: str = ""


def sections_of(
    source: Source,
    every: Sequence[I],
    groups: Mapping[str, Group],
    images: Path | None,
    card: Callable[[Row, Gallery, str], str],
    about: str,
) -> dict[str, Html]:
    """A section for each group that is not empty, by title.

    Args:
        every: the items of all rows, in the order of the file.
        groups: what is shown, chosen from `every`.
        images: the folder of pictures, when there is one.
        card: a row as HTML, from the row, the pictures and a name that no other card has.
        about: how regions are drawn; said once, when there are any.
    """
    wanted = {one.id for group in groups.values() for one in group.items}
    assert source.rows is not None
    places = {place for place, one in enumerate(every) if one.id in wanted}
    rows = {row["id"]: row for row in read_rows(source.rows, places)}
    numbers = {one.image for group in groups.values() for one in group.items if isinstance(one.image, int)}
    gallery = Gallery(source, images, numbers)
    out: dict[str, Html] = {}
    for title, group in groups.items():
        if not group.items:
            continue
        first = [soft(about) if gallery.regions else "", *gallery.notes] if not out else []
        cards = [card(rows[one.id], gallery, f"g{len(out)}-{k}") for k, one in enumerate(group.items)]
        body = f'<div class="cards {group.kind}">{"".join(cards)}</div>'
        out[title] = section(title, *first, soft(group.about) if group.about else "", body)
    return out


def soft(about: str) -> Html:
    return Html(f'<p class="soft">{about}</p>')


def one_an_image(items: Sequence[I], show: int) -> list[I]:
    """The first `show` items, at most one an image; items of unknown images all count."""
    chosen: dict[Any, I] = {}
    for one in items:
        if len(chosen) >= show:
            break
        chosen.setdefault(("item", one.id) if one.image is None else one.image, one)
    return list(chosen.values())


def shuffled(items: Sequence[I]) -> list[I]:
    """Items in an order that means nothing and is the same every time."""
    return sorted(items, key=lambda one: zlib.crc32(str(one.id).encode()))
