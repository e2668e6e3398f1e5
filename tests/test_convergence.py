"""The published rule against a literal transcription of what it does, and medians of censored times."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from avigap.convergence import first_below, iterations_to, median_of, window_mean


def step_by_step(loss, target, tolerance, cap):
    """One run, as the notebooks walk along it."""
    at, away = 10, np.inf
    while away > tolerance * abs(target) and at < cap:
        at += 10
        away = abs(np.mean(loss[at - 10 : at + 10]) - target)
    return at


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    rate=st.floats(0.001, 0.1),
    tolerance=st.sampled_from([0.5, 0.1, 0.01]),
    breaks=st.none() | st.integers(0, 399),
)
def test_the_published_rule_is_that_of_the_notebooks(seed, rate, tolerance, breaks):
    random = np.random.default_rng(seed)
    loss = 100 + 1000 * np.exp(-rate * np.arange(400)) + random.standard_normal((3, 400))
    if breaks is not None:
        loss[1, breaks:] = np.nan
    target = np.array([100.0, 100.5, 90.0])
    found = iterations_to(loss, target, tolerance, 380)
    assert found.published.tolist() == [
        step_by_step(own, goal, tolerance, 380) for own, goal in zip(loss, target, strict=True)
    ]
    assert found.broken.tolist() == [np.inf, np.inf if breaks is None else breaks, np.inf]
    reached = found.honest < np.inf
    assert (found.honest[reached] == found.published[reached]).all()


def test_a_run_that_breaks_counts_as_converged_by_the_published_rule_alone():
    loss = np.full((2, 200), 1000.0)
    loss[0, 57:] = np.nan
    found = iterations_to(loss, np.array([10.0, 10.0]), 0.01, 150)
    assert found.published.tolist() == [50, 150]
    assert found.honest.tolist() == [np.inf, np.inf]
    assert found.broken.tolist() == [57, np.inf]


def test_a_better_run_than_the_target_never_converges():
    """The rule is two-sided."""
    found = iterations_to(np.full((1, 100), 90.0), np.array([100.0]), 0.01, 100)
    assert found.honest.tolist() == [np.inf]


def test_window_means_and_first_passages():
    loss = np.arange(20.0).reshape(2, 10)
    assert window_mean(loss, 5, 2).tolist() == [4.5, 14.5]
    assert first_below(np.array([[3, 2, 1], [5, 5, 5]]), 2, np.array([10, 20, 30])).tolist() == [20, np.inf]


@pytest.mark.parametrize("number", [1, 5, 6, 9, 10, 30, 61])
def test_the_median_has_an_exact_interval(number):
    times = np.random.default_rng(number).permutation(np.arange(1.0, number + 1))
    found = median_of(times)
    assert found.value == np.median(times)
    rank = int(found.low)
    assert found.high == number + 1 - rank
    assert found.coverage == pytest.approx(binom.cdf(number - rank, number, 0.5) - binom.cdf(rank - 1, number, 0.5))
    assert found.coverage >= 0.95 or (rank == 1 and number < 6)
    narrower = binom.cdf(number - rank - 1, number, 0.5) - binom.cdf(rank, number, 0.5)
    assert narrower < 0.95


def test_medians_of_censored_times_are_censored():
    inf = np.inf
    assert median_of([1, 2, inf]).value == 2
    assert median_of([1, 2, inf, inf]).value == inf
    assert median_of([1, 2, 3, inf]).high == inf
    with pytest.raises(ValueError, match="censored"):
        median_of([1, np.nan])
    with pytest.raises(ValueError, match="at least one"):
        median_of([])
