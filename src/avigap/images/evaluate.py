"""What runs have reached: ELBO by many draws in float64, and free factors refined with the decoder held.

With q(theta) held, the ELBO of the best free factors of the images less that of the encoder's is the amortization gap
of this decoder, on the images it was trained with or on unseen ones.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from avigap.images.inference import Inference
from avigap.images.objective import Decoder, Params, elbo_rows, kl_theta
from avigap.images.steps import CHUNK, factors, mean_squared_error

DRAWS = 32
"""Of the final ELBO of each image."""

REFINE_RATE, REFINE_DRAWS = 0.25, 32
"""First rate of a refinement, which falls to 0 with the last step, and draws of each step."""


class Measured(NamedTuple):
    """Terms of the ELBO of R runs, in nats.

    Attributes
    ----------
    rows : (R, draws, N) estimates of each image's term, from independent draws
    kl_theta : (R,) which the sum over images lacks
    """

    rows: np.ndarray
    kl_theta: np.ndarray

    def elbo(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the ELBO of each run, and the standard error of the draws."""
        totals = self.rows.sum(-1)
        return totals.mean(1) - self.kl_theta, totals.std(1, ddof=1) / totals.shape[1] ** 0.5


def free_factors(inference: Inference, params: Params, x: Array) -> tuple[Array, Array]:
    """Return loc and log scale (R, N, D) of the factors of images in float64, for parameters (R, ..)."""
    local = jax.tree.map(jnp.float64, params["local"])
    loc, log_scale = jax.vmap(lambda own: _broadcast(factors(inference, own, x), len(x)))(local)
    return loc, log_scale


def free_start(inference: Inference, params: Params, x: Array) -> Params:
    """Return parameters (R, ..) of F-VI at which runs of another method ended, in float32."""
    loc, log_scale = (jnp.float32(part) for part in free_factors(inference, params, x))
    return {"theta": jax.tree.map(jnp.asarray, params["theta"]), "local": {"loc": loc, "log_scale": log_scale}}


def _broadcast(both: tuple[Array, Array], number: int) -> list[Array]:
    return [jnp.broadcast_to(part, (number, part.shape[-1])) for part in both]


@partial(jax.jit, static_argnums=0)
def _rows(
    decoder: Decoder, theta: Params, local: Float[Array, "2 n D"], x: Float[Array, "n pixels"], keys: PRNGKeyArray
) -> Float[Array, "draws n"]:
    return jax.lax.map(lambda key: elbo_rows(key, decoder, theta, local[0], local[1], x), keys)


def _chunks(number: int) -> list[tuple[slice, int]]:
    """Return the parts in which images are taken, and how many each lacks: all are padded to one size, one program."""
    starts = range(0, number, CHUNK)
    return [(slice(first, first + CHUNK), max(first + CHUNK - number, 0)) for first in starts]


def _part(values: Array, part: slice, room: int, axis: int) -> Array:
    own = values[(slice(None),) * axis + (part,)]
    return jnp.pad(own, [(0, room if dim == axis else 0) for dim in range(own.ndim)])


def measure(
    decoder: Decoder, theta: Params, loc: Any, log_scale: Any, x: Any, key: PRNGKeyArray, draws: int = DRAWS
) -> Measured:
    """Return the terms of the ELBO of R runs, q(theta) and factors with a leading axis of R, in float64.

    Draws depend on ``key`` alone: differences between factors of the same images have less noise than either.
    """
    theta, images = jax.tree.map(jnp.float64, theta), jnp.asarray(x, float)
    local = jnp.stack([jnp.float64(loc), jnp.float64(log_scale)], axis=1)

    def of_run(run: int) -> np.ndarray:
        own, rows = jax.tree.map(lambda leaf: leaf[run], theta), []
        for part, room in _chunks(len(images)):
            keys = jax.random.split(jax.random.fold_in(key, part.start), draws)
            some, seen = _part(local[run], part, room, 1), _part(images, part, room, 0)
            rows.append(np.asarray(_rows(decoder, own, some, seen, keys))[:, : CHUNK - room])
        return np.concatenate(rows, axis=1)

    kl = jax.vmap(lambda own: kl_theta(decoder, own))(theta)
    return Measured(np.stack([of_run(run) for run in range(len(local))]), np.asarray(kl))


def errors(decoder: Decoder, theta: Params, loc: Array, x: Array) -> np.ndarray:
    """Return the squared error per pixel (R,) of the images decoded from the means of q."""
    return np.asarray(jax.vmap(lambda own, centre: mean_squared_error(decoder, own, centre, x))(theta, loc))


@partial(jax.jit, static_argnums=0)
@partial(jax.vmap, in_axes=(None, 0, 0, None, None, None))
def _refine(
    decoder: Decoder, theta: Params, local: Float[Array, "2 n D"], x: Array, key: PRNGKeyArray, steps: Int[Array, ""]
) -> Float[Array, "2 n D"]:
    """Return factors after so many steps, at rates that fall to 0 with the last."""

    def value(local: Array, keys: PRNGKeyArray) -> Array:
        rows = jax.vmap(lambda one: elbo_rows(one, decoder, theta, local[0], local[1], x))(keys)
        return jnp.sum(rows.mean(0))

    def step(index: Array, local: Array) -> Array:
        slope = jax.grad(value)(local, jax.random.split(jax.random.fold_in(key, index), REFINE_DRAWS))
        scale, rate = jnp.exp(local[1]), REFINE_RATE * (1 - index / steps).astype(local.dtype)
        move = jnp.clip(rate * scale**2 * slope[0], -scale, scale), jnp.clip(rate * slope[1] / 2, -1, 1)
        return local + jnp.stack(move)

    refined: Array = jax.lax.fori_loop(0, steps, step, local)
    return refined


def refine(
    decoder: Decoder,
    looks: Sequence[int],
    theta: Params,
    start: Float[Array, "R 2 N D"],
    x: Float[np.ndarray, "N pixels"],
    key: PRNGKeyArray,
) -> Float[np.ndarray, "looks R 2 N D"]:
    """Ascend the ELBO in the free factors of all images with q(theta) held; return where each number of steps leads.

    A step goes along the natural gradient of a mean of draws: scale^2 times the gradient in loc, half of that in log
    scale. It would reach the optimum at once where the rate is 1 and the ELBO quadratic; no loc moves by more than its
    scale. The rate falls to 0 with the last step, so that each number of steps is an ascent of its own.

    Parameters
    ----------
    looks
        Numbers of steps; after 0 steps the factors are those of the start.
    theta, start
        Of R runs: q(theta), and loc and log scale of the factors.
    """
    own, images, ends = jax.tree.map(jnp.float32, theta), jnp.asarray(x, jnp.float32), []
    for part, room in _chunks(len(images)):
        local, seen = _part(jnp.float32(start), part, room, 2), _part(images, part, room, 0)
        here = jax.random.fold_in(key, part.start)
        path = [_refine(decoder, own, local, seen, here, jnp.array(steps)) for steps in looks]
        ends.append(np.stack([np.asarray(each)[:, :, : CHUNK - room] for each in path]))
    return np.concatenate(ends, axis=3)
