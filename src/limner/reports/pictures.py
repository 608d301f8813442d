"""Regions drawn as inline SVG: on a picture, or on a plain ground where there are boxes but no picture."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np

LONGEST = 420
"""Pixels of the longer side of an embedded picture."""
SPACE = "\N{NARROW NO-BREAK SPACE}"


class Looks(NamedTuple):
    """Where a picture's regions are."""

    boxes: np.ndarray  #: (R, 4) xyxy pixels
    size: tuple[int, int]  #: width and height the boxes count in; (0, 0) when unknown
    labels: tuple[str, ...] = ()  #: what each region shows, where the feature file says it


class Ground(NamedTuple):
    """What regions are drawn on."""

    width: float = 0  #: 0: there is nothing to draw on
    height: float = 0
    below: str = ""  #: SVG of the picture, or of a plain ground
    name: str = ""
    boxes: np.ndarray | None = None  #: (R, 4) xyxy in the ground's units; None: not known, or not of this picture
    labels: tuple[str, ...] = ()
    plain: bool = False  #: there is no picture
    note: str = ""  #: what could not be drawn, and why


def ground(path: Path | None, looks: Looks | None, regions: int, name: str = "") -> Ground:
    """The ground for a picture and its regions.

    Args:
        path: the picture; None: boxes are drawn on a plain ground.
        looks: its regions, when they are known.
        regions: how many regions the model looked at; 0: unknown, or none.
        name: what a plain ground is called.
    """
    if looks is not None and regions > len(looks.boxes):
        note = f"the feature file has {len(looks.boxes)} regions, the model looked at {regions}: another file"
        looks = None
    else:
        note = "" if looks is not None else "regions unknown"
    if path is None:
        return Ground(note=note) if looks is None else plain_ground(looks, name)
    from PIL import Image

    from limner.extract.run import read_image

    try:
        image = Image.fromarray(read_image(path))
    except (OSError, Image.DecompressionBombError) as error:
        found = Ground() if looks is None else plain_ground(looks, name)
        return found._replace(note=f"{path.name} cannot be read ({error})")
    width, height = image.size
    below = f'<image width="{width}" height="{height}" href="{data_uri(small_one(image))}"/>'
    if looks is None:
        return Ground(width, height, below, path.name, note=note)
    of_width, of_height = looks.size if looks.size != (0, 0) else (width, height)
    if abs(of_width * height - of_height * width) > 0.02 * of_width * height:
        note = f"the picture is {width} x {height}, its regions come from one of {of_width} x {of_height}"
        return Ground(width, height, below, path.name, note=note)
    across, down = width / of_width, height / of_height
    return Ground(width, height, below, path.name, looks.boxes * [across, down, across, down], looks.labels)


def small_one(image: Any) -> Any:
    """A picture whose longer side has at most `LONGEST` pixels."""
    scale = min(1.0, LONGEST / max(image.size))
    width, height = image.size
    return image if scale == 1 else image.resize((max(1, round(width * scale)), max(1, round(height * scale))))


def shrunk(path: Path | None, ground: Ground) -> Any:
    """The small picture of a ground as a PIL image; a plain ground is grey, with its regions outlined.

    Args:
        path: where the ground's picture came from, when there was one.
    """
    from PIL import Image, ImageDraw

    from limner.extract.run import read_image

    if path is not None and not ground.plain:
        return small_one(Image.fromarray(read_image(path)))
    scale = LONGEST / max(ground.width, ground.height)
    image = Image.new("RGB", (max(1, round(ground.width * scale)), max(1, round(ground.height * scale))), "#d8d8d8")
    for box in [] if ground.boxes is None else (ground.boxes * scale).tolist():
        if box[2] > box[0] and box[3] > box[1]:
            ImageDraw.Draw(image).rectangle(box, outline="#606060")
    return image


def plain_ground(looks: Looks, name: str) -> Ground:
    """A ground as large as the picture that the boxes come from, or as the boxes reach."""
    width, height = looks.size if looks.size != (0, 0) else looks.boxes[:, 2:].max(0).tolist()
    below = f'<rect class="ground" width="{width:g}" height="{height:g}"/>'
    return Ground(width, height, below, name, looks.boxes, looks.labels, plain=True)


def drawn(ground: Ground, above: str, *, id: str = "") -> str:
    """A ground with something drawn above it as `<svg>`; empty where there is nothing to draw on.

    Args:
        id: names the ground, so that other drawings of the page may show it again.
    """
    if not ground.width:
        return ""
    name = escape(ground.name, quote=True)
    head = f'<svg class="picture" viewBox="0 0 {ground.width:g} {ground.height:g}" role="img" aria-label="{name}">'
    below = f'<g id="{id}">{ground.below}</g>' if id else ground.below
    return f"{head}{below}{above}</svg>"


def rectangle(box: Sequence[float]) -> str:
    x, y, x2, y2 = box
    return f'x="{x:.1f}" y="{y:.1f}" width="{max(x2 - x, 0):.1f}" height="{max(y2 - y, 0):.1f}"'


def attended(ground: Ground, attention: Sequence[float]) -> str:
    """Boxes as opaque as the attention to them, the strongest last and on top.

    The opacity is a share of the largest in this picture: of 36 regions even the strongest may have 10 %, and would
    not be seen. Its number stands beside it.
    """
    if ground.boxes is None or not attention:
        return ""
    strongest, unit = max(attention), max(ground.width, ground.height) / 320
    out = []
    for k in sorted(range(len(attention)), key=lambda k: attention[k]):
        opacity = attention[k] / strongest if strongest > 0 else 0
        if opacity < 0.03:  # could not be seen
            continue
        box = ground.boxes[k].tolist()
        for kind, wide in (("under", 3.4), ("region", 2.0)):  # a dark line below makes the light one visible anywhere
            style = f'style="stroke-width:{wide * unit:.2f};opacity:{opacity:.2f}"'
            out.append(f'<rect class="{kind}" {rectangle(box)} {style}>{tip(ground, k, attention[k])}</rect>')
        if attention[k] == strongest:
            x, y, size = box[0], box[1], 11 * unit
            down = y - 4 * unit if y > size + 4 * unit else y + size + unit  # above the box, so that it hides nothing
            where = f'x="{min(x, ground.width - 32 * unit):.1f}" y="{down:.1f}" font-size="{size:.1f}"'
            out.append(f'<text class="strongest" {where}>{100 * attention[k]:.0f}{SPACE}%</text>')
    return "".join(out)


def small(ground: Ground, attention: Sequence[float], name: str, *, shown: int = 90) -> str:
    """A small drawing of the attention on a ground that stands on the page already, `shown` pixels wide.

    A picture is faded but for the regions, which keep as much of their colours as they got attention, next to the
    strongest one. On a plain ground the boxes are filled instead.

    Args:
        name: the `id` that the ground was drawn with: a picture is embedded once, however often it is shown.
    """
    if ground.boxes is None or not attention:
        return ""
    strongest, unit = max(attention), max(ground.width, ground.height) / shown
    picture = f'<use href="#{name}"/>'
    out = [picture if ground.plain else f'<g opacity=".18">{picture}</g>']
    for k in sorted(range(len(attention)), key=lambda k: attention[k]):
        opacity = attention[k] / strongest if strongest > 0 else 0
        if opacity < 0.05:  # could not be seen
            continue
        box = ground.boxes[k].tolist()
        if not ground.plain and box[2] > box[0] and box[3] > box[1]:
            view = f"{box[0]:.1f} {box[1]:.1f} {box[2] - box[0]:.1f} {box[3] - box[1]:.1f}"
            out.append(f'<svg {rectangle(box)} viewBox="{view}" opacity="{opacity:.2f}">{picture}</svg>')
        kind, wide = ("heat", 1.6) if ground.plain else ("frame", 1.2)
        style = f'style="stroke-width:{wide * unit:.2f};opacity:{opacity:.2f}"'
        out.append(f'<rect class="{kind}" {rectangle(box)} {style}>{tip(ground, k, attention[k])}</rect>')
    return drawn(ground._replace(below=""), "".join(out))


def strip(attention: Sequence[float]) -> str:
    """Attention without boxes: a cell a region, in their order."""
    strongest = max(attention, default=0)
    cells = [
        f'<rect class="heat" x="{k}" width="1" height="1" style="stroke-width:0;opacity:{share / strongest:.2f}">'
        f"<title>region {k + 1}: {100 * share:.1f} %</title></rect>"
        for k, share in enumerate(attention)
        if strongest > 0
    ]
    head = f'<svg class="picture" viewBox="0 0 {len(attention)} 1" preserveAspectRatio="none" role="img"'
    base = f'<rect class="ground" width="{len(attention)}" height="1"/>'
    return f'{head} aria-label="attention" style="height:1.2rem">{base}{"".join(cells)}</svg>'


def outlines(ground: Ground) -> str:
    """All boxes, each with its label where there is one: what the model was shown instead of a picture."""
    if ground.boxes is None:
        return ""
    unit = max(ground.width, ground.height) / 320
    out = []
    for k, box in enumerate(ground.boxes.tolist()):
        if box[2] > box[0] and box[3] > box[1]:
            out.append(f'<rect class="outline" {rectangle(box)} style="stroke-width:{1.2 * unit:.2f}"/>')
            if k < len(ground.labels):
                size = 10 * unit
                where = f'x="{box[0] + 3 * unit:.1f}" y="{box[1] + size:.1f}" font-size="{size:.1f}"'
                out.append(f'<text class="label" {where}>{escape(ground.labels[k])}</text>')
    return "".join(out)


def tip(ground: Ground, region: int, share: float) -> str:
    name = f"{escape(ground.labels[region])}: " if region < len(ground.labels) else ""
    return f"<title>{name}{100 * share:.1f} %</title>"


def data_uri(image: Any) -> str:
    """The picture as a data URI: PNG for drawings, JPEG for photographs, whichever is smaller."""
    made = []
    for kind, options in (("png", {"optimize": True}), ("jpeg", {"quality": 82, "optimize": True})):
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        made.append((len(buffer.getvalue()), kind, buffer.getvalue()))
    _, kind, data = min(made)
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
