"""Each program's density, simulator and constants against independent formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import oracles
import pytest
from cases import FLAT_GAUSSIAN, MODELS, PLAIN, SETTINGS, bound, complete, data, label, random_latents
from numpyro import handlers
from scipy.stats import halfnorm, norm

from avigap import models
from avigap.core import Model, bind, latent_shapes, log_joint, log_rows, require_float64, simulate, simulate_many
from avigap.errors import InputError
from avigap.models import published_loss
from avigap.models.nonlinear import sin_cos

NUM_OBS = 6
MANY = 100_000


def random_point(name, settings, seed, num_obs=NUM_OBS):
    joint = bound(name, settings)
    x = 2 * np.random.default_rng(seed).standard_normal(joint.lead + num_obs) + 1
    return joint, jnp.asarray(x), random_latents(joint, num_obs, seed + 1)


def draw(name, settings=None, num_obs=MANY, seed=0):
    x, latents = simulate(models.load(name), complete(name, settings or {}), num_obs, jax.random.key(seed))
    return np.asarray(x), {site: np.asarray(value) for site, value in latents.items()}


def assert_standard_normal(residuals):
    """Mean, variance, fourth moment and correlation of neighbours within four standard errors."""
    size = len(residuals)
    assert abs(residuals.mean()) < 4 / size**0.5
    assert abs(residuals.var() - 1) < 4 * (2 / size) ** 0.5
    assert abs((residuals**4).mean() - 3) < 4 * (96 / size) ** 0.5
    assert abs((residuals[1:] * residuals[:-1]).mean()) < 4 / size**0.5


def test_every_model_has_an_independent_density():
    assert (
        set(oracles.LOG_DENSITIES) == set(SETTINGS) == set(models.names()) - {"bnn_images"}
    )  # tests/test_images.py has that one


@pytest.mark.parametrize(("name", "settings"), MODELS, ids=label)
def test_score_equals_the_density_summed_step_by_step(name, settings):
    for seed in range(4):
        joint, x, latents = random_point(name, settings, seed)
        expected = oracles.log_density(name, complete(name, settings), np.asarray(x), jax.tree.map(np.asarray, latents))
        assert float(log_joint(joint, x, latents)) == pytest.approx(expected, rel=1e-12, abs=1e-10)


@pytest.mark.parametrize(("name", "settings"), MODELS, ids=label)
def test_rows_and_rest_sum_to_the_log_joint(name, settings):
    joint, x, latents = random_point(name, settings, 7)
    rows, rest = log_rows(joint, x, latents)
    assert rows.shape == (NUM_OBS,)
    assert float(rows.sum() + rest) == pytest.approx(float(log_joint(joint, x, latents)), abs=1e-10)


@pytest.mark.parametrize("settings", SETTINGS["saw"], ids=label)
def test_the_step_by_step_simulator_of_the_saw_series_scores_as_the_vectorised_program(settings):
    joint, x, latents = random_point("saw", settings, 3)
    x = x.at[0].set(0.0)
    held = handlers.condition(joint.program, {**latents, "x": x[1:]})
    trace = handlers.trace(handlers.seed(held, 0)).get_trace(num_obs=NUM_OBS, **complete("saw", settings))
    stepwise = sum(jnp.sum(s["fn"].log_prob(s["value"])) for s in trace.values() if s["type"] == "sample")
    assert trace["x"]["value"] == pytest.approx(np.asarray(x[1:]), abs=0)
    assert float(stepwise) == pytest.approx(float(log_joint(joint, x, latents)), abs=1e-10)


def test_the_chain_draws_the_cumulative_sum_of_independent_standard_normal_increments():
    for settings in SETTINGS["hmm"]:
        _, latents = draw("hmm", settings)
        assert_standard_normal(np.diff(latents["z"], prepend=0.0))


def test_the_first_state_of_the_chain_is_standard_normal():
    program = models.load("hmm").program
    z1 = jax.vmap(lambda key: handlers.trace(handlers.seed(program, key)).get_trace(num_obs=1)["z"]["value"][0])(
        jax.random.split(jax.random.key(0), 20_000)
    )
    assert_standard_normal(np.asarray(z1))


def test_the_chain_is_observed_with_unit_noise():
    x, latents = draw("hmm")
    assert_standard_normal(x - latents["z"])


@pytest.mark.parametrize("settings", [{}, {"tau": 0.5, "sigma": 0.3}], ids=label)
def test_linear_data_have_variance_tau_squared_plus_sigma_squared(settings):
    tau, sigma = (complete("linear", settings)[s] for s in ("tau", "sigma"))
    x, latents = draw("linear", settings)
    theta = models.load("linear").truth["theta"]
    assert_standard_normal((x - theta) / (tau**2 + sigma**2) ** 0.5)
    assert_standard_normal(latents["z"])
    assert_standard_normal((x - theta - tau * latents["z"]) / sigma)


@pytest.mark.parametrize("settings", SETTINGS["nonlinear"], ids=label)
def test_nonlinear_residuals_have_standard_deviation_exp_cos_z(settings):
    x, latents = draw("nonlinear", settings)
    z, theta = latents["z"], models.load("nonlinear").truth["theta"]
    assert_standard_normal(z / complete("nonlinear", settings)["z_scale"])
    assert_standard_normal((x - theta - z - z * np.sin(z)) / np.exp(np.cos(z)))


@pytest.mark.parametrize("alpha", [0.75, 0.3])
def test_saw_data_come_from_the_density_and_not_from_the_published_simulator(alpha):
    """x_n - alpha x_{n-1} - alpha theta has variance 1 + alpha^2: 1.5625 where the published simulator gives 1."""
    x, latents = draw("saw", {"alpha": alpha})
    theta = models.load("saw").truth["theta"]
    assert x[0] == 0 and len(x) == MANY + 1
    assert_standard_normal((x[1:] - alpha * x[:-1] - alpha * theta) / (1 + alpha**2) ** 0.5)
    assert_standard_normal(latents["z"] - x[:-1])
    assert_standard_normal(x[1:] - alpha * (theta + latents["z"]))


@pytest.mark.parametrize(("name", "settings"), PLAIN, ids=label)
def test_simulation_holds_the_truth_and_is_decided_by_its_key(name, settings):
    model = models.load(name)
    x, latents = draw(name, settings, 20, seed=5)
    again, _ = draw(name, settings, 20, seed=5)
    other, _ = draw(name, settings, 20, seed=6)
    assert len(x) == model.lead + 20 and latents["z"].shape == (20,)
    for site in bound(name, settings).shared:
        assert latents[site] == model.truth[site]
    assert np.array_equal(x, again) and not np.isclose(x[model.lead :], other[model.lead :]).any()


@pytest.mark.parametrize("name", SETTINGS)
def test_simulation_of_no_observation_is_refused(name):
    with pytest.raises(InputError, match="num_obs must be at least 1, got 0"):
        simulate(models.load(name), complete(name, {}), 0, jax.random.key(0))


@pytest.mark.parametrize(("initial", "sites"), [("normal", ()), ("flat", ("z0",))])
def test_the_chain_has_a_latent_start_only_where_its_prior_is_flat(initial, sites):
    joint = bound("hmm", {"initial": initial})
    assert joint.shared == joint.edge == sites
    assert latent_shapes(joint, 4) == {"z": (4,), **dict.fromkeys(sites, ())}


@pytest.mark.parametrize(("name", "settings"), [case for case in FLAT_GAUSSIAN if case[0] != "hmm"], ids=label)
@pytest.mark.parametrize("num_obs", [1, 50])
def test_published_loss_is_minus_elbo_without_the_dropped_constants(name, settings, num_obs):
    x, settings = data(name, settings, num_obs), complete(name, settings)
    problem = oracles.dense(name, settings, x)
    known = {k: v for k, v in settings.items() if k != "theta_scale"}
    expected = {"linear": oracles.linear_loss, "saw": oracles.saw_loss}[name](x, **known)
    assert published_loss(name, settings, num_obs, problem.elbo(*problem.best())) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("name", ["linear", "saw", "nonlinear"])
def test_a_normal_prior_of_theta_brings_one_more_dropped_constant(name):
    flat, normal = (published_loss(name, complete(name, {"theta_scale": s}), 9, 0.0) for s in (None, 2.0))
    assert flat - normal == pytest.approx(0.5 * np.log(2 * np.pi), abs=1e-12)


def test_the_chain_has_no_published_loss():
    assert published_loss("hmm", complete("hmm", {}), 9, 0.0) is None


def test_a_latent_with_bounded_support_is_scored_on_the_real_line():
    def program(x=None, *, num_obs):
        theta = numpyro.sample("theta", dist.HalfNormal(2.0))
        with numpyro.plate("obs", num_obs):
            z = numpyro.sample("z", dist.Normal(0.0, theta))
            return numpyro.sample("x", dist.Normal(z, 1.0), obs=x)

    joint = bind(Model(program, truth={"theta": 1.0}), {})
    x, z, log_theta = np.array([0.3, -1.0]), np.array([0.1, 0.7]), 0.4
    theta = np.exp(log_theta)
    expected = halfnorm.logpdf(theta, scale=2.0) + log_theta + (norm.logpdf(z, 0, theta) + norm.logpdf(x, z)).sum()
    latents = {"theta": jnp.asarray(log_theta), "z": jnp.asarray(z)}
    assert float(log_joint(joint, jnp.asarray(x), latents)) == pytest.approx(expected, abs=1e-10)


def test_single_precision_is_refused():
    require_float64()
    jax.config.update("jax_enable_x64", False)
    try:
        with pytest.raises(InputError, match="needs float64"):
            require_float64()
    finally:
        jax.config.update("jax_enable_x64", True)


@pytest.mark.parametrize(("name", "settings"), PLAIN, ids=label)
def test_data_sets_drawn_side_by_side_are_those_drawn_alone(name, settings):
    model, keys = models.load(name), jax.random.split(jax.random.key(3), 3)
    together, latents = simulate_many(model, complete(name, settings), 13, keys)
    for index, key in enumerate(keys):
        x, own = simulate(model, complete(name, settings), 13, key)
        assert np.array_equal(np.asarray(together[index]), np.asarray(x))
        assert all(np.array_equal(np.asarray(latents[site][index]), np.asarray(own[site])) for site in own)
    assert len({float(x[-1]) for x in together}) == 3


@pytest.mark.parametrize(("dtype", "error"), [(np.float32, 3e-6), (np.float64, 4e-15)])
def test_sine_and_cosine_are_accurate_and_differentiable(dtype, error):
    z = jnp.asarray(np.random.default_rng(0).normal(scale=15, size=20_000).astype(dtype))
    sine, cosine = jax.jit(sin_cos)(z)
    assert sine.dtype == cosine.dtype == dtype
    exact = np.asarray(z, np.float64)
    assert np.abs(np.asarray(sine, np.float64) - np.sin(exact)).max() < error
    assert np.abs(np.asarray(cosine, np.float64) - np.cos(exact)).max() < error
    slope = jax.vmap(jax.grad(lambda v: sin_cos(v)[0]))(z[:50])
    bend = jax.vmap(jax.grad(jax.grad(lambda v: sin_cos(v)[1])))(z[:50])
    assert np.allclose(slope, np.cos(exact[:50]), atol=error) and np.allclose(bend, -np.cos(exact[:50]), atol=error)
