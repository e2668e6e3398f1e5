"""The estimators against each other, against brute force, and where each one refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import oracles
import pytest
from cases import FLAT_GAUSSIAN, GAUSSIAN, SETTINGS, bound, complete, data, label
from jax.flatten_util import ravel_pytree

from avigap.core import MeanField, Model, bind, entropy, latent_shapes
from avigap.elbo import gauss_hermite, monte_carlo, quadratic, supports
from avigap.errors import InputError
from avigap.quadratic import bandwidth, hessian_diagonal, hessian_product
from avigap.separable import expand, expand_local, gauss_hermite_rows

NUM_OBS = 6
WITH_PRIOR = ("nonlinear", {"z_scale": 1.7, "theta_scale": 0.5})
EXPANDED = [
    ("saw", {"alpha": 1.4, "theta_scale": 3.0}),
    ("nonlinear", {"normalised": False}),
    WITH_PRIOR,
]
NONLINEAR = [("nonlinear", settings) for settings in SETTINGS["nonlinear"]]


def random_q(joint, num_obs=NUM_OBS, seed=0):
    random, shapes = np.random.default_rng(seed), latent_shapes(joint, num_obs)
    return MeanField(
        {s: jnp.asarray(random.standard_normal(v)) for s, v in shapes.items()},
        {s: jnp.asarray(np.exp(0.4 * random.standard_normal(v) - 0.5)) for s, v in shapes.items()},
    )


def problem_of(name, settings, num_obs=NUM_OBS, seed=0):
    joint, x = bound(name, settings), data(name, settings, num_obs, seed)
    return joint, x, random_q(joint, num_obs, seed)


def as_vector(values, names):
    return np.concatenate([np.ravel(values[name]) for name in names])


@pytest.mark.parametrize(("name", "settings"), GAUSSIAN, ids=label)
def test_quadratic_equals_the_dense_expectation(name, settings):
    joint, x, q = problem_of(name, settings)
    dense = oracles.dense(name, complete(name, settings), x)
    expected = dense.elbo(dense.vector(q.loc), dense.vector(q.scale))
    assert float(quadratic(joint, jnp.asarray(x), q)) == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize(("name", "settings"), [case for case in GAUSSIAN if case[0] != "hmm"], ids=label)
def test_quadratic_equals_gauss_hermite(name, settings):
    joint, x, q = problem_of(name, settings)
    expected = float(quadratic(joint, jnp.asarray(x), q))
    for num_nodes in (3, 32):
        assert float(gauss_hermite(joint, jnp.asarray(x), q, num_nodes)) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(("name", "settings"), [WITH_PRIOR, ("saw", {}), ("hmm", {"initial": "flat"})], ids=label)
def test_monte_carlo_agrees_with_the_deterministic_estimator(name, settings):
    joint, x, q = problem_of(name, settings, seed=2)
    exact = (gauss_hermite if name != "hmm" else quadratic)(joint, jnp.asarray(x), q)
    value, error = monte_carlo(joint, jnp.asarray(x), q, jax.random.key(0), num_particles=1000, num_batches=20)
    assert abs(value - float(exact)) < 4 * error
    assert error < 0.5


@pytest.mark.parametrize(("widest", "num_nodes"), [(0.9, 96), (1.6, 256)])
@pytest.mark.parametrize(("name", "settings"), NONLINEAR, ids=label)
def test_nonlinear_rows_equal_adaptive_quadrature_and_the_exact_series(name, settings, widest, num_nodes):
    """The wider a factor, the more waves of exp(-2 cos z) it covers and the more nodes it needs."""
    joint, x, q = problem_of(name, settings, seed=3)
    q.scale["z"] = widest * q.scale["z"] / q.scale["z"].max()
    settings = complete(name, settings)
    rows, rest = gauss_hermite_rows(joint, jnp.asarray(x), q, num_nodes)
    shared = (float(q.loc["theta"]), float(q.scale["theta"]), settings["normalised"], settings["z_scale"])
    for n in range(NUM_OBS):
        by_quad = oracles.nonlinear_row_by_quad(x[n], float(q.loc["z"][n]), float(q.scale["z"][n]), *shared)
        assert float(rows[n]) == pytest.approx(by_quad, abs=1e-9)
    series = oracles.nonlinear_rows(x, np.asarray(q.loc["z"]), np.asarray(q.scale["z"]), *shared)
    assert np.asarray(rows) == pytest.approx(series, abs=1e-9)
    if settings["theta_scale"] is None:
        expected = oracles.nonlinear_elbo(x, q.loc, q.scale, settings["normalised"], settings["z_scale"])
        assert float(rows.sum() + rest) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize(("name", "settings"), EXPANDED, ids=label)
def test_the_expansion_is_the_gradient_and_hessian_of_gauss_hermite(name, settings):
    """Stein's identities need no derivative of the model; jax.grad and jax.hessian take them."""
    joint, x, q = problem_of(name, settings, num_obs=2, seed=4)
    names = [*joint.shared, *joint.local]
    nodes = 64 if name == "nonlinear" else 12

    def elbo(parameters):
        loc, log_scale = parameters
        return gauss_hermite(joint, jnp.asarray(x), MeanField(loc, jax.tree.map(jnp.exp, log_scale)), nodes)

    parameters = (q.loc, jax.tree.map(jnp.log, q.scale))
    flat, restore = ravel_pytree(parameters)
    value, grad = jax.value_and_grad(lambda v: elbo(restore(v)))(flat)
    hess = jax.jit(jax.hessian(lambda v: elbo(restore(v))))(flat)
    order = restore(jnp.arange(flat.size))
    place = [np.ravel(part[s]) for s in names for part in order]  # loc, log scale of theta, then of z
    e = expand(joint, jnp.asarray(x), q, nodes)
    shared, local = 2 * len(joint.shared), slice(2 * len(joint.shared), None)
    assert float(e.value) == pytest.approx(float(value), rel=1e-12)
    top = np.concatenate(place[:shared]).astype(int)
    assert np.asarray(e.grad[:shared].sum(-1) + e.rest_grad) == pytest.approx(np.asarray(grad)[top], abs=1e-7)
    summed = np.asarray(e.hess[:shared, :shared].sum(-1) + e.rest_hess)
    assert summed == pytest.approx(np.asarray(hess)[np.ix_(top, top)], abs=1e-6)
    for n in range(2):
        own = np.array([place[shared][n], place[shared + 1][n]]).astype(int)
        assert np.asarray(e.grad[local, n]) == pytest.approx(np.asarray(grad)[own], abs=1e-7)
        assert np.asarray(e.hess[local, local, n]) == pytest.approx(np.asarray(hess)[np.ix_(own, own)], abs=1e-6)
        assert np.asarray(e.hess[local, :shared, n]) == pytest.approx(np.asarray(hess)[np.ix_(own, top)], abs=1e-6)


@pytest.mark.parametrize(("name", "settings"), [("nonlinear", {}), ("saw", {})], ids=label)
def test_the_local_expansion_is_the_local_part_of_the_whole(name, settings):
    joint, x, q = problem_of(name, settings, seed=5)
    e = expand(joint, jnp.asarray(x), q)
    value, grad, hess = expand_local(joint, jnp.asarray(x), q)
    shared = 2 * len(joint.shared)
    assert np.asarray(value) == pytest.approx(np.asarray(e.rows), abs=1e-10)
    assert np.asarray(grad) == pytest.approx(np.asarray(e.grad[shared:]), abs=1e-10)
    assert np.asarray(hess) == pytest.approx(np.asarray(e.hess[shared:, shared:]), abs=1e-10)


@pytest.mark.parametrize(("name", "settings"), GAUSSIAN, ids=label)
def test_no_q_reaches_the_log_evidence(name, settings):
    joint, x, _ = problem_of(name, settings)
    evidence = oracles.dense(name, complete(name, settings), x).log_evidence()
    for seed in range(10):
        assert float(quadratic(joint, jnp.asarray(x), random_q(joint, seed=seed))) < evidence


@pytest.mark.parametrize("num_obs", [2, NUM_OBS])
@pytest.mark.parametrize(("name", "settings"), FLAT_GAUSSIAN, ids=label)
def test_the_best_factorized_q_misses_the_evidence_by_the_divergence_of_the_paper_record(name, settings, num_obs):
    """1/2 log(1 + tau^2 / sigma^2) for the linear model, 1/2 log(1 + alpha^2) for the saw series, for every N."""
    joint, x, settings = bound(name, settings), data(name, settings, num_obs), complete(name, settings)
    dense = oracles.dense(name, settings, x)
    known = {k: v for k, v in settings.items() if k != "theta_scale"}
    best = oracles.gaussian_best(name, settings, x)
    gap = dense.log_evidence() - float(quadratic(joint, jnp.asarray(x), MeanField(best["loc"], best["scale"])))
    expected = {
        "linear": lambda tau, sigma: np.log(1 + tau**2 / sigma**2) / 2,
        "saw": lambda alpha: np.log(1 + alpha**2) / 2,
        "hmm": lambda initial: (np.linalg.slogdet(dense.precision * np.outer(*2 * [dense.best()[1]]))[1]) / -2,
    }[name](**known)
    assert gap == pytest.approx(expected, abs=1e-9)
    if name == "linear":
        assert gap == pytest.approx(0.1018, abs=1e-4)


@pytest.mark.parametrize(("name", "settings"), GAUSSIAN, ids=label)
def test_the_probed_hessian_is_that_of_the_dense_precision(name, settings):
    joint, x, q = problem_of(name, settings)
    precision = oracles.dense(name, complete(name, settings), x).precision
    names = [*joint.shared, *joint.local]
    diagonal = hessian_diagonal(joint, jnp.asarray(x), bandwidth(joint))
    assert as_vector(diagonal, names) == pytest.approx(-np.diag(precision), rel=1e-11)
    product = hessian_product(joint, jnp.asarray(x), q.scale, q.loc)
    assert as_vector(product, names) == pytest.approx(-precision @ as_vector(q.loc, names), rel=1e-10, abs=1e-10)


@pytest.mark.parametrize(("name", "width"), [("linear", 0), ("saw", 0), ("hmm", 1)])
def test_the_coupling_of_the_local_latents_has_the_band_of_the_graph(name, width):
    assert bandwidth(bound(name)) == width


def test_the_entropy_is_that_of_independent_normals():
    scale = {"theta": jnp.asarray(0.5), "z": jnp.asarray([1.0, 2.0])}
    q = MeanField(jax.tree.map(jnp.zeros_like, scale), scale)
    expected = 1.5 * np.log(2 * np.pi * np.e) + np.log(0.5) + np.log(2.0)
    assert float(entropy(q)) == pytest.approx(expected, abs=1e-13)


def summed_program(x=None, *, num_obs):
    """Every z in every x: dense coupling."""
    with numpyro.plate("obs", num_obs):
        z = numpyro.sample("z", dist.Normal(0.0, 1.0))
        return numpyro.sample("x", dist.Normal(z.sum(), 1.0), obs=x)


def three_shared_program(x=None, *, num_obs):
    total = sum(numpyro.sample(name, dist.Normal(0.0, 1.0)) for name in ("a", "b", "c"))
    with numpyro.plate("obs", num_obs):
        z = numpyro.sample("z", dist.Normal(0.0, 1.0))
        return numpyro.sample("x", dist.Normal(jnp.sin(total + z), 1.0), obs=x)


def heavy_tailed_program(x=None, *, num_obs):
    """Its log density is even in z, so that its gradient is odd without being linear."""
    with numpyro.plate("obs", num_obs):
        z = numpyro.sample("z", dist.StudentT(3.0, 0.0, 1.0))
        return numpyro.sample("x", dist.Normal(z, 1.0), obs=x)


def squared_program(x=None, *, num_obs):
    with numpyro.plate("obs", num_obs):
        z = numpyro.sample("z", dist.Normal(0.0, 1.0))
        return numpyro.sample("x", dist.Normal(z**2, 1.0), obs=x)


def vector_program(x=None, *, num_obs):
    with numpyro.plate("obs", num_obs):
        z = numpyro.sample("z", dist.Normal(jnp.zeros(2), 1.0).to_event(1))
        return numpyro.sample("x", dist.Normal(z.sum(-1), 1.0), obs=x)


DENSE = bind(Model(summed_program, {}, shared=()), {})
THREE = bind(Model(three_shared_program, {}, shared=("a", "b", "c")), {})
HEAVY, SQUARED = (bind(Model(program, {}, shared=()), {}) for program in (heavy_tailed_program, squared_program))
VECTOR = bind(Model(vector_program, {}, shared=()), {})


@pytest.mark.parametrize(
    ("estimator", "joint", "ok", "words"),
    [
        *(("quadratic", bound(name), name != "nonlinear", "quadratic function") for name in SETTINGS),
        *(("gauss_hermite", bound(name), name != "hmm", "given the shared latents") for name in SETTINGS),
        *(("monte_carlo", bound(name), True, "every program") for name in SETTINGS),
        ("quadratic", DENSE, False, "the coupling of the local latents grows with N"),
        ("quadratic", HEAVY, False, "not a quadratic function"),
        ("quadratic", SQUARED, False, "not a quadratic function"),
        ("gauss_hermite", SQUARED, True, "given the shared latents"),
        ("gauss_hermite", DENSE, False, "is not a sum over observations"),
        ("gauss_hermite", THREE, False, "3 shared latents; the outer rule takes at most 2"),
        ("quadratic", VECTOR, False, "quadratic needs one scalar local latent per observation"),
        ("gauss_hermite", VECTOR, False, "gauss_hermite needs one scalar local latent per observation"),
        ("monte_carlo", VECTOR, True, "every program"),
    ],
    ids=lambda v: v.program.__name__ if hasattr(v, "program") else str(v),
)
def test_an_estimator_says_in_a_sentence_whether_it_applies(estimator, joint, ok, words):
    x = jnp.asarray(np.random.default_rng(0).standard_normal(joint.lead + NUM_OBS))
    support = supports(estimator, joint, x)
    assert support.ok == ok and words in support.reason


@pytest.mark.parametrize("joint", [bound("linear"), VECTOR], ids=["linear", "vector"])
def test_an_unknown_estimator_is_refused_with_the_ones_that_exist(joint):
    words = "unknown estimator 'laplace'; available: gauss_hermite, monte_carlo, quadratic"
    with pytest.raises(InputError, match=words):
        supports("laplace", joint, jnp.zeros(NUM_OBS))


def test_quadratic_refuses_dense_coupling():
    q = MeanField({"z": jnp.zeros(NUM_OBS)}, {"z": jnp.ones(NUM_OBS)})
    with pytest.raises(InputError, match="grows with N"):
        quadratic(DENSE, jnp.zeros(NUM_OBS), q)


def test_gauss_hermite_needs_no_shared_latent():
    def program(x=None, *, num_obs):
        with numpyro.plate("obs", num_obs):
            z = numpyro.sample("z", dist.Normal(0.0, 1.0))
            return numpyro.sample("x", dist.Normal(z * (1 + jnp.sin(z)), jnp.exp(jnp.cos(z))), obs=x)

    joint = bind(Model(program, {}, shared=()), {})
    x, q = np.array([0.4, -2.0, 5.0]), random_q(joint, 3)
    assert supports("gauss_hermite", joint, jnp.asarray(x)).ok
    expected = oracles.nonlinear_rows(x, np.asarray(q.loc["z"]), np.asarray(q.scale["z"]), 0.0, 0.0, True).sum()
    assert float(gauss_hermite(joint, jnp.asarray(x), q, 96)) == pytest.approx(expected, abs=1e-9)
