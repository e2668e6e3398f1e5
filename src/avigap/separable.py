"""Log joints that, given the shared latents, are a sum over n of functions of one scalar z_n.

The k-th node of every z_n's rule is put into all z_n at once, so that J x K evaluations of the joint give the ELBO of
every observation, its gradient and its Hessian (Stein's identities, :mod:`avigap.quadrature`).
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from avigap.core import ENTROPY_OF_STANDARD_NORMAL, Joint, MeanField, log_rows
from avigap.quadrature import SteinTable, stein_table

NUM_NODES = 32
NUM_SHARED_NODES = 3
NUM_PROBED = 64
"""Observations on which the shape of a log joint is tried."""

MAX_UNROLLED = 9
"""Nodes of the shared latents whose terms are added in one loop over the observations."""

BLOCK = 160_000
"""Values of the log joint of single observations that are held in memory together."""


class Expansion(NamedTuple):
    """Second-order expansion of the ELBO in the parameters of q, row by row.

    The D = 2 (S + 1) parameters of a row are loc and log scale of each of the S shared latents, then of z_n.

    Attributes
    ----------
    rows : (N,) contributions of the observations, entropy of z_n included
    grad : (D, N) their gradient
    hess : (D, D, N) their Hessian
    rest, rest_grad, rest_hess : (), (2S,), (2S, 2S) the terms of the shared latents alone, with their entropy
    """

    rows: Array
    grad: Array
    hess: Array
    rest: Array
    rest_grad: Array
    rest_hess: Array

    @property
    def value(self) -> Array:
        """The ELBO in nats."""
        return self.rows.sum() + self.rest


def shared_arrays(joint: Joint, q: MeanField) -> tuple[Float[Array, " S"], Float[Array, " S"]]:
    """Return loc and scale of the shared factors as vectors, in the joint's order."""
    empty = jnp.zeros((0,))
    loc = jnp.stack([q.loc[s] for s in joint.shared]) if joint.shared else empty
    scale = jnp.stack([q.scale[s] for s in joint.shared]) if joint.shared else empty
    return loc, scale


def _moments(joint: Joint, x: Array, q: MeanField, table: SteinTable, which: np.ndarray) -> tuple[Array, Array]:
    """Return the functionals ``which`` of the table, of the rows (F, N) and of the rest (F,), scales divided out."""
    site, num_obs = joint.local[0], joint.num_obs(x)
    loc, scale = shared_arrays(joint, q)
    theta = loc + scale * table.shared_nodes
    weights_shared, weights_local = jnp.asarray(table.shared[which]), jnp.asarray(table.local[which])
    one_by_one = len(theta) <= MAX_UNROLLED and bool((table.shared[which] == table.shared[which[0]]).all())
    block = max(1, min(len(table.local_nodes), BLOCK // max(1, num_obs)))
    padding = -len(table.local_nodes) % block
    nodes = jnp.pad(jnp.asarray(table.local_nodes), (0, padding)).reshape(-1, block)
    columns = jnp.pad(weights_local, ((0, 0), (0, padding))).reshape(len(which), -1, block).swapaxes(0, 1)

    def terms(theta: Array, z: Array) -> tuple[Array, Array]:
        return log_rows(joint, x, {**dict(zip(joint.shared, theta, strict=True)), site: z})

    @jax.jit
    def at(theta: Array, z: Float[Array, "b N"]) -> Float[Array, "b N"]:
        return jax.vmap(lambda zk: terms(theta, zk)[0])(z)

    def add(total: Array, inputs: tuple[Array, Array]) -> tuple[Array, None]:
        z = q.loc[site] + q.scale[site] * inputs[0][:, None]
        if one_by_one:  # one pass over the block: what does not depend on theta is computed once
            return total + inputs[1] @ sum(w * at(t, z) for w, t in zip(weights_shared[0], theta, strict=True)), None
        values = jax.vmap(at, (0, None))(theta, z)  # (J, block, N)
        weights = weights_shared[:, :, None] * inputs[1][:, None, :]  # (F, J, block)
        return total + jnp.einsum("fjb,jbn->fn", weights, values), None

    rows, _ = jax.lax.scan(add, jnp.zeros((len(which), num_obs)), (nodes, columns))
    rest = jax.vmap(lambda t: terms(t, q.loc[site])[1])(theta)
    orders = table.orders[which]
    powers = jnp.prod(scale ** -orders[:, :-1], axis=1)
    rest = powers * ((weights_shared * weights_local.sum(-1, keepdims=True)) @ rest)
    return rows * powers[:, None] * q.scale[site] ** -orders[:, -1:], rest


@partial(jax.jit, static_argnums=(0, 3, 4))
def gauss_hermite_rows(
    joint: Joint, x: Array, q: MeanField, num_nodes: int = NUM_NODES, num_shared_nodes: int = NUM_SHARED_NODES
) -> tuple[Float[Array, " N"], Float[Array, ""]]:
    """Return the ELBO of each observation and that of the shared latents alone; they sum to the ELBO in nats."""
    table = stein_table(num_nodes, num_shared_nodes, len(joint.shared))
    rows, rest = _moments(joint, x, q, table, np.arange(1))
    scale = shared_arrays(joint, q)[1]
    return (
        rows[0] + jnp.log(q.scale[joint.local[0]]) + ENTROPY_OF_STANDARD_NORMAL,
        rest[0] + jnp.sum(jnp.log(scale) + ENTROPY_OF_STANDARD_NORMAL),
    )


@partial(jax.jit, static_argnums=(0, 3, 4))
def expand(
    joint: Joint, x: Array, q: MeanField, num_nodes: int = NUM_NODES, num_shared_nodes: int = NUM_SHARED_NODES
) -> Expansion:
    """Return value, gradient and Hessian of the ELBO by the same evaluations as :func:`gauss_hermite`."""
    num_shared = len(joint.shared)
    table = stein_table(num_nodes, num_shared_nodes, num_shared)
    rows, rest = _moments(joint, x, q, table, np.arange(len(table.local)))
    shared_scale, scale = shared_arrays(joint, q)[1], q.scale[joint.local[0]]
    dimension, shared = 2 * (num_shared + 1), 2 * num_shared
    is_log = jnp.arange(dimension) % 2
    first, second = (jnp.array(index) for index in zip(*table.pairs, strict=True))

    def square(entries: Array) -> Array:
        matrix = jnp.zeros((dimension, dimension, *entries.shape[1:]))
        return matrix.at[first, second].set(entries).at[second, first].set(entries)

    grad = rows[1 : dimension + 1].at[-1].add(1.0)
    return Expansion(
        rows=rows[0] + jnp.log(scale) + ENTROPY_OF_STANDARD_NORMAL,
        grad=grad,
        hess=square(rows[dimension + 1 :]),
        rest=rest[0] + jnp.sum(jnp.log(shared_scale) + ENTROPY_OF_STANDARD_NORMAL),
        rest_grad=(rest[1 : dimension + 1] + is_log)[:shared],
        rest_hess=square(rest[dimension + 1 :])[:shared, :shared],
    )


@partial(jax.jit, static_argnums=0)
def expand_local(joint: Joint, x: Array, q: MeanField) -> tuple[Array, Array, Array]:
    """Return value (N,), gradient (2, N) and Hessian (2, 2, N) of each row's ELBO in loc and log scale of z_n alone."""
    table = stein_table(NUM_NODES, NUM_SHARED_NODES, len(joint.shared))
    loc, log_scale = 2 * len(joint.shared), 2 * len(joint.shared) + 1
    which = [0, 1 + loc, 1 + log_scale, *(2 + log_scale + table.pairs.index(p) for p in _pairs(loc, log_scale))]
    rows, _ = _moments(joint, x, q, table, np.array(which))
    value = rows[0] + jnp.log(q.scale[joint.local[0]]) + ENTROPY_OF_STANDARD_NORMAL
    hess = jnp.stack([jnp.stack([rows[3], rows[4]]), jnp.stack([rows[4], rows[5]])])
    return value, jnp.stack([rows[1], rows[2] + 1.0]), hess


def _pairs(loc: int, log_scale: int) -> list[tuple[int, int]]:
    return [(loc, loc), (loc, log_scale), (log_scale, log_scale)]


_rows = jax.jit(log_rows, static_argnums=0)


def is_separable(joint: Joint, x: Array) -> bool:
    """Return whether, given the shared latents, row n of the log joint depends on z_n alone, tried at random points."""
    num_obs, site = min(joint.num_obs(x), NUM_PROBED), joint.local[0]
    head = x[: joint.lead + num_obs]
    random = np.random.default_rng(0)
    for _ in range(2):
        theta = dict(zip(joint.shared, random.standard_normal(len(joint.shared)), strict=True))
        z, mask = random.standard_normal(num_obs), random.random(num_obs) < 0.5
        rows, rest = _rows(joint, head, {**theta, site: z})
        moved, rest_moved = _rows(joint, head, {**theta, site: np.where(mask, z + 1.0, z)})
        if float(rest) != float(rest_moved) or not np.all(mask | (np.asarray(rows) == np.asarray(moved))):
            return False
    return True
