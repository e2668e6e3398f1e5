"""When a run has converged: the published rule, honest ones, and statistics of times that may be censored."""

from math import comb
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

BLOCK = 10
"""Iterations between two looks of the published rule, and half the window of each."""

SMALL_GAPS = {"steps_to_gap_1e1": 0.1, "steps_to_gap_2e2": 0.02, "steps_to_gap_1e3": 0.001}
"""Gaps to the certified optimum in nats per observation, by the column of replay.csv that has the steps to them."""

BEST_RATES = {"is_best_rate": "steps_to_gap_2e2", "is_best_rate_1e3": "steps_to_gap_1e3"}
"""By column of replay.csv that marks a method's best learning rate: the steps to what it is best for."""


def window_mean(loss: Float[np.ndarray, "R steps"], centre: int, half: int) -> Float[np.ndarray, " R"]:
    """Return the mean loss of the ``half`` iterations before ``centre`` and as many from it on, NaN included."""
    return np.asarray(loss, float)[:, centre - half : centre + half].mean(axis=1)


class Convergence(NamedTuple):
    """Iterations to convergence of R runs.

    Attributes
    ----------
    published
        By the authors' rule: the first look at which the mean loss of 20 iterations is within a tolerance of the
        target *or is not a number*, and ``cap`` if there is none. A run that has broken counts as converged.
    honest
        The same without that: infinity for a run that never comes near the target before ``cap``.
    broken
        The first iteration whose loss is not a finite number; infinity if there is none.
    is_false
        Whether the published rule takes the run for converged and the honest one never does.
    """

    published: Float[np.ndarray, " R"]
    honest: Float[np.ndarray, " R"]
    broken: Float[np.ndarray, " R"]
    is_false: Bool[np.ndarray, " R"]


def iterations_to(
    loss: Float[np.ndarray, "R steps"], target: Float[np.ndarray, " R"], tolerance: float, cap: int
) -> Convergence:
    """Return when each run's loss first comes within ``tolerance`` of its target, relatively.

    Looks are 10 iterations apart, the first at 20; each takes the mean of the 10 iterations before it and the 10 after.
    The authors' notebooks do the same (``iter_convergence``), with the loss of F-VI of the same seed as the target.
    """
    loss = np.asarray(loss, float)
    runs, steps = loss.shape
    cap = min(cap, steps // BLOCK * BLOCK)
    blocks = loss[:, : steps // BLOCK * BLOCK].reshape(runs, -1, BLOCK).mean(axis=2)
    looks = np.arange(2 * BLOCK, cap, BLOCK)
    means = (blocks[:, 1 : len(looks) + 1] + blocks[:, 2 : len(looks) + 2]) / 2
    away = np.abs(means - target[:, None]) / np.abs(target)[:, None]

    def first(there: np.ndarray, at: np.ndarray, never: float) -> np.ndarray:
        return np.where(there.any(axis=1), at[there.argmax(axis=1)] if len(at) else never, never)

    published, honest = ~(away > tolerance), away <= tolerance  # NaN is in the first
    return Convergence(
        first(published, looks, float(cap)),
        first(honest, looks, np.inf),
        first(~np.isfinite(loss), np.arange(steps), np.inf),
        published.any(axis=1) & ~honest.any(axis=1),
    )


def first_below(values: Float[np.ndarray, "R C"], limit: float, at: Float[np.ndarray, " C"]) -> np.ndarray:
    """Return where along ``at`` each row of values first is at most ``limit``; infinity where it never is."""
    there = np.asarray(values) <= limit
    return np.where(there.any(axis=1), np.asarray(at, float)[there.argmax(axis=1)], np.inf)


class Median(NamedTuple):
    """A median, and the order statistics between which the true median lies with a given probability."""

    value: float
    low: float
    high: float
    coverage: float


def median_of(times: Float[np.ndarray, " R"], level: float = 0.95) -> Median:
    """Return the median of times of which some may be censored (infinite), with an exact interval.

    The interval runs between two order statistics, as narrow as coverage of at least ``level`` allows (binomial with
    probability one half), whatever the distribution; with fewer runs than that needs, from the least to the largest.
    The median is infinite where half of the runs or more are censored.

    Raises
    ------
    ValueError
        If there is no time, or one is not a number.
    """
    ordered = np.sort(np.asarray(times, float))
    number = len(ordered)
    if not number or np.isnan(ordered).any():
        raise ValueError("a median needs at least one time, and no NaN: a run that breaks is censored (infinite)")

    def covered(outside: int) -> float:
        return 1 - 2 * sum(comb(number, i) for i in range(outside + 1)) / 2**number

    outside = max((k for k in range((number + 1) // 2) if covered(k) >= level), default=0)
    low, high = ordered[outside], ordered[number - 1 - outside]
    middle = ordered[(number - 1) // 2], ordered[number // 2]
    value = float(np.inf) if np.isinf(middle[1]) else float(np.mean(middle))
    return Median(value, float(low), float(high), covered(outside))
