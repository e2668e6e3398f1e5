"""Hidden Markov model with Gaussian steps (Margossian and Blei 2024, equations 13 and 42).

    z_1 ~ N(0, 1)  (initial: normal)   or   z_0 ~ flat, z_1 ~ N(z_0, 1)  (initial: flat)
    z_n ~ N(z_{n-1}, 1)                               n = 2..N
    x_n ~ N(z_n, 1)                                   n = 1..N

No function of a window of x closes the gap (Proposition 3.8), yet the gap of the best linear function of
x_{n-h}, .., x_{n+h} falls by a factor of 6.85 with each step of h. No latent is shared; z_0 has a factor of its own.
"""

from typing import Literal

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array

from avigap.core import Model
from avigap.priors import shared


def hmm(x: Array | None = None, *, num_obs: int, initial: Literal["normal", "flat"] = "normal") -> Array:
    """Gaussian random walk observed with noise; ``x`` has shape (num_obs,).

    The random walk draws step by step (a cumulative sum of its increments) and scores all increments at once.
    """
    start = shared("z0", None) if initial == "flat" else jnp.zeros(())
    walk = dist.GaussianRandomWalk(scale=1.0, num_steps=num_obs)
    z = numpyro.sample("z", dist.TransformedDistribution(walk, dist.transforms.AffineTransform(start, 1.0)))
    with numpyro.plate("obs", num_obs):
        return numpyro.sample("x", dist.Normal(z, 1.0), obs=x)


MODEL = Model(hmm, truth={"z0": 0.0}, shared=(), edge=("z0",))
