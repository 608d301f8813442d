"""Single captions: each as a card with its picture, and for each word a small one of the regions it was said from."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from limner.metrics.rows import Row
from limner.reports.gallery import Gallery
from limner.reports.page import details, table
from limner.reports.pictures import SPACE, Ground, drawn, outlines, small, strip
from limner.reports.source import number


def card(row: Row, gallery: Gallery, name: str) -> str:
    """One caption as a card.

    Args:
        name: an id that no other card of the page has; the small pictures show the large one again by it.
    """
    attention = row.get("attention") or []
    ground = gallery.ground(row.get("image_id"), max(map(len, attention), default=0))
    score, logp = number(row.get("cider_d")), number(row.get("logp"))
    told = [f"image {row.get('image_id', row['id'])}"]
    told += [] if score is None else [f"CIDEr-D {score:.1f}"]
    told += [] if logp is None else [f"log-probability {logp:.2f}"]
    told += [ground.note] if ground.note else []
    people = "".join(f"<li>{escape(str(reference))}</li>" for reference in row.get("references") or [])
    lines = [
        f'<p class="answer">{escape(str(row.get("caption", "")))}</p>',
        tiles(words_of(row), attention, ground, name),
        f'<ul class="people">{people}</ul>' if people else "",
        beams(row.get("beams") or []),
        f'<p class="small">{escape("; ".join(told))}</p>',
    ]
    image = drawn(ground, outlines(ground) if ground.plain else "", id=name)
    return f'<article class="card">{image}<div class="text">{"".join(lines)}</div></article>'


def words_of(row: Row) -> list[str]:
    """The words of a caption as the model wrote them."""
    tokens = row.get("tokens")
    return [str(token) for token in tokens] if tokens else str(row.get("caption") or "").split()


def tiles(words: Sequence[str], attention: Sequence[Sequence[float]], ground: Ground, name: str) -> str:
    """A small picture for each word, with the regions the model looked at when it said it."""
    made = "".join(tile(word, shares, ground, name) for word, shares in zip(words, attention) if shares)
    return f'<div class="words">{made}</div>' if made else ""


def tile(word: str, shares: Sequence[float], ground: Ground, name: str) -> str:
    image = small(ground, shares, name) or strip(shares)
    strongest = f'<span class="soft">{100 * max(shares):.0f}{SPACE}%</span>'
    return f"<div>{image}<b>{escape(word)}</b> {strongest}</div>"


def beams(found: Sequence[Sequence[object]]) -> str:
    """The captions of a beam, the best first."""
    rows = []
    for caption, logp in found:
        value = number(logp)
        rows.append((str(caption), "" if value is None else f"{value:.2f}"))
    return details(f"{len(rows)} beams", table(("", "#log-probability"), rows)) if rows else ""
