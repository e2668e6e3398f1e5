"""Few points that stand for many draws: the same estimate, the same gradient, the same distribution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import bound, data
from numpyro.infer import Trace_ELBO
from scipy.stats import chi as chi_distribution
from scipy.stats import kstest, norm

from avigap import draws
from avigap.core import MeanField, latent_shapes
from avigap.draws import check_strata, elbo_estimate, independent_points, stratified_points
from avigap.errors import InputError
from avigap.guide import mean_field_guide

NUM_OBS, NUM_DRAWS = 7, 30


def some_q(joint, seed=0):
    random = np.random.default_rng(seed)
    shapes = latent_shapes(joint, NUM_OBS)
    loc = {site: jnp.asarray(random.standard_normal(shape)) for site, shape in shapes.items()}
    return MeanField(loc, {site: jnp.asarray(random.uniform(0.3, 2, shape)) for site, shape in shapes.items()})


def moments_of(joint, points):
    """Measured on independent draws, by the definitions in the docstring of Moments."""
    shared = np.stack([np.asarray(points[site], float) for site in joint.shared], axis=1)
    local = np.asarray(points[joint.local[0]], float)
    basis, triangle = np.linalg.qr(shared - shared.mean(0))
    mean, along = local.mean(0), basis.T @ local
    rest = np.linalg.norm(local - mean - basis @ along, axis=0)
    root = len(local) ** 0.5
    return draws.Moments(*(shared.mean(0), triangle / root, mean, along / root, rest / root))


@pytest.mark.parametrize("name", ["linear", "saw"])
def test_points_with_the_moments_of_draws_give_the_estimate_of_the_draws_and_its_gradient(name):
    joint = bound(name)
    x, q = jnp.asarray(data(name, {}, NUM_OBS)), some_q(joint)
    many = draws.independent_points(joint, NUM_OBS, NUM_DRAWS, jax.random.key(3))
    many = jax.tree.map(lambda v: v.astype(float), many)
    few = draws.points_with(joint, moments_of(joint, many))
    assert few["z"].shape == (4, NUM_OBS) and few["theta"].shape == (4,)
    value = jax.jit(jax.value_and_grad(lambda q, points: draws.elbo_estimate(joint, x, q, points)))
    for own, other in zip(jax.tree.leaves(value(q, few)), jax.tree.leaves(value(q, many)), strict=True):
        assert np.asarray(own) == pytest.approx(np.asarray(other), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("name", ["linear", "saw"])
def test_drawn_moments_have_the_distribution_of_those_of_draws(name):
    """Every moment against draws that are made in full, by a two-sample test, and their correlations; of few draws."""
    joint, number, num_draws = bound(name), 2000, 4
    own = jax.jit(jax.vmap(lambda key: draws.draw_moments(joint, NUM_OBS, num_draws, key)))
    drawn = own(jax.random.split(jax.random.key(0), number))
    full = jax.vmap(lambda key: draws.independent_points(joint, NUM_OBS, num_draws, key))
    points = full(jax.random.split(jax.random.key(1), number))
    points = jax.tree.map(np.asarray, points)
    made = [moments_of(joint, jax.tree.map(lambda v, i=i: v[i], points)) for i in range(number)]

    def columns(moments):
        """The products that the estimate sees; the sign of a direction of Q means nothing."""
        cross = np.einsum("...ij,...in->...jn", np.asarray(moments.triangle), np.asarray(moments.along))
        square = np.sum(np.asarray(moments.along) ** 2, axis=-2) + np.asarray(moments.rest) ** 2
        parts = moments.centre, np.asarray(moments.triangle)[..., 0] ** 2, moments.mean, cross[..., 0, :], square
        return np.concatenate([np.asarray(part) for part in parts], axis=-1)

    own, other = columns(drawn), np.stack([columns(each) for each in made])
    assert min(kstest(own[:, i], other[:, i]).pvalue for i in range(own.shape[1])) > 1e-3 / own.shape[1]
    difference = np.corrcoef(own.T) - np.corrcoef(other.T)
    assert np.abs(difference).max() < 6 * (2 / number) ** 0.5


def test_the_estimate_of_independent_points_is_numpyros():
    """Means over many draws, of a model that is not quadratic."""
    joint = bound("nonlinear")
    x, q = jnp.asarray(data("nonlinear", {}, NUM_OBS)), some_q(joint)

    def numpyro_elbo(key):
        guide, loss = mean_field_guide(joint, q), Trace_ELBO(num_particles=NUM_DRAWS)
        return -loss.loss(key, {}, joint.program, guide, x, num_obs=NUM_OBS, **dict(joint.settings))

    def own_elbo(key):
        return draws.elbo_estimate(joint, x, q, draws.independent_points(joint, NUM_OBS, NUM_DRAWS, key))

    keys = jax.random.split(jax.random.key(0), 2000)
    own, other = (np.asarray(jax.jit(jax.vmap(each))(keys)) for each in (own_elbo, numpyro_elbo))
    error = np.hypot(own.std(), other.std()) / len(keys) ** 0.5
    assert own.mean() == pytest.approx(other.mean(), abs=4 * error)
    assert own.std() == pytest.approx(other.std(), rel=0.1)


@pytest.mark.parametrize("freedom", [1, 2, 28, 98])
def test_chi_variables_are_at_the_quantiles_of_normals(freedom):
    normal = np.linspace(-5, 5, 101)
    found = np.asarray(draws.chi(freedom, jnp.asarray(normal, jnp.float32)))
    assert found == pytest.approx(chi_distribution.ppf(norm.cdf(normal), freedom), abs=1e-5)


@pytest.mark.parametrize(
    ("name", "num_draws", "words"),
    [("nonlinear", 100, "not a quadratic"), ("hmm", 100, "not a sum over observations"), ("linear", 2, "at least 3")],
)
def test_where_few_points_cannot_stand_for_many_draws_a_sentence_says_why(name, num_draws, words):
    with pytest.raises(InputError, match=words):
        draws.check_moments(bound(name), jnp.asarray(data(name, {}, NUM_OBS)), num_draws)


def test_strata_are_normal_draws_of_which_each_stratum_has_one():
    joint, number = bound("linear"), 8
    draw = jax.jit(jax.vmap(lambda key: stratified_points(joint, 50, number, key)))
    points = draw(jax.random.split(jax.random.key(0), 400))
    assert set(points) == {"theta", "z"}
    for values in points.values():
        quantile = norm.cdf(np.asarray(values, float)).reshape(400, number, -1)
        place = np.sort(quantile, axis=1) * number - np.arange(number)[:, None]
        assert place.min() > -1e-4 and place.max() < 1 + 1e-4
        assert kstest(quantile[:, 3, 0], "uniform").pvalue > 1e-3
    assert np.abs(points["theta"].mean(axis=1)).max() < 1e-5


@pytest.mark.parametrize(("model", "part"), [("linear", 0.4), ("nonlinear", 0.6)])
def test_strata_leave_a_part_of_the_variance(model, part):
    """A small one of a smooth integrand; a row of the nonlinear model far from its data is all tail."""
    joint, x = bound(model), jnp.asarray(data(model, {}, 200))
    q = MeanField({"theta": jnp.zeros(()), "z": jnp.zeros(200)}, {"theta": jnp.full((), 0.05), "z": jnp.full(200, 0.4)})

    def spread(draw):
        estimate = jax.jit(jax.vmap(lambda key: elbo_estimate(joint, x, q, draw(joint, 200, 16, key))))
        values = np.asarray(estimate(jax.random.split(jax.random.key(1), 400)))
        return values.mean(), values.std()

    (plain, noise), (strata, less) = spread(independent_points), spread(stratified_points)
    assert abs(plain - strata) < 4 * noise / 20 and less < part * noise


def test_strata_of_coupled_latents_are_refused():
    with pytest.raises(InputError, match="stratified draws need a log joint that is a sum over observations"):
        check_strata(bound("hmm"), jnp.zeros(5), 8)
    with pytest.raises(InputError, match="num_draws must be at least 2, got 1"):
        check_strata(bound("linear"), jnp.zeros(5), 1)


def test_log_q_from_values_is_the_same_number_until_squares_are_lost():
    """In float32 a scale of 1e-10 still has a square, and no square of that, which the gradient takes."""
    joint, x = bound("linear"), jnp.asarray(data("linear", {}, NUM_OBS))
    points = independent_points(joint, NUM_OBS, NUM_DRAWS, jax.random.key(0))

    def estimate(q, log_q):
        own = jax.tree.map(lambda leaf: leaf.astype(q.loc["z"].dtype), (x, points))
        return elbo_estimate(joint, own[0], q, own[1], log_q)

    q = some_q(joint)
    assert float(estimate(q, "values")) == pytest.approx(float(estimate(q, "points")), rel=1e-10)
    tiny = MeanField(q.loc, {name: scale * 1e-10 for name, scale in q.scale.items()})
    small = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), tiny)
    finite = {
        kind: bool(jnp.isfinite(jax.grad(lambda q: estimate(q, kind))(small).scale["z"]).all())  # noqa: B023
        for kind in ("points", "values")
    }
    assert finite == {"points": True, "values": False}
