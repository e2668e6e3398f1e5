"""Five questions of the Law School Admission Test: two-parameter logistic item response.

    ability_n ~ N(0, 1)                                        n = 1..1000
    difficulty_k ~ N(0, 2^2)                                   k = 1..5
    discrimination_k ~ LogNormal(0, 0.5^2)
    y_nk ~ Bernoulli(logit^-1(discrimination_k (ability_n - difficulty_k)))

Instructive because 1,000 persons give 30 different rows: F-VI's optimum has one factor for each of them, which a lookup
table, or a function of few parameters, gives to all persons.

Data: section 6 of the test; Bock and Lieberman (1970), Fitting a response model for n dichotomously scored items,
Psychometrika 35: the frequencies of the 32 patterns, written as one line for each person.
"""

import numpyro
import numpyro.distributions as dist
from jaxtyping import Array


def program(*, y: Array | None = None, num_obs: int) -> None:
    """Right answers ``y``, 0 or 1, of shape (num_obs, 5)."""
    persons, items = numpyro.plate("persons", num_obs, dim=-2), numpyro.plate("items", 5, dim=-1)
    with persons:
        ability = numpyro.sample("ability", dist.Normal(0.0, 1.0))
    with items:
        difficulty = numpyro.sample("difficulty", dist.Normal(0.0, 2.0))
        discrimination = numpyro.sample("discrimination", dist.LogNormal(0.0, 0.5))
    with persons, items:
        numpyro.sample("y", dist.Bernoulli(logits=discrimination * (ability - difficulty)), obs=y)
