"""F-VI's optimum of any program: certified where it can be, else the best found, with the evidence for it.

The ELBO of a rule whose nodes all units of a colour share (:mod:`avigap.nodes`) is climbed from a plain start and from
draws of the program. A quadratic log joint has but one optimum. Of simple hierarchical models with one scalar z_n every
plane of loc and scale is searched exhaustively (:mod:`avigap.optimum`), and the end of that is climbed from.
"""

import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from avigap.climb import Reached, climb
from avigap.core import MeanField, require_float64
from avigap.elbo import supports
from avigap.errors import InputError
from avigap.nodes import Nodes
from avigap.optimum import CONCAVE, fit_factorized
from avigap.scalar import as_joint
from avigap.target import Target

AGREEMENT = 1e-3
"""Nats within which two starts ended at the same optimum."""

START_LOG_SCALE = -1.0

NEAR = 0.25
"""Part of a scale by which the optimum may move where the shared latents get more nodes."""


class Factorized(NamedTuple):
    """F-VI's optimum of a target.

    Attributes
    ----------
    q : (2, L) loc and log scale of every element
    elbo : by rules that no fit has seen, in nats
    residual, status, trace : of the climb that ended best
    is_certified : whether nothing is better
    evidence : why, in a sentence
    starts : ELBO that each start ended at, best first
    seconds : wall time, compilation included
    """

    q: np.ndarray
    elbo: float
    residual: float
    status: str
    trace: np.ndarray
    is_certified: bool
    evidence: str
    starts: list[float]
    seconds: float


def fit_target(nodes: Nodes, starts: int = 3, seed: int = 0) -> Factorized:
    """Return F-VI's optimum of a target, the best of several starts.

    Parameters
    ----------
    starts
        Number of draws of the program that are climbed from, beside a plain start; none where the log joint is
        quadratic.

    Raises
    ------
    InputError
        If JAX is not in float64, or the ELBO has no upper bound.
    """
    require_float64()
    _check_bounded(nodes.target)
    began = time.perf_counter()
    points, searched = _starts(nodes, starts, seed)
    ascent = nodes.ascent(lambda params: params.reshape(2, -1))
    ends = [climb(ascent, point, _steps) for own in points.values() for point in own]
    best = max(ends, key=lambda end: np.nan_to_num(end.elbo, nan=-np.inf))
    is_certified, evidence = _evidence(nodes, searched, ends, best, list(points))
    q = best.params.reshape(2, -1)
    return Factorized(
        q=q,
        elbo=nodes.fresh_elbo(q),
        residual=best.residual,
        status=best.status,
        trace=best.trace,
        is_certified=is_certified,
        evidence=evidence,
        starts=sorted((end.elbo for end in ends), reverse=True),
        seconds=time.perf_counter() - began,
    )


def _check_bounded(target: Target) -> None:
    """Raise if the log joint does not depend on some element at all, whose factor then has no best scale.

    So it is with the part of a site that is drawn where ``obs_mask`` says that it was seen, or that is masked.
    """
    points = np.random.default_rng(0).standard_normal((3, target.size))
    gradient = np.asarray(jax.jit(jax.vmap(jax.grad(target.log_joint)))(points))
    for name, start in target.starts.items():
        size = int(np.prod(target.shapes[name]))
        number = int((gradient[:, start : start + size] == 0).all(axis=0).sum())
        if number:
            raise InputError(
                f"{number} of the {size} elements of {name!r} have no density, as where a mask"
                " leaves them out: their factors have no best scale and the ELBO has no upper bound; draw only those"
                " that are missing, in a plate of their own"
            )


def _starts(nodes: Nodes, starts: int, seed: int) -> tuple[dict[str, list[np.ndarray]], tuple[np.ndarray, str] | None]:
    """Return start parameters by what they are, and the end of the exhaustive search with its evidence, if any."""
    size = nodes.target.size
    plain = np.concatenate([np.zeros(size), np.full(size, START_LOG_SCALE)])
    points, searched = {"a plain start": [plain]}, _searched(nodes)
    if searched is not None:
        points["the end of an exhaustive search by a coarser rule"] = [searched[0]]
    elif nodes.estimator != "quadratic":
        draws = [np.concatenate([nodes.target.draw_prior(seed + s), plain[size:]]) for s in range(starts)]
        points["draws of the program"] = draws
    return points, searched


def _evidence(
    nodes: Nodes, searched: tuple[np.ndarray, str] | None, ends: list[Reached], best: Reached, starts: list[str]
) -> tuple[bool, str]:
    """Return whether an optimum is certified, and why."""
    is_certified, evidence = False, _agreement(ends, best, " and ".join(starts))
    if nodes.estimator == "quadratic":
        is_certified, evidence = True, CONCAVE
    elif searched is not None and _is_near(searched[0], best.params):
        is_certified, evidence = True, f"certified: {searched[1]}; climbed on by a finer rule"
    if best.status != "converged":
        return False, f"not converged (residual {best.residual:.1e} nats): {evidence}"
    return is_certified, evidence


def _steps(params: np.ndarray) -> np.ndarray:
    """Return the scale as the step of every loc, and 1 as that of every log scale."""
    log_scale = np.split(params, 2)[1]
    return np.concatenate([np.exp(np.clip(log_scale, -30, 30)), np.ones(len(log_scale))])


def _is_near(params: np.ndarray, other: np.ndarray) -> bool:
    """Say whether two q are the same optimum, by rules of other nodes: every loc within ``NEAR`` of its scale."""
    loc, log_scale = np.split(params, 2)
    own = np.split(other, 2)
    return bool((np.abs(own[0] - loc) < NEAR * np.exp(log_scale)).all() and (np.abs(own[1] - log_scale) < NEAR).all())


def _agreement(ends: list[Reached], best: Reached, starts: str) -> str:
    close = sum(end.elbo >= best.elbo - AGREEMENT for end in ends)
    others = [best.elbo - end.elbo for end in ends if end.elbo < best.elbo - AGREEMENT]
    worse = f"; the others ended up to {max(others):.3g} nats below" if others else ""
    return f"best found: {close} of {len(ends)} climbs, from {starts}, ended within {AGREEMENT:g} nats of it{worse}"


def _searched(nodes: Nodes) -> tuple[np.ndarray, str] | None:
    """Return the optimum of the exhaustive search where it applies, and its evidence."""
    found = as_joint(nodes.target)
    if found is None or nodes.estimator == "quadratic":
        return None
    joint, x = found
    if not supports("gauss_hermite", joint, x).ok:
        return None
    optimum = fit_factorized(joint, x)
    return _flat(nodes, optimum.fit.q), optimum.evidence


def _flat(nodes: Nodes, q: MeanField) -> np.ndarray:
    sites = nodes.target.shapes
    parts = [jnp.ravel(q.loc[s]) for s in sites] + [jnp.log(jnp.ravel(q.scale[s])) for s in sites]
    return np.asarray(jnp.concatenate(parts))
