"""Weights of 30 young rats in five weeks: a line for each rat.

    mean ~ N((250, 6), diag(50, 5)^2)
    scale ~ HalfNormal((50, 5))
    correlation ~ LKJ(1)
    noise ~ HalfNormal(20)
    z_n ~ N(mean, diag(scale) correlation diag(scale))                        n = 1..30
    y_nt ~ N(z_n1 + z_n2 age_t, noise^2)                                      t = 1..5

where z_n is the weight at 22 days and the growth in a day, and age_t is counted from 22 days, -14 to 14. Instructive
because z_n and y_n are vectors: a factor is a function of five numbers, and an affine one suffices.

Data: Gelfand, Hills, Racine-Poon and Smith (1990), Illustration of Bayesian inference in normal data models using Gibbs
sampling, JASA 85, section 6 (grams, at 8, 15, 22, 29 and 36 days).
"""

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array

AGES = jnp.array([-14.0, -7.0, 0.0, 7.0, 14.0])


def program(*, y: Array | None = None, num_obs: int) -> None:
    """Weights ``y`` of shape (num_obs, 5)."""
    mean = numpyro.sample("mean", dist.Normal(jnp.array([250.0, 6.0]), jnp.array([50.0, 5.0])).to_event(1))
    scale = numpyro.sample("scale", dist.HalfNormal(jnp.array([50.0, 5.0])).to_event(1))
    correlation = numpyro.sample("correlation", dist.LKJCholesky(2))
    noise = numpyro.sample("noise", dist.HalfNormal(20.0))
    with numpyro.plate("rats", num_obs):
        z = numpyro.sample("z", dist.MultivariateNormal(mean, scale_tril=scale[:, None] * correlation))
        numpyro.sample("y", dist.Normal(z[..., :1] + z[..., 1:] * AGES, noise).to_event(1), obs=y)
