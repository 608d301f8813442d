"""Five captions for each scene, in the JSON of Karpathy's COCO split (`dataset_coco.json`).

People begin with what strikes the eye. Here that is the outermost big thing on the left and, seen from it, the
outermost thing on the right; where several things are alike, how many of them. The five captions of a scene agree on
that and differ in the words, so that a caption can be right in the sense of CIDEr.
"""

from __future__ import annotations

import random
from collections.abc import Iterable

from limner.data.toy.words import NUMBERS, SYNONYMS, article, holds, plural
from limner.data.toy.world import Scene, Thing, dice, file_name

CAPTIONS_AN_IMAGE = 5


def _striking(scene: Scene) -> tuple[Thing, Thing]:
    """The leftmost big thing (or the leftmost, where none is big) and the rightmost of the others."""
    first = min(scene.things, key=lambda thing: (thing.size != "big", thing.x, thing.y))
    return first, max((thing for thing in scene.things if thing is not first), key=lambda thing: (thing.x, thing.y))


def _name(thing: Thing, rng: random.Random, *, sized: bool) -> str:
    size = rng.choice(SYNONYMS[thing.size]) + " " if sized else ""
    return article(f"{size}{thing.color} {thing.shape}")


def _relation(first: Thing, second: Thing, rng: random.Random) -> str:
    """Words for where `first` is, seen from `second`; always true."""
    true = [relation for relation in ("left of", "right of", "above", "below") if holds(first, relation, second)]
    if not true:
        return "next to"
    relation = true[0] if rng.random() < 0.75 else rng.choice(true)
    said = {"left of": "to the left of", "right of": "to the right of"}.get(relation, relation)
    return rng.choice([relation, said]) if said != relation else said


def _group(scene: Scene) -> tuple[str, list[Thing]] | None:
    """`("three circles", the other things)`: what there is most of, if there is more than one of anything."""
    kinds = [(scene.named(shape=shape), plural(shape)) for shape in dict.fromkeys(o.shape for o in scene.things)]
    kinds += [(scene.named(color=color), f"{color} shapes") for color in dict.fromkeys(o.color for o in scene.things)]
    alike, name = min(kinds, key=lambda kind: (-len(kind[0]), kind[1]))
    if len(alike) < 2:
        return None
    return f"{NUMBERS[len(alike)]} {name}", [thing for thing in scene.things if thing not in alike]


def captions(scene: Scene, rng: random.Random) -> list[str]:
    """Five lower-case captions without a final full stop; no two are equal."""
    first, second = _striking(scene)
    count = NUMBERS[len(scene.things)]
    alike = _group(scene)

    def pair() -> str:
        sized = rng.random() < 0.7
        a, b = _name(first, rng, sized=sized), _name(second, rng, sized=sized)
        return f"{a} {rng.choice(['', '', 'is '])}{_relation(first, second, rng)} {b}"

    def among() -> str:
        start = rng.choice(["there are", "a picture of", "a group of"])
        return f"{start} {count} shapes {rng.choice(['with', 'including'])} {_name(first, rng, sized=True)}"

    def both() -> str:
        a, b = _name(first, rng, sized=rng.random() < 0.7), _name(second, rng, sized=rng.random() < 0.7)
        return f"{a} and {b} {rng.choice(['among other shapes', f'in a group of {count} shapes', 'on a white ground'])}"

    def group() -> str:
        if alike is None:
            return pair()
        name, rest = alike
        text = rng.choice(["there are ", "a picture with ", ""]) + name
        if rest:
            other = next((thing for thing in (first, second) if thing in rest), rest[0])
            text += f" {rng.choice(['and', 'with'])} {_name(other, rng, sized=rng.random() < 0.5)}"
        return text

    found: list[str] = []
    for kind in (pair, among, both, group, pair):
        caption = kind()
        while caption in found:
            caption = rng.choice((kind, pair, both))()
        found.append(caption)
    rng.shuffle(found)
    return found


def caption_file(scenes: Iterable[Scene], *, seed: int = 1) -> dict:
    """The contents of a Karpathy file over all splits. `cocoid` is the image id; `imgid` and `sentid` count up."""
    images, sentences = [], 0
    for number, scene in enumerate(scenes):
        raw = captions(scene, dice(seed, scene.image_id, "captions"))
        ids = list(range(sentences, sentences + len(raw)))
        sentences += len(raw)
        images.append(
            {
                "filename": file_name(scene),
                "filepath": scene.split,
                "split": scene.split,
                "imgid": number,
                "cocoid": scene.image_id,
                "sentids": ids,
                "sentences": [
                    {"tokens": text.split(), "raw": text.capitalize() + ".", "imgid": number, "sentid": sentid}
                    for text, sentid in zip(raw, ids)
                ],
            }
        )
    return {"images": images, "dataset": "toy"}
