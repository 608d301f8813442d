"""The pictures of some rows and the regions the model looked at in them: found, or said in a note what is missing."""

from __future__ import annotations

import shlex
from collections.abc import Sequence, Set
from pathlib import Path

from limner.errors import UserError
from limner.paths import shown
from limner.reports.page import Html, note
from limner.reports.pictures import Ground, Looks, ground
from limner.reports.source import Source


class Gallery:
    """Pictures and regions of images.

    Args:
        source: where the features of the run are found.
        folder: the folder of pictures; None: there is none, and regions are drawn on a plain ground.
        images: ids of the images.

    `notes` say what was not found and how to mend it; `regions` is whether any regions are known.
    """

    def __init__(self, source: Source, folder: Path | None, images: Set[int]):
        self.paths = find_images(folder, images) if folder else {}
        self.looks, why = looks_of(source, sorted(images))
        self.notes = [*missing_pictures(source, folder, len(self.paths), len(images), bool(self.looks)), *why]

    @property
    def regions(self) -> bool:
        return bool(self.looks)

    def ground(self, image: int | None, regions: int) -> Ground:
        """What to draw the regions of an image on; `regions`: how many the model looked at."""
        return ground(self.paths.get(image), self.looks.get(image), regions, f"image {image}")


def find_images(folder: Path, wanted: Set[int]) -> dict[int | None, Path]:
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

    Regions have labels where a store has a class for each (`cls_id`) and the names of the classes in its provenance
    (`classes`).

    Raises:
        UserError: a store cannot be read.
    """
    import numpy as np

    from limner.data.features import FeatureStore

    out: dict[int | None, Looks] = {}
    for path in stores:
        store = FeatureStore(path)
        classes, names = store.layout.optional.get("cls_id"), store.provenance.get("classes")
        for image in np.intersect1d(np.asarray(images, np.int64), store.image_ids).tolist():
            place = store.positions(np.array([image]))
            boxes = store.read(place).boxes[0]
            if image in out or not boxes.any():
                continue
            labels: tuple[str, ...] = ()
            if classes is not None and names:
                first = int(store.layout.starts[place[0]])
                numbers = classes[first : first + len(boxes)].tolist()
                labels = tuple(str(names[number]) if 0 <= number < len(names) else "" for number in numbers)
            out[image] = Looks(boxes, store.size(int(place[0])), labels)
    return out


def missing_pictures(source: Source, folder: Path | None, found: int, wanted: int, regions: bool) -> list[Html]:
    """A note when there are fewer pictures than wanted; `regions`: there are boxes to draw instead."""
    plain = "; boxes are drawn on a plain ground" if regions else ""
    again = f"limner report {shlex.quote(shown(source.folder))} --images DIR"
    if folder is None:
        told = f"No pictures: the folder of images is not known or not there{plain}. If there are any, say where:"
        return [note(told, again)]
    if found < wanted:
        where = f"{found} of {wanted} pictures were found in {shown(folder)}, by the digits that end their names"
        told = f"{where}{plain}."
        return [note(told, again)]
    return []


def looks_of(source: Source, images: Sequence[int]) -> tuple[dict[int | None, Looks], list[Html]]:
    """Regions of the pictures, and a note when there are none."""
    features = source.value("data.features") or []
    features = [features] if isinstance(features, str) else features
    if not images or (source.run and not features):  # nothing to look at, or a model that sees nothing
        return {}, []
    if source.run is None:
        told = "No regions: an evaluation outside of a run does not say which feature file it was made from."
        return {}, [note(told)]
    stores = [source.located(path) for path in features]
    there = [store for store in stores if store is not None]
    try:
        looks = find_regions(there, images)
    except UserError as error:
        return {}, [note(f"No regions: {error}")]
    lost = [path for path, store in zip(features, stores) if store is None]
    if lost and len(looks) < len(images):
        made = source.value("data.made_by")
        told = f"No regions for {len(images) - len(looks)} of {len(images)} pictures: {', '.join(lost)} is not there."
        return looks, [note(told, *([made] if made else []))]
    return looks, []
