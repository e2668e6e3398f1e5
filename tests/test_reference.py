"""Reference posteriors by NUTS: conjugate models against their closed forms, and what is refused."""

import json

import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
import pytest
from programs import call
from scipy.special import digamma, polygamma

from avigap.errors import InputError
from avigap.program.arguments import bind_program
from avigap.reference import COLUMNS, Effort, reference_posterior

X = np.array([2.0, -0.5, 3.1])
COUNTS = np.array([3, 0, 5])


def rates(*, counts=None, num_obs):
    rate = numpyro.sample("rate", dist.Gamma(2.0, 1.0))
    with numpyro.plate("obs", num_obs):
        numpyro.sample("counts", dist.Poisson(rate), obs=counts)


def mixture(*, x=None, num_obs):
    with numpyro.plate("obs", num_obs):
        k = numpyro.sample("k", dist.Bernoulli(0.5))
        numpyro.sample("x", dist.Normal(k, 1.0), obs=x)


HIERARCHY = """
import numpyro
import numpyro.distributions as dist

def program(*, x=None, num_obs):
    theta = numpyro.sample("theta", dist.Normal(0.0, 2.0))
    with numpyro.plate("obs", num_obs):
        z = numpyro.sample("z", dist.Normal(theta, 1.0))
        numpyro.sample("x", dist.Normal(z, 0.7), obs=x)
"""


def reference(function=rates, columns=None, **effort):
    program = bind_program(function, {}, columns or {"counts": COUNTS}, None)
    return reference_posterior(program, None, Effort(**effort), 0)


def check(table, mean, sd):
    assert (np.abs(table["mean"] - mean) < 5 * table["mcse_mean"]).all()
    assert table["sd"].to_numpy() == pytest.approx(sd, rel=0.1)


def test_a_positive_latent_is_summarised_by_its_logarithm():
    """The logarithm of a gamma of this shape and rate."""
    found = reference(warmup=200, draws=1000)
    table = pd.DataFrame(found.rows, columns=list(COLUMNS))
    shape, rate = 2 + COUNTS.sum(), 1 + len(COUNTS)
    check(table, digamma(shape) - np.log(rate), [np.sqrt(polygamma(1, shape))])
    assert found.max_r_hat == table["r_hat"].max() <= 1.01
    assert found.min_ess_bulk == table["ess_bulk"].min() >= 400


def test_the_script_finds_the_normal_of_a_hierarchy(tmp_path):
    """Means and deviations from the precision of theta, z_1, z_2; the third row is left out, z is drawn decentred."""
    (tmp_path / "model.py").write_text(HIERARCHY)
    pd.DataFrame({"x": X}).to_csv(tmp_path / "x.csv", index=False)
    arguments = ["--model", "model.py:program", "--data", "x.csv", "--num-obs", 2, "--output", "y.csv"]
    done = call(
        tmp_path, "reference_posterior", *arguments, "--warmup", 200, "--target-accept", 0.9, "--decentred", "z"
    )
    assert done.code == 0, done.err
    table = pd.read_csv(tmp_path / "y.csv")
    assert list(table) == list(COLUMNS)
    assert list(table["site"]) == ["theta", "z", "z"] and list(table["index"]) == [0, 0, 1]
    precision = np.array([[2.25, -1, -1], [-1, 1 + 0.7**-2, 0], [-1, 0, 1 + 0.7**-2]])
    covariance = np.linalg.inv(precision)
    check(table, covariance[:, 1:] @ X[:2] / 0.7**2, np.sqrt(covariance.diagonal()))
    summary = json.loads(done.out.splitlines()[-1])
    assert list(summary) == ["max_r_hat", "min_ess_bulk", "divergences", "seconds"]
    assert summary["max_r_hat"] == table["r_hat"].max() and summary["min_ess_bulk"] == table["ess_bulk"].min()


def test_chains_that_disagree_are_no_reference():
    with pytest.raises(InputError, match=r"no reference: the largest R-hat is .* more draws"):
        reference(warmup=1, draws=10, chains=2)


def test_what_nuts_cannot_draw_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no discrete latents \(k\)"):
        reference(mixture, {"x": X})
    with pytest.raises(InputError, match="no latent 'zeta' to decentre; the latents are rate"):
        reference(decentred=("zeta",))
    program = bind_program(rates, {}, {}, 3)
    with pytest.raises(InputError, match="lack the observations 'counts'"):
        reference_posterior(program, 3, Effort(), 0)
    options = ["--model", "m.py:f", "--data", "x.csv", "--output", "y.csv", "--target-accept", 1.5]
    done = call(tmp_path, "reference_posterior", *options)
    assert done.code == 2 and "must lie between 0 and 1" in done.err
