"""Closed forms and brute-force references in NumPy and SciPy alone; nothing here calls the code under test."""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations_with_replacement
from typing import Any, NamedTuple

import numpy as np
from scipy.integrate import quad
from scipy.linalg import cho_factor, cho_solve, solveh_banded
from scipy.special import iv
from scipy.stats import norm

Latents = Mapping[str, Any]
HALF_LOG_2PI = 0.5 * np.log(2 * np.pi)

# Densities, one observation at a time


def _log_prior(theta: float, scale: float | None) -> float:
    return 0.0 if scale is None else float(norm.logpdf(theta, 0.0, scale))


def _log_linear(x: np.ndarray, latents: Latents, tau: float, sigma: float, theta_scale: float | None) -> float:
    theta, total = latents["theta"], _log_prior(latents["theta"], theta_scale)
    for n, z in enumerate(latents["z"]):
        total += norm.logpdf(z) + norm.logpdf(x[n], theta + tau * z, sigma)
    return total


def _log_nonlinear(
    x: np.ndarray, latents: Latents, z_scale: float, normalised: bool, theta_scale: float | None
) -> float:
    theta, total = latents["theta"], _log_prior(latents["theta"], theta_scale)
    for n, z in enumerate(latents["z"]):
        total += norm.logpdf(z, 0.0, z_scale) - HALF_LOG_2PI
        total -= 0.5 * ((x[n] - theta - z - z * np.sin(z)) / np.exp(np.cos(z))) ** 2
        total -= np.cos(z) if normalised else 0.0
    return total


def _log_saw(x: np.ndarray, latents: Latents, alpha: float, theta_scale: float | None) -> float:
    theta, total = latents["theta"], _log_prior(latents["theta"], theta_scale)
    for n, z in enumerate(latents["z"], start=1):
        total += norm.logpdf(z, x[n - 1], 1.0) + norm.logpdf(x[n], alpha * (theta + z), 1.0)
    return total


def _log_hmm(x: np.ndarray, latents: Latents, initial: str) -> float:
    previous, total = (latents["z0"] if initial == "flat" else 0.0), 0.0
    for n, z in enumerate(latents["z"]):
        total += norm.logpdf(z, previous, 1.0) + norm.logpdf(x[n], z, 1.0)
        previous = z
    return total


LOG_DENSITIES: dict[str, Callable[..., float]] = {
    "linear": _log_linear,
    "nonlinear": _log_nonlinear,
    "saw": _log_saw,
    "hmm": _log_hmm,
}


def log_density(model: str, settings: Mapping[str, Any], x: np.ndarray, latents: Latents) -> float:
    """Log p(theta, z, x) in nats, summed step by step."""
    return float(LOG_DENSITIES[model](x, latents, **settings))


# Gaussian models by dense matrices


class Dense(NamedTuple):
    """log p(v, x) = sum_i log N(right_i; rows_i v, sd_i^2), v = (shared latents, z_1..z_N)."""

    rows: np.ndarray
    right: np.ndarray
    sd: np.ndarray
    shared: tuple[str, ...]

    @property
    def precision(self) -> np.ndarray:
        weighted = self.rows / self.sd[:, None] ** 2
        return self.rows.T @ weighted

    @property
    def mean(self) -> np.ndarray:
        return cho_solve(cho_factor(self.precision), self.rows.T @ (self.right / self.sd**2))

    def best(self) -> tuple[np.ndarray, np.ndarray]:
        """Loc and scale of the F-VI optimum."""
        return self.mean, np.diag(self.precision) ** -0.5

    def elbo(self, loc: np.ndarray, scale: np.ndarray) -> float:
        joint = norm.logpdf(self.right, self.rows @ loc, self.sd).sum()
        spread = ((self.rows * scale) ** 2 / self.sd[:, None] ** 2).sum()
        return float(joint - spread / 2 + (np.log(scale) + 0.5 + HALF_LOG_2PI).sum())

    def log_evidence(self) -> float:
        at_mean = norm.logpdf(self.right, self.rows @ self.mean, self.sd).sum()
        return float(at_mean + len(self.mean) * HALF_LOG_2PI - np.linalg.slogdet(self.precision)[1] / 2)

    def vector(self, values: Mapping[str, Any]) -> np.ndarray:
        return np.concatenate([*(np.ravel(values[s]) for s in self.shared), np.asarray(values["z"])])


def _dense_linear(x: np.ndarray, tau: float, sigma: float, theta_scale: float | None) -> Dense:
    size = len(x)
    ones, eye, zero = np.ones((size, 1)), np.eye(size), np.zeros((size, 1))
    rows, right = [np.hstack([zero, eye]), np.hstack([ones, tau * eye])], [np.zeros(size), x]
    return _with_prior(rows, right, [np.ones(size), np.full(size, sigma)], theta_scale)


def _dense_saw(x: np.ndarray, alpha: float, theta_scale: float | None) -> Dense:
    size = len(x) - 1
    ones, eye, zero = np.ones((size, 1)), np.eye(size), np.zeros((size, 1))
    rows = [np.hstack([zero, eye]), np.hstack([alpha * ones, alpha * eye])]
    return _with_prior(rows, [x[:-1], x[1:]], [np.ones(size), np.ones(size)], theta_scale)


def _with_prior(
    rows: list[np.ndarray], right: list[np.ndarray], sd: list[np.ndarray], theta_scale: float | None
) -> Dense:
    if theta_scale is not None:
        rows, right, sd = [*rows, np.eye(1, rows[0].shape[1])], [*right, np.zeros(1)], [*sd, np.full(1, theta_scale)]
    return Dense(np.vstack(rows), np.concatenate(right), np.concatenate(sd), ("theta",))


def _dense_hmm(x: np.ndarray, initial: str) -> Dense:
    size, start = len(x), int(initial == "flat")
    observe = np.hstack([np.zeros((size, start)), np.eye(size)])
    move = np.eye(size) - np.eye(size, k=-1)
    if start:
        move = np.hstack([-np.eye(size, 1), move])
    return Dense(
        np.vstack([move, observe]), np.concatenate([np.zeros(size), x]), np.ones(2 * size), ("z0",) if start else ()
    )


def dense(model: str, settings: Mapping[str, Any], x: np.ndarray) -> Dense:
    """A Gaussian model as a dense least-squares problem."""
    return {"linear": _dense_linear, "saw": _dense_saw, "hmm": _dense_hmm}[model](np.asarray(x), **settings)


# F-VI optima of any size


def linear_best(x: np.ndarray, tau: float, sigma: float) -> dict[str, Any]:
    """Loc and scale of z and theta, flat theta (paper record 1.5)."""
    total = sigma**2 + tau**2
    loc = {"theta": x.mean(), "z": tau * (x - x.mean()) / total}
    return {"loc": loc, "scale": {"theta": sigma / len(x) ** 0.5, "z": np.full(len(x), sigma / total**0.5)}}


def saw_best(x: np.ndarray, alpha: float) -> dict[str, Any]:
    """Loc and scale of z and theta, flat theta (paper record 1.5)."""
    before, now = x[:-1], x[1:]
    theta, curvature = (now - alpha * before).mean() / alpha, 1 + alpha**2
    loc = {"theta": theta, "z": (before + alpha * (now - alpha * theta)) / curvature}
    scale = {"theta": 1 / (alpha * len(now) ** 0.5), "z": np.full(len(now), curvature**-0.5)}
    return {"loc": loc, "scale": scale}


def hmm_best(x: np.ndarray, initial: str) -> dict[str, Any]:
    """Loc and scale of z, and of z0 where it is flat, by a banded solve."""
    diagonal, right = np.full(len(x), 3.0), np.asarray(x)
    diagonal[-1] = 2.0
    if initial == "flat":
        diagonal, right = np.concatenate([[1.0], diagonal]), np.concatenate([[0.0], right])
    if len(diagonal) == 1:
        return {"loc": {"z": right / diagonal}, "scale": {"z": diagonal**-0.5}}
    loc = solveh_banded(np.vstack([np.append(0.0, -np.ones(len(diagonal) - 1)), diagonal]), right)
    scale = diagonal**-0.5
    if initial == "flat":
        return {"loc": {"z0": loc[0], "z": loc[1:]}, "scale": {"z0": scale[0], "z": scale[1:]}}
    return {"loc": {"z": loc}, "scale": {"z": scale}}


def gaussian_best(model: str, settings: Mapping[str, Any], x: np.ndarray) -> dict[str, Any]:
    """Closed form of the F-VI optimum, flat theta."""
    settings = {k: v for k, v in settings.items() if k != "theta_scale"}
    return {"linear": linear_best, "saw": saw_best, "hmm": hmm_best}[model](np.asarray(x), **settings)


def linear_loss(x: np.ndarray, tau: float, sigma: float) -> float:
    """-ELBO of the F-VI optimum without the published code's dropped constants."""
    size, spread = len(x), ((x - x.mean()) ** 2).sum()
    fit = spread / (2 * (sigma**2 + tau**2))
    return fit + size / 2 * np.log(1 + tau**2 / sigma**2) + 0.5 * np.log(size / sigma**2)


def saw_loss(x: np.ndarray, alpha: float) -> float:
    """-ELBO of the F-VI optimum without the published code's dropped constants."""
    rest, size = x[1:] - alpha * x[:-1], len(x) - 1
    fit = ((rest - rest.mean()) ** 2).sum() / (2 * (1 + alpha**2))
    return fit + size / 2 * np.log(1 + alpha**2) + 0.5 * np.log(size * alpha**2)


def constant_gap_linear(x: np.ndarray, tau: float, sigma: float) -> float:
    """What one factor for all z_n loses."""
    return tau**2 * ((x - x.mean()) ** 2).sum() / (2 * sigma**2 * (sigma**2 + tau**2))


def held_out_gap_linear(x: np.ndarray, fresh: np.ndarray, tau: float, sigma: float) -> float:
    """What the affine function fitted to x loses on ``fresh``, q(theta) refitted there.

    Frozen, the function is off by delta = tau (mean(fresh) - mean(x)) / (sigma^2 + tau^2) for every n, and theta moves
    by -tau delta: 1/2 d' Lambda d = N delta^2 / 2.
    """
    delta = tau * (fresh.mean() - x.mean()) / (sigma**2 + tau**2)
    return len(fresh) * delta**2 / 2


# Inference functions linear in their parameters


def split_positions(num_obs: int, lead: int, inputs: Sequence[int]) -> tuple[list[int], list[int]]:
    """Positions (0-based) whose window lies in the data, and the others."""
    interior = [n for n in range(num_obs) if all(0 <= lead + n + o < lead + num_obs for o in inputs)]
    return interior, [n for n in range(num_obs) if n not in set(interior)]


def polynomial_design(window: np.ndarray, degree: int) -> np.ndarray:
    """All monomials of total degree up to ``degree`` in the columns of ``window``."""
    columns = []
    for order in range(degree + 1):
        for chosen in combinations_with_replacement(range(window.shape[1]), order):
            column = np.ones(len(window))
            for c in chosen:
                column = column * window[:, c]
            columns.append(column)
    return np.stack(columns, 1)


class WindowFit(NamedTuple):
    gap: float
    loc: np.ndarray
    scale: np.ndarray
    weights: np.ndarray


def window_fit(problem: Dense, x: np.ndarray, lead: int, inputs: Sequence[int], degree: int = 1) -> WindowFit:
    """Best shared polynomial of a window with one scale, own edge and shared factors: dense weighted least squares."""
    num_shared, precision, mean = len(problem.shared), problem.precision, problem.mean
    size = len(mean) - num_shared
    interior, edge = split_positions(size, lead, inputs)
    window = np.array([[x[lead + n + o] for o in inputs] for n in interior])
    function = polynomial_design(window, degree)
    design = np.zeros((len(mean), function.shape[1] + len(edge) + num_shared))
    design[[num_shared + n for n in interior], : function.shape[1]] = function
    own = [*range(num_shared), *(num_shared + n for n in edge)]
    design[own, function.shape[1] + np.arange(len(own))] = 1.0
    root = np.linalg.cholesky(precision).T
    weights = np.linalg.lstsq(root @ design, root @ mean, rcond=1e-13)[0]
    inner = [num_shared + n for n in interior]
    scale = np.diag(precision) ** -0.5
    scale[inner] = np.diag(precision)[inner].mean() ** -0.5
    off, ratio = root @ (design @ weights - mean), scale**2 * np.diag(precision)
    gap = off @ off / 2 + ((ratio - 1) / 2 - np.log(ratio) / 2).sum()
    return WindowFit(float(gap), design @ weights, scale, weights)


def hmm_window_law(half_width: int, num_points: int = 4001) -> float:
    """Gap per latent of the best linear window as N grows, x the random walk of the model (paper record 1.5).

    min over w with sum(w) = 1 of 1/2 mean over omega of (3 - 2 cos)^2 / (2 - 2 cos) |W - 1 / (3 - 2 cos)|^2.
    """
    omega = 2 * np.pi * (np.arange(num_points) + 0.5) / num_points
    weight = np.sqrt((3 - 2 * np.cos(omega)) ** 2 / (2 - 2 * np.cos(omega)) / num_points)
    basis = [2 * np.cos(k * omega) - 2 for k in range(1, half_width + 1)]
    design = np.stack(basis, 1) if basis else np.zeros((num_points, 0))
    target = weight * (1 / (3 - 2 * np.cos(omega)) - 1)
    solution = np.linalg.lstsq(weight[:, None] * design, target, rcond=None)[0]
    return float(((weight[:, None] * design @ solution - target) ** 2).sum() / 2)


# Nonlinear model


def _phases(num_terms: int) -> tuple[np.ndarray, np.ndarray]:
    k = np.arange(-num_terms, num_terms + 1)
    return k, (-1.0) ** k * iv(np.abs(k), 2.0)


def nonlinear_rows(
    x: np.ndarray,
    loc: np.ndarray,
    scale: np.ndarray,
    theta_loc: float,
    theta_scale: float,
    normalised: bool,
    z_scale: float = 1.0,
    num_terms: int = 40,
) -> np.ndarray:
    """ELBO of each observation, exactly: exp(-2 cos z) = sum_k (-1)^k I_|k|(2) exp(ikz) makes all moments sums.

    Arguments broadcast against each other.
    """
    x, loc, scale = np.broadcast_arrays(*(np.asarray(v, float) for v in (x, loc, scale)))
    w = wm = wmm = np.zeros(x.shape)
    for k, coefficient in zip(*_phases(num_terms), strict=True):

        def moment(order: int, frequency: float) -> np.ndarray:
            shift = loc + 1j * frequency * scale**2
            power = (1.0, shift, shift**2 + scale**2)[order]
            return power * np.exp(1j * frequency * loc - (frequency * scale) ** 2 / 2)

        sine = (moment(1, k + 1) - moment(1, k - 1)) / 2j
        sine_of_square = (moment(2, k + 1) - moment(2, k - 1)) / 2j
        sine_squared = (2 * moment(2, k) - moment(2, k + 2) - moment(2, k - 2)) / 4
        w = w + coefficient * np.real(moment(0, k))
        wm = wm + coefficient * np.real(moment(1, k) + sine)
        wmm = wmm + coefficient * np.real(moment(2, k) + 2 * sine_of_square + sine_squared)
    misfit = ((x - theta_loc) ** 2 + theta_scale**2) * w - 2 * (x - theta_loc) * wm + wmm
    prior = -np.log(z_scale) - (loc**2 + scale**2) / (2 * z_scale**2)
    log_sd = np.exp(-(scale**2) / 2) * np.cos(loc) if normalised else 0.0
    return prior - misfit / 2 - log_sd - HALF_LOG_2PI + np.log(scale) + 0.5


def nonlinear_elbo(x: np.ndarray, q_loc: Latents, q_scale: Latents, normalised: bool, z_scale: float = 1.0) -> float:
    """ELBO with a flat prior of theta, by the exact route."""
    rows = nonlinear_rows(x, q_loc["z"], q_scale["z"], q_loc["theta"], q_scale["theta"], normalised, z_scale)
    return float(rows.sum() + np.log(q_scale["theta"]) + 0.5 + HALF_LOG_2PI)


def nonlinear_row_by_quad(
    x: float, loc: float, scale: float, theta_loc: float, theta_scale: float, normalised: bool, z_scale: float = 1.0
) -> float:
    """ELBO of one observation by adaptive quadrature over z; theta enters as a square and is integrated by hand."""

    def integrand(z: float) -> float:
        misfit = ((x - theta_loc - z * (1 + np.sin(z))) ** 2 + theta_scale**2) * np.exp(-2 * np.cos(z))
        joint = norm.logpdf(z, 0.0, z_scale) - HALF_LOG_2PI - misfit / 2 - (np.cos(z) if normalised else 0.0)
        return joint * norm.pdf(z, loc, scale)

    low, high = loc - 12 * scale, loc + 12 * scale
    value = quad(integrand, low, high, epsabs=1e-12, epsrel=1e-12, limit=1000, points=[loc - scale, loc, loc + scale])
    return value[0] + np.log(scale) + 0.5 + HALF_LOG_2PI
