"""Estimators of the ELBO of a mean-field q, in nats, always to be maximised.

Each takes a joint, a data set and a :class:`~avigap.core.MeanField` and never knows the family behind it:

- :func:`quadratic` is exact where the log joint is a quadratic function of all latents;
- :func:`gauss_hermite` is exact to rounding where z_n is scalar and, given the shared latents, the log joint is a sum
  over n of functions of z_n;
- :func:`monte_carlo` is NumPyro's own ``Trace_ELBO`` and applies everywhere, with a standard error.

:func:`supports` says whether one applies, and if not why, in a sentence.
"""

from functools import lru_cache, partial
from math import e, log, pi
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from numpyro.infer import Trace_ELBO

from avigap.core import Joint, Latents, MeanField, latent_shapes, log_joint, log_rows
from avigap.errors import InputError, unknown
from avigap.guide import mean_field_guide
from avigap.quadrature import SteinTable, stein_table

ENTROPY_OF_STANDARD_NORMAL = 0.5 * log(2 * pi * e)
NUM_NODES = 32
NUM_SHARED_NODES = 3
MAX_SHARED = 2
NUM_PROBED = 64


class Support(NamedTuple):
    """Whether an estimator applies, with the reason in a sentence."""

    ok: bool
    reason: str


def entropy(q: MeanField) -> Float[Array, ""]:
    """Return the entropy of q in nats."""
    scales = jax.tree.leaves(q.scale)
    return sum((jnp.sum(jnp.log(s) + ENTROPY_OF_STANDARD_NORMAL) for s in scales), jnp.zeros(()))


# Quadratic log joints


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
        x = jnp.asarray(random.standard_normal(joint.lead + num_obs))
        at = {s: 0.5 * random.standard_normal(shape) for s, shape in latent_shapes(joint, num_obs).items()}
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


def quadratic(joint: Joint, x: Array, q: MeanField) -> Float[Array, ""]:
    """Return the exact ELBO in nats where the log joint is quadratic in all latents.

    Raises
    ------
    InputError
        If the coupling of the local latents is not banded.
    """
    width = bandwidth(joint)
    if width is None:
        raise InputError("the coupling of the local latents grows with N: no banded Hessian to probe")
    return quadratic_value(joint, x, q, hessian_diagonal(joint, x, width))


# Log joints that are a sum over observations given the shared latents


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
    same_shared = bool((table.shared[which] == table.shared[which[0]]).all())
    block = max(1, min(len(table.local_nodes), 400_000 // max(1, num_obs)))
    padding = -len(table.local_nodes) % block
    nodes = jnp.pad(jnp.asarray(table.local_nodes), (0, padding)).reshape(-1, block)
    columns = jnp.pad(weights_local, ((0, 0), (0, padding))).reshape(len(which), -1, block).swapaxes(0, 1)

    def terms(theta: Array, z: Array) -> tuple[Array, Array]:
        return log_rows(joint, x, {**dict(zip(joint.shared, theta, strict=True)), site: z})

    def add(total: Array, inputs: tuple[Array, Array]) -> tuple[Array, None]:
        z = q.loc[site] + q.scale[site] * inputs[0][:, None]
        values = jax.vmap(lambda t: jax.vmap(lambda zk: terms(t, zk)[0])(z))(theta)  # (J, block, N)
        if same_shared:
            return total + inputs[1] @ jnp.einsum("j,jbn->bn", weights_shared[0], values), None
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


def gauss_hermite(
    joint: Joint, x: Array, q: MeanField, num_nodes: int = NUM_NODES, num_shared_nodes: int = NUM_SHARED_NODES
) -> Float[Array, ""]:
    """Return the ELBO in nats by a tensor Gauss-Hermite rule over the shared latents and one local latent."""
    rows, rest = gauss_hermite_rows(joint, x, q, num_nodes, num_shared_nodes)
    return rows.sum() + rest


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


# Everything else


def monte_carlo(
    joint: Joint, x: Array, q: MeanField, key: PRNGKeyArray, num_particles: int = 100, num_batches: int = 10
) -> tuple[float, float]:
    """Return NumPyro's ``Trace_ELBO`` in nats, averaged over batches of particles, and its standard error."""
    settings = {"num_obs": joint.num_obs(x), **dict(joint.settings)}
    guide = mean_field_guide(joint, q)
    loss = Trace_ELBO(num_particles=num_particles)
    keys = jax.random.split(key, num_batches)
    values = -jax.lax.map(lambda k: loss.loss(k, {}, joint.program, guide, x, **settings), keys)
    return float(values.mean()), float(values.std(ddof=1) / num_batches**0.5)


# Which estimator applies


_gradient = jax.jit(jax.grad(log_joint, argnums=2), static_argnums=0)
_rows = jax.jit(log_rows, static_argnums=0)


def is_quadratic(joint: Joint, x: Array) -> bool:
    """Return whether the gradient of the log joint is affine in the latents, tried along two random directions."""
    num_obs = min(joint.num_obs(x), NUM_PROBED)
    shapes = latent_shapes(joint, num_obs)
    head = x[: joint.lead + num_obs]
    random = np.random.default_rng(0)
    for _ in range(2):
        step = {site: random.standard_normal(shape) for site, shape in shapes.items()}
        low, centre, high = (_gradient(joint, head, {s: t * v for s, v in step.items()}) for t in (-1.0, 0.0, 1.0))
        for site in shapes:
            bend = np.asarray(low[site]) - 2 * np.asarray(centre[site]) + np.asarray(high[site])
            if np.max(np.abs(bend)) > 1e-8 * (1 + np.max(np.abs(centre[site]))):
                return False
    return True


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


def supports(estimator: str, joint: Joint, x: Array) -> Support:
    """Say whether ``estimator`` applies to a joint and its data, and why.

    Raises
    ------
    InputError
        If there is no such estimator.
    """
    if estimator == "monte_carlo":
        return Support(True, "Monte Carlo applies to every program that NumPyro can score")
    if len(joint.local) != 1 or len(latent_shapes(joint, joint.num_obs(x))[joint.local[0]]) != 1:
        return Support(False, f"{estimator} needs one scalar local latent per observation")
    if estimator == "quadratic":
        if not is_quadratic(joint, x):
            return Support(False, "the log joint is not a quadratic function of the latents")
        if bandwidth(joint) is None:
            return Support(False, "the coupling of the local latents grows with N")
        return Support(True, "the log joint is a quadratic function of the latents with a banded Hessian")
    if estimator == "gauss_hermite":
        if len(joint.shared) > MAX_SHARED:
            return Support(False, f"{len(joint.shared)} shared latents; the outer rule takes at most {MAX_SHARED}")
        if not is_separable(joint, x):
            return Support(False, "given the shared latents the log joint is not a sum over observations")
        return Support(True, "given the shared latents the log joint is a sum of functions of one scalar z_n each")
    raise unknown("estimator", estimator, ("quadratic", "gauss_hermite", "monte_carlo"))
