"""Small data sets are repeated, with weights, and stay the same problem."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from cases import bound, data, optimum
from jax.flatten_util import ravel_pytree

from avigap import families
from avigap.amortization import initial, mean_field
from avigap.ascend import Objective, ascend, objective_value
from avigap.core import MeanField, Model, bind
from avigap.starts import Problem, fit_settings, make_starts, stretched

NETWORK = families.build({"kind": "mlp", "width": 2, "depth": 1})
SEPARABLE = Objective("separable")


def problem_of(name, num_obs):
    return Problem(bound(name), jnp.asarray(data(name, {}, num_obs)), optimum(name, {}, num_obs).fit.q)


def test_a_repeated_problem_has_the_elbo_of_its_data():
    problem = problem_of("nonlinear", 30)
    longer, weights = stretched(problem, NETWORK, 100)
    assert len(longer.x) == len(weights) == 100
    own = objective_value(SEPARABLE, problem.joint, problem.x, problem.optimum, jnp.ones(30))
    assert float(objective_value(SEPARABLE, longer.joint, longer.x, longer.optimum, weights)) == pytest.approx(
        float(own), rel=1e-13
    )


@pytest.mark.parametrize("inputs", [[0], [-1, 0], [-3, -1]])
def test_a_repeated_series_has_the_elbo_of_its_data_with_the_same_parameters(inputs):
    """Rows that a repetition puts after the wrong ones, and edges, count once."""
    problem, family = problem_of("saw", 30), families.build({"kind": "mlp", "width": 2, "inputs": inputs})
    joint = problem.joint
    longer, weights = stretched(problem, family, 100)
    assert joint.num_obs(longer.x) == len(weights) == 100
    params = initial(joint, family, problem.x, jax.random.key(0))
    params["edge"] = {
        "loc": jnp.full(len(params["edge"]["loc"]), 2.0),
        "log_scale": -jnp.ones(len(params["edge"]["loc"])),
    }
    own = objective_value(SEPARABLE, joint, problem.x, mean_field(joint, family, params, problem.x), jnp.ones(30))
    other = objective_value(SEPARABLE, joint, longer.x, mean_field(joint, family, params, longer.x), weights)
    assert float(other) == pytest.approx(float(own), rel=1e-12)
    best = objective_value(SEPARABLE, joint, problem.x, problem.optimum, jnp.ones(30))
    assert float(objective_value(SEPARABLE, joint, longer.x, longer.optimum, weights)) == pytest.approx(float(best))


def test_a_window_that_looks_ahead_or_a_larger_problem_is_not_repeated():
    problem = problem_of("nonlinear", 30)
    ahead = families.build({"kind": "mlp", "width": 2, "inputs": [0, 1]})
    for longer, weights in (stretched(problem, ahead, 100), stretched(problem, NETWORK, 20)):
        assert longer is problem and weights.tolist() == [1.0] * 30


def test_a_program_whose_rows_know_their_number_is_not_repeated():
    def program(x=None, *, num_obs):
        with numpyro.plate("obs", num_obs):
            z = numpyro.sample("z", dist.Normal(jnp.arange(num_obs) * 1.0, 1.0))
            return numpyro.sample("x", dist.Normal(jnp.sin(z), 1.0), obs=x)

    joint = bind(Model(program, {}, shared=()), {})
    problem = Problem(joint, jnp.zeros(30), MeanField({"z": jnp.zeros(30)}, {"z": jnp.ones(30)}))
    assert stretched(problem, NETWORK, 100)[0] is problem


def test_an_ascent_of_a_repeated_problem_ends_where_that_of_its_data_does():
    """Same start: step by step the same ELBO, and the same tolerance per observation."""
    problem = problem_of("nonlinear", 30)
    longer, weights = stretched(problem, NETWORK, 310)
    start = initial(problem.joint, NETWORK, problem.x, jax.random.key(0))
    own = ascend(SEPARABLE, problem.joint, NETWORK, start, problem.x, jnp.ones(30), 15, 0.02)
    other = ascend(SEPARABLE, problem.joint, NETWORK, start, longer.x, weights, 15, 0.02)
    assert len(own.trace) == len(other.trace) and own.trace == pytest.approx(other.trace, abs=1e-3)


def test_regressions_of_a_repeated_problem_are_those_of_its_data():
    problem = problem_of("nonlinear", 30)
    family = families.build({"kind": "constant"})
    longer, weights = stretched(problem, family, 50)
    settings, key = fit_settings(starts=1), jax.random.key(0)
    found = make_starts(problem, family, key, settings, SEPARABLE, jnp.ones(30))["distilled"]
    repeated = make_starts(longer, family, key, settings, SEPARABLE, weights)["distilled"]
    assert np.asarray(ravel_pytree(repeated)[0]) == pytest.approx(np.asarray(ravel_pytree(found)[0]), abs=1e-6)
