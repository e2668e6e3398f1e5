"""A systematic sample of rows estimates sums over all rows, and keeps the rare ones."""

import jax.numpy as jnp
import numpy as np
import pytest

from avigap.subsample import draw_rows, repeat_rows, spread_probability

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("num_inputs", [1, 3])
def test_weighted_sums_over_the_sample_are_near_the_sums_over_all(num_inputs):
    inputs = RANDOM.standard_normal((20_000, num_inputs))
    rows, weights = draw_rows(jnp.asarray(inputs), 2_000)
    for function in (np.ones_like, np.abs, np.square, lambda v: v**3 + v):
        values = function(inputs).sum(1)
        spread = np.abs(values).sum() / 2_000**0.5
        assert np.sum(np.asarray(weights) * values[rows]) == pytest.approx(values.sum(), abs=3 * spread)


def test_extreme_inputs_are_drawn_and_weigh_less():
    inputs = np.concatenate([RANDOM.standard_normal(9_990), np.full(10, 30.0)])[:, None]
    rows, weights = draw_rows(jnp.asarray(inputs), 1_000)
    extreme = np.asarray(rows) >= 9_990
    assert set(np.asarray(rows)[extreme].tolist()) == set(range(9_990, 10_000))
    assert np.asarray(weights)[extreme].max() < np.asarray(weights)[~extreme].min()
    assert np.asarray(weights)[extreme].sum() == pytest.approx(10, rel=0.1)


@pytest.mark.parametrize("num_rows", [5, 50])
def test_all_rows_are_drawn_once_if_there_are_no_more(num_rows):
    rows, weights = draw_rows(jnp.asarray(RANDOM.standard_normal((5, 2))), num_rows)
    assert rows.tolist() == list(range(5)) and weights.tolist() == [1.0] * 5


def test_equal_inputs_have_equal_probabilities():
    probability = np.asarray(spread_probability(jnp.ones((7, 2))))
    assert probability == pytest.approx(np.full(7, 1 / 7), rel=1e-12)


@pytest.mark.parametrize("size", [1, 7, 10])
def test_repeated_rows_leave_a_sum_as_it_is(size):
    rows, weights = repeat_rows(size, 10)
    values = RANDOM.standard_normal(size)
    assert len(rows) == 10 and set(np.asarray(rows).tolist()) == set(range(size))
    assert np.sum(np.asarray(weights) * values[rows]) == pytest.approx(values.sum(), rel=1e-12)


def test_rows_are_never_left_out_by_repeating_them():
    with pytest.raises(ValueError, match="cannot repeat 5 rows to only 4"):
        repeat_rows(5, 4)
