"""Distillation: regression of an inference function on the factors of a given q, without the log joint."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PRNGKeyArray

from avigap.curvature import function_curvature
from avigap.families import Family, Params
from avigap.levenberg import Climb, Quadratic, maximise
from avigap.subsample import draw_rows

GROWN = 4
"""Functions grown for each one that climbs."""
FEW_STEPS, MANY_STEPS = 30, 60
"""Steps after which the finalists are chosen, and which those may take."""
FEW_ROWS = 500
"""Rows on which functions are grown and the finalists chosen."""
TOLERANCE = 1e-5
"""Nats per observation: a regression is the start of an ascent, not its end."""


class Targets(NamedTuple):
    """What a function is to reproduce.

    Attributes
    ----------
    inputs : (m, C) of the function
    factors : (2, m) loc and log scale
    precision : (2, 2, m) what an error costs: minus the ELBO's curvature in the factor, times the row's weight
    num_obs : () observations that the rows stand for
    """

    inputs: Float[Array, "m C"]
    factors: Float[Array, "2 m"]
    precision: Float[Array, "2 2 m"]
    num_obs: Float[Array, ""]

    def drawn(self, num_rows: int) -> "Targets":
        """Return a weighted sample of the rows that keeps rare inputs."""
        rows, weights = draw_rows(self.inputs, num_rows)
        return Targets(self.inputs[rows], self.factors[:, rows], self.precision[:, :, rows] * weights, self.num_obs)


def _error(family: Family, function: Params, targets: Targets) -> Float[Array, "2 m"]:
    assert family.infer is not None
    return targets.factors - jnp.stack(family.infer(function, targets.inputs.T))


@partial(jax.jit, static_argnums=0)
def _value_at(family: Family, like: Params, flat: Array, targets: Targets) -> Array:
    return _value(family, ravel_pytree(like)[1](flat), targets)


@partial(jax.jit, static_argnums=0)
def _value(family: Family, function: Params, targets: Targets) -> Array:
    """Return what the errors cost, as a gain: at most zero, in nats."""
    error = _error(family, function, targets)
    return -jnp.einsum("im,ijm,jm->", error, targets.precision, error) / 2


@partial(jax.jit, static_argnums=0)
def _expand_at(family: Family, like: Params, flat: Array, targets: Targets) -> Quadratic:
    function = ravel_pytree(like)[1](flat)
    jacobian, matrix = function_curvature(family, function, targets.inputs, targets.precision)
    error = _error(family, function, targets)
    pull = jnp.einsum("ijm,jm->im", targets.precision, error)
    return -jnp.sum(error * pull) / 2, jnp.einsum("map,am->p", jacobian, pull), matrix


def _climb(family: Family, function: Params, targets: Targets, max_steps: int) -> tuple[Params, Climb]:
    flat, restore = ravel_pytree(function)
    enough = TOLERANCE * float(targets.num_obs)
    climb = maximise(
        lambda at: _expand_at(family, function, at, targets),
        lambda at: _value_at(family, function, at, targets),
        flat,
        max_steps,
        lambda reached: max(enough, -1e-3 * reached),
    )
    return restore(climb.flat), climb


def _best(functions: Sequence[Params], values: Sequence[float | Array], number: int) -> list[Params]:
    order = np.argsort(-np.nan_to_num(np.array(values, float), nan=-np.inf), kind="stable")
    return [functions[index] for index in order[:number]]


def regress(family: Family, targets: Targets, key: PRNGKeyArray, starts: int, finalists: int) -> list[Params]:
    """Return the functions of the best regressions, the best first.

    Functions are grown on the targets where the family can, else started plainly; the ``starts`` best of them climb a
    few steps on some of the rows, and the ``finalists`` best of those to the end on all. ``targets`` hold m rows.
    """
    few = targets.drawn(FEW_ROWS)
    if family.grow is None:
        assert family.init is not None
        functions = [family.init(each, targets.inputs) for each in jax.random.split(key, starts)]
    else:
        weights = jnp.stack([few.precision[0, 0], few.precision[1, 1]])
        keys = jax.random.split(key, GROWN * starts)
        functions = [family.grow(each, few.inputs, few.factors, weights) for each in keys]
    functions = _best(functions, [_value(family, function, few) for function in functions], starts)
    for some, max_steps in ((few, FEW_STEPS), (targets, MANY_STEPS)):
        climbs = [_climb(family, function, some, max_steps) for function in functions]
        functions = _best([function for function, _ in climbs], [climb.trace[-1] for _, climb in climbs], finalists)
    return functions
