"""F-VI's optimum of any small program, by sample averages: two positions with equal inputs and different factors.

The expected log joint is averaged over standard normal points whose mean is 0 and covariance 1 exactly (antithetic
Sobol points, whitened): the optimum of a quadratic log joint is exact, and two scrambles tell the error for any other.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from scipy.optimize import minimize
from scipy.special import ndtri
from scipy.stats import qmc

from avigap.adam import ONCE
from avigap.program.plates import Places

Arrays = Mapping[str, np.ndarray]

RELATIVE = 0.01
"""Of a scale: two factors differ if they do by more than this part, and more than ten times the error."""


class Twin(NamedTuple):
    """Two units with equal inputs: their factors by site, (loc, scale) of every element, and the least sure difference.

    ``difference`` is the largest difference in loc or scale as part of the scale, and ``error`` that of two scrambles.
    """

    units: tuple[int, int]
    factors: tuple[dict[str, Any], dict[str, Any]]
    difference: float
    error: float

    @property
    def differs(self) -> bool:
        """Say whether the factors differ beyond the error."""
        return self.difference > max(RELATIVE, 10 * self.error)


class Optimum:
    """Finds F-VI's optimum, at most one of several, for data sets of one shape."""

    def __init__(self, log_joint: Callable[..., Any], start: Arrays, seed: int) -> None:
        flat, self.restore = ravel_pytree({name: jnp.asarray(leaf) for name, leaf in start.items()})
        self.start = np.concatenate([np.asarray(flat), np.full(flat.size, -1.0)])
        self.points = [_whitened(flat.size, seed + scramble) for scramble in range(2)]

        def loss(params: jax.Array, points: jax.Array, data: Any) -> jax.Array:
            loc, log_scale = jnp.split(params, 2)
            values = jax.vmap(lambda e: log_joint(self.restore(loc + jnp.exp(log_scale) * e), data))(points)
            return -values.mean() - log_scale.sum()

        self.gradient = jax.jit(jax.value_and_grad(loss), compiler_options=ONCE)

    def __call__(self, data: Arrays, scramble: int) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """Return loc and scale by site; NaN where no optimum was found."""

        def loss(params: np.ndarray) -> tuple[float, np.ndarray]:
            value, gradient = self.gradient(jnp.asarray(params), jnp.asarray(self.points[scramble]), data)
            return float(value), np.asarray(gradient)

        with np.errstate(all="ignore"):
            found = minimize(loss, self.start, jac=True, method="L-BFGS-B", options={"maxiter": 500, "maxfun": 800})
        ok = np.isfinite(found.fun) and np.abs(found.jac).max() < 1e-2
        loc, log_scale = np.split(found.x if ok else np.full_like(found.x, np.nan), 2)
        return self.restore(jnp.asarray(loc)), self.restore(jnp.exp(log_scale))


def _whitened(size: int, seed: int) -> np.ndarray:
    """Return standard normal points (S, size) with mean 0 and covariance 1 exactly."""
    number = 1 << max(8, int(np.ceil(np.log2(4 * size))))
    half = ndtri(qmc.Sobol(size, rng=np.random.default_rng(seed)).random(number) * (1 - 1e-9) + 5e-10)
    points = np.concatenate([half, -half])
    factor = np.linalg.cholesky(points.T @ points / len(points))
    whitened: np.ndarray = np.linalg.solve(factor, points.T).T
    return whitened


def twin(optimum: Optimum, places: Places, units: tuple[int, int], data: Arrays) -> Twin:
    """Return the factors of two units of one data set."""
    both = []
    for scramble in range(2):
        loc, scale = optimum(data, scramble)
        both.append([_factor(places, loc, scale, unit) for unit in units])
    first, second = both[0]
    difference = _difference(first, second)
    error = max(_difference(one, other) for one, other in zip(*both, strict=True))
    return Twin(units, (first, second), difference, error)


def _factor(places: Places, loc: Mapping[str, Any], scale: Mapping[str, Any], unit: int) -> dict[str, Any]:
    factor: dict[str, Any] = {}
    for label, site, index in places.elements(unit):
        own = factor.setdefault(label, {"loc": [], "scale": []})
        own["loc"].append(float(np.ravel(loc[site])[index]))
        own["scale"].append(float(np.ravel(scale[site])[index]))
    return factor


def _difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    """Return the largest difference of two factors as part of the scale; 0 where an optimum was not found."""
    parts = []
    for a, b in zip(one.values(), other.values(), strict=True):
        scale = np.minimum(a["scale"], b["scale"])
        parts += [np.abs(np.subtract(a[part], b[part])) / scale for part in ("loc", "scale")]
    return float(np.nan_to_num(np.max(parts)) if len({p.shape for p in parts}) == 1 else max(p.max() for p in parts))
