"""Second-order ascent of the ELBO of an inference function: Levenberg-Marquardt with the ELBO's own curvature.

The ELBO is expanded to second order in the loc and log scale of every factor, with blocks made negative definite; the
Jacobian of the inference function carries that to its parameters (a Gauss-Newton matrix), and q(theta) borders it.
Tens of evaluations replace tens of thousands of stochastic gradient steps, deterministically.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from avigap.amortization import Variational, layout, mean_field, window_inputs
from avigap.core import Joint, MeanField
from avigap.curvature import coupled_curvature, function_curvature
from avigap.families import Family
from avigap.levenberg import Quadratic, maximise
from avigap.newton import clipped_blocks
from avigap.quadratic import quadratic_value
from avigap.separable import NUM_SHARED_NODES, expand, gauss_hermite_rows
from avigap.subsample import draw_rows

MAX_CURVATURE_ROWS = 1_500
"""Positions that the Gauss-Newton matrix is summed over; the gradient always sums over all."""

GAP_FRACTION = 1e-3
"""A step that closes less than this fraction of the remaining gap counts as small."""


class Local(NamedTuple):
    """Second-order expansion of an objective in the factors of q, at one q.

    Attributes
    ----------
    value : () objective in nats
    grad, blocks : (2, N) and (2, 2, N) in loc and log scale of z_n, the blocks negative definite
    grad_shared, hess_shared : (2S,) and (2S, 2S)
    border : (2, 2S, N) mixed derivatives
    """

    value: Array
    grad: Array
    blocks: Array
    grad_shared: Array
    hess_shared: Array
    border: Array


class Objective(NamedTuple):
    """What is maximised, chosen by what the log joint is.

    ``kind`` is ``"separable"`` (Gauss-Hermite rows; ``aux`` holds a weight for each, or is None) or ``"coupled"``
    (quadratic log joint; ``aux`` is the Hessian's diagonal).
    """

    kind: str
    num_nodes: int = 32


@partial(jax.jit, static_argnums=(0, 1))
def expand_objective(objective: Objective, joint: Joint, x: Array, q: MeanField, aux: Any) -> Local:
    """Return the expansion of an objective at q."""
    site, shared = joint.local[0], 2 * len(joint.shared)
    if objective.kind == "separable":
        e = expand(joint, x, q, objective.num_nodes, NUM_SHARED_NODES)
        weights = jnp.ones(joint.num_obs(x)) if aux is None else aux
        rows, grad, hess = e.rows * weights, e.grad * weights, e.hess * weights
        blocks = clipped_blocks(e.hess[shared:, shared:], q.scale[site], 1e-3) * weights
        grad_shared = grad[:shared].sum(-1) + e.rest_grad
        hess_shared = hess[:shared, :shared].sum(-1) + e.rest_hess
        return Local(rows.sum() + e.rest, grad[shared:], blocks, grad_shared, hess_shared, hess[shared:, :shared])
    slope = jax.grad(lambda loc: quadratic_value(joint, x, MeanField(loc, q.scale), aux))(q.loc)
    bend = jax.tree.map(lambda h, s: h * s**2, aux, q.scale)
    grad = jnp.stack([slope[site], bend[site] + 1])
    pairs = [jnp.stack([slope[name], bend[name] + 1]) for name in joint.shared]
    grad_shared = jnp.concatenate(pairs) if pairs else jnp.zeros(0)
    diagonal = [jnp.stack([jnp.zeros(()), 2 * bend[name]]) for name in joint.shared]
    hess_shared = jnp.diag(jnp.concatenate(diagonal)) if diagonal else jnp.zeros((0, 0))
    zero = jnp.zeros_like(bend[site])  # the curvature in loc couples all factors: coupled_curvature adds it
    blocks = jnp.stack([jnp.stack([zero, zero]), jnp.stack([zero, 2 * bend[site]])])
    value = quadratic_value(joint, x, q, aux)
    return Local(value, grad, blocks, grad_shared, hess_shared, jnp.zeros((2, shared, len(zero))))


@partial(jax.jit, static_argnums=(0, 1, 2))
def _expand(
    objective: Objective, joint: Joint, family: Family, like: Variational, flat: Array, moves: Array, x: Array, aux: Any
) -> Quadratic:
    """Return value, gradient and matrix at flat parameters; those that do not move (0 in ``moves``) have no slope."""
    params = ravel_pytree(like)[1](flat)
    value, gradient, matrix = _gauss_newton(objective, joint, family, params, x, aux)
    return value, gradient * moves, matrix * moves * moves[:, None] + jnp.diag(1 - moves)


def _gauss_newton(
    objective: Objective, joint: Joint, family: Family, params: Variational, x: Array, aux: Any
) -> Quadratic:
    """Return value, gradient and positive Gauss-Newton matrix, in the flat order of ``params``."""
    q, pull_back = jax.vjp(lambda p: _factors(joint, family, p, x), params)
    local = expand_objective(objective, joint, x, _as_mean_field(joint, q), aux)
    gradient = ravel_pytree(pull_back((local.grad, local.grad_shared))[0])[0]
    places = layout(joint, family, joint.num_obs(x))
    inputs = window_inputs(x, places)
    coupled = objective.kind == "coupled"
    rows, weights = draw_rows(inputs, len(inputs) if coupled else MAX_CURVATURE_ROWS)
    own_rows = places.start + rows
    jacobian, inner = function_curvature(
        family, params["function"], inputs[rows], -local.blocks[:, :, own_rows] * weights
    )
    edges, size, shared = 2 * len(places.edge), len(inner), local.grad_shared.size
    own, last = edges + np.arange(size), edges + size + np.arange(shared)
    matrix = jnp.zeros((edges + size + shared,) * 2)
    matrix = matrix.at[np.ix_(own, own)].set(inner).at[np.ix_(last, last)].set(-local.hess_shared)
    cross = -jnp.einsum("map,asm->ps", jacobian, local.border[:, :, own_rows] * weights)
    matrix = matrix.at[np.ix_(own, last)].set(cross).at[np.ix_(last, own)].set(cross.T)
    slots = np.arange(edges).reshape(2, -1)  # edge loc, then edge log scale
    for a in range(2):
        for b in range(2):
            matrix = matrix.at[slots[a], slots[b]].set(-local.blocks[a, b, places.edge])
        strip = -local.border[a][:, places.edge].T
        matrix = matrix.at[np.ix_(slots[a], last)].set(strip).at[np.ix_(last, slots[a])].set(strip.T)
    if coupled:
        columns = jnp.zeros((len(matrix), joint.num_obs(x))).at[slots[0], places.edge].set(1.0)
        columns = columns.at[own, places.interior].set(jacobian[:, 0].T)
        matrix = matrix + coupled_curvature(joint, x, columns, last[::2])
    return local.value, gradient, matrix


def _factors(joint: Joint, family: Family, params: Variational, x: Array) -> tuple[Array, Array]:
    """Return loc and log scale of the local factors (2, N) and, in turn, of each shared factor (2S,)."""
    q = mean_field(joint, family, params, x)
    shared = [jnp.stack([q.loc[name], jnp.log(q.scale[name])]) for name in joint.shared]
    site = joint.local[0]
    local = jnp.stack([q.loc[site], jnp.log(q.scale[site])])
    return local, jnp.concatenate(shared) if shared else jnp.zeros(0)


def _as_mean_field(joint: Joint, factors: tuple[Array, Array]) -> MeanField:
    local, shared = factors
    site = joint.local[0]
    loc = {name: shared[2 * i] for i, name in enumerate(joint.shared)}
    scale = {name: jnp.exp(shared[2 * i + 1]) for i, name in enumerate(joint.shared)}
    return MeanField({**loc, site: local[0]}, {**scale, site: jnp.exp(local[1])})


@partial(jax.jit, static_argnums=(0, 1, 2))
def _value(
    objective: Objective, joint: Joint, family: Family, like: Variational, flat: Array, x: Array, aux: Any
) -> Array:
    q = mean_field(joint, family, ravel_pytree(like)[1](flat), x)
    return objective_value(objective, joint, x, q, aux)


@partial(jax.jit, static_argnums=(0, 1))
def objective_value(objective: Objective, joint: Joint, x: Array, q: MeanField, aux: Any) -> Array:
    """Return an objective at q, in nats."""
    if objective.kind == "coupled":
        return quadratic_value(joint, x, q, aux)
    rows, rest = gauss_hermite_rows(joint, x, q, objective.num_nodes, NUM_SHARED_NODES)
    return jnp.sum(rows if aux is None else rows * aux) + rest


class Ascent(NamedTuple):
    """Where an ascent ended: parameters, ELBO by step, and the status of :class:`avigap.levenberg.Climb`."""

    params: Variational
    trace: np.ndarray
    status: str


def ascend(
    objective: Objective,
    joint: Joint,
    family: Family,
    params: Variational,
    x: Array,
    aux: Any = None,
    max_steps: int = 200,
    tolerance: float = 1e-7,
    free: np.ndarray | None = None,
    ceiling: float = float("-inf"),
    report: Callable[[int, float], None] = lambda step, value: None,
) -> Ascent:
    """Climb an objective from ``params``.

    Parameters
    ----------
    aux
        What the objective needs beside the data, see :class:`Objective`.
    tolerance
        Converged when three steps in a row gain less than this many nats per observation.
    ceiling
        An upper bound on the objective, such as the ELBO of the F-VI optimum; steps that gain less than
        ``GAP_FRACTION`` of the distance to it count as small too.
    free
        Flat indices (order: edge, function, shared) of the parameters that may move; all if None.
    report
        Called with the step and the value after each accepted step.
    """
    flat, restore = ravel_pytree(params)
    is_weighted = objective.kind == "separable" and aux is not None
    num_obs = float(jnp.sum(aux)) if is_weighted else joint.num_obs(x)
    moves = jnp.ones(flat.size) if free is None else jnp.zeros(flat.size).at[free].set(1.0)
    climb = maximise(
        lambda at: _expand(objective, joint, family, params, at, moves, x, aux),
        lambda at: _value(objective, joint, family, params, at, x, aux),
        flat,
        max_steps,
        lambda reached: max(tolerance * num_obs, GAP_FRACTION * (ceiling - reached)),
        report,
    )
    return Ascent(restore(climb.flat), climb.trace, climb.status)
