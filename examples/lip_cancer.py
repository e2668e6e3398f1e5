"""Lip cancer in 56 districts of Scotland: an over-dispersed Poisson regression.

    intercept ~ N(0, 1)
    slope ~ N(0, 1)
    tau ~ HalfNormal(1)
    z_n ~ N(intercept + slope aff_n / 10, tau^2)                        n = 1..56
    observed_n ~ Poisson(expected_n exp(z_n))

Instructive because expected_n, from 1 to 89, says how much a district's count knows about its rate: a function of the
count alone cannot give the factors, one of the whole row can.

Data: men, 1975 to 1980; Clayton and Kaldor (1987), Empirical Bayes estimates of age-standardized relative risks,
Biometrics 43, table 1; with ``aff``, the per cent of people who work in agriculture, fishing or forestry, as in Breslow
and Clayton (1993), Approximate inference in generalized linear mixed models, JASA 88.
"""

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array


def program(*, observed: Array | None = None, expected: Array, aff: Array) -> None:
    """Cases ``observed`` where ``expected`` were, with ``aff`` per cent in outdoor work."""
    intercept = numpyro.sample("intercept", dist.Normal(0.0, 1.0))
    slope = numpyro.sample("slope", dist.Normal(0.0, 1.0))
    tau = numpyro.sample("tau", dist.HalfNormal(1.0))
    with numpyro.plate("districts", len(expected)):
        z = numpyro.sample("z", dist.Normal(intercept + slope * aff / 10, tau))
        numpyro.sample("observed", dist.Poisson(expected * jnp.exp(z)), obs=observed)
