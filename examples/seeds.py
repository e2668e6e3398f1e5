"""Germination of seeds on 21 plates: an over-dispersed binomial regression.

    intercept, slope_seed, slope_extract, interaction ~ N(0, 2^2)
    tau ~ HalfNormal(1)
    z_n ~ N(intercept + slope_seed seed_n + slope_extract extract_n + interaction seed_n extract_n, tau^2)
    germinated_n ~ Binomial(total_n, logit^-1(z_n))                        n = 1..21

Instructive because covariates enter the prior of z_n and the likelihood: the inference function needs the whole row.

Data: Crowder (1978), Beta-binomial Anova for proportions, Applied Statistics 27, table 3: seeds of Orobanche aegyptiaca
75 (``seed`` 0) and 73 (1), in extract of bean (``extract`` 0) and cucumber (1).
"""

import numpyro
import numpyro.distributions as dist
from jaxtyping import Array


def program(*, germinated: Array | None = None, total: Array, seed: Array, extract: Array) -> None:
    """Seeds ``germinated`` among ``total``, by kind of seed and of root extract."""
    intercept = numpyro.sample("intercept", dist.Normal(0.0, 2.0))
    slope_seed = numpyro.sample("slope_seed", dist.Normal(0.0, 2.0))
    slope_extract = numpyro.sample("slope_extract", dist.Normal(0.0, 2.0))
    interaction = numpyro.sample("interaction", dist.Normal(0.0, 2.0))
    tau = numpyro.sample("tau", dist.HalfNormal(1.0))
    centre = intercept + slope_seed * seed + slope_extract * extract + interaction * seed * extract
    with numpyro.plate("plates", len(total)):
        z = numpyro.sample("z", dist.Normal(centre, tau))
        numpyro.sample("germinated", dist.Binomial(total, logits=z), obs=germinated)
