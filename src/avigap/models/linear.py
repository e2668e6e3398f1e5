"""Linear Gaussian hierarchical model (Margossian and Blei 2024, equation 8).

    theta ~ flat, or N(0, theta_scale^2)
    z_n ~ N(0, 1)
    x_n ~ N(theta + tau z_n, sigma^2)                n = 1..N

The simplest simple hierarchical model: an affine function of x_n closes the amortization gap for every N, with three
parameters (Proposition 3.6), although p(z_n | x) depends on all of x.
"""

from collections.abc import Mapping
from math import log, pi
from typing import Any, NamedTuple

import numpy as np
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float

from avigap.core import Model
from avigap.errors import InputError
from avigap.models import Positive
from avigap.priors import shared


def linear(
    x: Array | None = None,
    *,
    num_obs: int,
    tau: Positive = 1.155,
    sigma: Positive = 2.43,
    theta_scale: Positive | None = None,
) -> Array:
    """Linear Gaussian hierarchical model; ``x`` has shape (num_obs,)."""
    theta = shared("theta", theta_scale)
    with numpyro.plate("obs", num_obs):
        z = numpyro.sample("z", dist.Normal(0.0, 1.0))
        return numpyro.sample("x", dist.Normal(theta + tau * z, sigma), obs=x)


class IdealFunction(NamedTuple):
    """loc of q(z_n) = intercept + slope x_n, and its variance."""

    intercept: float
    slope: float
    variance: float


def ideal_function(x: Float[np.ndarray, " N"], settings: Mapping[str, Any]) -> IdealFunction:
    """Return the ideal inference function for a flat theta (Proposition 3.6, equations 9 and 10).

    Raises
    ------
    InputError
        If theta has a normal prior, for which the proposition does not hold.
    """
    if settings["theta_scale"] is not None:
        raise InputError("Proposition 3.6 needs a flat theta: theta_scale must be null")
    total = settings["sigma"] ** 2 + settings["tau"] ** 2
    slope = settings["tau"] / total
    return IdealFunction(-slope * float(np.mean(x)), slope, settings["sigma"] ** 2 / total)


def dropped_constants(num_obs: int, settings: Mapping[str, Any]) -> float:
    """Return the terms that the authors' -ELBO lacks: every log 2 pi, and N log sigma."""
    priors = num_obs - 1 if settings["theta_scale"] is None else num_obs
    return priors / 2 * log(2 * pi) + num_obs * log(settings["sigma"])


MODEL = Model(linear, truth={"theta": 0.0}, dropped_constants=dropped_constants)
