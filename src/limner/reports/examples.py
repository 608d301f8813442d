"""Single answers: which ones to show, and each as a card with its picture, regions, people's answers and runners-up."""

from __future__ import annotations

import base64
import io
import zlib
from collections import Counter
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from limner.metrics.rows import Row
from limner.reports.source import Item

if TYPE_CHECKING:
    import numpy as np

LONGEST = 420
"""Pixels of the longer side of an embedded picture."""


class Looks(NamedTuple):
    """Where a picture's regions are."""

    boxes: np.ndarray  #: (R, 4) xyxy pixels
    size: tuple[int, int]  #: width and height the boxes count in; (0, 0) when unknown


def worst(items: Sequence[Item], show: int) -> list[Item]:
    """The most confident of the answers that nobody gave, one an image."""
    wrong = [one for one in items if one.accuracy == 0]
    return one_an_image(sorted(wrong, key=lambda one: (-(one.confidence or 0), str(one.id))), show)


def right(items: Sequence[Item], show: int) -> list[Item]:
    """Some fully right answers, spread over question types, one an image: a sample that is the same every time."""
    ordered = sorted((one for one in items if one.accuracy == 100), key=lambda one: zlib.crc32(str(one.id).encode()))
    seen: Counter[str] = Counter()
    turns = []
    for one in ordered:
        turns.append(seen[one.question_type])
        seen[one.question_type] += 1
    rounds = sorted(range(len(ordered)), key=lambda k: turns[k])  # one of each type, then a second of each, ...
    return one_an_image([ordered[k] for k in rounds], show)


def one_an_image(items: Sequence[Item], show: int) -> list[Item]:
    """The first `show` items, at most one an image; items of unknown images all count."""
    chosen: dict[Any, Item] = {}
    for one in items:
        chosen.setdefault(("item", one.id) if one.image is None else one.image, one)
        if len(chosen) == show:
            break
    return list(chosen.values())


def find_images(folder: Path, wanted: set[int]) -> dict[int | None, Path]:
    """Pictures below a folder by image id, the digits at the end of their name; of two with one id the first path."""
    from limner.extract.run import SUFFIXES, image_id

    found: dict[int | None, Path] = {}
    for path in sorted(folder.rglob("*")):
        number = image_id(path) if path.suffix.lower() in SUFFIXES else None
        if number in wanted:
            found.setdefault(number, path)
    return found


def find_regions(stores: Sequence[Path], images: Sequence[int]) -> dict[int | None, Looks]:
    """Boxes of images from feature stores; images and boxes that they lack are left out.

    Raises:
        UserError: a store cannot be read.
    """
    import numpy as np

    from limner.data.features.together import open_stores

    store = open_stores([str(path) for path in stores])
    out: dict[int | None, Looks] = {}
    for image in np.intersect1d(np.asarray(images, np.int64), store.image_ids).tolist():
        place = store.positions(np.array([image]))
        boxes = store.read(place).boxes[0]
        if boxes.any():
            out[image] = Looks(boxes, store.size(int(place[0])))
    return out


def picture(path: Path, looks: Looks | None, attention: Sequence[float]) -> tuple[str, str]:
    """A picture as inline SVG with its regions, and a note on what could not be drawn.

    The opacity of a region is its attention, as a share of the largest in this picture: of 36 regions even the
    strongest may have 10 %, and would not be seen. Its number stands beside it.
    """
    from PIL import Image

    from limner.extract.run import read_image

    try:
        image = Image.fromarray(read_image(path))
    except (OSError, Image.DecompressionBombError) as error:
        return "", f"{path.name} cannot be read ({error})"
    width, height = image.size
    scale = min(1.0, LONGEST / max(image.size))
    small = image if scale == 1 else image.resize((max(1, round(width * scale)), max(1, round(height * scale))))
    drawn, note = "", ""
    if looks is None:
        note = "regions unknown"
    elif len(attention) > len(looks.boxes):
        note = f"the feature file has {len(looks.boxes)} regions, the answer looked at {len(attention)}: another file"
    elif looks.size != (0, 0) and abs(looks.size[0] * height - looks.size[1] * width) > 0.02 * looks.size[0] * height:
        note = f"the picture is {width} x {height}, its regions come from one of {looks.size[0]} x {looks.size[1]}"
    elif attention:
        box_width, box_height = looks.size if looks.size != (0, 0) else (width, height)
        scale_x, scale_y = width / box_width, height / box_height
        boxes = looks.boxes * [scale_x, scale_y, scale_x, scale_y]
        drawn = regions(boxes, attention, width, height)
    name = escape(path.name, quote=True)
    svg = f'<svg class="picture" viewBox="0 0 {width} {height}" role="img" aria-label="{name}">'
    return f'{svg}<image width="{width}" height="{height}" href="{data_uri(small)}"/>{drawn}</svg>', note


def regions(boxes: np.ndarray, attention: Sequence[float], width: int, height: int) -> str:
    """Boxes (in the pixels of a picture of this size) as rectangles, the strongest last and on top."""
    strongest, unit = max(attention), max(width, height) / 320
    out = []
    for k in sorted(range(len(attention)), key=lambda k: attention[k]):
        opacity = attention[k] / strongest if strongest > 0 else 0
        if opacity < 0.03:  # could not be seen
            continue
        x, y, x2, y2 = boxes[k].tolist()
        place = f'x="{x:.1f}" y="{y:.1f}" width="{max(x2 - x, 0):.1f}" height="{max(y2 - y, 0):.1f}"'
        tip = f"<title>{100 * attention[k]:.1f} %</title>"
        for kind, wide in (("under", 3.4), ("region", 2.0)):  # a dark line below makes the light one visible anywhere
            style = f'style="stroke-width:{wide * unit:.2f};opacity:{opacity:.2f}"'
            out.append(f'<rect class="{kind}" {place} {style}>{tip}</rect>')
        if attention[k] == strongest:
            size = 11 * unit
            down = y - 4 * unit if y > size + 4 * unit else y + size + unit  # above the box, so that it hides nothing
            where = f'x="{min(x, width - 32 * unit):.1f}" y="{down:.1f}" font-size="{size:.1f}"'
            out.append(f'<text class="strongest" {where}>{100 * attention[k]:.0f}\N{NARROW NO-BREAK SPACE}%</text>')
    return "".join(out)


def data_uri(image: Any) -> str:
    """The picture as a data URI: PNG for drawings, JPEG for photographs, whichever is smaller."""
    made = []
    for kind, options in (("png", {"optimize": True}), ("jpeg", {"quality": 82, "optimize": True})):
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        made.append((len(buffer.getvalue()), kind, buffer.getvalue()))
    _, kind, data = min(made)
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def card(row: Row, path: Path | None, looks: Looks | None) -> str:
    """One answer as a card."""
    image, note = ("", "") if path is None else picture(path, looks, row.get("attention") or [])
    people = Counter(map(str, row.get("answers") or []))
    told = ", ".join(f"{escape(said)}\N{NARROW NO-BREAK SPACE}×{count}" for said, count in people.most_common())
    bars = "".join(bar(str(text), float(share), str(text) in people) for text, share in row.get("top5") or [])
    source = f"image {row.get('image_id')}, question {row['id']}" + (f"; {note}" if note else "")
    lines = [
        f"<h3>{escape(str(row.get('question') or ''))}</h3>",
        f'<p class="answer">{escape(str(row.get("answer", "")))}</p>',
        f'<p class="people">people: {told}</p>' if told else "",
        f'<div class="bars">{bars}</div>' if bars else "",
        f'<p class="small">{escape(source)}</p>',
    ]
    return f'<article class="card">{image}<div class="text">{"".join(lines)}</div></article>'


def bar(text: str, share: float, said: bool) -> str:
    """One of the first five answers; `said`: somebody gave it."""
    kind = ' class="said"' if said else ""
    fill = f'<i style="width:{100 * min(max(share, 0), 1):.1f}%"></i>'
    return f'<span{kind}>{escape(text)}</span><div class="bar">{fill}</div><span>{100 * share:.1f}</span>'
