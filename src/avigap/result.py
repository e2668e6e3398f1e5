"""What a fit of an inference function found, and its row of ``gap.csv``."""

from typing import Any, NamedTuple

import numpy as np

from avigap.amortization import Variational, num_params
from avigap.core import Joint
from avigap.evaluation import Evaluation


class AmortizedFit(NamedTuple):
    """The best inference function found for one data set, and how it was found.

    Attributes
    ----------
    params
        Parameters of the best start.
    best, plain
        Its evaluation, and that of the plain start (the same where the solution is exact).
    held_out
        Gap in nats of the frozen function on the held-out data set, edge and shared factors refitted; NaN without one.
    start
        Which start won: ``exact``, ``plain``, ``distilled`` or ``distilled_local``.
    num_starts, num_failed
        Starts ascended on the ELBO of all observations, and those whose status is not ``converged``. Before, with more
        than ``warm_rows`` observations, the best of each kind is chosen on a sample.
    status, trace
        Of the winning start: ``converged``, ``max_steps``, ``stalled``, ``nonfinite``, or ``dead`` for a function that
        ended the same for all inputs where the F-VI optimum is not.
    seconds
        Wall time, compilation included.
    """

    params: Variational
    best: Evaluation
    plain: Evaluation
    held_out: float
    start: str
    num_starts: int
    num_failed: int
    status: str
    trace: np.ndarray
    seconds: float


def summary_row(joint: Joint, num_obs: int, fit: AmortizedFit) -> dict[str, Any]:
    """Return the columns of ``gap.csv`` that one fit fills; per-observation values are in nats per local latent."""
    own, shared = num_params(joint, fit.params)
    return {
        "num_obs": num_obs,
        "elbo_fvi": fit.best.elbo + fit.best.gap,
        "elbo_avi": fit.best.elbo,
        "elbo_avi_plain": fit.plain.elbo,
        "gap": fit.best.gap,
        "gap_per_obs": fit.best.gap / num_obs,
        "gap_error": fit.best.gap_error,
        "optimization_gap_per_obs": max(fit.plain.gap - fit.best.gap, 0.0) / num_obs,
        "held_out_gap_per_obs": fit.held_out / num_obs,
        "num_params": own,
        "num_params_shared": shared,
        "start": fit.start,
        "num_starts": fit.num_starts,
        "num_failed": fit.num_failed,
        "status": fit.status,
        "seconds": fit.seconds,
    }
