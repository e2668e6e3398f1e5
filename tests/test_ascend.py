"""The second-order ascent: its derivatives, its optima where they are known, and how it says that it ended."""

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from cases import bound, complete, data, label, optimum, random_params
from jax.flatten_util import ravel_pytree

from avigap import families
from avigap.affine import quadratic_gap
from avigap.amortization import mean_field
from avigap.ascend import Objective, ascend, expand_objective, objective_value
from avigap.core import MeanField, latent_shapes
from avigap.quadratic import bandwidth, hessian_diagonal

NUM_OBS = 300
LINEAR = families.build({"kind": "polynomial", "degree": 1})


def random_q(joint, num_obs, seed=0):
    random, shapes = np.random.default_rng(seed), latent_shapes(joint, num_obs)
    return MeanField(
        {s: jnp.asarray(random.standard_normal(v)) for s, v in shapes.items()},
        {s: jnp.asarray(np.exp(random.uniform(-1, -0.2, v))) for s, v in shapes.items()},
    )


@pytest.mark.parametrize(
    ("objective", "name", "settings", "weights"),
    [
        (Objective("separable", 64), "nonlinear", {}, None),
        (Objective("separable", 64), "nonlinear", {"normalised": False}, np.arange(1.0, 7.0)),
        (Objective("separable", 8), "saw", {}, None),
        (Objective("coupled"), "hmm", {"initial": "flat"}, None),
        (Objective("coupled"), "linear", {"tau": 0.7, "sigma": 1.3, "theta_scale": 2.0}, None),
    ],
    ids=lambda v: v.kind if isinstance(v, Objective) else label(v),
)
def test_the_expansion_of_an_objective_has_its_value_and_gradient(objective, name, settings, weights):
    joint, x = bound(name, settings), jnp.asarray(data(name, settings, 6))
    q, aux = random_q(joint, 6), weights
    if objective.kind == "coupled":
        aux = hessian_diagonal(joint, x, bandwidth(joint))
    local = expand_objective(objective, joint, x, q, aux)

    @jax.value_and_grad
    def value(parameters):
        loc, log_scale = parameters
        return objective_value(objective, joint, x, MeanField(loc, jax.tree.map(jnp.exp, log_scale)), aux)

    expected, (by_loc, by_log_scale) = jax.jit(value)((q.loc, jax.tree.map(jnp.log, q.scale)))
    assert float(local.value) == pytest.approx(float(expected), rel=1e-12)
    assert np.asarray(local.grad) == pytest.approx(np.stack([by_loc["z"], by_log_scale["z"]]), rel=1e-8, abs=1e-8)
    shared = [g[s] for s in joint.shared for g in (by_loc, by_log_scale)]
    assert np.asarray(local.grad_shared) == pytest.approx(np.array(shared), rel=1e-8, abs=1e-8)
    blocks = np.moveaxis(np.asarray(local.blocks), -1, 0)
    if objective.kind != "coupled":
        assert (np.linalg.eigvalsh(blocks) < 0).all()


@pytest.mark.parametrize(
    ("name", "settings", "inputs", "objective"),
    [
        ("linear", {}, (0,), Objective("separable", 8)),
        ("saw", {}, (0,), Objective("separable", 8)),
        ("saw", {}, (-1, 0), Objective("coupled")),
        ("hmm", {"initial": "flat"}, (-1, 0, 1), Objective("coupled")),
    ],
    ids=lambda v: v.kind if isinstance(v, Objective) else label(v),
)
def test_the_ascent_reaches_the_exact_affine_optimum(name, settings, inputs, objective):
    joint, x = bound(name, settings), jnp.asarray(data(name, settings, NUM_OBS))
    family = families.build({"kind": "polynomial", "degree": 1, "inputs": list(inputs)})
    diagonal = hessian_diagonal(joint, x, bandwidth(joint))
    aux = diagonal if objective.kind == "coupled" else None
    found = ascend(objective, joint, family, random_params(joint, family, x), x, aux, tolerance=1e-14)
    assert found.status == "converged" and (np.diff(found.trace) > 0).all()
    q = mean_field(joint, family, found.params, x)
    gap = float(quadratic_gap(joint, x, optimum(name, settings, NUM_OBS).fit.q, q, diagonal))
    dense = oracles.dense(name, complete(name, settings), np.asarray(x))
    assert gap == pytest.approx(oracles.window_fit(dense, np.asarray(x), joint.lead, inputs).gap, rel=1e-8, abs=1e-8)


@pytest.fixture(scope="module")
def problem():
    """A joint, a family, its parameters away from the optimum, and the data."""
    joint, x = bound("linear"), jnp.asarray(data("linear", {}, NUM_OBS))
    return Objective("separable", 8), joint, LINEAR, random_params(joint, LINEAR, x), x


def test_each_accepted_step_is_reported(problem):
    seen = []
    found = ascend(*problem, report=lambda step, value: seen.append((step, value)))
    assert seen == [(n, value) for n, value in enumerate(found.trace) if n > 0]


def test_an_ascent_that_reaches_the_cap_says_so(problem):
    found = ascend(*problem, max_steps=1, tolerance=1e-14)
    assert found.status == "max_steps" and len(found.trace) == 2


def test_an_ascent_from_its_own_optimum_stays_there(problem):
    first = ascend(*problem, tolerance=1e-14)
    objective, joint, family, _, x = problem
    again = ascend(objective, joint, family, first.params, x)
    assert again.status == "converged"
    assert again.trace[-1] - first.trace[-1] == pytest.approx(0, abs=1e-9)


def test_an_ascent_from_a_nonfinite_start_says_so(problem):
    objective, joint, family, params, x = problem
    broken = {**params, "function": {**params["function"], "log_scale": jnp.asarray(np.nan)}}
    found = ascend(objective, joint, family, broken, x)
    assert found.status == "nonfinite" and len(found.trace) == 1


def test_steps_that_close_little_of_the_gap_to_the_ceiling_are_small(problem):
    patient, hasty = ascend(*problem, tolerance=1e-14), ascend(*problem, tolerance=1e-14, ceiling=1e12)
    assert hasty.status == "converged" and len(hasty.trace) == 4 < len(patient.trace)


def test_parameters_that_are_not_free_do_not_move(problem):
    objective, joint, family, params, x = problem
    flat = np.asarray(ravel_pytree(params)[0])
    free = np.array([0, len(flat) - 1])
    found = ascend(objective, joint, family, params, x, free=free)
    moved = np.asarray(ravel_pytree(found.params)[0]) != flat
    assert np.nonzero(moved)[0].tolist() == free.tolist()
    assert found.trace[-1] > found.trace[0]
