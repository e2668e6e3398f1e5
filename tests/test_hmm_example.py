"""The hidden Markov example: numbers of the figure from the printed matrix, the model's own one, gaps of ties."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import bound
from scipy.optimize import minimize

from avigap.families import build
from avigap.gap import fit_amortized
from avigap.hmm_example import HALF_WIDTHS, best_gap, correct, example_table, printed, window_groups
from avigap.optimum import fit_factorized
from avigap.starts import Problem


def dense(num_obs):
    """Precision of z_0, .., z_N as equation 42 gives it."""
    precision = np.diag(np.r_[1.0, np.full(num_obs - 1, 3.0), 2.0])
    return precision - np.eye(num_obs + 1, k=1) - np.eye(num_obs + 1, k=-1)


def test_the_printed_matrix_gives_figure_8_and_is_no_precision_matrix():
    precision, mean = printed()
    assert np.allclose(mean[:6], [4.013, 3.007, 1.497, 0.239, -0.139, 0.553], atol=5e-4)
    assert np.isclose(mean.min(), -0.15, atol=0.01) and np.isclose(mean.max(), 4.15, atol=0.01)
    eigenvalues = np.linalg.eigvalsh(precision)
    assert (eigenvalues < 0).sum() == 23 and np.isclose(eigenvalues.min(), -0.9995, atol=1e-4)


@pytest.mark.parametrize("x", [np.ones(30), np.random.default_rng(0).standard_normal(30)], ids=["ones", "random"])
def test_the_correct_matrix_is_that_of_the_model(x):
    precision, mean = correct(x)
    assert np.allclose(precision, dense(30), atol=1e-10)
    assert np.allclose(mean, np.linalg.solve(dense(30), np.r_[0.0, x]), atol=1e-10)
    optimum = fit_factorized(bound("hmm", {"initial": "flat"}), jnp.asarray(x)).fit.q.loc
    assert np.allclose(mean, np.r_[optimum["z0"], optimum["z"]], atol=1e-9)
    if (x == 1).all():
        assert np.allclose(mean, 1.0, atol=1e-10)


def test_a_normal_start_moves_only_the_edge():
    mean = correct(np.ones(30), "normal").mean
    rate = np.log((3 + 5**0.5) / 2)
    n = np.arange(1, 31)
    assert np.allclose(mean, 1 - np.cosh((30.5 - n) * rate) / np.cosh(30.5 * rate), atol=1e-10)


def test_windows_with_equal_values_share_a_group_and_edges_do_not():
    x = np.array([0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0])
    groups = window_groups(x, 1)
    assert groups[4] == groups[5]
    assert len({groups[0], groups[6], groups[1], groups[2], groups[3], groups[4]}) == 6
    assert len(set(window_groups(x, 0))) == 2


def test_the_gap_of_ties_is_the_least_of_all_functions():
    """Against a general minimiser over all free locs and log scales of the groups."""
    x = np.zeros(30)
    x[15] = 1.0
    posterior, groups = correct(x), window_groups(x, 1)
    precision, mean = posterior
    number = np.r_[0, groups + 1]

    def loss(params):
        loc, log_scale = np.split(params, 2)
        off, scale = loc[number] - mean, np.exp(log_scale[number])
        best = np.log(np.diag(precision)).sum() / 2 + len(mean) / 2
        return off @ precision @ off / 2 + np.diag(precision) @ scale**2 / 2 - np.log(scale).sum() - best

    found = minimize(loss, np.zeros(2 * (number.max() + 1)), method="BFGS", tol=1e-12)
    assert best_gap(posterior, groups) == pytest.approx(found.fun, rel=1e-7)
    assert best_gap(posterior, np.arange(30)) == pytest.approx(0.0, abs=1e-12)


def test_no_affine_function_does_better_than_any_function():
    x = np.zeros(30)
    x[15] = 1.0
    joint = bound("hmm", {"initial": "flat"})
    problem = Problem(joint, jnp.asarray(x), fit_factorized(joint, jnp.asarray(x)).fit.q)
    for half_width in (0, 1):
        family = build({"kind": "polynomial", "degree": 1, "inputs": list(range(-half_width, half_width + 1))})
        affine = fit_amortized(problem, family, jax.random.key(0)).best.gap
        assert 0 < best_gap(correct(x), window_groups(x, half_width)) <= affine + 1e-10


def test_the_published_data_are_no_counter_example_and_one_datum_is():
    table = example_table(30)
    gaps = table[table.quantity == "gap"].set_index(["case", "index"]).value
    inner = [h for h in HALF_WIDTHS if h > 0]
    assert (gaps["correct"][inner] < 1e-12).all()
    assert (gaps["one_datum"] > 1e-7).all()
    assert (np.diff(np.log(gaps["one_datum"])) < -1.5).all()  # it falls by a factor of about 6.85 with each step
