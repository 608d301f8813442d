"""Looks at the first steps of self-critical training and says once what to check when they go wrong."""

from __future__ import annotations

STEPS = 20
"""steps whose means are looked at together"""
LEAST_REWARD = 0.05
"""a captioner after cross-entropy has a CIDEr-D of 0.5 to 1 on its training images; 0.05 is a word here and there"""


class Watch:
    """Warns once of rewards near zero at the start, and once of captions that collapse at any time.

    It only looks: nothing here has an effect on training, and nothing needs to be restored on resume.

    Args:
        reference_length: mean tokens of a reference, its end included.
        least_reward: warn below this mean reward; None: never, since the scale of a reward of one's own is not known.
    """

    def __init__(self, *, reference_length: float, least_reward: float | None = LEAST_REWARD):
        self.reference_length, self.least_reward = reference_length, least_reward
        self._rewards: list[float] = []
        self._lengths: list[float] = []
        self._short = False
        """captions were found too short"""

    def see(self, reward: float, length: float) -> list[str]:
        """Takes note of a step's mean reward and mean length in tokens; returns what to tell the user now."""
        told = []
        if len(self._rewards) < STEPS:
            self._rewards.append(reward)
            if len(self._rewards) == STEPS and self.least_reward is not None:
                told += self.low(sum(self._rewards) / STEPS)
        self._lengths = [*self._lengths[1 - STEPS :], length]
        mean = sum(self._lengths) / STEPS
        if not self._short and len(self._lengths) == STEPS and mean < self.reference_length / 2:
            self._short = True
            told.append(
                f"scst: sampled captions have {mean:.1f} tokens, references {self.reference_length:.1f}: they are "
                "collapsing; lower optim.lr, keep scst.count_end=true, or mix in cross-entropy with scst.xe_weight=0.1"
            )
        return told

    def low(self, mean: float) -> list[str]:
        assert self.least_reward is not None
        if mean >= self.least_reward:
            return []
        return [
            f"scst: the mean reward of the first {STEPS} steps is {mean:.4f}, near zero, so there is nothing to learn "
            "from; check that the model was trained with cross-entropy (weights=RUN, or scst.start_epoch) and what its "
            "val/score was, that its vocabulary fits these captions, and where scst.frequencies come from"
        ]
