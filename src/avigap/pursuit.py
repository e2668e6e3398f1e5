"""Features for given targets: where the targets jump, and which features out of many come closest to them.

The latter by orthogonal matching pursuit, with linear functions of the features.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

NEGLIGIBLE = 1e-6
"""A feature that keeps less than this part of its square beside the chosen ones is a combination of them."""

ROUNDING = 1e-8
"""A feature smaller than this part of others may be rounding, as that of a unit whose kink is on an observation."""


@partial(jax.jit, static_argnums=3)
def rises(
    inputs: Float[Array, "m C"], targets: Float[Array, "o m"], weights: Float[Array, "o m"], number: int
) -> tuple[Float[Array, "C number"], Float[Array, " number"]]:
    """Return slopes and offsets of the ramps ``clip(inputs @ slope + offset, 0, 1)`` where targets rise most steeply.

    A ramp goes from one row to another: the two of largest weighted squared difference by squared distance, of which
    the earlier ramps' part is taken off. The steepest comes first. Takes m^2 memory.
    """
    spread = jnp.std(inputs, axis=0)
    unit = jnp.where(spread > 1e-12, spread, 1.0)
    places = inputs / unit
    apart = jnp.sum((places[:, None] - places) ** 2, axis=-1)
    pairs = weights[:, :, None] * weights[:, None] / jnp.maximum(weights[:, :, None] + weights[:, None], 1e-300)
    pairs = pairs / jnp.where(apart > 1e-16, apart, jnp.inf)

    def pick(left: Array, _: None) -> tuple[Array, tuple[Array, Array]]:
        steepness = jnp.sum((left[:, :, None] - left[:, None]) ** 2 * pairs, axis=0)
        low, high = jnp.unravel_index(jnp.argmax(steepness), steepness.shape)
        slope = (places[high] - places[low]) / jnp.where(apart[low, high] > 0, apart[low, high], 1.0)
        ramp = jnp.clip((places - places[low]) @ slope, 0.0, 1.0)
        return left - (left[:, high] - left[:, low])[:, None] * ramp, (slope / unit, -places[low] @ slope)

    slopes, offsets = jax.lax.scan(pick, targets, None, length=number)[1]
    return slopes.T, offsets


@partial(jax.jit, static_argnums=3)
def choose(
    features: Float[Array, "m n"],
    targets: Float[Array, "o m"],
    weights: Float[Array, "o m"],
    number: int,
    given: Int[Array, ""] | int = 0,
) -> Int[Array, " number"]:
    """Return the features chosen one by one, each for what it takes off the weighted squared errors of all targets.

    Every target has linear coefficients of its own and a constant. The first ``given`` features come first, whatever
    they take off.
    """
    root = jnp.sqrt(weights)[:, :, None]
    constant = root / jnp.linalg.norm(root, axis=1, keepdims=True)

    def without(unit: Float[Array, "o m 1"], columns: Float[Array, "o m k"]) -> Float[Array, "o m k"]:
        return columns - unit * jnp.sum(unit * columns, axis=1, keepdims=True)

    columns, error = without(constant, features * root), without(constant, targets[:, :, None] * root)
    size = jnp.sum(columns**2, axis=1)
    size = jnp.maximum(size, ROUNDING * jnp.max(size, axis=1, keepdims=True))

    def pick(state: tuple[Array, Array], step: Array) -> tuple[tuple[Array, Array], Array]:
        columns, error = state
        left = jnp.sum(columns**2, axis=1)
        is_new = left > NEGLIGIBLE * size
        gains = jnp.sum(columns * error, axis=1) ** 2 / jnp.where(is_new, left, 1.0)
        best = jnp.where(step < given, step, jnp.argmax(jnp.sum(jnp.where(is_new, gains, 0.0), axis=0)))
        unit = columns[:, :, best] / jnp.sqrt(jnp.maximum(left[:, best], 1e-300))[:, None]
        return (without(unit[:, :, None], columns), without(unit[:, :, None], error)), best

    return jax.lax.scan(pick, (columns, error), jnp.arange(number))[1]


def solve(
    features: Float[Array, "m n"], targets: Float[Array, "o m"], weights: Float[Array, "o m"]
) -> Float[Array, "n+1 o"]:
    """Return the coefficients of the features and, last, the constant, by weighted least squares for each target."""
    design = jnp.concatenate([features, jnp.ones((len(features), 1))], axis=1)
    scale = jnp.sqrt(jnp.mean(design**2, axis=0))
    scale = jnp.maximum(scale, ROUNDING * jnp.max(scale))

    def one(target: Float[Array, " m"], weight: Float[Array, " m"]) -> Float[Array, " n+1"]:
        root = jnp.sqrt(weight)
        return jnp.linalg.lstsq(design / scale * root[:, None], target * root, rcond=1e-7)[0] / scale

    return jnp.stack([one(*each) for each in zip(targets, weights, strict=True)], axis=1)
