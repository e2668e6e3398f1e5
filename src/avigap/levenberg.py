"""Levenberg-Marquardt ascent of a function that its caller expands to second order."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Quadratic = tuple[Array, Float[Array, " P"], Float[Array, "P P"]]
"""Value, gradient and positive semidefinite matrix of minus the curvature."""


class Climb(NamedTuple):
    """Where a climb ended: the flat parameters, the value after each step and a status.

    ``status`` is ``"converged"``, ``"max_steps"``, ``"stalled"`` (no step gains though the expansion predicts it) or
    ``"nonfinite"``.
    """

    flat: Array
    trace: np.ndarray
    status: str


@jax.jit
def _damped_step(flat: Array, matrix: Array, gradient: Array, damping: float) -> tuple[Array, Array]:
    """Return ``flat`` after the step of (A + damping diag A) step = gradient, and the gain that A predicts."""
    diagonal = jnp.diag(matrix)
    unit = 1 / jnp.sqrt(jnp.maximum(diagonal, 1e-8 * jnp.max(diagonal)))
    scaled = matrix * unit * unit[:, None] + damping * jnp.eye(len(matrix))
    step = unit * jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(scaled), gradient * unit)
    return flat + step, step @ gradient - step @ matrix @ step / 2


def _status_at_rest(value: float, flat: Array, matrix: Array, gradient: Array, enough: Callable[[float], float]) -> str:
    """Return the status of a climb of which no step gains."""
    if not np.isfinite(value):
        return "nonfinite"
    return "converged" if float(_damped_step(flat, matrix, gradient, 1e-2)[1]) < enough(value) else "stalled"


def maximise(
    expand: Callable[[Array], Quadratic],
    value: Callable[[Array], Array],
    flat: Float[Array, " P"],
    max_steps: int,
    enough: Callable[[float], float],
    report: Callable[[int, float], None] = lambda step, value: None,
) -> Climb:
    """Climb from ``flat``; a step that does not gain is damped more.

    Parameters
    ----------
    expand, value
        The function's expansion at a point, and its value alone.
    enough
        At a value reached, the gain below which a step is small: three small steps in a row end the climb as
        converged, and so does a step that gains nothing where no more than this is predicted.
    report
        Called with the step and the value after each accepted step.
    """
    damping, small = 1e-2, 0
    top, gradient, matrix = expand(flat)
    trace = [float(top)]
    for number in range(1, max_steps + 1):
        while damping < 1e10:
            moved, predicted = _damped_step(flat, matrix, gradient, damping)
            reached = float(value(moved))
            if reached > trace[-1]:
                break
            damping *= 4
        else:
            return Climb(flat, np.array(trace), _status_at_rest(trace[-1], flat, matrix, gradient, enough))
        gain = reached - trace[-1]
        ratio = gain / max(float(predicted), 1e-300)
        damping = max(damping / 5, 1e-9) if ratio > 0.5 else damping if ratio > 0.1 else 2 * damping
        small = small + 1 if gain < enough(reached) else 0
        flat = moved
        trace.append(reached)
        report(number, reached)
        if small == 3:
            return Climb(flat, np.array(trace), "converged")
        _, gradient, matrix = expand(flat)
    return Climb(flat, np.array(trace), "max_steps")
