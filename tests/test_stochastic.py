"""Stochastic ascent: the same runs as NumPyro's SVI in distribution, and starts as they are said to be."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import pytest
from cases import bound, data, optimum
from jax.flatten_util import ravel_pytree
from numpyro.infer import SVI, Trace_ELBO
from scipy.stats import ks_2samp

from avigap import adam, families
from avigap.adam import Drawing
from avigap.amortization import amortized_guide, mean_field
from avigap.errors import InputError
from avigap.quadratic import hessian_diagonal, quadratic_value
from avigap.replay_starts import common_start, published_start, starts_of
from avigap.starts import Problem
from avigap.stochastic import Method, ascend_stochastically

NUM_OBS = 6
NETWORK = {"kind": "mlp", "width": 3, "depth": 2, "heads": "separate"}


def repeated(params, number):
    return jax.tree.map(lambda leaf: jnp.stack([jnp.asarray(leaf)] * number), params)


def exact(joint, x):
    diagonal = hessian_diagonal(joint, x, 0)
    return lambda q: quadratic_value(joint, x, q, diagonal)


@pytest.mark.parametrize(
    ("name", "config", "draws"),
    [
        ("linear", {"kind": "factorized"}, "independent"),
        ("saw", {"kind": "mlp", "width": 2, "inputs": [-1, 0]}, "moments"),
    ],
    ids=str,
)
def test_runs_have_the_distribution_of_numpyros(name, config, draws):
    """Loss before and parameters after a few steps with few draws, whose noise decides where they go."""
    joint, family = bound(name), families.build(config)
    x, runs, steps, particles, rate = jnp.asarray(data(name, {}, NUM_OBS)), 2000, 4, 4, 0.1
    start = published_start(joint, family, x, jax.random.key(5))
    keys = jax.random.split(jax.random.key(10), runs)
    (own,) = ascend_stochastically(
        *(joint, [Method(family, repeated(start, runs), np.array([rate]))], x, keys, exact(joint, x), steps),
        every=steps,
        draws=draws,
        num_draws=particles,
    )
    svi = SVI(joint.program, amortized_guide(joint, family), numpyro.optim.Adam(rate), Trace_ELBO(particles))
    arguments = {"num_obs": NUM_OBS, **dict(joint.settings)}

    def run(key):
        state = svi.init(key, x, init_params={"variational": start}, **arguments)
        state, losses = jax.lax.scan(lambda s, _: svi.update(s, x, **arguments), state, None, length=steps)
        return ravel_pytree(svi.get_params(state))[0], losses

    params, losses = jax.jit(jax.vmap(run))(jax.random.split(jax.random.key(11), runs))
    found = np.asarray(jax.vmap(lambda p: ravel_pytree(p)[0])(own.params))
    columns = [(found[:, i], np.asarray(params)[:, i]) for i in range(found.shape[1])]
    columns += [(own.loss[:, i], np.asarray(losses)[:, i]) for i in range(steps)]
    columns = [(a, b) for a, b in columns if np.ptp(b) > 1e-6]  # a unit that is off has no gradient
    assert len(columns) >= steps + 4
    assert min(ks_2samp(*pair).pvalue for pair in columns) > 1e-3 / len(columns)


def test_runs_reach_the_optimum_and_say_so_without_noise():
    joint, family = bound("linear"), families.build({"kind": "polynomial", "degree": 1})
    x, best = jnp.asarray(data("linear", {}, 30)), optimum("linear", {}, 30).fit.elbo
    starts, seen = repeated(common_start(joint, family, x, jax.random.key(0)), 1), []
    keys, rates = jax.random.key(0)[None], jnp.array([0.0, 0.05])
    (runs,) = ascend_stochastically(
        *(joint, [Method(family, starts, rates)], x, keys, exact(joint, x), 600),
        draws="moments",
        report=lambda step, value: seen.append((step, value)),
    )
    assert runs.loss.shape == (2, 600) and runs.elbo.shape == (2, 6)
    assert (best - runs.elbo >= -1e-4).all()
    assert best - runs.elbo[1, -1] < 0.2 < best - runs.elbo[0, -1]
    assert np.ptp(runs.elbo[0]) == 0
    assert [step for step, _ in seen] == [100, 200, 300, 400, 500, 600]
    assert seen[-1][1] == runs.elbo[:, -1].max()


def test_what_does_not_fit_is_refused():
    joint, family = bound("nonlinear"), families.build({"kind": "constant"})
    x = jnp.asarray(data("nonlinear", {}, NUM_OBS))
    starts, keys = repeated(common_start(joint, family, x, jax.random.key(0)), 1), jax.random.key(0)[None]
    with pytest.raises(InputError, match="multiple of every = 100, got 150"):
        ascend_stochastically(joint, [Method(family, starts, np.ones(1))], x, keys, lambda q: 0.0, 150)
    with pytest.raises(InputError, match="not a quadratic"):
        ascend_stochastically(joint, [Method(family, starts, np.ones(1))], x, keys, lambda q: 0.0, 100, draws="moments")


@pytest.mark.parametrize("steps", [10, 50, 60])
def test_looks_of_the_second_half_are_averaged(steps):
    """By a measure that is linear in the parameters: that of their mean is the mean of what was seen."""
    joint, x = bound("linear"), jnp.asarray(data("linear", {}, 4))
    family = families.build({"kind": "factorized"})
    starts = repeated(common_start(joint, family, x, jax.random.key(0)), 1)
    method = Method(family, starts, np.array([0.05, 0.1]))
    (runs,) = ascend_stochastically(
        *(joint, [method], x, jax.random.key(1)[None], lambda q: q.loc["z"].sum(), steps, 10), draws="moments"
    )
    assert runs.elbo.shape == (2, steps // 10)
    assert runs.elbo_averaged == pytest.approx(runs.elbo[:, steps // 2 // 10 :].mean(axis=1), rel=1e-5, abs=1e-6)


def test_draws_do_not_depend_on_the_block_in_which_they_are_made(monkeypatch):
    joint, keys = bound("linear"), jax.random.split(jax.random.key(0), 3)
    whole = Drawing(joint, "moments", 10, 4, 6, keys)
    monkeypatch.setattr(adam, "BLOCK_BYTES", 3.5 * sum(leaf.nbytes // 6 for leaf in jax.tree.leaves(whole(0)[0])))
    parts = Drawing(joint, "moments", 10, 4, 6, keys)
    assert (whole.block, parts.block) == (6, 3)
    for leaf, first, second in zip(*map(jax.tree.leaves, (whole(0)[0], parts(0)[0], parts(3)[0])), strict=True):
        assert leaf.shape[:2] == (6, 3) and np.array_equal(leaf, np.concatenate([first, second]))
        assert len(np.unique(leaf)) == leaf.size
    monkeypatch.setattr(adam, "BLOCK_BYTES", 1)
    assert Drawing(joint, "moments", 10, 4, 6, keys).block == 1


def test_published_starts_have_the_distributions_of_the_authors_code():
    joint, x = bound("linear"), jnp.asarray(data("linear", {}, 400))
    free = families.build({"kind": "factorized"})
    for kind, moments in {"uniform": (0.5, 1 / 12), "normal": (0.0, 1.0)}.items():
        for leaf in published_start(joint, free, x, jax.random.key(0), kind)["edge"].values():
            assert float(leaf.mean()) == pytest.approx(moments[0], abs=0.25)
            assert float(leaf.var()) == pytest.approx(moments[1], rel=0.3)
    network = families.build(NETWORK)
    starts = [published_start(joint, network, x, jax.random.key(i))["function"]["loc"] for i in range(60)]
    for layer, fan_in in enumerate((1, 3, 3)):
        for part in ("weight", "bias"):
            size = np.abs([start[layer][part] for start in starts])
            assert 0.8 * fan_in**-0.5 < size.max() <= fan_in**-0.5
    several = [published_start(joint, families.build({"kind": "polynomial"}), x, jax.random.key(i)) for i in range(200)]
    values = np.array([ravel_pytree(start)[0] for start in several])
    assert values.mean(0) == pytest.approx(0, abs=0.3) and values.std(0) == pytest.approx(1, rel=0.2)


@pytest.mark.parametrize(
    ("how", "start"),
    [
        ("common", common_start),
        ("published_normal", published_start),
        ("published_uniform", partial(published_start, free="uniform")),
    ],
)
def test_starts_of_several_keys_are_those_of_each(how, start):
    kind = {"kind": "factorized"} if how == "published_uniform" else {"kind": "mlp", "width": 2, "inputs": [-1, 0]}
    joint, family = bound("saw"), families.build(kind)
    x, keys = jnp.asarray(data("saw", {}, 5)), [jax.random.key(3), jax.random.key(8)]
    found = starts_of(how, Problem(joint, x, None), family, jnp.stack(keys))
    for index, key in enumerate(keys):
        one = jax.tree.map(lambda leaf, n=index: leaf[n], found)
        assert np.allclose(ravel_pytree(one)[0], ravel_pytree(start(joint, family, x, key))[0], rtol=1e-12)


@pytest.mark.parametrize(
    "config",
    [
        {"kind": "factorized"},
        {"kind": "constant"},
        {"kind": "polynomial", "degree": 2},
        NETWORK,
        {"kind": "mlp", "width": 4, "inputs": [-1, 0]},
    ],
    ids=str,
)
def test_at_the_common_start_every_factor_is_standard_normal(config):
    joint, family = bound("saw"), families.build(config)
    x = jnp.asarray(data("saw", {}, NUM_OBS))
    q = mean_field(joint, family, common_start(joint, family, x, jax.random.key(0)), x)
    assert all((np.asarray(leaf) == 0).all() for leaf in jax.tree.leaves(q.loc))
    assert all((np.asarray(leaf) == 1).all() for leaf in jax.tree.leaves(q.scale))
