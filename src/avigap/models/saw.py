"""Saw time series (Margossian and Blei 2024, equation 11).

    theta ~ flat, or N(0, theta_scale^2)
    z_n ~ N(x_{n-1}, 1)
    x_n ~ N(alpha (theta + z_n), 1)                 n = 1..N, x_0 = 0 is data

Not a simple hierarchical model: the optimal factor of z_n depends on x_{n-1} as well, so no function of x_n closes the
gap and an affine function of (x_{n-1}, x_n) does. ``x`` has N + 1 rows, x_0 first.
"""

from collections.abc import Mapping
from math import log, pi
from typing import Any

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array
from numpyro.contrib.control_flow import scan

from avigap.core import Model
from avigap.models import Positive
from avigap.priors import shared


def saw(x: Array | None = None, *, num_obs: int, alpha: Positive = 0.75, theta_scale: Positive | None = None) -> Array:
    """Saw time series; ``x`` has shape (num_obs + 1,). Simulates step by step and scores all steps at once."""
    theta = shared("theta", theta_scale)

    def step(previous: Array, current: Array | None) -> Array:
        z = numpyro.sample("z", dist.Normal(previous, 1.0))
        return numpyro.sample("x", dist.Normal(alpha * (theta + z), 1.0), obs=current)

    if x is not None:
        with numpyro.plate("obs", num_obs):
            step(x[:-1], x[1:])
        return x
    start = jnp.zeros(())
    _, path = scan(lambda previous, _: (step(previous, None),) * 2, start, None, length=num_obs)
    return jnp.concatenate([start[None], path])


def dropped_constants(num_obs: int, settings: Mapping[str, Any]) -> float:
    """Return the terms that the authors' -ELBO lacks: every log 2 pi."""
    return (num_obs - 1 if settings["theta_scale"] is None else num_obs) / 2 * log(2 * pi)


MODEL = Model(saw, truth={"theta": 3.4159}, lead=1, dropped_constants=dropped_constants)
