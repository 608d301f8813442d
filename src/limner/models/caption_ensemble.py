"""Several captioners that speak as one, with the same face as one of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from limner.decode import ensemble


class CaptionEnsemble(nn.Module):
    """Averages the word probabilities of captioners that share a vocabulary; each keeps its own state.

    Args:
        models: captioners with `begin` and `step` (`limner.models.updown_captioner.UpDownCaptioner`).
        weights: one a model, positive; None: equal.
    """

    def __init__(self, models: Sequence[nn.Module], weights: Sequence[float] | None = None):
        super().__init__()
        self.models = nn.ModuleList(models)
        self.weights = weights

    def begin(self, feats: Tensor, mask: Tensor, **more: Any) -> tuple:
        """The members' states for (I,R,D) regions, one row an image."""
        return tuple(model.begin(feats, mask, **more) for model in self.models)  # type: ignore[operator]

    def step(self, tokens: Tensor, states: tuple) -> tuple[Tensor, tuple, Tensor | None]:
        """Log of the mean probabilities (N,V+1), the states, and the mean attention (N,R)."""
        steps: list[Any] = [(model.step, state) for model, state in zip(self.models, states)]
        together, _ = ensemble(steps, weights=self.weights)
        return together(tokens, states)
