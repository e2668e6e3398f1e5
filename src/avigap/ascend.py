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

from avigap.amortize import Variational, layout, mean_field, window_inputs
from avigap.core import Joint, Latents, MeanField
from avigap.elbo import gauss_hermite
from avigap.families import Family
from avigap.newton import clipped_blocks
from avigap.quadratic import hessian_product, quadratic_value
from avigap.separable import NUM_SHARED_NODES, expand

MAX_CURVATURE_ROWS = 2_500
"""Positions that the Gauss-Newton matrix is summed over; the gradient always sums over all."""


GAP_FRACTION = 1e-4
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

    ``kind`` is ``"separable"`` (Gauss-Hermite rows), ``"coupled"`` (quadratic log joint; ``aux`` is the Hessian's
    diagonal) or ``"distillation"`` (``aux`` is the q to be matched and the ELBO's blocks there, q(theta) held).
    """

    kind: str
    num_nodes: int = 32


@partial(jax.jit, static_argnums=(0, 1))
def expand_objective(objective: Objective, joint: Joint, x: Array, q: MeanField, aux: Any) -> Local:
    """Return the expansion of an objective at q."""
    site, shared = joint.local[0], 2 * len(joint.shared)
    if objective.kind == "separable":
        e = expand(joint, x, q, objective.num_nodes, NUM_SHARED_NODES)
        blocks = clipped_blocks(e.hess[shared:, shared:], q.scale[site], 1e-3)
        grad_shared = e.grad[:shared].sum(-1) + e.rest_grad
        hess_shared = e.hess[:shared, :shared].sum(-1) + e.rest_hess
        return Local(e.value, e.grad[shared:], blocks, grad_shared, hess_shared, e.hess[shared:, :shared])
    if objective.kind == "distillation":
        target, blocks = aux
        error = jnp.stack([target.loc[site] - q.loc[site], jnp.log(target.scale[site] / q.scale[site])])
        pull = -jnp.einsum("ijn,jn->in", blocks, error)
        nothing = jnp.zeros((2, shared, error.shape[1]))
        return Local(-jnp.sum(error * pull) / 2, pull, blocks, jnp.zeros(shared), -jnp.eye(shared), nothing)
    slope = jax.grad(lambda loc: quadratic_value(joint, x, MeanField(loc, q.scale), aux))(q.loc)
    bend = jax.tree.map(lambda h, s: h * s**2, aux, q.scale)
    grad = jnp.stack([slope[site], bend[site] + 1])
    pairs = [jnp.stack([slope[name], bend[name] + 1]) for name in joint.shared]
    grad_shared = jnp.concatenate(pairs) if pairs else jnp.zeros(0)
    diagonal = [jnp.stack([jnp.zeros(()), 2 * bend[name]]) for name in joint.shared]
    hess_shared = jnp.diag(jnp.concatenate(diagonal)) if diagonal else jnp.zeros((0, 0))
    zero = jnp.zeros_like(bend[site])  # the curvature in loc couples all factors: _couple adds it
    blocks = jnp.stack([jnp.stack([zero, zero]), jnp.stack([zero, 2 * bend[site]])])
    value = quadratic_value(joint, x, q, aux)
    return Local(value, grad, blocks, grad_shared, hess_shared, jnp.zeros((2, shared, len(zero))))


def _split(function: Any) -> tuple[slice, slice]:
    """Return the flat parameters that loc and log scale see: disjoint where the function keeps them apart."""
    size = ravel_pytree(function)[0].size
    if isinstance(function, dict) and set(function) == {"loc", "log_scale"}:
        own = ravel_pytree(function["loc"])[0].size
        return slice(0, own), slice(own, size)
    return slice(0, size), slice(0, size)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _gauss_newton(
    objective: Objective, joint: Joint, family: Family, params: Variational, x: Array, aux: Any
) -> tuple[Array, Array, Array]:
    """Return value, gradient and positive Gauss-Newton matrix, in the flat order of ``params``."""
    q, pull_back = jax.vjp(lambda p: _factors(joint, family, p, x), params)
    infer = family.infer
    assert infer is not None
    local = expand_objective(objective, joint, x, _as_mean_field(joint, q), aux)
    gradient = ravel_pytree(pull_back((local.grad, local.grad_shared))[0])[0]
    places = layout(joint, family, joint.num_obs(x))
    stride = -(-len(places.interior) // MAX_CURVATURE_ROWS) if objective.kind != "coupled" else 1
    rows, inputs = places.interior[::stride], window_inputs(x, places)[::stride]
    weight = len(places.interior) / len(rows)
    flat, restore = ravel_pytree(params["function"])
    jacobian = jax.vmap(jax.jacrev(lambda w, u: jnp.stack(infer(restore(w), u))), (None, 0))(flat, inputs)
    of_loc, of_log = _split(params["function"])
    j_loc, j_log = jacobian[:, 0, of_loc], jacobian[:, 1, of_log]
    edges, size, shared = 2 * len(places.edge), flat.size, local.grad_shared.size
    curvature = -local.blocks[:, :, rows] * weight
    matrix = jnp.zeros((edges + size + shared,) * 2)
    inner = jnp.zeros((size, size))
    inner = inner.at[of_loc, of_loc].add(j_loc.T @ (curvature[0, 0][:, None] * j_loc))
    inner = inner.at[of_log, of_log].add(j_log.T @ (curvature[1, 1][:, None] * j_log))
    mixed = j_loc.T @ (curvature[0, 1][:, None] * j_log)
    inner = inner.at[of_loc, of_log].add(mixed).at[of_log, of_loc].add(mixed.T)
    own = edges + np.arange(size)
    last = edges + size + np.arange(shared)
    matrix = matrix.at[np.ix_(own, own)].set(inner).at[np.ix_(last, last)].set(-local.hess_shared)
    cross = jnp.zeros((size, shared)).at[of_loc].add(-weight * j_loc.T @ local.border[0][:, rows].T)
    cross = cross.at[of_log].add(-weight * j_log.T @ local.border[1][:, rows].T)
    matrix = matrix.at[np.ix_(own, last)].set(cross).at[np.ix_(last, own)].set(cross.T)
    slots = np.arange(edges).reshape(2, -1)  # edge loc, then edge log scale
    for a in range(2):
        for b in range(2):
            matrix = matrix.at[slots[a], slots[b]].set(-local.blocks[a, b, places.edge])
        strip = -local.border[a][:, places.edge].T
        matrix = matrix.at[np.ix_(slots[a], last)].set(strip).at[np.ix_(last, slots[a])].set(strip.T)
    if objective.kind == "coupled":
        columns = jnp.zeros((len(matrix), joint.num_obs(x))).at[slots[0], places.edge].set(1.0)
        columns = columns.at[np.ix_(own, places.interior)].set(jacobian[:, 0].T)
        matrix = matrix + _coupled_curvature(joint, x, columns, last[::2])
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


def _coupled_curvature(joint: Joint, x: Array, columns: Array, shared: np.ndarray) -> Array:
    """Return V' Lambda V for the rows of V: (P, N) on the local latents, units at ``shared`` on the shared ones."""
    latents: Latents = {joint.local[0]: columns}
    for name, place in zip(joint.shared, shared, strict=True):
        latents[name] = jnp.zeros(len(columns)).at[place].set(1.0)
    zeros = jax.tree.map(lambda v: jnp.zeros_like(v[0]), latents)
    products = jax.lax.map(lambda v: hessian_product(joint, x, zeros, v), latents)
    flat = [(latents[n].reshape(len(columns), -1), products[n].reshape(len(columns), -1)) for n in latents]
    return -sum((left @ right.T for left, right in flat), jnp.zeros((len(columns),) * 2))


@partial(jax.jit, static_argnums=(0, 1, 2))
def _value(objective: Objective, joint: Joint, family: Family, params: Variational, x: Array, aux: Any) -> Array:
    return objective_value(objective, joint, x, mean_field(joint, family, params, x), aux)


def objective_value(objective: Objective, joint: Joint, x: Array, q: MeanField, aux: Any) -> Array:
    """Return an objective at q, in nats."""
    if objective.kind == "coupled":
        return quadratic_value(joint, x, q, aux)
    if objective.kind == "separable":
        return gauss_hermite(joint, x, q, objective.num_nodes, NUM_SHARED_NODES)
    return expand_objective(objective, joint, x, q, aux).value


@jax.jit
def _damped_step(matrix: Array, gradient: Array, damping: Array) -> tuple[Array, Array]:
    """Return the step of (A + damping diag A) step = gradient and the gain that the quadratic model predicts."""
    diagonal = jnp.diag(matrix)
    unit = 1 / jnp.sqrt(jnp.maximum(diagonal, 1e-8 * jnp.max(diagonal)))
    scaled = matrix * unit * unit[:, None] + damping * jnp.eye(len(matrix))
    step = unit * jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(scaled), gradient * unit)
    return step, step @ gradient - step @ matrix @ step / 2


class Ascent(NamedTuple):
    """Where an ascent ended: parameters, ELBO by step, and ``"converged"``, ``"max_steps"`` or ``"nonfinite"``."""

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
        Converged when three steps in a row gain less than this many nats per observation, or no step gains.
    ceiling
        An upper bound on the objective, such as the ELBO of the F-VI optimum; steps that gain less than
        ``GAP_FRACTION`` of the distance to it count as small too.
    free
        Flat indices (order: edge, function, shared) of the parameters that may move; all if None.
    report
        Called with the step and the value after each accepted step.
    """
    flat, restore = ravel_pytree(params)
    free = np.arange(flat.size) if free is None else free
    block = np.ix_(free, free)
    damping, small, num_obs = 1e-2, 0, joint.num_obs(x)
    value, gradient, matrix = _gauss_newton(objective, joint, family, params, x, aux)
    trace = [float(value)]
    for step_number in range(1, max_steps + 1):
        while damping < 1e10:
            step, predicted = _damped_step(matrix[block], gradient[free], jnp.asarray(damping))
            moved = restore(flat.at[free].add(step))
            reached = float(_value(objective, joint, family, moved, x, aux))
            if reached > trace[-1]:
                break
            damping *= 4
        else:
            return Ascent(params, np.array(trace), "converged" if np.isfinite(trace[-1]) else "nonfinite")
        ratio = (reached - trace[-1]) / max(float(predicted), 1e-300)
        damping = max(damping / 5, 1e-9) if ratio > 0.5 else damping if ratio > 0.1 else 2 * damping
        enough = max(tolerance * num_obs, GAP_FRACTION * (ceiling - reached))
        small = small + 1 if reached - trace[-1] < enough else 0
        params, flat = moved, ravel_pytree(moved)[0]
        trace.append(reached)
        report(step_number, reached)
        if small == 3:
            return Ascent(params, np.array(trace), "converged")
        _, gradient, matrix = _gauss_newton(objective, joint, family, params, x, aux)
    return Ascent(params, np.array(trace), "max_steps")
