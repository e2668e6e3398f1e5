"""Certified optimum of factorized VI (F-VI), the reference that every amortization gap is measured against.

Two routes, chosen by what the log joint is:

- *quadratic* log joint: the ELBO is concave, its one optimum solves ``Lambda loc = eta``, ``scale_i = Lambda_ii^-1/2``,
  by conjugate gradients on Hessian-vector products;
- *sum over observations given theta*: an exhaustive search over the (loc, scale) plane of every z_n
  (:mod:`avigap.search`), then Newton's method on all factors at once, started from several cells of q(theta).

Each optimum is re-evaluated by a finer rule and by a second route that shares nothing with the first but the log joint.
"""

import time
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from avigap import search
from avigap.arrow import newton, plain_start, residual_status
from avigap.core import Fit, Joint, Latents, MeanField, entropy, log_joint, require_float64
from avigap.elbo import gauss_hermite, supports
from avigap.errors import InputError
from avigap.quadratic import bandwidth, hessian_diagonal, hessian_product, quadratic_value
from avigap.separable import NUM_NODES, NUM_SHARED_NODES

CONCAVE = "the log joint is quadratic, so the ELBO is concave: this optimum is the only one"
"""Evidence for an optimum."""

ROUNDING = 1e-11
"""Part of the ELBO by which an optimum must be better than another to replace it."""


class Optimum(NamedTuple):
    """A certified F-VI optimum and the evidence for it.

    Attributes
    ----------
    fit
        The best factorized q found.
    evidence
        Why it is the optimum, in a sentence.
    elbo_finer
        Its ELBO by a rule with four times the nodes (quadratic log joint: the same, already exact).
    elbo_second
        Its ELBO by the second route.
    local_q, elbo_local
        What a local method reaches from loc 0 and scale 1 of every local factor, and its ELBO.
    other_basin
        Fraction of the observations whose factor lies in another basin than the local method's.
    optima
        Distinct optima of the outer search, best first: (loc of each shared latent, ELBO).
    seconds
        Wall time, compilation included.
    """

    fit: Fit
    evidence: str
    elbo_finer: float
    elbo_second: float
    local_q: MeanField
    elbo_local: float
    other_basin: float
    optima: list[tuple[np.ndarray, float]]
    seconds: float


def fit_factorized(joint: Joint, x: Array) -> Optimum:
    """Return the certified F-VI optimum of a joint for the data set ``x``.

    Raises
    ------
    InputError
        If no certified route applies, with the reason each one gives.
    """
    require_float64()
    start = time.perf_counter()
    reasons = []
    for estimator, solve in (("quadratic", _fit_quadratic), ("gauss_hermite", _fit_separable)):
        support = supports(estimator, joint, x)
        if support.ok:
            return solve(joint, x)._replace(seconds=time.perf_counter() - start)
        reasons.append(support.reason)
    raise InputError(f"no certified F-VI optimum: {'; '.join(reasons)}")


# Quadratic log joints


@partial(jax.jit, static_argnums=0)
def _solve_quadratic(joint: Joint, x: Array, diagonal: Latents) -> tuple[MeanField, Array]:
    """Return q and the stationarity residual, from preconditioned conjugate gradients."""
    zeros = jax.tree.map(jnp.zeros_like, diagonal)
    gradient = jax.grad(partial(log_joint, joint, x))
    precision = jax.tree.map(jnp.negative, diagonal)
    loc, _ = jax.scipy.sparse.linalg.cg(
        lambda v: jax.tree.map(jnp.negative, hessian_product(joint, x, zeros, v)),
        gradient(zeros),
        tol=1e-14,
        atol=0.0,
        maxiter=500,
        M=lambda v: jax.tree.map(jnp.divide, v, precision),
    )
    q = MeanField(loc, jax.tree.map(lambda p: p**-0.5, precision))
    residual = jax.tree.map(lambda g, s: jnp.max(jnp.abs(g * s)), gradient(loc), q.scale)
    return q, jnp.max(jnp.stack(jax.tree.leaves(residual)))


@partial(jax.jit, static_argnums=(0, 3))
def _probed_value(joint: Joint, x: Array, q: MeanField, width: int) -> Array:
    """Return the ELBO of a quadratic log joint from its values alone, by coloured central differences of one scale."""
    site, period = joint.local[0], 2 * width + 1
    colours = jnp.arange(joint.num_obs(x)) % period
    centre = log_joint(joint, x, q.loc)
    total = centre + entropy(q)

    def bend(name: str, step: Array) -> Array:
        ends = [log_joint(joint, x, {**q.loc, name: q.loc[name] + sign * step}) for sign in (-1, 1)]
        return (ends[0] + ends[1]) / 2 - centre

    for name in joint.shared:
        total += bend(name, q.scale[name])
    return total + sum(bend(site, jnp.where(colours == colour, q.scale[site], 0.0)) for colour in range(period))


def _fit_quadratic(joint: Joint, x: Array) -> Optimum:
    width = bandwidth(joint)
    assert width is not None
    diagonal = hessian_diagonal(joint, x, width)
    q, residual = _solve_quadratic(joint, x, diagonal)
    elbo = float(quadratic_value(joint, x, q, diagonal))
    second = float(_probed_value(joint, x, q, width))
    fit = Fit(q, elbo, np.array([elbo]), residual_status(elbo, float(residual)), float(residual))
    evidence = CONCAVE
    optima = [(np.array([float(q.loc[s]) for s in joint.shared]), elbo)]
    return Optimum(fit, evidence, elbo, second, q, elbo, 0.0, optima, 0.0)


# Sums over observations given the shared latents


def _fit_separable(joint: Joint, x: Array) -> Optimum:
    site = joint.local[0]
    local = newton(joint, x, plain_start(joint, x))
    cells = search.outer_cells(joint, x, local.q)
    fits = [newton(joint, x, search.best_local_factors(joint, x, cell)) for cell in cells]
    best = _climb(joint, x, max(fits, key=lambda fit: fit.elbo))
    fits = sorted([best, *fits], key=lambda fit: -fit.elbo)
    other = _other_basin(best.q, local.q, site)
    return Optimum(
        fit=best,
        evidence=f"exhaustive search of every z_n's plane, Newton from {len(cells)} cells of q(theta)",
        elbo_finer=float(gauss_hermite(joint, x, best.q, 4 * NUM_NODES, NUM_SHARED_NODES + 1)),
        elbo_second=float(search.trapezoid_value(joint, x, best.q)),
        local_q=local.q,
        elbo_local=local.elbo,
        other_basin=float(other.mean()),
        optima=_distinct(joint, fits),
        seconds=0.0,
    )


def _distinct(joint: Joint, fits: list[Fit]) -> list[tuple[np.ndarray, float]]:
    """Return loc of the shared latents and ELBO of converged fits, without those that repeat an earlier one in both."""
    optima: list[tuple[np.ndarray, float]] = []
    for fit in (fit for fit in fits if fit.status == "converged"):
        place, scale = (np.array([float(part[s]) for s in joint.shared]) for part in fit.q[:2])
        if not any(
            abs(fit.elbo - elbo) <= 1e-6 * abs(elbo) and (np.abs(place - other) <= scale).all()
            for other, elbo in optima
        ):
            optima.append((place, fit.elbo))
    return optima


def _other_basin(q: MeanField, other: MeanField, site: str) -> np.ndarray:
    """Return which local factors of two fits lie further apart than the larger of their scales."""
    distance = np.abs(np.asarray(q.loc[site]) - np.asarray(other.loc[site]))
    return distance > np.maximum(np.asarray(q.scale[site]), np.asarray(other.scale[site]))


def _climb(joint: Joint, x: Array, fit: Fit) -> Fit:
    """Alternate the exhaustive search given q(theta) and Newton on all factors until the search moves no factor."""
    site = joint.local[0]
    while True:
        again = search.best_local_factors(joint, x, fit.q)
        if not _other_basin(again, fit.q, site).any():
            return fit
        better = newton(joint, x, again)
        if better.elbo <= fit.elbo + ROUNDING * abs(fit.elbo):
            return fit
        fit = better
