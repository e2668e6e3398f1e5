"""ELBO and amortization gap of any q, with the gap's numerical error."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from avigap.affine import quadratic_gap
from avigap.core import Joint, Latents, MeanField
from avigap.quadratic import quadratic_value
from avigap.separable import NUM_SHARED_NODES, gauss_hermite_rows

ROUNDINGS = 4


class Evaluation(NamedTuple):
    """ELBO of q, its gap to the F-VI optimum and the gap's numerical error, all in nats."""

    elbo: float
    gap: float
    gap_error: float


def evaluate(joint: Joint, x: Array, best: MeanField, q: MeanField, diagonal: Latents | None, nodes: int) -> Evaluation:
    """Return ELBO of q and gap to ``best``; by differences of squares if the joint is quadratic, else row by row.

    ``diagonal`` is the Hessian's, by site in the shapes of q, if the log joint is quadratic; ``nodes`` are those of the
    Gauss-Hermite rule if it is not. The error is the distance of two routes (closed form and subtraction; the rule and
    one four times finer) plus a few roundings of a sum as large as the ELBO and of terms of a nat for each observation.
    """
    if diagonal is not None:
        elbo = float(quadratic_value(joint, x, q, diagonal))
        gap = float(quadratic_gap(joint, x, best, q, diagonal))
        error = abs(gap - (float(quadratic_value(joint, x, best, diagonal)) - elbo))
    else:
        gaps, elbo = [], 0.0
        for factor in (1, 4):
            rule = (joint, x), (nodes * factor, NUM_SHARED_NODES * min(factor, 2))
            top, own = (gauss_hermite_rows(*rule[0], each, *rule[1]) for each in (best, q))
            gaps.append(float(jnp.sum(top[0] - own[0]) + (top[1] - own[1])))
            elbo = float(own[0].sum() + own[1])
        gap, error = gaps[1], abs(gaps[1] - gaps[0])
    return Evaluation(elbo, gap, error + ROUNDINGS * float(np.finfo(float).eps) * (abs(elbo) + joint.num_obs(x)))
