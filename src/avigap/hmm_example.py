"""The hidden Markov example of Margossian and Blei (2024, appendix A.5, Figure 8): as printed, corrected, valid.

The printed precision matrix (equations 43 to 47) doubles the off-diagonal entries and turns the sign of the right-hand
side. With the matrix of the model itself (equation 42) and the data of the figure, all x_n = 1, every posterior mean is
exactly 1: that data set is no counter-example. One datum that is not zero is: positions at different distances from it
see the same window of zeros and have different means, so that no function of the window serves both (Proposition 3.8).
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Float

from avigap import models
from avigap.core import Joint, bind, log_joint

NUM_OBS = 100
"""Length of the published series."""

HALF_WIDTHS = range(6)
"""Of the windows x_{n-h}, .., x_{n+h} that the example's gap is computed for."""


class Posterior(NamedTuple):
    """Precision matrix of the latents z_0, z_1, .., z_N (or z_1, .., z_N), and their posterior means."""

    precision: Float[np.ndarray, "D D"]
    mean: Float[np.ndarray, " D"]


def printed(num_obs: int = NUM_OBS) -> Posterior:
    """Return matrix and solution as printed, for x = 1: diagonal 1, 3, .., 3, off-diagonal -2, right-hand side -2 x."""
    precision = np.diag(np.r_[1.0, np.full(num_obs - 1, 3.0)])
    precision -= 2 * (np.eye(num_obs, k=1) + np.eye(num_obs, k=-1))
    return Posterior(precision, np.linalg.solve(precision, np.full(num_obs, -2.0)))


def correct(x: Float[np.ndarray, " N"], initial: str = "flat") -> Posterior:
    """Return precision and means of the latents under the model; z_0 comes first where ``initial`` is flat.

    The precision is minus the Hessian of the log joint of :mod:`avigap.models.hmm`, the means solve its gradient.
    """
    joint = bind(models.load("hmm"), {"initial": initial})
    slope, hessian = map(np.asarray, _derivatives(joint, jnp.asarray(x, float)))
    return Posterior(-hessian, np.linalg.solve(-hessian, slope))


@partial(jax.jit, static_argnums=0)
def _derivatives(joint: Joint, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return gradient and Hessian of the log joint at zero, in the latents of ``joint.shared`` and z, in this order."""
    first = len(joint.shared)

    def of_vector(z: jax.Array) -> jax.Array:
        return log_joint(joint, x, {"z": z[first:], **dict(zip(joint.shared, z, strict=False))})

    zeros = jnp.zeros(first + len(x))
    return jax.grad(of_vector)(zeros), jax.hessian(of_vector)(zeros)


def window_groups(x: Float[np.ndarray, " N"], half_width: int) -> np.ndarray:
    """Return a number for each position, the same for two whose windows lie in the data and hold the same values.

    A position whose window leaves the data has a number of its own (Remark 3.7).
    """
    groups: dict[tuple[float, ...], int] = {}
    numbers = np.empty(len(x), int)
    for n in range(len(x)):
        inside = half_width <= n < len(x) - half_width
        key = tuple(x[n - half_width : n + half_width + 1]) if inside else (np.nan, float(n))
        numbers[n] = groups.setdefault(key, len(groups))
    return numbers


def best_gap(posterior: Posterior, groups: np.ndarray) -> float:
    """Return the gap in nats of the best function that gives all positions of a group the same normal factor.

    No restriction but the ties: any function of the window, however rich, loses at least this much. Latents before the
    positions (z_0) have factors of their own.
    """
    precision, mean = posterior
    extra = len(mean) - len(groups)
    number = np.concatenate([np.arange(extra), groups + extra])
    indicator = np.eye(number.max() + 1)[number]
    shared = np.linalg.solve(indicator.T @ precision @ indicator, indicator.T @ precision @ mean)
    off = indicator @ shared - mean
    diagonal = np.diag(precision)
    tied = (indicator.T @ diagonal) / indicator.sum(0)  # precision of the best scale of a group
    return float(off @ precision @ off / 2 + np.log(indicator @ tied / diagonal).sum() / 2)


def example_table(num_obs: int = NUM_OBS) -> pd.DataFrame:
    """Return a long table: ``quantity`` (mean, eigenvalue, gap), ``case``, ``index`` and ``value``.

    ``index`` is n of a mean, the rank of an eigenvalue, and the half-width of the window of a gap in nats.
    """
    ones, single = np.ones(num_obs), np.zeros(num_obs)
    single[num_obs // 2] = 1.0
    cases = {
        "printed": printed(num_obs),
        "correct": correct(ones),
        "one_datum": correct(single),
    }
    rows = []
    for case, (precision, mean) in cases.items():
        first = num_obs + 1 - len(mean)
        rows += [("mean", case, first + index, value) for index, value in enumerate(mean)]
        rows += [("eigenvalue", case, rank, value) for rank, value in enumerate(np.linalg.eigvalsh(precision))]
    for case, x in (("correct", ones), ("one_datum", single)):
        rows += [("gap", case, h, best_gap(cases[case], window_groups(x, h))) for h in HALF_WIDTHS]
    return pd.DataFrame(rows, columns=["quantity", "case", "index", "value"])
