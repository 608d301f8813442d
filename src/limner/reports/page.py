"""The page itself: its look and the few pieces of HTML that sections are made of. All text is escaped here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

STYLE = Path(__file__).with_name("style.css")


class Html(str):
    """Text that is HTML already and is not escaped again."""

    __slots__ = ()


def text(value: object) -> str:
    """A value as HTML: escaped, unless it is `Html`."""
    return value if isinstance(value, Html) else escape(str(value))


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> Html:
    """A plain table. Columns whose heading begins with `#` hold numbers and stand to the right."""
    kinds = [' class="n"' if name.startswith("#") else "" for name in head]
    top = "".join(f"<th{kind}>{text(name.removeprefix('#'))}</th>" for name, kind in zip(head, kinds))
    lines = ["".join(f"<td{kind}>{text(cell)}</td>" for cell, kind in zip(row, kinds)) for row in rows]
    body = "\n".join(f"<tr>{line}</tr>" for line in lines)
    head_row = f"<thead><tr>{top}</tr></thead>" if any(head) else ""
    return Html(f'<div class="wide"><table>{head_row}<tbody>\n{body}\n</tbody></table></div>')


def percent_bar(value: float) -> Html:
    return Html(f'<div class="bar"><i style="width:{min(max(value, 0), 100):.1f}%"></i></div>')


def commands(*lines: str) -> Html:
    """Commands to copy: a click selects one of them whole."""
    return Html("".join(f"<pre>{text(line)}</pre>" for line in lines))


def note(message: str, *lines: str) -> Html:
    """What is missing, and the commands that make it."""
    return Html(f'<div class="note"><p>{text(message)}</p>{commands(*lines)}</div>')


def details(summary: str, body: str) -> Html:
    return Html(f"<details><summary>{text(summary)}</summary>{body}</details>")


def section(title: str, *parts: str) -> Html:
    """A section under a heading that the menu links to."""
    return Html(f'<section id="{anchor(title)}"><h2>{text(title)}</h2>\n' + "\n".join(parts) + "\n</section>")


def anchor(title: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in title.lower())


def menu(titles: Iterable[str]) -> Html:
    return Html("<nav>" + "".join(f'<a href="#{anchor(title)}">{text(title)}</a>' for title in titles) + "</nav>")


def page(title: str, head: str, sections: Iterable[str]) -> str:
    """A whole HTML document that needs nothing but itself."""
    body = "\n".join(sections)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{text(title)}</title>
<style>
{STYLE.read_text(encoding="utf-8")}</style>
</head>
<body>
<header>
{head}
</header>
{body}
</body>
</html>
"""
