"""The state of a model between two words: any tree of tensors whose first dimension is the row."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor

# step(tokens (N,), state) -> (logits (N,W), state, attention (N,R) or None)
Step = Callable[[Tensor, Any], tuple[Tensor, Any, "Tensor | None"]]


def select(state: Any, index: Tensor) -> Any:
    """The rows `index` of a state, in that order, as a state of the same kind.

    Args:
        state: tensors (N,...) in NamedTuples, tuples, lists and dicts. Anything else (None, numbers, objects such as
            an image's prepared regions, tensors without a row dimension) is shared by all rows and kept as it is.
        index: (M,) int64 row numbers; a row may be chosen several times.
    """
    if isinstance(state, Tensor):
        return state.index_select(0, index) if state.dim() else state
    if isinstance(state, dict):
        return type(state)((key, select(value, index)) for key, value in state.items())
    if isinstance(state, tuple) and hasattr(state, "_fields"):
        return type(state)(*(select(value, index) for value in state))
    if isinstance(state, (tuple, list)):
        return type(state)(select(value, index) for value in state)
    return state


def leaves(state: Any) -> Iterator[Tensor]:
    """The tensors that `select` chooses rows of."""
    if isinstance(state, Tensor):
        if state.dim():
            yield state
    elif isinstance(state, dict):
        for value in state.values():
            yield from leaves(value)
    elif isinstance(state, (tuple, list)):
        for value in state:
            yield from leaves(value)


def first_leaf(state: Any) -> Tensor:
    """A tensor that tells how many rows a state has, and where it lives.

    Raises:
        ValueError: the state holds no tensor.
    """
    for leaf in leaves(state):
        return leaf
    raise ValueError("a decoding state needs at least one tensor (N,...), to say how many rows there are")
