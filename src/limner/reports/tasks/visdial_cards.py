"""Single rounds of dialogs: each as a card with its picture, what was said before, and the options ranked best."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from limner.metrics.rows import Row
from limner.reports.gallery import Gallery
from limner.reports.page import Html, details, table
from limner.reports.pictures import drawn, outlines
from limner.reports.source import number

SHOWN = 5
"""Options on a card; the answer given comes after them when it is not among them."""
LAST = 3
"""Rounds of history that a card shows at once; the earlier ones unfold."""


def card(row: Row, gallery: Gallery, name: str) -> str:
    """One round as a card."""
    ground = gallery.ground(row.get("image_id"), 0)
    ndcg = number(row.get("ndcg"))
    told = [f"image {row.get('image_id')}, round {row.get('round_id')}"]
    told += [f"answer ranked {row['rank']} of {len(row['ranks'])}"] if "rank" in row else []
    told += [] if ndcg is None else [f"NDCG {ndcg:.1f}"]
    told += [ground.note] if ground.note else []
    caption = escape(str(row.get("image_caption") or ""))
    lines = [
        f'<p class="soft">{caption}</p>' if caption else "",
        before(row.get("dialog") or []),
        f"<h3>{escape(str(row.get('question') or ''))}</h3>",
        options(row),
        f'<p class="small">{escape("; ".join(told))}</p>',
    ]
    image = drawn(ground, outlines(ground) if ground.plain else "")
    return f'<article class="card">{image}<div class="text">{"".join(lines)}</div></article>'


def before(said: Sequence[Sequence[str]]) -> str:
    """The dialog so far."""
    lines = [f"{escape(str(question))} <b>{escape(str(answer))}</b>" for question, answer in said]
    early, late = lines[:-LAST], lines[-LAST:]
    folded = details(f"{len(early)} earlier", f'<p class="people">{"<br/>".join(early)}</p>') if early else ""
    return folded + (f'<p class="people">{"<br/>".join(late)}</p>' if late else "")


def options(row: Row) -> str:
    """The options ranked best with score and relevance; the answer given is bold."""
    ranks, scores, truth = row.get("ranks") or [], row.get("scores") or [], row.get("gt_index")
    texts = {rank: str(text) for rank, (text, _) in enumerate(row.get("best") or [], start=1)}
    shown = [rank for rank in sorted(texts) if rank <= SHOWN]
    if truth is not None and ranks[truth] not in shown:
        shown.append(ranks[truth])
        texts[ranks[truth]] = str(row.get("given") or "")
    relevance, rows = row.get("relevance"), []
    for rank in shown:
        place = ranks.index(rank)
        text = escape(texts[rank])
        cells: list[object] = [rank, Html(f"<b>{text}</b>" if place == truth else text)]
        cells.append(f"{scores[place]:.2f}" if place < len(scores) else "")
        rows.append([*cells, f"{relevance[place]:g}"] if relevance else cells)
    head = ["#", "", "#score", *(["#relevance"] if relevance else [])]
    return table(head, rows) if rows else ""
