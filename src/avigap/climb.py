"""Ascent of the ELBO of a q with any flat parameters: L-BFGS from afar, then a trust region with Hessian products.

Both work in coordinates in which a step of 1 changes the ELBO by about as much in any direction: parameters are moved
by ``basis @ step``, and the basis is renewed from round to round.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.optimize import minimize

from avigap.nodes import TOO_LARGE, Ascent

Basis = Float[np.ndarray, "P *P"]
"""Steps: a vector, one for each parameter, or a matrix."""

TOLERANCE = 1e-6
"""Largest residual in nats of a point that has converged; it is off by the square of that."""

ROUNDS = 8
"""Trust regions that follow each other, at most."""

NEWTON_STEPS = 20
"""Steps of each."""


class Reached(NamedTuple):
    """Where an ascent ended.

    Attributes
    ----------
    params : flat parameters
    elbo : by the rule that was ascended, in nats
    residual : largest derivative of the ELBO along a step of the basis, in nats
    status : ``"converged"``, ``"max_steps"`` or ``"nonfinite"``
    trace : ELBO by round
    """

    params: np.ndarray
    elbo: float
    residual: float
    status: str
    trace: np.ndarray


class _Round:
    """Minus the ELBO as a function of a move from a point, in steps of a basis."""

    def __init__(self, ascent: Ascent, origin: np.ndarray, basis: Basis) -> None:
        self.ascent, self.origin, self.basis = ascent, origin, basis
        value, gradient = ascent(origin)
        self.elbo, self.residual = -value, float(np.abs(self._pull(gradient)).max(initial=0.0))

    def _push(self, move: np.ndarray) -> np.ndarray:
        return self.basis * move if self.basis.ndim == 1 else self.basis @ move

    def _pull(self, gradient: np.ndarray) -> np.ndarray:
        return self.basis * gradient if self.basis.ndim == 1 else self.basis.T @ gradient

    def _loss(self, move: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = self.ascent(self.origin + self._push(move))
        return value, self._pull(gradient)

    def _product(self, move: np.ndarray, direction: np.ndarray) -> np.ndarray:
        at = self.origin + self._push(move)
        return self._pull(self.ascent.hessian_product(at, self._push(direction)))

    def end(self, how: dict[str, object]) -> np.ndarray:
        """Return the parameters that a minimiser reaches."""
        hessp = {"hessp": self._product} if how["method"] == "trust-ncg" else {}
        found = minimize(self._loss, np.zeros(len(self.origin)), jac=True, **hessp, **how)
        return self.origin + self._push(found.x)


def climb(
    ascent: Ascent,
    start: np.ndarray,
    basis: Callable[[np.ndarray], Basis],
    max_steps: int = 150,
    tolerance: float = TOLERANCE,
    enough: float = 0.0,
) -> Reached:
    """Climb from ``start``.

    Parameters
    ----------
    basis
        Steps at flat parameters.
    max_steps
        Steps of L-BFGS.
    tolerance
        Largest residual in nats of a point that has converged.
    enough
        It has converged, too, when a trust region gains less than this, in nats.
    """
    afar = {"maxiter": max_steps, "maxfun": 2 * max_steps, "maxcor": 20, "ftol": 1e-12, "gtol": 1e-4}
    near = {"maxiter": NEWTON_STEPS, "gtol": tolerance}
    at, trace, is_small = np.asarray(start, float), [], False
    for step in range(ROUNDS + 1):
        here = _Round(ascent, at, basis(at))
        trace.append(here.elbo)
        is_small = step > 1 and trace[-1] - trace[-2] <= max(enough, 1e-14 * abs(here.elbo))
        if (step and here.residual <= tolerance) or is_small or step == ROUNDS:
            break
        at = here.end({"method": "trust-ncg", "options": near} if step else {"method": "L-BFGS-B", "options": afar})
    if here.elbo <= -TOO_LARGE:
        return Reached(at, float("-inf"), float("nan"), "nonfinite", np.array(trace))
    has_converged = here.residual <= tolerance or (enough > 0 and is_small)
    return Reached(at, here.elbo, here.residual, "converged" if has_converged else "max_steps", np.array(trace))
