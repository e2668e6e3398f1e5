"""Log joints that are quadratic in all latents: exact ELBO, and the Hessian by products and probes, never formed."""

from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from avigap.core import Joint, Latents, MeanField, entropy, latent_shapes, log_joint

NUM_PROBED = 64
"""Observations on which the shape of a log joint is tried."""


def hessian_product(joint: Joint, x: Array, at: Latents, direction: Latents) -> Latents:
    """Return the Hessian of the log joint at ``at`` times ``direction``."""
    return jax.jvp(jax.grad(partial(log_joint, joint, x)), (at,), (direction,))[1]


def _log_joint_of_local(joint: Joint, x: Array, at: Latents, z: Array) -> Array:
    return log_joint(joint, x, {**at, joint.local[0]: z})


@lru_cache(maxsize=256)
def bandwidth(joint: Joint) -> int | None:
    """Return the bandwidth b of the Hessian among the local latents (0: no coupling), or None if it grows with N.

    Read off the dense Hessian at two small data sets drawn at random.
    """
    widths = []
    for num_obs in (8, 13):
        random = np.random.default_rng(num_obs)
        x = jnp.asarray(random.standard_normal((joint.lead + num_obs, *joint.row_shape)))
        shapes = latent_shapes(joint, num_obs)
        at = {site: jnp.asarray(0.5 * random.standard_normal(shape)) for site, shape in shapes.items()}
        dense = np.asarray(jax.jit(jax.hessian(partial(_log_joint_of_local, joint, x, at)))(at[joint.local[0]]))
        row, column = np.nonzero(np.abs(dense) > 1e-12 * np.abs(dense).max())
        widths.append(int(np.abs(row - column).max(initial=0)))
    return widths[0] if widths[0] == widths[1] else None


@partial(jax.jit, static_argnums=(0, 2))
def hessian_diagonal(joint: Joint, x: Array, width: int) -> Latents:
    """Return the diagonal of the Hessian at zero, from 2 ``width`` + 1 coloured probes and one per shared latent."""
    num_obs = joint.num_obs(x)
    zeros = {site: jnp.zeros(shape) for site, shape in latent_shapes(joint, num_obs).items()}
    diagonal = dict(zeros)
    for site in joint.shared:
        diagonal[site] = hessian_product(joint, x, zeros, {**zeros, site: jnp.ones(())})[site]
    site, period = joint.local[0], 2 * width + 1
    colours = jnp.arange(num_obs) % period

    def probe(total: Array, colour: Array) -> tuple[Array, None]:
        mask = (colours == colour).astype(zeros[site].dtype)
        return total + mask * hessian_product(joint, x, zeros, {**zeros, site: mask})[site], None

    diagonal[site] = jax.lax.scan(probe, zeros[site], jnp.arange(period))[0]
    return diagonal


@partial(jax.jit, static_argnums=0)
def quadratic_value(joint: Joint, x: Array, q: MeanField, diagonal: Latents) -> Float[Array, ""]:
    """Return the ELBO in nats: log p(loc) + 1/2 sum(diagonal scale^2) + entropy."""
    curvature = sum((jnp.sum(diagonal[s] * q.scale[s] ** 2) for s in q.scale), jnp.zeros(()))
    return log_joint(joint, x, q.loc) + curvature / 2 + entropy(q)


_gradient = jax.jit(jax.grad(log_joint, argnums=2), static_argnums=0)


def is_quadratic(joint: Joint, x: Array) -> bool:
    """Return whether the gradient of the log joint is affine in the latents, tried along two random directions."""
    num_obs = min(joint.num_obs(x), NUM_PROBED)
    shapes = latent_shapes(joint, num_obs)
    head = x[: joint.lead + num_obs]
    random = np.random.default_rng(0)
    for _ in range(2):
        step = {site: random.standard_normal(shape) for site, shape in shapes.items()}
        low, centre, high = (_gradient(joint, head, {s: t * v for s, v in step.items()}) for t in (0.0, 1.0, 2.0))
        for site in shapes:
            bend = np.asarray(low[site]) - 2 * np.asarray(centre[site]) + np.asarray(high[site])
            if np.max(np.abs(bend)) > 1e-8 * (1 + np.max(np.abs(centre[site]))):
                return False
    return True
