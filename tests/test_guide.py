"""Every family is a NumPyro guide: NumPyro's own SVI runs it and agrees with the deterministic estimators."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from cases import FAMILIES, SETTINGS, bound, complete, data, label
from numpyro import handlers
from numpyro.infer import SVI, Trace_ELBO
from scipy.stats import lognorm

from avigap import families
from avigap.amortization import amortized_guide, mean_field
from avigap.core import MeanField, Model, bind, log_joint
from avigap.elbo import gauss_hermite, quadratic, supports
from avigap.guide import mean_field_guide

NUM_OBS = 7
CASES = [(name, {}, family) for name in SETTINGS for family in FAMILIES]
CASES.append(("hmm", {"initial": "flat"}, "polynomial"))


@pytest.mark.parametrize(("name", "settings", "family"), CASES, ids=label)
def test_the_initial_loss_of_svi_agrees_with_the_deterministic_estimator(name, settings, family):
    joint, family, x = (
        bound(name, settings),
        families.build(FAMILIES[family]),
        jnp.asarray(data(name, settings, NUM_OBS)),
    )
    arguments = {"num_obs": NUM_OBS, **complete(name, settings)}
    guide = amortized_guide(joint, family)
    svi = SVI(joint.program, guide, numpyro.optim.Adam(1e-2), Trace_ELBO(num_particles=200))

    @jax.jit
    def run(key):
        state = svi.init(key, x, **arguments)
        each = jax.random.split(key, 25)
        losses = jax.lax.map(lambda k: svi.evaluate(state._replace(rng_key=k), x, **arguments), each)
        return svi.get_params(state)["variational"], losses

    params, losses = run(jax.random.key(1))
    q = mean_field(joint, family, params, x)
    elbo = float(quadratic(joint, x, q) if supports("quadratic", joint, x).ok else gauss_hermite(joint, x, q))
    assert abs(elbo + losses.mean()) < 4 * losses.std(ddof=1) / 5


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", ["hmm"])
def test_svi_learns_every_parameter_of_a_family(name, family):
    """The window [-1, 0, 1] of the chain has free factors at both ends, and its flat start one more."""
    settings, config = {"initial": "flat"}, {"inputs": [-1, 0, 1], **FAMILIES[family]}
    joint, x = bound(name, settings), jnp.asarray(data(name, settings, NUM_OBS))
    svi = SVI(joint.program, amortized_guide(joint, families.build(config)), numpyro.optim.Adam(1e-2), Trace_ELBO(10))
    found = svi.run(jax.random.key(0), 30, x, num_obs=NUM_OBS, **complete(name, settings), progress_bar=False)
    assert np.isfinite(found.losses).all() and found.losses[-10:].mean() < found.losses[:10].mean()
    learned = found.params["variational"]
    assert all((np.asarray(leaf) != 0).all() for leaf in jax.tree.leaves((learned["edge"], learned["shared"])))


def test_a_guide_samples_inside_the_plates_of_the_program():
    joint = bound("linear")
    q = MeanField({"theta": jnp.zeros(()), "z": jnp.zeros(3)}, {"theta": jnp.ones(()), "z": jnp.ones(3)})
    guide = handlers.seed(mean_field_guide(joint, q), 0)
    site = handlers.trace(guide).get_trace(jnp.zeros(3), num_obs=3)["z"]
    assert [(frame.name, frame.size, frame.dim) for frame in site["cond_indep_stack"]] == [("obs", 3, -1)]


def test_a_factor_of_a_bounded_latent_is_sampled_on_its_support_with_the_jacobian():
    def program(x=None, *, num_obs):
        theta = numpyro.sample("theta", dist.HalfNormal(2.0))
        with numpyro.plate("obs", num_obs):
            z = numpyro.sample("z", dist.Normal(0.0, theta))
            return numpyro.sample("x", dist.Normal(z, 1.0), obs=x)

    joint, x = bind(Model(program, truth={"theta": 1.0}), {}), jnp.asarray([0.4, -1.2])
    loc, scale = {"theta": jnp.asarray(0.3), "z": x / 2}, {"theta": jnp.asarray(0.4), "z": jnp.asarray([0.5, 0.8])}
    guide = handlers.seed(mean_field_guide(joint, MeanField(loc, scale)), 3)
    trace = handlers.trace(guide).get_trace(x, num_obs=2)
    theta = float(trace["theta"]["value"])
    density = float(trace["theta"]["fn"].log_prob(trace["theta"]["value"]))
    assert density == pytest.approx(lognorm.logpdf(theta, 0.4, scale=np.exp(0.3)), abs=1e-10)
    latents = {"theta": jnp.log(theta), "z": trace["z"]["value"]}
    held = handlers.substitute(handlers.seed(program, 0), {"theta": theta, "z": trace["z"]["value"]})
    sites = handlers.trace(held).get_trace(x, num_obs=2).values()
    constrained = sum(jnp.sum(s["fn"].log_prob(s["value"])) for s in sites if s["type"] == "sample")
    assert float(log_joint(joint, x, latents)) == pytest.approx(float(constrained) + np.log(theta), abs=1e-10)
