"""Exhaustive search over the (loc, scale) plane of every local factor, and over cells of q(theta).

Given q(theta), the ELBO of one observation is ``F(loc, scale) = E[h_n(z)] + log scale`` with
``h_n(z) = E_q(theta)[log p(z, x_n | theta)]``. All ``h_n`` are tabulated once on a uniform grid; a cell (loc, scale)
of the plane is a column of normal weights on that grid, so one matrix product evaluates every cell for every
observation. Scales run in half octaves from the step of the grid upwards and locs lie one scale apart, so that a
basin's best cell is within about 0.2 nat of its optimum; Newton's method refines the best cells of two basins.
"""

from functools import partial
from itertools import product
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from avigap.core import ENTROPY_OF_STANDARD_NORMAL, Joint, MeanField, log_rows
from avigap.newton import clipped_blocks, solve_blocks
from avigap.quadrature import tensor_rule
from avigap.separable import NUM_SHARED_NODES, expand_local, shared_arrays

NUM_BASINS = 2
NUM_STEPS = 3
NUM_POINTS = 256
MAX_POINTS = 2048
CHUNK = 256
NUM_BINS = 48


class Cells(NamedTuple):
    """The cells of the plane over a uniform grid of z, M in each of B bins of loc; the last of a bin may repeat."""

    grid: Float[np.ndarray, " Z"]
    weights: Float[np.ndarray, "Z BM"]
    loc: Float[np.ndarray, "B M"]
    scale: Float[np.ndarray, "B M"]


def make_cells(low: float, high: float, num_points: int) -> Cells:
    """Return the cells over [low, high], with the table of weights that evaluates them."""
    grid = np.linspace(low, high, num_points)
    step = grid[1] - grid[0]
    locs, scales = [], []
    stride = 1
    while stride * step < (high - low) / 6:
        for scale in (stride * step, 2**0.5 * stride * step):
            locs.append(grid[::stride])
            scales.append(np.full(len(locs[-1]), scale))
        stride *= 2
    loc, scale = np.concatenate(locs), np.concatenate(scales)
    order = np.argsort(loc, kind="stable")
    members = np.array_split(order, NUM_BINS)
    size = max(map(len, members))
    bins = np.array([np.pad(m, (0, size - len(m)), mode="edge") for m in members])
    weights = np.exp(-0.5 * ((grid[:, None] - loc[bins.ravel()]) / scale[bins.ravel()]) ** 2)
    return Cells(grid, weights / weights.sum(0), loc[bins], scale[bins])


@partial(jax.jit, static_argnums=0)
def _tabulate(joint: Joint, x: Array, q: MeanField, grid: Array) -> Float[Array, "Z N"]:
    """Return h_n on the grid: the rows of the log joint, averaged over q(theta)."""
    nodes, weights = tensor_rule(NUM_SHARED_NODES, len(joint.shared))
    loc, scale = shared_arrays(joint, q)
    theta, num_obs = loc + scale * nodes, joint.num_obs(x)

    def at(z: Array) -> Array:
        def row(t: Array) -> Array:
            return log_rows(joint, x, {**dict(zip(joint.shared, t, strict=True)), joint.local[0]: z})[0]

        return jnp.asarray(weights) @ jax.vmap(row)(theta)

    return jax.lax.map(lambda z: at(jnp.full(num_obs, z)), grid)


@jax.jit
def _best_of_chunk(table: Float[Array, "Z n"], cells: Cells) -> tuple[Array, Array, Array]:
    """Return value, loc and scale (n, 2) of the best cells; in float32 below the top, which decides no basin."""
    height = table.max(0)
    below = jnp.maximum(table - height, -1e30).astype(jnp.float32)
    averages = below.T @ jnp.asarray(cells.weights, jnp.float32)
    values = averages.reshape(-1, *cells.loc.shape) + jnp.log(jnp.asarray(cells.scale, jnp.float32))  # (n, B, M)
    best = values.max(-1)
    padded = jnp.pad(best, ((0, 0), (1, 1)), constant_values=-jnp.inf)
    peak = (best >= padded[:, :-2]) & (best > padded[:, 2:])
    top, index = jax.lax.top_k(jnp.where(peak, best, -jnp.inf), NUM_BASINS)
    index = jnp.where(jnp.isfinite(top), index, index[:, :1])
    cell = index, jnp.take_along_axis(values.argmax(-1), index, axis=1)
    return top + height[:, None], jnp.asarray(cells.loc)[cell], jnp.asarray(cells.scale)[cell]


def _best_cells(table: Float[Array, "Z N"], cells: Cells) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return value, loc and scale (N, 2) of the best cell in each of the best basins of every observation."""
    num_obs = table.shape[1]
    padded = np.pad(np.asarray(table), ((0, 0), (0, -num_obs % CHUNK)))
    chunks = [_best_of_chunk(padded[:, start : start + CHUNK], cells) for start in range(0, num_obs, CHUNK)]
    top, loc, scale = (np.concatenate([np.asarray(c[part]) for c in chunks])[:num_obs] for part in range(3))
    return top, loc, scale


@partial(jax.jit, static_argnums=0)
def _refine(joint: Joint, x: Array, q: MeanField, loc: Array, scale: Array) -> MeanField:
    """Run Newton's method from several starts (N, B) of every local factor, q(theta) fixed; keep the best of each."""
    site = joint.local[0]

    def expansion(loc: Array, scale: Array) -> tuple[Array, Array, Array]:
        return expand_local(joint, x, MeanField({**q.loc, site: loc}, {**q.scale, site: scale}))

    def step(_: int, state: tuple[Array, Array]) -> tuple[Array, Array]:
        loc, scale = state
        grad, hess = expansion(loc, scale)[1:]
        move = -solve_blocks(clipped_blocks(hess, scale), grad[:, None])[:, 0]
        length = 1 / jnp.maximum(1.0, jnp.hypot(move[0] / scale, move[1]) / 0.7)
        return loc + length * move[0], scale * jnp.exp(length * move[1])

    def climb(loc: Array, scale: Array) -> tuple[Array, Array, Array]:
        loc, scale = jax.lax.fori_loop(0, NUM_STEPS, step, (loc, scale))
        return expansion(loc, scale)[0], loc, scale

    rows, loc, scale = jax.vmap(climb)(loc.T, scale.T)
    best = jnp.argmax(jnp.where(jnp.isfinite(rows), rows, -jnp.inf), 0)[None]
    loc, scale = (jnp.take_along_axis(v, best, 0)[0] for v in (loc, scale))
    return MeanField({**q.loc, site: loc}, {**q.scale, site: scale})


def window(joint: Joint, x: Array, q: MeanField) -> tuple[float, float]:
    """Return the range of z in which some observation's ``h_n`` comes within 20 nats of its maximum."""
    unit = float(jnp.max(q.scale[joint.local[0]]))
    grid = unit * np.sinh(np.linspace(-9, 9, NUM_POINTS))
    table = np.asarray(_tabulate(joint, x, q, jnp.asarray(grid)))
    near = np.nonzero((table > np.nanmax(table, axis=0) - 20).any(1))[0]
    return float(grid[max(near[0] - 1, 0)]), float(grid[min(near[-1] + 1, len(grid) - 1)])


def best_local_factors(joint: Joint, x: Array, q: MeanField, num_points: int = NUM_POINTS) -> MeanField:
    """Return q with every local factor at the best of its basins, given the shared factors of q.

    The grid is refined until its step is below the smallest scale found.
    """
    site = joint.local[0]
    low, high = window(joint, x, q)
    while True:
        cells = make_cells(low, high, num_points)
        _, loc, scale = _best_cells(_tabulate(joint, x, q, cells.grid), cells)
        refined = _refine(joint, x, q, loc, scale)
        if np.asarray(refined.scale[site]).min() > (high - low) / num_points or num_points >= MAX_POINTS:
            return refined
        num_points *= 2


def outer_cells(joint: Joint, x: Array, q: MeanField, num_rows: int = 256) -> list[MeanField]:
    """Return q moved to the most promising cells of q(theta): three, or q itself where no latent is shared.

    The ELBO, maximised over the local factors cell by cell, is profiled on the first ``num_rows`` observations over a
    grid of locs whose unit is the distance that one observation can resolve.
    """
    if not joint.shared:
        return [q]
    num_obs, site = joint.num_obs(x), joint.local[0]
    num_rows = min(num_rows, num_obs)
    part = x[: joint.lead + num_rows]
    q_part = MeanField({**q.loc, site: q.loc[site][:num_rows]}, {**q.scale, site: q.scale[site][:num_rows]})
    cells = make_cells(*window(joint, x, q), NUM_POINTS)
    loc, scale = shared_arrays(joint, q)
    offsets = np.linspace(-2, 2, 17 if len(joint.shared) == 1 else 9)
    grid = np.array(list(product(offsets, repeat=len(joint.shared))))
    thetas = np.asarray(loc) + grid * np.asarray(scale) * num_obs**0.5

    def at(theta: np.ndarray) -> MeanField:
        return q._replace(loc={**q.loc, **dict(zip(joint.shared, theta, strict=True))})

    def profile(theta: np.ndarray) -> float:
        moved = q_part._replace(loc={**q_part.loc, **at(theta).loc, site: q_part.loc[site]})
        return float(_best_cells(_tabulate(joint, part, moved, cells.grid), cells)[0][:, 0].sum())

    values = np.array([profile(theta) for theta in thetas]).reshape((len(offsets),) * len(joint.shared))
    return [at(thetas[index]) for index in peaks_first(values)[:3]]


def peaks_first(values: Float[np.ndarray, "..."]) -> Int[np.ndarray, " n"]:
    """Return the flat indices of a grid's values: the local maxima, the highest first, then the rest, likewise."""
    padded = np.pad(values, 1, constant_values=-np.inf)
    neighbours = [np.roll(padded, shift, axis) for axis in range(padded.ndim) for shift in (-1, 1)]
    peaks = (padded >= np.max(neighbours, axis=0))[(slice(1, -1),) * padded.ndim]
    return np.lexsort((-values.reshape(-1), ~peaks.reshape(-1)))


@partial(jax.jit, static_argnums=0)
def trapezoid_value(joint: Joint, x: Array, q: MeanField) -> Float[Array, ""]:
    """Return the ELBO in nats by trapezoid rules over every normal: a second route beside Gauss-Hermite."""
    num_shared = len(joint.shared)
    u_local = np.linspace(-8.1, 8.1, 109)
    u_shared = np.linspace(-7.2, 7.2, 19)
    density = [np.exp(-0.5 * u**2) / np.exp(-0.5 * u**2).sum() for u in (u_local, u_shared)]
    nodes = np.array(list(product(u_shared, repeat=num_shared))).reshape(len(u_shared) ** num_shared, num_shared)
    weights = np.array([np.prod(w) for w in product(density[1], repeat=num_shared)])
    loc, scale = shared_arrays(joint, q)
    site = joint.local[0]

    def at(u: Array) -> Array:
        z = q.loc[site] + q.scale[site] * u

        def total(theta: Array) -> Array:
            rows, rest = log_rows(joint, x, {**dict(zip(joint.shared, theta, strict=True)), site: z})
            return rows.sum() + rest

        return jnp.asarray(weights) @ jax.vmap(total)(loc + scale * nodes)

    expected = jnp.asarray(density[0]) @ jax.lax.map(at, jnp.asarray(u_local))
    scales = jnp.concatenate([scale, q.scale[site]])
    return expected + jnp.sum(jnp.log(scales) + ENTROPY_OF_STANDARD_NORMAL)
