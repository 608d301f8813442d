"""Single answers: which ones to show, and each as a card with its picture, regions, people's answers and runners-up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from limner.metrics.rows import Row
from limner.reports.examples import one_an_image, shuffled
from limner.reports.gallery import Gallery
from limner.reports.pictures import SPACE, attended, drawn, outlines

if TYPE_CHECKING:
    from limner.reports.tasks.vqa import VQAItem


def worst(items: Sequence[VQAItem], show: int) -> list[VQAItem]:
    """The most confident of the answers that nobody gave, one an image."""
    wrong = [one for one in items if one.score == 0]
    return one_an_image(sorted(wrong, key=lambda one: (-(one.confidence or 0), str(one.id))), show)


def right(items: Sequence[VQAItem], show: int) -> list[VQAItem]:
    """Some fully right answers, spread over question types, one an image: a sample that is the same every time."""
    ordered = shuffled([one for one in items if one.score == 100])
    seen: Counter[str] = Counter()
    turns = []
    for one in ordered:
        turns.append(seen[one.question_type])
        seen[one.question_type] += 1
    rounds = sorted(range(len(ordered)), key=lambda k: turns[k])  # one of each type, then a second of each, ...
    return one_an_image([ordered[k] for k in rounds], show)


def people_of(row: Row) -> list[str]:
    """What people said, the most frequent first: `cat ×7`."""
    return [f"{said}{SPACE}×{count}" for said, count in Counter(map(str, row.get("answers") or [])).most_common()]


def card(row: Row, gallery: Gallery, name: str) -> str:
    """One answer as a card; `name` is for cards that show a picture twice."""
    attention = row.get("attention") or []
    ground = gallery.ground(row.get("image_id"), len(attention))
    people = set(map(str, row.get("answers") or []))
    bars = "".join(bar(str(text), float(share), str(text) in people) for text, share in row.get("top5") or [])
    source = f"image {row.get('image_id')}, question {row['id']}" + (f"; {ground.note}" if ground.note else "")
    lines = [
        f"<h3>{escape(str(row.get('question') or ''))}</h3>",
        f'<p class="answer">{escape(str(row.get("answer", "")))}</p>',
        f'<p class="people">people: {escape(", ".join(people_of(row)))}</p>' if people else "",
        f'<div class="bars">{bars}</div>' if bars else "",
        f'<p class="small">{escape(source)}</p>',
    ]
    image = drawn(ground, (outlines(ground) if ground.plain else "") + attended(ground, attention))
    return f'<article class="card">{image}<div class="text">{"".join(lines)}</div></article>'


def bar(text: str, share: float, said: bool) -> str:
    """One of the first five answers; `said`: somebody gave it."""
    kind = ' class="said"' if said else ""
    fill = f'<i style="width:{100 * min(max(share, 0), 1):.1f}%"></i>'
    return f'<span{kind}>{escape(text)}</span><div class="bar">{fill}</div><span>{100 * share:.1f}</span>'
