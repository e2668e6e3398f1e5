"""Exact A-VI optimum for inference functions that are linear in their parameters, where the log joint is quadratic.

With loc = D w the ELBO is a concave quadratic in w and splits off the scales: the optimum is weighted least squares,
``(D' Lambda D) w = D' eta``, with Lambda applied by Hessian-vector products, never formed.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from avigap.amortization import Layout, Variational, layout, mean_field, window_inputs
from avigap.core import Joint, Latents, MeanField, latent_shapes, log_joint
from avigap.families import Family
from avigap.quadratic import hessian_product

RANK_TOLERANCE = 1e-12


@partial(jax.jit, static_argnums=(0, 1))
def _normal_equations(joint: Joint, places: Layout, x: Array, basis: Array, fixed: Latents) -> tuple[Array, Array]:
    """Return D' Lambda D and D' (eta - Lambda fixed) for columns: ``basis`` (I, K), then unit vectors.

    The unit vectors are those of the edges, in order, and of the shared latents.
    """
    num_obs, site, edges = joint.num_obs(x), joint.local[0], len(places.edge)
    zeros = {name: jnp.zeros(shape) for name, shape in latent_shapes(joint, num_obs).items()}
    inner = places.join(basis.T, jnp.zeros((basis.shape[1], edges)))
    local = jnp.concatenate([inner, places.join(jnp.zeros((edges, len(basis))), jnp.eye(edges))])
    units = jnp.eye(len(joint.shared))
    columns = {site: jnp.concatenate([local, jnp.zeros((len(units), num_obs))])}
    for index, name in enumerate(joint.shared):
        columns[name] = jnp.concatenate([jnp.zeros(len(local)), units[index]])
    products = jax.lax.map(lambda v: hessian_product(joint, x, zeros, v), columns)
    gradient = jax.grad(partial(log_joint, joint, x))(fixed)
    size = len(local) + len(units)
    gram, right = jnp.zeros((size, size)), jnp.zeros(size)
    for name, column in columns.items():
        flat = column.reshape(size, -1)
        gram -= flat @ products[name].reshape(size, -1).T
        right += flat @ gradient[name].reshape(-1)
    return gram, right


@partial(jax.jit, static_argnums=(0, 1))
def _design(joint: Joint, family: Family, x: Array) -> Array:
    assert family.design is not None
    return family.design(window_inputs(x, layout(joint, family, joint.num_obs(x))))


def fit_affine(joint: Joint, family: Family, x: Array, diagonal: Latents) -> Variational:
    """Return the parameters of the best q of a family with a design matrix; exact up to rounding.

    Columns of the design that depend on the others, as when there are fewer positions than parameters, are resolved
    by the solution of least norm.

    Parameters
    ----------
    diagonal
        Diagonal of the Hessian of the log joint, from :func:`avigap.quadratic.hessian_diagonal`.
    """
    places = layout(joint, family, joint.num_obs(x))
    design = np.asarray(_design(joint, family, x))
    norms = np.linalg.norm(design, axis=0)
    norms[norms == 0] = 1.0
    orthogonal, triangular = np.linalg.qr(design / norms)
    left, singular, right = np.linalg.svd(triangular, full_matrices=False)
    left = orthogonal @ left
    keep = singular > RANK_TOLERANCE * singular[0] * max(design.shape)
    zeros = {name: jnp.zeros(shape) for name, shape in latent_shapes(joint, joint.num_obs(x)).items()}
    gram, target = _normal_equations(joint, places, x, jnp.asarray(left[:, keep]), zeros)
    solution = np.linalg.solve(np.asarray(gram), np.asarray(target))
    size = int(keep.sum())
    weights = (right[keep].T @ (solution[:size] / singular[keep])) / norms
    return _assemble(joint, diagonal, places, weights, solution[size:])


def _assemble(joint: Joint, diagonal: Latents, places: Layout, weights: np.ndarray, free: np.ndarray) -> Variational:
    """Return the parameters from the solved locs and the best scales: Lambda_ii^-1/2, of the mean where shared."""
    precision = {name: -np.asarray(value) for name, value in diagonal.items()}
    local, edge = precision[joint.local[0]], places.edge
    shared = {
        name: {"loc": jnp.asarray(loc), "log_scale": jnp.asarray(-0.5 * np.log(precision[name]))}
        for name, loc in zip(joint.shared, free[len(edge) :], strict=True)
    }
    return {
        "shared": shared,
        "edge": {"loc": jnp.asarray(free[: len(edge)]), "log_scale": jnp.asarray(-0.5 * np.log(local[edge]))},
        "function": {
            "loc": jnp.asarray(weights),
            "log_scale": jnp.asarray(-0.5 * np.log(local[places.interior].mean())),
        },
    }


def refit_free_factors(joint: Joint, family: Family, params: Variational, x: Array, diagonal: Latents) -> Variational:
    """Return ``params`` with the function kept and the edge and shared factors refitted to the data set ``x``."""
    q = mean_field(joint, family, params, x)
    places = layout(joint, family, joint.num_obs(x))
    site = joint.local[0]
    if not len(places.edge) and not joint.shared:
        return params
    inner = q.loc[site][places.interior]
    fixed = {name: jnp.zeros(()) for name in joint.shared}
    fixed[site] = places.join(inner, jnp.zeros(len(places.edge)))
    gram, target = _normal_equations(joint, places, x, jnp.zeros((len(inner), 0)), fixed)
    free = np.linalg.solve(np.asarray(gram), np.asarray(target))
    function = params["function"]
    fitted = _assemble(joint, diagonal, places, np.zeros(0), free)
    return {**fitted, "function": function}


@partial(jax.jit, static_argnums=0)
def quadratic_gap(joint: Joint, x: Array, best: MeanField, q: MeanField, diagonal: Latents) -> Array:
    """Return ELBO(best) - ELBO(q) in nats of a quadratic log joint, without cancellation.

    With d = loc - loc_best: 1/2 d' Lambda d - gradient(best)' d + sum(1/2 (r - 1) - 1/2 log r) at the optimum's scales,
    r the ratio of the variances.
    """
    step = jax.tree.map(jnp.subtract, q.loc, best.loc)
    bend = hessian_product(joint, x, best.loc, step)
    slope = jax.grad(partial(log_joint, joint, x))(best.loc)
    total = jnp.zeros(())
    for name in q.loc:
        total -= jnp.sum(bend[name] * step[name]) / 2 + jnp.sum(slope[name] * step[name])
        change = (q.scale[name] - best.scale[name]) * (q.scale[name] + best.scale[name])
        ratio = q.scale[name] / best.scale[name]
        log_ratio = jnp.where(ratio < 0.5, jnp.log(ratio), jnp.log1p(change / best.scale[name] ** 2) / 2)
        total -= jnp.sum(diagonal[name] * change / 2 + log_ratio)
    return total
