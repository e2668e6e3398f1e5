"""The curvature of a function's outputs, carried to its parameters by the Jacobian: Gauss-Newton matrices."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from avigap.core import Joint, Latents
from avigap.families import Family, Params
from avigap.quadratic import hessian_product


class FunctionCurvature(NamedTuple):
    """Jacobian of loc and log scale (m, 2, P) in the function's flat parameters, and the matrix they carry (P, P)."""

    jacobian: Array
    matrix: Array


def _split(function: Params) -> tuple[slice, slice]:
    """Return the flat parameters that loc and log scale see: disjoint where the function keeps them apart."""
    size = ravel_pytree(function)[0].size
    if isinstance(function, dict) and set(function) == {"loc", "log_scale"}:
        own = ravel_pytree(function["loc"])[0].size
        return slice(0, own), slice(own, size)
    return slice(0, size), slice(0, size)


def function_curvature(
    family: Family, function: Params, inputs: Float[Array, "m C"], curvature: Float[Array, "2 2 m"]
) -> FunctionCurvature:
    """Return the sum over rows of J' curvature J, J the Jacobian of (loc, log scale) in the function's parameters.

    In float32, twice as fast: the matrix decides how fast an ascent climbs, not where it ends.
    """
    infer = family.infer
    assert infer is not None
    flat, restore = ravel_pytree(jax.tree.map(jnp.float32, function))
    inputs, curvature = jnp.float32(inputs), jnp.float32(curvature)
    jacobian = jax.vmap(jax.jacrev(lambda w, u: jnp.stack(infer(restore(w), u))), (None, 0))(flat, inputs)
    of_loc, of_log = _split(function)
    j_loc, j_log = jacobian[:, 0, of_loc], jacobian[:, 1, of_log]
    matrix = jnp.zeros((flat.size, flat.size), jnp.float32)
    matrix = matrix.at[of_loc, of_loc].add(j_loc.T @ (curvature[0, 0][:, None] * j_loc))
    matrix = matrix.at[of_log, of_log].add(j_log.T @ (curvature[1, 1][:, None] * j_log))
    mixed = j_loc.T @ (curvature[0, 1][:, None] * j_log)
    matrix = matrix.at[of_loc, of_log].add(mixed).at[of_log, of_loc].add(mixed.T)
    return FunctionCurvature(jacobian.astype(float), matrix.astype(float))


def coupled_curvature(joint: Joint, x: Array, columns: Array, shared: np.ndarray) -> Array:
    """Return V' Lambda V for the rows of V: (P, N) on the local latents, units at ``shared`` on the shared ones."""
    latents: Latents = {joint.local[0]: columns}
    for name, place in zip(joint.shared, shared, strict=True):
        latents[name] = jnp.zeros(len(columns)).at[place].set(1.0)
    zeros = jax.tree.map(lambda v: jnp.zeros_like(v[0]), latents)
    products = jax.lax.map(lambda v: hessian_product(joint, x, zeros, v), latents)
    flat = [(latents[n].reshape(len(columns), -1), products[n].reshape(len(columns), -1)) for n in latents]
    return -sum((left @ right.T for left, right in flat), jnp.zeros((len(columns),) * 2))
