"""A model with another vocabulary: the rows of shared words and answers go along, those of new ones begin anew.

A model says in `VOCABULARY` which of its layers have a row for each word (or answer): vocabulary -> names of modules.
Rows behind the words belong to signs (end, start, padding) and go along, too. So for shared words nothing changes: a
text of them gets the states it got before, and the scores of shared words and answers are the ones they were.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from limner.errors import UserError
from limner.weights.package import Package, build_model


class Shared(NamedTuple):
    """Two vocabularies of one name. `old`, `new`: places of the shared entries in each, in the new one's order;
    `before`, `after`: how many entries they have."""

    old: Tensor
    new: Tensor
    before: int
    after: int

    def told(self, name: str) -> str:
        """One line: how many rows are carried over, drawn, left out."""
        carried = len(self.old)
        return (
            f"{name.replace('_', ' ')}: {self.before:,} -> {self.after:,}, {carried:,} carried over, "
            f"{self.after - carried:,} begin anew, {self.before - carried:,} left out"
        )


def remap(
    package: Package, vocab: Mapping[str, Sequence[str]], *, fresh: Mapping[str, Tensor] | None = None
) -> tuple[Package, list[str]]:
    """The package with other words or answers.

    Args:
        package: it stays as it is.
        vocab: the new lists by name; a vocabulary of the package that is not named stays.
        fresh: a state dict of the new sizes with the rows that new words begin with; None: drawn, as the model draws.

    Returns:
        The new package, without metrics, which nobody has measured; a line for each vocabulary that changed.

    Raises:
        UserError: the model does not say which rows are words, a word stands twice, or none is shared.
    """
    layers: Mapping[str, Sequence[str]] = getattr(type(package.model), "VOCABULARY", {})
    known = {name: words for name, words in vocab.items() if name in layers and name in package.vocab}
    if not known:
        kind = type(package.model).__name__
        raise UserError(
            f"vocabulary: {kind} has rows for {' and '.join(layers) or 'no vocabulary'}, found {' and '.join(vocab)}: "
            "give a vocab.json of the same task"
        )
    found = {name: shared(package.vocab[name], words, name) for name, words in known.items()}
    sizes = {**package.sizes, **{name: len(words) for name, words in known.items()}}
    model = build_model(sizes, (sizes["_target_"],), "package")
    own, theirs = model.state_dict(), package.model.state_dict()
    drawn = {name: tensor if fresh is None else like(fresh.get(name), tensor) for name, tensor in own.items()}
    weights = dict(theirs)
    for name, both in found.items():
        for layer in layers[name]:
            weights.update(moved(layer, theirs, drawn, both))
    model.load_state_dict(weights)
    meta = {**package.meta, "metrics": {}, "measured": None}
    changed = [both.told(name) for name, both in found.items() if list(known[name]) != list(package.vocab[name])]
    lists = {name: list(words) for name, words in {**package.vocab, **vocab}.items()}
    return Package(model=model.eval(), sizes=sizes, vocab=lists, meta=meta), changed


def shared(old: Sequence[str], new: Sequence[str], name: str) -> Shared:
    """The shared entries of two vocabularies.

    Raises:
        UserError: an entry stands twice, or none is shared.
    """
    places = {word: place for place, word in enumerate(old)}
    if len(set(new)) < len(new):
        raise UserError(f"vocabulary: {name} stand twice in the new one; each needs one place")
    pairs = [(places[word], place) for place, word in enumerate(new) if word in places]
    if not pairs:
        raise UserError(f"vocabulary: none of the {len(new):,} new {name} is one of the {len(old):,} old ones")
    both = torch.tensor(pairs)
    return Shared(both[:, 0], both[:, 1], len(old), len(new))


def moved(
    layer: str, old: Mapping[str, Tensor], drawn: Mapping[str, Tensor], both: Shared
) -> Iterator[tuple[str, Tensor]]:
    """The parameters of a layer under the new vocabulary: `(name, tensor)`.

    With weight normalisation, w = g v / ||v||, the norm is that of all rows: g is set so that shared rows of w stay.
    """
    scale = f"{layer}.weight_g" in old
    names = [f"{layer}.{leaf}" for leaf in ("weight_v" if scale else "weight", "bias")]
    for name in names:
        if name in old:
            rows = drawn[name].clone()
            if scale and name.endswith("weight_v"):  # as w, what was drawn; all rows are scaled together below
                length = old[f"{layer}.weight_g"] / old[name].norm()
                rows *= drawn[f"{layer}.weight_g"] / drawn[name].norm() / length
            rows[both.new] = old[name][both.old]
            rows[both.after :] = old[name][both.before :]
            yield name, rows
            if scale and name.endswith("weight_v"):
                yield f"{layer}.weight_g", length * rows.norm()


def like(tensor: Tensor | None, other: Tensor) -> Tensor:
    """`tensor`, if it has the shape of `other`; else `other`."""
    return tensor if tensor is not None and tensor.shape == other.shape else other
