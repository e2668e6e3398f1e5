"""Reparameterised Monte Carlo estimates of the ELBO: independent draws, few points that stand for many, strata.

    ELBO estimate = mean over draws e of log p(loc + scale e, x) - log q(loc + scale e)

Where the log joint is a quadratic function and, given the shared latents, a sum over observations, this mean and its
gradient depend on the draws of each z_n only through three numbers: the means of e_n, of e_n^2 and of e_n times each
shared draw. :func:`draw_moments` draws these numbers from their own distribution and :func:`points_with` returns points
that have them: the estimate has the same distribution as with independent draws, at a fraction of the random numbers.

:func:`stratified_points` are another estimate with the same mean and a small part of the variance.
"""

from functools import lru_cache
from math import log, pi
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from numpy.polynomial import Chebyshev
from scipy.special import chdtri, gammaincinv, ndtr

from avigap.core import Joint, Latents, MeanField, latent_shapes, log_joint
from avigap.elbo import supports
from avigap.errors import InputError

LogQ = Literal["points", "values"]

LARGEST_NORMAL = 7.0
"""Standard normals beyond it (3 in 10^12) are taken for it where they are turned into chi variables."""


def independent_points(joint: Joint, num_obs: int, num_draws: int, key: PRNGKeyArray) -> Latents:
    """Return ``num_draws`` standard normal draws of every latent: site to (D, *shape)."""
    shapes = latent_shapes(joint, num_obs)
    keys = jax.random.split(key, len(shapes))
    return {
        site: jax.random.normal(own, (num_draws, *shape), jnp.float32)
        for own, (site, shape) in zip(keys, shapes.items(), strict=True)
    }


def stratified_points(joint: Joint, num_obs: int, num_draws: int, key: PRNGKeyArray) -> Latents:
    """Return draws of which each latent has one in each of ``num_draws`` strata of equal probability.

    Every draw is standard normal. A shared latent has the strata in random order, and in each the mirror image of its
    place in the opposite one: the mean of an even number of draws is zero. The quantiles of z_n move on by the golden
    ratio from one n to the next, so that the errors of a sum over n cancel rather than add up: two z_n are *not*
    independent, and terms that couple them would be biased.
    """
    site, strata = joint.local[0], jnp.arange(num_draws, dtype=jnp.float32)
    keys = jax.random.split(key, len(joint.shared) + 1)
    golden = (np.arange(num_obs) * ((5**0.5 - 1) / 2) % 1).astype(np.float32)
    quantiles = {site: (strata[:, None] / num_draws + jax.random.uniform(keys[0], (), jnp.float32) + golden) % 1}
    for name, own in zip(joint.shared, keys[1:], strict=True):
        order, inside = jax.random.split(own)
        within = jax.random.uniform(inside, (), jnp.float32)
        lower = strata < num_draws // 2
        mirrored = jnp.where(lower, strata + within, strata + 1 - within)
        quantiles[name] = jax.random.permutation(order, mirrored) / num_draws
    return {name: jax.scipy.special.ndtri(jnp.clip(u, 1e-7, 1 - 1e-7)) for name, u in quantiles.items()}


def check_strata(joint: Joint, x: Array, num_draws: int) -> None:
    """Raise unless :func:`stratified_points` give an unbiased estimate for a joint.

    Raises
    ------
    InputError
        If the log joint is not a sum over observations given the shared latents, or there are fewer than two strata.
    """
    if num_draws < 2:
        raise InputError(f"num_draws must be at least 2, got {num_draws}")
    if not (found := supports("gauss_hermite", joint, x)).ok:
        raise InputError(f"stratified draws need a log joint that is a sum over observations: {found.reason}")


def check_moments(joint: Joint, x: Array, num_draws: int) -> None:
    """Raise unless :func:`points_with` moments stand for ``num_draws`` draws of a joint.

    Raises
    ------
    InputError
        With the reason: a log joint that is not quadratic, or not a sum over observations, or too few draws.
    """
    for estimator in ("quadratic", "gauss_hermite"):
        found = supports(estimator, joint, x)
        if not found.ok:
            raise InputError(
                f"few points stand for many draws only of a quadratic, separable log joint: {found.reason}"
            )
    if num_draws < len(joint.shared) + 2:
        raise InputError(f"num_draws must be at least {len(joint.shared) + 2}, got {num_draws}")


class Moments(NamedTuple):
    """What the estimate needs to know of D standard normal draws of S shared latents and of every z_n.

    Attributes
    ----------
    centre, triangle : (S,) means of the shared draws, and (S, S) of the centred ones: R of their QR decomposition
    mean, along, rest : (N,) mean of the draws of z_n, (S, N) their part in each direction of Q, (N,) length of the rest

    ``triangle``, ``along`` and ``rest`` divided by the square root of D.
    """

    centre: Array
    triangle: Array
    mean: Array
    along: Array
    rest: Array


def draw_moments(joint: Joint, num_obs: int, num_draws: int, key: PRNGKeyArray) -> Moments:
    """Draw the moments of ``num_draws`` draws: those of the shared latents are made in full.

    Of the draws of z_n the mean and the part in each of the S directions are normal, independently; the length of what
    is left is chi-distributed with ``num_draws`` - 1 - S degrees of freedom.
    """
    size, root = len(joint.shared), num_draws**0.5
    of_shared, of_local = jax.random.split(key)
    shared = jax.random.normal(of_shared, (num_draws, size), jnp.float32)
    local = jax.random.normal(of_local, (size + 2, num_obs), jnp.float32)
    triangle = jnp.linalg.qr(shared - shared.mean(0), mode="r")
    rest = chi(num_draws - 1 - size, local[-1])
    return Moments(shared.mean(0), triangle / root, local[0] / root, local[1:-1] / root, rest / root)


def points_with(joint: Joint, moments: Moments) -> Latents:
    """Return 2 (S + 1) points that have the given moments: site to (2 (S + 1), *shape)."""
    size = len(joint.shared)
    spread = (size + 1) ** 0.5
    steps = spread * jnp.concatenate([moments.along, moments.rest[None]])
    points = {joint.local[0]: jnp.concatenate([moments.mean + steps, moments.mean - steps])}
    for index, site in enumerate(joint.shared):
        steps = spread * jnp.append(moments.triangle[:, index], 0)
        points[site] = moments.centre[index] + jnp.concatenate([steps, -steps])
    return points


def elbo_estimate(joint: Joint, x: Array, q: MeanField, points: Latents, log_q: LogQ = "points") -> Float[Array, ""]:
    """Return the mean of log p - log q in nats over standardised points: site to (D, *shape).

    ``log_q`` is computed from the points, or from the ``"values"`` of the latents and the squares of the scales, as the
    authors' code does: the same number, and not a number in float32 once a scale is so small that its square is lost.
    """
    values = jax.tree.map(lambda loc, scale, point: loc + scale * point, q.loc, q.scale, points)
    mean = jnp.mean(jax.vmap(lambda latents: log_joint(joint, x, latents))(values))
    number = len(points[joint.local[0]])
    for site, scale in q.scale.items():
        squares = points[site] ** 2 if log_q == "points" else (values[site] - q.loc[site]) ** 2 / scale**2
        mean += jnp.sum(jnp.log(scale)) + jnp.sum(squares) / (2 * number) + scale.size * log(2 * pi) / 2
    return mean


@lru_cache(maxsize=16)
def _chi_series(freedom: int) -> np.ndarray:
    """Return Chebyshev coefficients of the chi variable at the quantile of a standard normal, to 1e-6 or better."""

    def quantile(normal: np.ndarray) -> np.ndarray:
        tail = ndtr(-np.abs(normal))
        return np.sqrt(np.where(normal > 0, chdtri(freedom, tail), 2 * gammaincinv(freedom / 2, tail)))

    domain = [-LARGEST_NORMAL, LARGEST_NORMAL]
    coefficients: np.ndarray = Chebyshev.interpolate(quantile, 12 if freedom >= 30 else 40, domain).coef
    return coefficients


def chi(freedom: int, normal: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """Return chi variables with ``freedom`` degrees of freedom at the quantiles of standard normals."""
    place = jnp.clip(normal / LARGEST_NORMAL, -1, 1)
    after, last = jnp.zeros_like(place), jnp.zeros_like(place)
    coefficients = _chi_series(freedom)
    for coefficient in coefficients[:0:-1].astype(np.float32):  # Clenshaw's recurrence
        after, last = coefficient + 2 * place * after - last, after
    return np.float32(coefficients[0]) + place * after - last
