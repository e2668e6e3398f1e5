"""Exact optima of inference functions linear in their parameters, against closed forms and dense least squares."""

import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from cases import bound, complete, data, label, optimum, published

from avigap import families
from avigap.affine import fit_affine, quadratic_gap, refit_free_factors
from avigap.amortization import mean_field
from avigap.elbo import quadratic
from avigap.models import published_loss
from avigap.optimum import fit_factorized
from avigap.quadratic import bandwidth, hessian_diagonal

CHAINS = [{}, {"initial": "flat"}]


def polynomial(degree, inputs=(0,)):
    return families.build({"kind": "polynomial", "degree": degree, "inputs": list(inputs)})


def window(half_width):
    return polynomial(1, range(-half_width, half_width + 1))


def solve(joint, family, x, best):
    """Parameters of the exact optimum, its q, and its gap to F-VI."""
    x = jnp.asarray(x)
    diagonal = hessian_diagonal(joint, x, bandwidth(joint))
    params = fit_affine(joint, family, x, diagonal)
    q = mean_field(joint, family, params, x)
    return params, q, float(quadratic_gap(joint, x, best, q, diagonal))


def solve_case(name, settings, family, num_obs, seed=0):
    found = optimum(name, settings, num_obs, seed)
    return solve(bound(name, settings), family, data(name, settings, num_obs, seed), found.fit.q)


@pytest.mark.parametrize("num_obs", [300, 100_000])
def test_degree_one_closes_the_gap_of_the_linear_model_with_the_coefficients_of_proposition_3_6(num_obs):
    params, _, gap = solve_case("linear", {}, polynomial(1), num_obs)
    assert abs(gap) < 1e-8 * num_obs
    tau, sigma, x = 1.155, 2.43, data("linear", {}, num_obs)
    total = sigma**2 + tau**2
    assert np.asarray(params["function"]["loc"]) == pytest.approx([-tau * x.mean() / total, tau / total], abs=1e-8)
    assert np.exp(2 * float(params["function"]["log_scale"])) == pytest.approx(sigma**2 / total, rel=1e-10)
    assert tau / total == pytest.approx(0.159554, abs=1e-6) and sigma**2 / total == pytest.approx(0.815715, abs=1e-6)


def test_a_constant_leaves_the_gap_of_the_paper_record_in_the_linear_model():
    *_, gap = solve_case("linear", {}, polynomial(0), 300)
    x = data("linear", {}, 300)
    assert gap == pytest.approx(oracles.constant_gap_linear(x, tau=1.155, sigma=2.43), rel=1e-10)


def test_the_saw_series_closes_with_the_pair_and_not_with_the_current_row():
    *_, pair = solve_case("saw", {}, polynomial(1, [-1, 0]), 300)
    *_, current = solve_case("saw", {}, polynomial(1), 300)
    assert abs(pair) < 1e-8 * 300
    assert current > 0.2 * 300


@pytest.mark.parametrize(
    ("family", "loss"),
    [(polynomial(0), 2933.566831), (polynomial(1), 892.634467), (polynomial(1, [-1, 0]), 553.0139085)],
    ids=["constant", "current", "pair"],
)
def test_the_published_saw_series_has_the_losses_of_the_paper_record(family, loss):
    joint, x = bound("saw"), jnp.asarray(published("saw_seed2012.csv"))
    best = fit_factorized(joint, x)
    _, q, gap = solve(joint, family, x, best.fit.q)
    constants = complete("saw", {})
    assert published_loss("saw", constants, 1000, float(quadratic(joint, x, q))) == pytest.approx(loss, abs=1e-5)
    assert published_loss("saw", constants, 1000, best.fit.elbo - gap) == pytest.approx(loss, abs=1e-5)


@pytest.mark.parametrize(
    ("name", "settings", "degree", "inputs"),
    [
        *(("hmm", settings, 1, tuple(range(-h, h + 1))) for settings in CHAINS for h in range(4)),
        ("hmm", {}, 2, (-2, 1)),
        ("saw", {}, 2, (-1, 0, 1)),
    ],
    ids=label,
)
def test_windows_equal_dense_least_squares_with_free_edge_factors(name, settings, degree, inputs):
    x = data(name, settings, 300)
    dense = oracles.window_fit(
        oracles.dense(name, complete(name, settings), x), x, bound(name).lead, inputs, degree=degree
    )
    _, q, gap = solve_case(name, settings, polynomial(degree, inputs), 300)
    assert gap == pytest.approx(dense.gap, rel=1e-8, abs=1e-8)
    vector = oracles.dense(name, complete(name, settings), x).vector
    assert vector(q.loc) == pytest.approx(dense.loc, rel=1e-6, abs=1e-6)
    assert vector(q.scale) == pytest.approx(dense.scale, rel=1e-10)


def test_the_window_law_is_that_of_the_paper_record():
    law = [oracles.hmm_window_law(h) for h in range(7)]
    assert law == pytest.approx([1.0, 1 / 17, 7.25e-3, 1.02e-3, 1.48e-4, 2.2e-5, 3.1e-6], rel=0.02)


@pytest.mark.parametrize("half_width", range(4))
def test_the_window_gap_of_a_long_chain_follows_the_law(half_width):
    gaps = [solve_case("hmm", {}, window(half_width), 20_000, seed)[2] / 20_000 for seed in range(5)]
    assert np.mean(gaps) == pytest.approx(oracles.hmm_window_law(half_width), rel=0.05)


@pytest.mark.parametrize(
    ("name", "settings", "degree", "inputs", "num_obs"),
    [
        ("linear", {}, 4, (0,), 2),
        ("saw", {}, 3, (-1, 0), 3),
        ("hmm", {}, 1, (-1, 0, 1), 3),
        ("hmm", {"initial": "flat"}, 5, (0,), 1),
    ],
    ids=label,
)
def test_more_coefficients_than_positions_leave_only_what_the_shared_scale_costs(
    name, settings, degree, inputs, num_obs
):
    params, q, gap = solve_case(name, settings, polynomial(degree, inputs), num_obs)
    assert np.isfinite(params["function"]["loc"]).all()
    x = data(name, settings, num_obs)
    dense = oracles.dense(name, complete(name, settings), x)
    assert dense.vector(q.loc) == pytest.approx(dense.mean, abs=1e-6)
    assert gap == pytest.approx(oracles.window_fit(dense, x, bound(name).lead, inputs, degree).gap, abs=1e-9)


def test_equal_inputs_leave_a_design_of_rank_one():
    x = np.full(300, 1.7)
    joint = bound("linear")
    best = fit_factorized(joint, jnp.asarray(x))
    params, _, gap = solve(joint, polynomial(2), x, best.fit.q)
    assert np.isfinite(params["function"]["loc"]).all()
    assert abs(gap) < 1e-9


def test_inputs_of_very_different_size_do_not_spoil_the_solution():
    x = 1e4 + data("linear", {}, 300)
    joint = bound("linear")
    best = fit_factorized(joint, jnp.asarray(x))
    _, _, gap = solve(joint, polynomial(2), x, best.fit.q)
    assert abs(gap) < 1e-8 * 300


@pytest.mark.parametrize(
    ("name", "settings", "inputs"),
    [("hmm", {"initial": "flat"}, (-1, 0, 1)), ("linear", {}, (0,)), ("saw", {}, (-2, 0))],
    ids=label,
)
def test_refitted_free_factors_are_the_best_for_the_frozen_function(name, settings, inputs):
    """Against a dense solve in which the interior locs are held."""
    joint, family = bound(name, settings), polynomial(1, inputs)
    params, *_ = solve_case(name, settings, family, 300)
    fresh = data(name, settings, 300, seed=1)
    diagonal = hessian_diagonal(joint, jnp.asarray(fresh), bandwidth(joint))
    refitted = refit_free_factors(joint, family, params, jnp.asarray(fresh), diagonal)
    assert refitted["function"] is params["function"]
    q = mean_field(joint, family, refitted, jnp.asarray(fresh))
    dense = oracles.dense(name, complete(name, settings), fresh)
    interior, edge = oracles.split_positions(300, joint.lead, inputs)
    shared = len(joint.shared)
    free = [*range(shared), *(shared + n for n in edge)]
    held = [shared + n for n in interior]
    weights = np.asarray(params["function"]["loc"])
    window = np.array([[1.0, *(fresh[joint.lead + n + o] for o in inputs)] for n in interior])
    loc = np.zeros(len(dense.mean))
    loc[held] = window @ weights
    precision = dense.precision
    pull = (precision @ dense.mean)[free] - precision[np.ix_(free, held)] @ loc[held]
    loc[free] = np.linalg.solve(precision[np.ix_(free, free)], pull)
    assert dense.vector(q.loc) == pytest.approx(loc, rel=1e-9, abs=1e-9)
    assert dense.vector(q.scale)[free] == pytest.approx(np.diag(precision)[free] ** -0.5, rel=1e-10)


def test_a_function_without_free_factors_is_returned_as_it_is():
    joint, family = bound("hmm"), polynomial(1)
    params, *_ = solve_case("hmm", {}, family, 300)
    x = jnp.asarray(data("hmm", {}, 300, seed=1))
    assert refit_free_factors(joint, family, params, x, hessian_diagonal(joint, x, 1)) is params


@pytest.mark.parametrize(("name", "settings"), [("linear", {}), ("hmm", {"initial": "flat"})], ids=label)
def test_the_gap_of_any_q_is_the_difference_of_dense_elbos(name, settings):
    joint, x, best = bound(name, settings), data(name, settings, 300), optimum(name, settings, 300)
    dense, random = oracles.dense(name, complete(name, settings), x), np.random.default_rng(0)
    diagonal = hessian_diagonal(joint, jnp.asarray(x), bandwidth(joint))
    for size in (1e-6, 0.1, 3.0):
        moved = best.fit.q._replace(
            loc={s: v + size * random.standard_normal(v.shape) for s, v in best.fit.q.loc.items()},
            scale={s: v * np.exp(size * random.standard_normal(v.shape)) for s, v in best.fit.q.scale.items()},
        )
        gap = float(quadratic_gap(joint, jnp.asarray(x), best.fit.q, moved, diagonal))
        expected = dense.elbo(*dense.best()) - dense.elbo(dense.vector(moved.loc), dense.vector(moved.scale))
        assert gap == pytest.approx(expected, rel=1e-8, abs=1e-11)
        assert gap > 0


def test_the_gap_of_a_factor_that_has_all_but_collapsed_is_finite_and_right():
    """A start that fails may end with scales whose squares vanish beside the optimum's."""
    joint, x, best = bound("saw"), jnp.asarray(data("saw", {}, 300)), optimum("saw", {}, 300)
    diagonal = hessian_diagonal(joint, x, bandwidth(joint))
    for ratio in (0.4, 0.6, 1e-3, 1e-12, 1e-150):
        q = best.fit.q._replace(scale={**best.fit.q.scale, "z": best.fit.q.scale["z"] * ratio})
        expected = 300 * ((ratio**2 - 1) / 2 - np.log(ratio))
        assert float(quadratic_gap(joint, x, best.fit.q, q, diagonal)) == pytest.approx(expected, rel=1e-10)
