"""Newton's method on all factors of q at once, where the log joint is a sum over observations given the shared latents.

The Hessian is an arrow: 2 x 2 blocks of loc and log scale of every z_n, bordered by the shared latents.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from avigap.core import Fit, Joint, MeanField
from avigap.newton import ascent_direction, clipped_blocks, solve_blocks
from avigap.separable import Expansion, expand

TOLERANCE = 1e-8
"""Largest stationarity residual, in nats, at which an optimum counts as converged."""

SHARED_REACH = 0.25
"""A step of a shared latent's loc, at most, in units of its scale times sqrt(N), which one observation resolves.

As far as the cells of q(theta) lie apart (:func:`avigap.search.outer_cells`)."""


def residual_status(elbo: float, residual: float) -> str:
    """Return the status of a point with this ELBO and stationarity residual, in nats."""
    if not np.isfinite(elbo) or not np.isfinite(residual):
        return "nonfinite"
    return "converged" if residual <= TOLERANCE else "max_steps"


@partial(jax.jit, static_argnums=0)
def _newton_step(joint: Joint, x: Array, q: MeanField) -> tuple[Expansion, MeanField, Array]:
    """Return the expansion at q, the Newton step in loc and log scale of all factors, and the residual.

    The Hessian is an arrow: 2 x 2 blocks of z_n, bordered by the shared latents; the blocks are eliminated first.
    """
    site, shared = joint.local[0], 2 * len(joint.shared)
    e = expand(joint, x, q)
    grad_shared = e.grad[:shared].sum(-1) + e.rest_grad
    hess_shared = e.hess[:shared, :shared].sum(-1) + e.rest_hess
    blocks = clipped_blocks(e.hess[shared:, shared:], q.scale[site])
    border = e.hess[shared:, :shared]
    inner = solve_blocks(blocks, e.grad[shared:, None])[:, 0]
    inner_border = solve_blocks(blocks, border)
    schur = hess_shared - jnp.einsum("ian,ibn->ab", border, inner_border)
    reduced = grad_shared - jnp.einsum("ian,in->a", border, inner)
    step_shared = ascent_direction(schur, reduced)
    step_local = -inner - jnp.einsum("ian,a->in", inner_border, step_shared)
    loc = {s: step_shared[2 * i] for i, s in enumerate(joint.shared)} | {site: step_local[0]}
    log_scale = {s: step_shared[2 * i + 1] for i, s in enumerate(joint.shared)} | {site: step_local[1]}
    scales = jnp.stack([q.scale[s] for s in joint.shared]) if shared else jnp.zeros(0)
    units = jnp.stack([scales, jnp.ones_like(scales)], 1).reshape(-1)
    residual = jnp.maximum(
        jnp.max(jnp.abs(grad_shared * units), initial=0.0),
        jnp.max(jnp.abs(e.grad[shared:] * jnp.stack([q.scale[site], jnp.ones_like(q.scale[site])]))),
    )
    return e, MeanField(loc, log_scale), residual


@partial(jax.jit, static_argnums=0)
def _move(joint: Joint, q: MeanField, step: MeanField, length: Array) -> MeanField:
    """Move every factor along its step: log scale by at most 0.5, loc by at most two scales.

    loc of a shared latent may move further, by up to ``SHARED_REACH`` of what one observation can resolve.
    """
    reach = {site: max(2.0, SHARED_REACH * q.loc[joint.local[0]].size ** 0.5) for site in joint.shared}

    def factor(site: str) -> Array:
        size = jnp.abs(step.loc[site]) / (reach.get(site, 2.0) * q.scale[site])
        return length / jnp.maximum(1.0, jnp.maximum(size, jnp.abs(step.scale[site]) * 2))

    factors = {site: factor(site) for site in q.loc}
    return MeanField(
        {site: q.loc[site] + factors[site] * step.loc[site] for site in q.loc},
        {site: q.scale[site] * jnp.exp(factors[site] * step.scale[site]) for site in q.loc},
    )


def newton(joint: Joint, x: Array, q: MeanField, max_steps: int = 60) -> Fit:
    """Ascend the ELBO of all factors together from ``q``, a local method; a step is shortened until it climbs.

    Parameters
    ----------
    x : (lead + N,) data
    q : one scalar factor for each shared latent, N for the local one
    max_steps
        Steps after which the status is ``max_steps`` unless the residual is below ``TOLERANCE``.
    """
    expansion, step, residual = _newton_step(joint, x, q)
    trace = [float(expansion.value)]
    for _ in range(max_steps):
        if float(residual) <= TOLERANCE * 1e-3 or not np.isfinite(trace[-1]):
            break
        length = 1.0
        while length > 1e-4:
            moved = _move(joint, q, step, jnp.asarray(length))
            candidate = _newton_step(joint, x, moved)
            if float(candidate[0].value) >= trace[-1] - 1e-9 * abs(trace[-1]):
                break
            length /= 4
        else:
            break
        q, (expansion, step, residual) = moved, candidate
        trace.append(float(expansion.value))
        if len(trace) > 3 and float(residual) <= TOLERANCE and abs(trace[-1] - trace[-2]) <= 1e-13 * abs(trace[-1]):
            break
    return Fit(q, trace[-1], np.array(trace), residual_status(trace[-1], float(residual)), float(residual))


def plain_start(joint: Joint, x: Array) -> MeanField:
    """Return the start that knows nothing: loc 0, scale 1 for the local factors and N^-1/2 for the shared ones."""
    num_obs = joint.num_obs(x)
    shared = {site: jnp.zeros(()) for site in joint.shared}
    local = {joint.local[0]: jnp.zeros(num_obs)}
    scale = {site: jnp.ones(()) * num_obs**-0.5 for site in joint.shared} | {joint.local[0]: jnp.ones(num_obs)}
    return MeanField(shared | local, scale)
