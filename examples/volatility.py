"""Stochastic volatility of the pound against the dollar.

    level ~ N(0, 1)
    phi ~ Beta(20, 2)
    step ~ LogNormal(-2, 0.5^2)
    z_1 ~ N(0, step^2 / (1 - phi^2))
    z_n ~ N(phi z_{n-1}, step^2)                        n = 2..250
    y_n ~ N(0, exp(level + z_n))

Instructive because log variances form a Markov chain: the factor of a day depends on all returns, by ever less, and no
window of them gives it exactly.

Data: returns of the 250 days from 2 October 1981 on, in per cent, less the mean of all 945 days to 28 June 1985;
Harvey, Ruiz and Shephard (1994), Multivariate stochastic variance models, Review of Economic Studies 61, by way of the
examples of TMB (https://github.com/kaskr/adcomp, tmb_examples/sdv_multi_data.R).
"""

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array
from numpyro.distributions.transforms import RecursiveLinearTransform


def program(*, y: Array | None = None, num_obs: int) -> None:
    """Returns ``y`` in per cent."""
    level = numpyro.sample("level", dist.Normal(0.0, 1.0))
    phi = numpyro.sample("phi", dist.Beta(20.0, 2.0))
    step = numpyro.sample("step", dist.LogNormal(-2.0, 0.5))
    scales = jnp.where(jnp.arange(num_obs) == 0, step / jnp.sqrt(1 - phi**2), step)
    shocks = dist.Normal(0.0, scales[:, None]).to_event(2)
    z = numpyro.sample("z", dist.TransformedDistribution(shocks, RecursiveLinearTransform(phi[None, None])))
    with numpyro.plate("days", num_obs):
        numpyro.sample("y", dist.Normal(0.0, jnp.exp((level + z[:, 0]) / 2)), obs=y)
