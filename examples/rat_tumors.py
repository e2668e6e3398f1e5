"""Tumours in control groups of rats: a logit-normal binomial.

    mu ~ N(-2, 1)
    tau ~ HalfNormal(1)
    z_n ~ N(mu, tau^2)                        n = 1..71
    y_n ~ Binomial(total_n, logit^-1(z_n))

Instructive because the data are counts with many ties: experiments with the same y and total have the same factor, so a
function of the two numbers loses nothing, and there are far fewer pairs of them than experiments.

Data: Tarone (1982), The use of historical control information in testing for a trend in proportions, Biometrics 38,
with the 71st experiment, as in Gelman et al., Bayesian Data Analysis, table 5.1.
"""

import numpyro
import numpyro.distributions as dist
from jaxtyping import Array


def program(*, y: Array | None = None, total: Array) -> None:
    """Rats with tumours ``y`` among ``total``."""
    mu = numpyro.sample("mu", dist.Normal(-2.0, 1.0))
    tau = numpyro.sample("tau", dist.HalfNormal(1.0))
    with numpyro.plate("experiments", len(total)):
        z = numpyro.sample("z", dist.Normal(mu, tau))
        numpyro.sample("y", dist.Binomial(total, logits=z), obs=y)
