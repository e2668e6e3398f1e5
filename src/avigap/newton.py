"""Newton steps on many 2 x 2 problems at once: the (loc, log scale) of every local factor."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def clipped_blocks(
    hess: Float[Array, "2 2 N"], scale: Float[Array, " N"], floor: float = 1e-2
) -> Float[Array, "2 2 N"]:
    """Return the blocks made negative definite: eigenvalues v, in units of scale, become -max(|v|, floor)."""
    a, b, d = hess[0, 0] * scale**2, hess[0, 1] * scale, hess[1, 1]
    mean, half = (a + d) / 2, (a - d) / 2
    radius = jnp.sqrt(half**2 + b**2)
    high, low = mean + radius, mean - radius
    high, low = -jnp.maximum(jnp.abs(high), floor), -jnp.maximum(jnp.abs(low), floor)
    centre, spread = (high + low) / 2, (high - low) / 2
    safe = jnp.where(radius > 0, radius, 1.0)
    cosine, sine = jnp.where(radius > 0, half / safe, 1.0), jnp.where(radius > 0, b / safe, 0.0)
    a, b, d = centre + spread * cosine, spread * sine, centre - spread * cosine
    return jnp.stack([jnp.stack([a / scale**2, b / scale]), jnp.stack([b / scale, d])])


def solve_blocks(blocks: Float[Array, "2 2 N"], right: Float[Array, "2 K N"]) -> Float[Array, "2 K N"]:
    """Solve the N systems of two equations, K right-hand sides each."""
    a, b, d = blocks[0, 0], blocks[0, 1], blocks[1, 1]
    determinant = a * d - b * b
    return jnp.stack([(d * right[0] - b * right[1]) / determinant, (a * right[1] - b * right[0]) / determinant])


def ascent_direction(hess: Float[Array, "D D"], grad: Float[Array, " D"], floor: float = 1e-8) -> Float[Array, " D"]:
    """Return the Newton step of a maximisation, with the eigenvalues of the Hessian made negative."""
    if not len(grad):
        return grad
    unit = 1 / jnp.sqrt(jnp.maximum(jnp.abs(jnp.diag(hess)), 1e-300))
    values, vectors = jnp.linalg.eigh(hess * unit * unit[:, None])
    return unit * (vectors @ ((vectors.T @ (grad * unit)) / jnp.maximum(jnp.abs(values), floor)))
