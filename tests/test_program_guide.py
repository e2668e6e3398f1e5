"""Guides for anyone's program: the same factors in a batch as in whole data, in NumPyro's own SVI."""

import graphs
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro import handlers
from numpyro.infer import SVI, Trace_ELBO

import avigap
from avigap.errors import InputError

X = jnp.asarray(np.random.default_rng(3).normal(size=12))
TABLE = X.reshape(4, 3)
ARGUMENTS = {
    "two_sites": {"x": X, "num_obs": 12},
    "simplices": {"x": X, "num_obs": 12},
    "factors": {"x": jnp.stack([X, -X, X**2, X + 1], axis=1), "num_obs": 12},
    "nested": {"y": TABLE, "num_obs": 4},
    "schools": {"y": X, "sigma": jnp.abs(X) + 1},
    "volatility": {"r": X, "num_obs": 12},
    "autoregression": {"x": X, "num_obs": 12},
}
NETWORK = {"kind": "mlp", "width": 3}


def batches(x, size=None, rows=None, whole=True):
    """z_n and x_n in a plate of 12, of which a batch is seen; ``x`` is all data, or the rows of the batch."""
    theta = numpyro.sample("theta", dist.Normal(0, 1))
    with numpyro.plate("obs", 12, subsample_size=size) as index:
        z = numpyro.sample("z", dist.Normal(theta, 1).expand([len(index)]))
        numpyro.sample("x", dist.Normal(z, 0.5), obs=x[index] if whole else x)


def factors(guide, *arguments, plate=None, **keywords):
    """Run a guide with given parameters; return loc and scale of z."""
    held = handlers.substitute(handlers.seed(guide, 0), {} if plate is None else {"obs": plate})
    fn = handlers.trace(held).get_trace(*arguments, **keywords)["z"]["fn"]
    return fn.loc, fn.scale


def params_of(guide, *arguments, **keywords):
    trace = handlers.trace(handlers.seed(guide, 0)).get_trace(*arguments, **keywords)
    return {name: site["value"] for name, site in trace.items() if site["type"] == "param"}


def with_params(guide, *arguments, **keywords):
    """Return the guide with random parameters."""
    params = params_of(guide, *arguments, **keywords)
    keys = jax.random.split(jax.random.key(5), len(params))
    moved = {n: v + 0.3 * jax.random.normal(key, v.shape) for key, (n, v) in zip(keys, params.items(), strict=True)}
    return handlers.substitute(guide, moved)


@pytest.mark.parametrize(
    "family", [NETWORK, {"kind": "factorized"}, {"kind": "polynomial", "inputs": [-1, 0, 2]}], ids=str
)
@pytest.mark.parametrize("index", [[7, 2, 11], [10, 1, 3, 0, 9]], ids=str)
def test_a_batch_has_the_factors_of_whole_data(family, index):
    guide = with_params(avigap.amortize(batches, family), X)
    loc, scale = factors(guide, X)
    own = factors(guide, X, len(index), plate=jnp.asarray(index))
    np.testing.assert_allclose(own[0], loc[jnp.asarray(index)], rtol=1e-12)
    np.testing.assert_allclose(own[1], scale[jnp.asarray(index)], rtol=1e-12)
    assert np.ptp(loc) > 1e-3


def test_factors_are_those_of_the_window_by_hand():
    """Degree 1 on rows n - 1, n and n + 2: positions 0, 10 and 11 have factors of their own, in this order."""
    program = avigap.amortize(batches, {"kind": "polynomial", "inputs": [-1, 0, 2]})
    moved = {
        n: 0.1 + 0.3 * jax.random.normal(jax.random.key(len(n)), v.shape) for n, v in params_of(program, X).items()
    }
    loc, scale = factors(handlers.substitute(program, moved), X)
    coefficients, shared = moved["amortized.function.loc"][0], moved["amortized.function.log_scale"][0]
    for n in range(1, 10):
        by_hand = float(coefficients @ jnp.array([1.0, X[n - 1], X[n], X[n + 2]]))
        assert float(loc[n]) == pytest.approx(by_hand, rel=1e-10)
        assert float(scale[n]) == pytest.approx(float(jnp.exp(shared)), rel=1e-10)
    edges = np.array([0, 10, 11])
    np.testing.assert_allclose(loc[edges], moved["amortized.edge.loc"][0], rtol=1e-10)
    np.testing.assert_allclose(scale[edges], jnp.exp(moved["amortized.edge.log_scale"][0]), rtol=1e-10)


def test_the_rows_of_a_batch_are_as_good_as_whole_data():
    guide, index = with_params(avigap.amortize(batches, NETWORK), X), jnp.asarray([7, 2, 11])
    own = factors(guide, X[index], 3, plate=index, whole=False)
    np.testing.assert_allclose(own[0], factors(guide, X)[0][index], rtol=1e-12)
    wide = avigap.amortize(batches, {"kind": "polynomial"}, inputs=[-1, 0])
    with pytest.raises(InputError, match=r"inputs \[-1, 0\] need whole data"):
        factors(wide, X[index], 3, plate=index, whole=False)


def test_the_elbo_of_batches_is_that_of_whole_data_in_expectation():
    """Against the closed form: E_q log p is quadratic in loc and scale."""
    guide = with_params(avigap.amortize(batches, NETWORK), X)
    trace = handlers.trace(handlers.seed(guide, 0)).get_trace(X)
    (loc, scale), theta = (trace["z"]["fn"].loc, trace["z"]["fn"].scale), trace["theta"]["fn"]
    moment = (theta.loc**2 + theta.scale**2 + jnp.log(2 * jnp.pi)) / 2
    prior = ((loc - theta.loc) ** 2 + scale**2 + theta.scale**2 + jnp.log(2 * jnp.pi)) / 2
    error = ((X - loc) ** 2 + scale**2) / 2 / 0.25 + jnp.log(0.5) + jnp.log(2 * jnp.pi) / 2
    entropy = (jnp.log(scale) + 0.5 * jnp.log(2 * jnp.pi * jnp.e)).sum() + theta.entropy()
    exact = float(entropy - moment - (prior + error).sum())

    def estimates(size, number):
        keys = jax.random.split(jax.random.key(size), number)
        return -jax.lax.map(lambda key: Trace_ELBO(1).loss(key, {}, batches, guide, X, size), keys, batch_size=500)

    for size in (12, 3, 5):
        values = np.asarray(estimates(size, 4000))
        assert abs(values.mean() - exact) < 4 * values.std() / 4000**0.5, size
    assert values.std() < abs(exact), "precise enough to tell a wrong scale"


@pytest.mark.parametrize(
    ("name", "family"),
    [*((name, {"kind": "polynomial"}) for name in ARGUMENTS), ("nested", {"kind": "factorized"}), ("schools", NETWORK)],
    ids=str,
)
def test_svi_learns_a_guide_of_any_program(name, family):
    program = getattr(graphs, name)
    svi = SVI(program, avigap.amortize(program, family), numpyro.optim.Adam(0.05), Trace_ELBO(num_particles=4))
    found = svi.run(jax.random.key(0), 60, progress_bar=False, **ARGUMENTS[name])
    assert np.isfinite(found.losses).all() and found.losses[-10:].mean() < found.losses[:5].mean() - 1
    assert all((np.asarray(value) != 0).any() for value in found.params.values() if value.size)


def test_a_guide_learns_the_optimum():
    """Degree 1 reaches F-VI's optimum of a simple hierarchical model: loc tau-weighted, scale 5^-1/2 for each z_n."""
    guide = avigap.amortize(batches, {"kind": "polynomial"})
    svi = SVI(batches, guide, numpyro.optim.Adam(0.05), Trace_ELBO(num_particles=100))
    found = svi.run(jax.random.key(1), 800, X, progress_bar=False)
    precision = np.block([[np.array([[13.0]]), -np.ones((1, 12))], [-np.ones((12, 1)), 5 * np.eye(12)]])
    best = np.linalg.solve(precision, np.r_[0.0, 4 * np.asarray(X)])
    loc, scale = factors(handlers.substitute(guide, found.params), X)
    assert np.abs(loc - best[1:]).max() < 0.05 and np.abs(scale * 5**0.5 - 1).max() < 0.05


def test_rows_of_other_columns_are_seen_or_not():
    arguments = ARGUMENTS["schools"]
    both, alone = avigap.amortize(graphs.schools, NETWORK), avigap.amortize(graphs.schools, NETWORK, columns=["y"])
    for guide, inputs in [(both, 2), (alone, 1)]:
        params = params_of(guide, **arguments)
        assert params["amortized.function.0.weight"].shape == (1, inputs, 3)
        assert {name.split(".")[2] for name in params if "shared" in name} == {"mu", "tau"}


@pytest.mark.parametrize(
    ("name", "arguments", "options", "message"),
    [
        ("mixture", {"x": X, "num_obs": 12}, {}, "site 'k' is discrete"),
        ("bounded_by_theta", {"x": X, "num_obs": 12}, {}, "site 'z' has a support that depends on other latents"),
        ("item_response", {"y": TABLE > 0, "num_obs": 4}, {}, "'ability', 'difficulty', 'slope' share no plate"),
        ("two_sites", {"x": X, "num_obs": 12}, {"local": ["zz"]}, "unknown latent site 'zz'; available: loc, scale"),
        ("schools", ARGUMENTS["schools"], {"local": ["tau"]}, "without a row for each of 12 observations: 'tau'"),
        ("schools", ARGUMENTS["schools"], {"columns": ["x"]}, "unknown argument 'x'; available: sigma, y"),
    ],
)
def test_what_cannot_be_amortized_is_named(name, arguments, options, message):
    guide = avigap.amortize(getattr(graphs, name), {"kind": "constant"}, **options)
    with pytest.raises(InputError, match=message):
        handlers.trace(handlers.seed(guide, 0)).get_trace(**arguments)
