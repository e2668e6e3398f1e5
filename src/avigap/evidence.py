"""Log evidence of a data set, and how well a q stands in for the posterior: what the ELBO is to be compared with.

    log p(x) - ELBO(q) = KL(q || p(theta, z | x))

For the certified F-VI optimum this is the approximation gap of the mean-field family. With a flat prior on theta the
evidence is that of an improper prior: it is defined, and the difference is a KL divergence all the same.
"""

from collections.abc import Callable
from math import log, pi
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from arviz_stats.base import array_stats
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PRNGKeyArray

from avigap.core import Joint, MeanField, latent_shapes, log_joint, log_rows
from avigap.elbo import supports
from avigap.errors import InputError

MAX_DENSE = 2000
"""Latents up to which the Hessian of a quadratic log joint is formed."""

REACH, FINE = 12.0, 6.0
"""Standard deviations of q(theta) that the outer rule covers on both sides, and its nodes to each."""

SPREAD, STEP = 1.5, 0.01
"""How far beyond the locs of q, relatively, z_n is integrated, and the step of the rule."""

NUM_DRAWS = 4000

EQUAL = 1e-12
"""Relative range of log weights that is rounding."""


class Evidence(NamedTuple):
    """log p(x) in nats and its numerical error."""

    value: float
    error: float


def log_evidence(joint: Joint, x: Array, q: MeanField) -> Evidence:
    """Return log p(x): in closed form if the log joint is quadratic, else by nested trapezoid rules around q.

    Raises
    ------
    InputError
        If neither applies, with the reasons.
    """
    if (quadratic := supports("quadratic", joint, x)).ok:
        return _quadratic_evidence(joint, x, q)
    separable = supports("gauss_hermite", joint, x)
    if not separable.ok or len(joint.shared) > 1:
        reason = separable.reason or f"{len(joint.shared)} shared latents, of which the rule takes one"
        raise InputError(f"no log evidence: {quadratic.reason}; {reason}")
    value = _trapezoid_evidence(joint, x, q, STEP, FINE, 1.0)
    others = [_trapezoid_evidence(joint, x, q, 2 * STEP, FINE / 2, width) for width in (1.0, 2.0)]  # coarser, wider
    return Evidence(value, max(abs(value - other) for other in others))


def _quadratic_evidence(joint: Joint, x: Array, q: MeanField) -> Evidence:
    """Return the evidence of a normal posterior whose mean is that of q; the error is the gradient's there."""
    shapes = latent_shapes(joint, joint.num_obs(x))
    sizes = {site: int(np.prod(shape)) for site, shape in shapes.items()}
    if (total := sum(sizes.values())) > MAX_DENSE:
        raise InputError(f"the log evidence forms a matrix of {total} latents; at most {MAX_DENSE} are allowed")
    ends = np.cumsum(list(sizes.values()))

    def of_vector(vector: Array) -> Array:
        parts = jnp.split(vector, ends[:-1])
        return log_joint(joint, x, {s: p.reshape(shapes[s]) for s, p in zip(sizes, parts, strict=True)})

    mean = jnp.concatenate([jnp.ravel(q.loc[site]) for site in sizes])
    precision = -jax.jit(jax.hessian(of_vector))(mean)
    sign, log_det = np.linalg.slogdet(np.asarray(precision))
    if sign <= 0:
        raise InputError("the log joint has no normal posterior: its Hessian is not negative definite")
    gradient = np.asarray(jax.grad(of_vector)(mean))
    step = np.linalg.solve(np.asarray(precision), gradient)
    value = float(of_vector(mean)) + float(gradient @ step) / 2 + total / 2 * log(2 * pi) - float(log_det) / 2
    return Evidence(value, abs(float(gradient @ step)) + 1e-15 * abs(value) * total**0.5)


def _trapezoid_evidence(joint: Joint, x: Array, q: MeanField, step: float, fine: float, width: float) -> float:
    """Return log of the integral over theta of the product over n of the integrals over z_n; ``width`` scales both."""
    site, num_obs = joint.local[0], joint.num_obs(x)
    reach = width * SPREAD * float(jnp.max(jnp.abs(q.loc[site]) + 6 * q.scale[site])) + 4.0
    grid = jnp.arange(-reach, reach, step)

    def rows(theta: dict[str, Array], z: Array) -> tuple[Array, Array]:
        return log_rows(joint, x, {**theta, site: jnp.full(num_obs, z)})

    @jax.jit
    def given(theta: dict[str, Array]) -> Array:
        start = jnp.full(num_obs, -jnp.inf)
        inner = jax.lax.scan(lambda total, z: (jnp.logaddexp(total, rows(theta, z)[0]), None), start, grid)[0]
        return jnp.sum(inner + jnp.log(step)) + rows(theta, jnp.zeros(()))[1]

    if not joint.shared:
        return float(given({}))
    name = joint.shared[0]
    spacing, number = float(q.scale[name]) / fine, int(width * REACH * fine)
    nodes = q.loc[name] + spacing * jnp.arange(-number, number + 1)
    values = jax.lax.map(lambda t: given({name: t}), nodes)
    return float(jax.scipy.special.logsumexp(values) + jnp.log(spacing))


class Importance(NamedTuple):
    """Importance sampling from q: Pareto's k of the weights, log evidence in nats and its standard error."""

    pareto_k: float
    log_evidence: float
    error: float


def pareto_k(joint: Joint, x: Array, q: MeanField, key: PRNGKeyArray, num_draws: int = NUM_DRAWS) -> float:
    """Return the Pareto shape k of the importance weights p / q: above 0.7, q does not stand in for the posterior."""
    flat, restore = ravel_pytree(q.loc)
    factors = jnp.stack([flat, jnp.log(ravel_pytree(q.scale)[0])])
    return importance(lambda latents: log_joint(joint, x, restore(latents)), factors, key, num_draws).pareto_k


def importance(
    log_density: Callable[[Array], Array], q: Array | np.ndarray, key: PRNGKeyArray, num_draws: int = NUM_DRAWS
) -> Importance:
    """Return what the importance weights of draws from q say; q (2, L) holds loc and log scale of every element.

    Vehtari, Simpson, Gelman, Yao and Gabry (2024), Pareto smoothed importance sampling, in ArviZ's implementation.
    """
    loc, log_scale = jnp.asarray(q)

    @jax.jit
    def log_weight(index: Array) -> Float[Array, ""]:
        noise = jax.random.normal(jax.random.fold_in(key, index), loc.shape)
        log_q = -jnp.sum(log_scale + noise**2 / 2) - len(loc) * log(2 * pi) / 2
        return log_density(loc + jnp.exp(log_scale) * noise) - log_q

    ratios = np.asarray(jax.lax.map(log_weight, jnp.arange(num_draws)))
    if not np.isfinite(ratios).all():
        return Importance(float("inf"), float("nan"), float("nan"))
    if np.ptp(ratios) <= EQUAL * (1 + np.abs(ratios).max()):  # q is the posterior: there is no tail to fit a shape to
        return Importance(0.0, float(ratios.mean()), 0.0)
    k = float(array_stats.psislw(-ratios[None], axis=[-2, -1])[1])  # it takes log likelihoods, minus log weights
    weights = np.exp(ratios - ratios.max())
    relative = float(weights.std(ddof=1) / weights.mean()) / num_draws**0.5
    return Importance(k, float(np.log(weights.mean()) + ratios.max()), relative)
