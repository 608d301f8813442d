"""How the next configuration is chosen: a function of the seed and of the trials there are, so that a study that is
continued goes on as if nothing had happened."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import optuna


def sampler(sweep: Any, number: int) -> Any:
    """Optuna's sampler for the trial `number`; grids bring their points themselves."""
    seed = int(np.random.SeedSequence([sweep.seed, number]).generate_state(1)[0])
    if sweep.sampler == "tpe":
        return optuna.samplers.TPESampler(seed=seed, constant_liar=sweep.jobs > 1)
    if sweep.sampler == "cmaes":
        return ReplayedCma(seed)
    return optuna.samplers.RandomSampler(seed=seed)


class ReplayedCma(optuna.samplers.BaseSampler):
    """CMA-ES (Hansen, 2016) over the number ranges of a space; choices are drawn at random.

    Optuna's own sampler keeps its state pickled in the journal and unpickles it from there; here it is computed anew
    from the values of the finished trials: whole generations of them, in order. In a round of several jobs a generation
    may hold points that were drawn from the one before, which CMA-ES tolerates.
    """

    def __init__(self, seed: int):
        self.seed = seed
        self.random = optuna.samplers.RandomSampler(seed=seed)

    def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, Any]:
        space = trial.system_attrs.get("fixed_params") or {}
        return {} if space else optuna.search_space.intersection_search_space(study.get_trials(deepcopy=False))

    def sample_relative(self, study: Any, trial: Any, search_space: dict[str, Any]) -> dict[str, Any]:
        from cmaes import CMA

        ranges = {name: one for name, one in search_space.items() if hasattr(one, "low") and not one.single()}
        if len(ranges) < 2:
            return {}
        size = 4 + int(3 * math.log(len(ranges)))
        bounds = np.array([[0.0, 1.0]] * len(ranges))
        cma = CMA(mean=np.full(len(ranges), 0.5), sigma=1 / 6, bounds=bounds, seed=self.seed, population_size=size)
        sign = -1 if study.direction == optuna.study.StudyDirection.MAXIMIZE else 1
        done = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
        points = [(place(one.params, ranges), sign * one.value) for one in done if ranges.keys() <= one.params.keys()]
        for first in range(0, len(points) - size + 1, size):
            cma.tell(points[first : first + size])
        return {name: value(x, one) for x, (name, one) in zip(cma.ask(), ranges.items())}

    def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: Any) -> Any:
        return self.random.sample_independent(study, trial, param_name, param_distribution)


def place(params: dict[str, Any], ranges: dict[str, Any]) -> np.ndarray:
    """A trial as a point of the unit cube (one dimension a range)."""
    return np.array([share(params[name], one) for name, one in ranges.items()])


def share(value: float, one: Any) -> float:
    """Where a value lies in its range, 0 to 1."""
    low, high, value = (math.log(x) if one.log else float(x) for x in (one.low, one.high, value))
    return (value - low) / (high - low)


def value(x: float, one: Any) -> float | int:
    """The value at 0..1 of a range, on its steps."""
    low, high = (math.log(end) if one.log else float(end) for end in (one.low, one.high))
    found = low + float(x) * (high - low)
    found = math.exp(found) if one.log else found
    if one.step is not None:
        found = one.low + round((found - one.low) / one.step) * one.step
    found = min(max(found, one.low), one.high)
    return round(found) if isinstance(one, optuna.distributions.IntDistribution) else found
