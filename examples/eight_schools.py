"""Eight schools: effects of coaching on test scores, with known standard errors.

    mu ~ N(0, 5^2)
    tau ~ HalfCauchy(5)
    z_n ~ N(mu, tau^2)                        n = 1..8
    y_n ~ N(z_n, sigma_n^2)

Instructive because the inference function must see sigma_n beside y_n, and because the factors live in a funnel: tau is
barely determined, so q(tau) decides how far every school is shrunk.

Data: Rubin (1981), Estimation in parallel randomized experiments, Journal of Educational Statistics 6, as in Gelman et
al., Bayesian Data Analysis, table 5.2.
"""

import numpyro
import numpyro.distributions as dist
from jaxtyping import Array


def program(*, y: Array | None = None, sigma: Array) -> None:
    """Effects ``y`` of coaching and their standard errors ``sigma``."""
    mu = numpyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = numpyro.sample("tau", dist.HalfCauchy(5.0))
    with numpyro.plate("schools", len(sigma)):
        z = numpyro.sample("z", dist.Normal(mu, tau))
        numpyro.sample("y", dist.Normal(z, sigma), obs=y)
