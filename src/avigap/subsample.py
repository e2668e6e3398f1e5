"""A few rows that stand for all: a systematic sample that keeps rare inputs."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int


def spread_probability(inputs: Float[Array, "n C"]) -> Float[Array, " n"]:
    """Return the probability of each row: half of it equal, half by squared distance from the mean input.

    Distances are in standard deviations of each input, so that rare inputs, if extreme, are drawn more often.
    """
    spread = jnp.std(inputs, axis=0)
    distance = jnp.sum(((inputs - inputs.mean(0)) / jnp.where(spread > 0, spread, 1.0)) ** 2, axis=1) + 1e-12
    return 0.5 / len(inputs) + 0.5 * distance / distance.sum()


@partial(jax.jit, static_argnums=1)
def draw_rows(inputs: Float[Array, "n C"], num_rows: int) -> tuple[Int[Array, " m"], Float[Array, " m"]]:
    """Return rows and weights with which a sum over the rows estimates the sum over all n.

    Systematic, with :func:`spread_probability`, so that the sample is decided by the data. All rows, with weight 1, if
    ``num_rows`` >= n.
    """
    size = len(inputs)
    if num_rows >= size:
        return jnp.arange(size), jnp.ones(size)
    probability = spread_probability(inputs)
    edges = jnp.cumsum(probability)
    rows = jnp.searchsorted(edges / edges[-1], (jnp.arange(num_rows) + 0.5) / num_rows)
    return rows, 1 / (num_rows * probability[rows])


def repeat_rows(size: int, num_rows: int, reach: int = 0) -> tuple[Int[Array, " m"], Float[Array, " m"]]:
    """Return ``num_rows`` rows, ``size`` ones in turn, and weights that leave any sum as it was.

    The first ``reach`` rows count once, with weight 0 where they are repeated: there they would follow the last row.

    Raises
    ------
    ValueError
        If ``num_rows`` is below ``size``: some rows would be left out.
    """
    if num_rows < size:
        raise ValueError(f"cannot repeat {size} rows to only {num_rows}")
    rows = np.arange(num_rows) % size
    counts = (rows >= reach) | (np.arange(num_rows) < size)
    return jnp.asarray(rows), jnp.asarray(counts / np.bincount(rows[counts])[rows])
