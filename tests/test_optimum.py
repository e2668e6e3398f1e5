"""The certified F-VI optimum against closed forms, dense solves, exhaustive scans and the paper record."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import oracles
import pytest
from cases import FLAT_GAUSSIAN, bound, complete, data, label, optimum, published

from avigap import search
from avigap.arrow import newton, plain_start
from avigap.core import Fit, MeanField, Model, bind
from avigap.errors import InputError
from avigap.models import published_loss
from avigap.optimum import _distinct, fit_factorized


def assert_same(q, best, rel):
    """Loc and scale agree relative to the size of the whole vector of locs, and one by one in the scales."""
    for site, loc in best["loc"].items():
        assert np.abs(np.asarray(q.loc[site]) - loc).max() <= rel * np.abs(loc).max()
        assert np.asarray(q.scale[site]) == pytest.approx(best["scale"][site], rel=rel)


def assert_certified(found, rel=1e-12):
    assert found.fit.status == "converged" and found.fit.residual < 1e-8
    for value in (found.elbo_finer, found.elbo_second):
        assert value == pytest.approx(found.fit.elbo, rel=rel)


# Quadratic log joints


@pytest.mark.parametrize("num_obs", [300, 100_000])
@pytest.mark.parametrize(("name", "settings"), FLAT_GAUSSIAN, ids=label)
def test_the_optimum_of_a_gaussian_model_is_its_closed_form(name, settings, num_obs):
    found, x = optimum(name, settings, num_obs), data(name, settings, num_obs)
    assert_same(found.fit.q, oracles.gaussian_best(name, complete(name, settings), x), 1e-8)
    assert_certified(found)
    assert "concave" in found.evidence and len(found.optima) == 1 and found.other_basin == 0
    if name != "hmm":
        known = {k: v for k, v in complete(name, settings).items() if k != "theta_scale"}
        expected = {"linear": oracles.linear_loss, "saw": oracles.saw_loss}[name](x, **known)
        loss = published_loss(name, complete(name, settings), num_obs, found.fit.elbo)
        assert loss == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("linear", {"tau": 0.7, "sigma": 1.3, "theta_scale": 2.0}),
        ("saw", {"theta_scale": 1.0}),
        ("hmm", {"initial": "flat"}),
    ],
    ids=label,
)
def test_the_optimum_of_a_gaussian_model_equals_the_dense_solve(name, settings):
    num_obs = 10 if settings.get("theta_scale") else 300
    found, x = optimum(name, settings, num_obs), data(name, settings, num_obs)
    dense = oracles.dense(name, complete(name, settings), x)
    loc, scale = dense.best()
    assert dense.vector(found.fit.q.loc) == pytest.approx(loc, rel=1e-8, abs=1e-10)
    assert dense.vector(found.fit.q.scale) == pytest.approx(scale, rel=1e-10)
    assert found.fit.elbo == pytest.approx(dense.elbo(loc, scale), rel=1e-11)
    random = np.random.default_rng(0)
    for size in (1e-3, 1e-1, 1.0):
        moved = loc + size * random.standard_normal(len(loc)), scale * np.exp(size * random.standard_normal(len(loc)))
        assert dense.elbo(*moved) < found.fit.elbo


def test_a_chain_observed_at_one_has_the_means_of_the_paper_record():
    """A flat start makes every mean exactly 1; a normal start pulls the first ones towards 0."""
    ones = jnp.ones(300)
    flat = fit_factorized(bound("hmm", {"initial": "flat"}), ones).fit.q
    assert np.asarray(flat.loc["z"]) == pytest.approx(np.ones(300), abs=1e-9)
    assert float(flat.loc["z0"]) == pytest.approx(1.0, abs=1e-9)
    normal = np.asarray(fit_factorized(bound("hmm"), ones).fit.q.loc["z"])
    rate = np.log(2 / (3 - 5**0.5))
    n = np.arange(1, 301)
    ratio = (np.exp(-n * rate) + np.exp((n - 601) * rate)) / (1 + np.exp(-601 * rate))
    assert normal == pytest.approx(1 - ratio, abs=1e-9)
    assert normal[:4] == pytest.approx([0.618, 0.854, 0.944, 0.979], abs=6e-4)


def test_the_published_saw_series_has_the_optimum_of_the_paper_record():
    x = published("saw_seed2012.csv")
    found = fit_factorized(bound("saw"), jnp.asarray(x))
    loss = published_loss("saw", complete("saw", {}), 1000, found.fit.elbo)
    assert loss == pytest.approx(553.0139085, abs=1e-4)
    assert loss == pytest.approx(oracles.saw_loss(x, 0.75), rel=1e-10)
    assert float(found.fit.q.loc["theta"]) == pytest.approx(3.474661509, abs=1e-8)
    assert_certified(found)


# Sums over observations given theta


@pytest.mark.parametrize("name", ["linear", "saw"])
def test_newton_on_all_factors_reaches_the_closed_form_of_a_gaussian_model(name):
    x = data(name, {}, 300)
    fit = newton(bound(name), jnp.asarray(x), plain_start(bound(name), jnp.asarray(x)))
    assert fit.status == "converged"
    assert_same(fit.q, oracles.gaussian_best(name, complete(name, {}), x), 1e-8)


@pytest.fixture(scope="module")
def far():
    """The published nonlinear data, whose far values have two basins."""
    x = published("nonlinear_seed1789.csv")
    return x, fit_factorized(bound("nonlinear", {"normalised": False}), jnp.asarray(x))


def rows_of(x, q, normalised=False, index=slice(None), **changed):
    """Rows of the ELBO by the exact series, with some of the parameters changed."""
    own = {
        "loc": np.asarray(q.loc["z"])[index],
        "scale": np.asarray(q.scale["z"])[index],
        "theta_loc": float(q.loc["theta"]),
        "theta_scale": float(q.scale["theta"]),
    }
    return oracles.nonlinear_rows(x[index], normalised=normalised, **(own | changed))


def test_the_published_nonlinear_data_have_the_optimum_of_the_paper_record(far):
    _, found = far
    settings = complete("nonlinear", {"normalised": False})
    assert published_loss("nonlinear", settings, 10_000, found.fit.elbo) == pytest.approx(32220.8081, abs=0.01)
    assert published_loss("nonlinear", settings, 10_000, found.elbo_local) == pytest.approx(32384.2617, abs=0.01)
    assert found.other_basin == pytest.approx(0.0075, abs=1e-4)
    assert float(found.fit.q.loc["theta"]) == pytest.approx(-0.29434, abs=1e-5)
    assert float(found.fit.q.scale["theta"]) == pytest.approx(0.0197825, abs=1e-6)
    assert float(found.local_q.loc["theta"]) == pytest.approx(-0.30015, abs=1e-4)


def test_the_data_in_another_basin_are_the_far_ones(far):
    x, found = far
    moved = np.abs(np.asarray(found.fit.q.loc["z"]) - np.asarray(found.local_q.loc["z"])) > 3
    assert moved.sum() == 75
    assert np.array_equal(moved, (x < x[~moved].min()) | (x > x[~moved].max()))


def test_the_nonlinear_optimum_is_certified_by_three_further_routes(far):
    x, found = far
    assert_certified(found, rel=1e-10)
    assert abs(found.elbo_finer - found.fit.elbo) < 1e-6
    assert abs(found.elbo_second - found.fit.elbo) < 1e-6
    exact = oracles.nonlinear_elbo(x, found.fit.q.loc, found.fit.q.scale, normalised=False)
    assert exact == pytest.approx(found.elbo_finer, abs=1e-6)


def test_the_outer_search_reports_its_optima_best_first(far):
    _, found = far
    values = [elbo for _, elbo in found.optima]
    assert values == sorted(values, reverse=True) and len(values) > 1
    assert values[0] == found.fit.elbo
    assert found.optima[0][0] == pytest.approx(float(found.fit.q.loc["theta"]))
    assert found.elbo_local < found.fit.elbo


def test_newton_reaches_an_optimum_from_every_cell_of_q_theta(far):
    """A step that holds theta back, but not the local factors that follow it, ends at no optimum."""
    x, found = far
    joint = bound("nonlinear", {"normalised": False})
    for cell in search.outer_cells(joint, x, found.fit.q):
        assert newton(joint, x, search.best_local_factors(joint, x, cell)).status == "converged"


def test_the_exact_gradient_vanishes_at_the_nonlinear_optimum(far):
    """By central differences of the exact series, in loc and log scale of theta and of every z_n."""
    x, found = far
    q, step = found.fit.q, 1e-4
    scale = np.asarray(q.scale["z"])
    for ends in (
        [rows_of(x, q, loc=np.asarray(q.loc["z"]) + sign * step * scale) for sign in (-1, 1)],
        [rows_of(x, q, scale=scale * np.exp(sign * step)) for sign in (-1, 1)],
    ):
        assert np.abs(ends[1] - ends[0]).max() / (2 * step) < 1e-5
    unit = float(q.scale["theta"])
    low, high = (rows_of(x, q, theta_loc=float(q.loc["theta"]) + sign * 0.01 * unit).sum() for sign in (-1, 1))
    assert abs(high - low) / 0.02 < 1e-5
    low, high = (rows_of(x, q, theta_scale=unit * np.exp(0.01 * sign)).sum() for sign in (-1, 1))
    assert abs((high - low) / 0.02 + 1) < 1e-3  # the entropy of theta adds the 1


def test_no_scanned_local_factor_beats_the_nonlinear_optimum(far):
    """A fine scan of the (loc, scale) plane of 20 observations, the most extreme ones among them."""
    x, found = far
    order = np.argsort(x)
    chosen = np.concatenate([order[:4], order[-4:], order[:: len(x) // 11], order[74:76]])
    best = rows_of(x, found.fit.q, index=chosen)
    loc, scale = np.linspace(-45, 45, 1201)[:, None], np.exp(np.linspace(-3, 1, 33))[None]
    shared = {"theta_loc": float(found.fit.q.loc["theta"]), "theta_scale": float(found.fit.q.scale["theta"])}
    for n, value in zip(chosen, best, strict=True):
        near = loc[np.abs(loc[:, 0]) < abs(x[n]) + 8]
        scan = oracles.nonlinear_rows(x[n], near, scale, normalised=False, num_terms=12, **shared)
        assert value > scan.max() - 1e-7
        assert value - scan.max() < 0.3


def test_random_steps_lead_down_from_the_nonlinear_optimum(far):
    x, found = far
    q, random = found.fit.q, np.random.default_rng(0)
    own = rows_of(x, q)
    for size in (1e-3, 0.03, 0.5):
        scale = np.asarray(q.scale["z"])
        loc = np.asarray(q.loc["z"]) + size * scale * random.standard_normal(len(x))
        moved = rows_of(x, q, loc=loc, scale=scale * np.exp(size * random.standard_normal(len(x))))
        assert (moved < own + 1e-9).all()
        theta = float(q.loc["theta"]) + size * float(q.scale["theta"]) * random.standard_normal()
        assert rows_of(x, q, theta_loc=theta).sum() < own.sum()


@pytest.mark.parametrize("settings", [{}, {"normalised": False}], ids=label)
def test_a_small_nonlinear_optimum_agrees_with_the_exact_series(settings):
    x, found = data("nonlinear", settings, 200), optimum("nonlinear", settings, 200)
    assert_certified(found, rel=1e-8)
    normalised = complete("nonlinear", settings)["normalised"]
    exact = oracles.nonlinear_elbo(x, found.fit.q.loc, found.fit.q.scale, normalised)
    assert found.elbo_finer == pytest.approx(exact, abs=2e-8)
    assert found.elbo_second == pytest.approx(exact, abs=2e-8)
    assert found.elbo_local <= found.fit.elbo + 1e-9


def test_ascent_never_decreases_the_elbo():
    trace = optimum("nonlinear", {}, 200).fit.trace
    assert (np.diff(trace) >= -1e-9 * np.abs(trace[1:])).all()


def test_equal_data_get_equal_factors_in_a_simple_hierarchical_model():
    """Theorem 3.4: the optimum's factors are a function of x_n."""
    half = data("nonlinear", {}, 200)[:100]
    x = np.concatenate([half, half[::-1]])
    q = fit_factorized(bound("nonlinear"), jnp.asarray(x)).fit.q
    for values in (np.asarray(q.loc["z"]), np.asarray(q.scale["z"])):
        assert values[:100] == pytest.approx(values[:99:-1], abs=1e-7)


def two_wells(x=None, *, num_obs):
    """No shared latent; z_n^2 is observed, so that z_n has two basins, of which the prior prefers the right one."""
    with numpyro.plate("obs", num_obs):
        z = numpyro.sample("z", dist.Normal(0.3, 1.0))
        return numpyro.sample("x", dist.Normal(z**2, 0.5), obs=x)


def test_the_search_finds_the_better_of_two_basins_without_a_shared_latent():
    joint = bind(Model(two_wells, {}, shared=()), {})
    x = np.array([1.0, 2.0, 4.0, 6.0, 9.0, -0.5])
    found = fit_factorized(joint, jnp.asarray(x))
    assert_certified(found, rel=1e-9)
    assert (np.asarray(found.fit.q.loc["z"])[:5] > 0.5).all()

    def elbo(n, loc, scale):
        square, fourth = loc**2 + scale**2, loc**4 + 6 * loc**2 * scale**2 + 3 * scale**4
        prior = -((loc - 0.3) ** 2 + scale**2) / 2
        likelihood = -(x[n] ** 2 - 2 * x[n] * square + fourth) / (2 * 0.25) - np.log(0.5)
        return prior + likelihood - oracles.HALF_LOG_2PI + np.log(scale) + 0.5

    loc, scale = np.linspace(-4, 4, 801)[:, None], np.exp(np.linspace(-4, 0.5, 200))[None]
    total = 0.0
    for n in range(len(x)):
        own = elbo(n, float(found.fit.q.loc["z"][n]), float(found.fit.q.scale["z"][n]))
        assert -1e-9 < own - elbo(n, loc, scale).max() < 1e-2
        total += own
    assert found.fit.elbo == pytest.approx(total, abs=1e-8)


# Refusals


def test_a_model_without_a_certified_route_is_refused_with_both_reasons():
    def program(x=None, *, num_obs):
        with numpyro.plate("obs", num_obs):
            z = numpyro.sample("z", dist.Normal(0.0, 1.0))
            return numpyro.sample("x", dist.Normal(jnp.exp(z).sum(), 1.0), obs=x)

    joint = bind(Model(program, {}, shared=()), {})
    with pytest.raises(InputError, match=r"no certified F-VI optimum: .*not a quadratic.*; .*not a sum over obs"):
        fit_factorized(joint, jnp.zeros(5))


def test_only_converged_optima_are_listed_and_those_of_equal_elbo_at_other_places_are_told_apart():
    def at(loc, elbo, status="converged"):
        q = MeanField({"theta": jnp.asarray(loc)}, {"theta": jnp.asarray(0.1)})
        return Fit(q, elbo, np.array([elbo]), status, 0.0)

    fits = [at(-1.0, -5.0), at(1.0, -5.0), at(1.0 + 1e-6, -5.0 - 1e-9), at(3.0, -5.5, "max_steps"), at(1.0, -6.0)]
    found = _distinct(bound("linear"), fits)
    assert [(place.tolist(), elbo) for place, elbo in found] == [([-1.0], -5.0), ([1.0], -5.0), ([1.0], -6.0)]


def test_single_precision_is_refused():
    jax.config.update("jax_enable_x64", False)
    try:
        with pytest.raises(InputError, match="needs float64"):
            fit_factorized(bound("linear"), jnp.zeros(5))
    finally:
        jax.config.update("jax_enable_x64", True)
