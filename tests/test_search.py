"""The exhaustive search over local factors and the cells of q(theta), on data with several basins."""

import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from cases import bound, complete, data, label, optimum
from hypothesis import given, settings
from hypothesis import strategies as st

from avigap.core import MeanField
from avigap.search import best_local_factors, make_cells, outer_cells, peaks_first, trapezoid_value, window

JOINT = bound("nonlinear")
FAR = np.concatenate([np.linspace(-33, 33, 100), data("nonlinear", {}, 200)[:100]])
"""Observations of which the outer ones have basins far from 0."""


def test_the_highest_of_many_peaks_come_first():
    values = np.array([-9.0, 1.0, -9.0, 2.0, -9.0, 3.0, 2.9, 4.0, -9.0])
    assert peaks_first(values).tolist() == [7, 5, 3, 1, 6, 0, 2, 4, 8]
    assert peaks_first(values.reshape(3, 3))[:2].tolist() == [7, 5]


def plain_q(theta_loc=-0.2, theta_scale=0.1, num_obs=200):
    loc = {"theta": jnp.asarray(theta_loc), "z": jnp.zeros(num_obs)}
    return MeanField(loc, {"theta": jnp.asarray(theta_scale), "z": jnp.ones(num_obs)})


@given(st.floats(-50, 0), st.floats(0.5, 60), st.sampled_from([64, 256]))
@settings(max_examples=10, deadline=None)
def test_cells_are_normal_weights_on_the_grid_in_bins_of_loc(low, width, num_points):
    cells = make_cells(low, low + width, num_points)
    assert (np.diff(cells.loc, axis=1) >= 0).all() and (cells.loc[1:, 0] >= cells.loc[:-1, -1]).all()
    step = cells.grid[1] - cells.grid[0]
    at_every_point = {
        (round(loc), s) for loc, s in zip((cells.loc - low).ravel() / step, cells.scale.ravel(), strict=True)
    }
    assert {(i, cells.scale.min()) for i in range(num_points)} <= at_every_point
    loc, scale = cells.loc.ravel(), cells.scale.ravel()
    assert (cells.weights >= 0).all() and cells.weights.sum(0) == pytest.approx(np.ones(len(loc)), abs=1e-12)
    inner = (loc - 5 * scale > low) & (loc + 5 * scale < low + width)
    means = cells.grid @ cells.weights
    assert means[inner] == pytest.approx(loc[inner], abs=1e-4 * width)
    spread = np.sqrt(((cells.grid[:, None] - means) ** 2 * cells.weights).sum(0))
    assert spread[inner] == pytest.approx(scale[inner], rel=1e-3)


def test_the_window_holds_every_basin():
    low, high = window(JOINT, jnp.asarray(FAR), plain_q())
    z = np.linspace(-60, 60, 6001)
    log_joint = -0.5 * (((FAR[:, None] + 0.2 - z - z * np.sin(z)) / np.exp(np.cos(z))) ** 2 + z**2) - np.cos(z)
    near = z[(log_joint > log_joint.max(1, keepdims=True) - 8).any(0)]
    assert low < near[0] and near[-1] < high


def test_every_local_factor_lands_in_the_best_basin_given_q_of_theta():
    q = plain_q()
    found = best_local_factors(JOINT, jnp.asarray(FAR), q)
    assert found.loc["theta"] == q.loc["theta"] and found.scale["theta"] == q.scale["theta"]
    loc, scale = np.linspace(-40, 40, 1001)[:, None], np.exp(np.linspace(-3, 1, 30))[None]
    own = oracles.nonlinear_rows(FAR, np.asarray(found.loc["z"]), np.asarray(found.scale["z"]), -0.2, 0.1, True)
    far_from_zero = 0
    for n in range(0, 200, 13):
        scan = oracles.nonlinear_rows(FAR[n], loc, scale, -0.2, 0.1, True, num_terms=12)
        assert own[n] > scan.max() - 1e-7
        far_from_zero += abs(loc[np.unravel_index(scan.argmax(), scan.shape)[0], 0]) > 3
    assert far_from_zero > 1


@pytest.mark.parametrize(("name", "settings"), [("linear", {}), ("saw", {"theta_scale": 2.0})], ids=label)
def test_the_second_route_equals_the_dense_expectation(name, settings):
    random = np.random.default_rng(0)
    loc = {"theta": jnp.asarray(0.4), "z": jnp.asarray(random.standard_normal(6))}
    scale = {"theta": jnp.asarray(0.7), "z": jnp.asarray(np.exp(0.5 * random.standard_normal(6)))}
    x = data(name, settings, 6)
    dense = oracles.dense(name, complete(name, settings), x)
    value = float(trapezoid_value(bound(name, settings), jnp.asarray(x), MeanField(loc, scale)))
    assert value == pytest.approx(dense.elbo(dense.vector(loc), dense.vector(scale)), rel=1e-11)


def test_the_second_route_equals_the_exact_series_for_wide_factors_too():
    random = np.random.default_rng(0)
    loc = {"theta": jnp.asarray(-0.3), "z": jnp.asarray(3 * random.standard_normal(200))}
    scale = {"theta": jnp.asarray(0.2), "z": jnp.asarray(np.exp(random.uniform(-3, 0.7, 200)))}
    exact = oracles.nonlinear_elbo(FAR, loc, scale, normalised=True)
    assert float(trapezoid_value(JOINT, jnp.asarray(FAR), MeanField(loc, scale))) == pytest.approx(exact, rel=1e-11)


def test_outer_cells_move_q_of_theta_alone_and_reach_the_optimum_from_afar():
    x, best = jnp.asarray(data("nonlinear", {}, 200)), optimum("nonlinear", {}, 200).fit.q
    start = plain_q(theta_loc=float(best.loc["theta"]) + 1.0)
    cells = outer_cells(JOINT, x, start)
    assert 1 <= len(cells) <= 3
    for cell in cells:
        assert (cell.loc["z"] == 0).all() and cell.scale["theta"] == start.scale["theta"]
    assert abs(float(cells[0].loc["theta"]) - float(best.loc["theta"])) < 0.3
