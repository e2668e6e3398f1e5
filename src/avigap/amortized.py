"""A-VI of any program: the best inference functions of a family for one data set, with the gap to F-VI's optimum."""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PRNGKeyArray

from avigap.climb import Reached, climb
from avigap.distil import Targets, regress
from avigap.errors import InputError
from avigap.evaluation import ROUNDINGS, Evaluation
from avigap.factorized import START_LOG_SCALE
from avigap.families import Family
from avigap.inputs import Inputs
from avigap.levenberg import Quadratic, maximise
from avigap.nodes import Ascent, Nodes
from avigap.starts import FINALISTS, FitSettings

DAMPING = 1e-4
"""Part of the diagonal that is added to the metric, whose flat directions would take too long steps."""


class Amortized(NamedTuple):
    """The best inference functions found.

    Attributes
    ----------
    q : (2, L) loc and log scale of every element
    best, plain : the evaluations of it and of the plain start
    num_params, num_params_shared : of the functions with their edge factors, and of the shared factors
    inputs : names of what the functions see
    start, status, num_starts, num_failed, trace, seconds : as of :class:`avigap.result.AmortizedFit`
    """

    q: np.ndarray
    best: Evaluation
    plain: Evaluation
    num_params: int
    num_params_shared: int
    inputs: tuple[str, ...]
    start: str
    status: str
    num_starts: int
    num_failed: int
    trace: np.ndarray
    seconds: float

    def summary_row(self, num_obs: int) -> dict[str, Any]:
        """Return the columns of ``gap.csv`` that a fit fills; per-observation values are in nats per local latent."""
        return {
            **{"num_obs": num_obs, "elbo_fvi": self.best.elbo + self.best.gap, "elbo_avi": self.best.elbo},
            **{"elbo_avi_plain": self.plain.elbo, "gap": self.best.gap, "gap_per_obs": self.best.gap / num_obs},
            "gap_error": self.best.gap_error,
            "optimization_gap_per_obs": max(self.plain.gap - self.best.gap, 0.0) / num_obs,
            "held_out_gap_per_obs": float("nan"),
            **{"num_params": self.num_params, "num_params_shared": self.num_params_shared, "start": self.start},
            **{"num_starts": self.num_starts, "num_failed": self.num_failed, "status": self.status},
            **{"seconds": self.seconds, "inputs": ", ".join(self.inputs)},
        }


class _Shape:
    """From the parameters of functions, edges and shared factors to q of all elements."""

    def __init__(self, nodes: Nodes, family: Family, inputs: Sequence[Inputs]) -> None:
        self.target, self.family, self.inputs = nodes.target, family, inputs
        self.inner = [~own.edge if family.infer else np.zeros(len(own.edge), bool) for own in inputs]

    def params(self, q: Float[np.ndarray, "2 L"], functions: Sequence[Any]) -> dict[str, Any]:
        """Return parameters with the free factors of q."""
        kinds = zip(self.target.kinds, self.inner, strict=True)
        edges = [jnp.asarray(q[:, kind.elements[:, ~inner]]) for kind, inner in kinds]
        return {"edge": edges, "function": list(functions), "shared": jnp.asarray(q[:, self.target.shared])}

    def q(self, params: Mapping[str, Any]) -> Float[Array, "2 L"]:
        """Return loc and log scale of every element."""
        q = jnp.zeros((2, self.target.size)).at[:, self.target.shared].set(params["shared"])
        each = zip(self.target.kinds, self.inputs, self.inner, params["edge"], params["function"], strict=True)
        for kind, inputs, inner, edge, function in each:
            q = q.at[:, kind.elements[:, ~inner]].set(edge)
            if inner.any():
                infer, seen = self.family.infer, jnp.asarray(inputs.values[inner].T)
                assert infer is not None
                factors = jax.vmap(lambda own, infer=infer, seen=seen: jnp.stack(infer(own, seen)))(function)
                q = q.at[:, kind.elements[:, inner]].set(factors.swapaxes(0, 1))
        return q


def fit_functions(
    nodes: Nodes, optimum: np.ndarray, family: Family, inputs: Sequence[Inputs], key: PRNGKeyArray, fit: FitSettings
) -> Amortized:
    """Return the best inference functions of a family, one for each element of a unit of each kind.

    Ascended from a plain start, and from regressions on F-VI's optimum.

    Parameters
    ----------
    optimum
        (2, L) of F-VI.
    """
    began = time.perf_counter()
    shape = _Shape(nodes, family, inputs)
    plain = np.stack([np.zeros(nodes.target.size), np.full(nodes.target.size, START_LOG_SCALE)])
    starts = {"plain": shape.params(plain, [_plain(family, own, k, key) for own, k in _each(nodes, inputs)])}
    for rank, functions in enumerate(_distilled(nodes, optimum, shape, key, fit)):
        starts["distilled" if rank == 0 else f"distilled_{rank}"] = shape.params(optimum, functions)
    ends = _climbs(nodes, shape, starts, fit)
    winner = max(ends, key=lambda name: ends[name][0].elbo)  # -inf where it is not finite
    if not np.isfinite(ends[winner][0].elbo):
        raise InputError("the ELBO is not finite from any start of the inference functions")
    (best, q), first = ends[winner], starts["plain"]
    number = sum(int(np.size(leaf)) for leaf in jax.tree.leaves((first["edge"], first["function"])))
    return Amortized(
        q=q,
        best=evaluate(nodes, optimum, q),
        plain=evaluate(nodes, optimum, ends["plain"][1]),
        num_params=number,
        num_params_shared=int(first["shared"].size),
        inputs=_names(family, inputs),
        start=winner.split("_")[0],
        status=best.status,
        num_starts=len(ends),
        num_failed=sum(end.status != "converged" for end, _ in ends.values()),
        trace=best.trace,
        seconds=time.perf_counter() - began,
    )


def _climbs(
    nodes: Nodes, shape: _Shape, starts: Mapping[str, Any], fit: FitSettings
) -> dict[str, tuple[Reached, np.ndarray]]:
    """Return where the ascent from each start ended, and its q (2, L)."""
    restore = ravel_pytree(starts["plain"])[1]
    q_of = jax.jit(lambda params: shape.q(restore(params)))
    metric = partial(_metric, q_of, jax.jit(jax.jacfwd(q_of)))
    ascent, enough = nodes.ascent(q_of), fit.tolerance * nodes.target.num_units
    ends = {}
    for name, start in starts.items():
        params = np.asarray(ravel_pytree(start)[0])
        if shape.family.grow is None:
            end = climb(ascent, params, lambda at: _basis(metric(at)), enough=enough)
        else:
            end = _climb_network(ascent, metric, params, fit.max_steps, enough)
        ends[name] = end, np.asarray(q_of(jnp.asarray(end.params)))
    return ends


def _climb_network(
    ascent: Ascent, metric: Callable[[np.ndarray], np.ndarray], params: np.ndarray, max_steps: int, enough: float
) -> Reached:
    """Climb by Levenberg-Marquardt steps in the metric of q, for networks, whose optima are flat."""

    def expand(at: Array) -> Quadratic:
        loss, gradient = ascent(np.asarray(at))
        return jnp.asarray(-loss), jnp.asarray(-gradient), jnp.asarray(metric(np.asarray(at)))

    end = maximise(
        expand, lambda at: jnp.asarray(-ascent(np.asarray(at))[0]), jnp.asarray(params), max_steps, lambda _: enough
    )
    return Reached(np.asarray(end.flat), float(end.trace[-1]), float("nan"), end.status, end.trace)


def _metric(q_of: Callable[[Array], Array], jacobian: Callable[[Array], Array], params: np.ndarray) -> np.ndarray:
    """Return (P, P) how much q changes, in its own metric: loc in units of scale, and sqrt 2 log scale."""
    log_scale = np.asarray(q_of(jnp.asarray(params)))[1]
    weights = np.stack([np.exp(-log_scale), np.full_like(log_scale, 2**0.5)])
    flat = (weights[..., None] * np.asarray(jacobian(jnp.asarray(params)))).reshape(-1, len(params))
    return np.asarray(flat.T @ flat)


def _basis(metric: np.ndarray) -> np.ndarray:
    """Return the steps (P, P) that change q by 1."""
    diagonal = np.diag(metric)
    metric = metric + np.diag(DAMPING * diagonal + 1e-10 * max(1.0, diagonal.max()))
    return np.asarray(np.linalg.inv(np.linalg.cholesky(metric)).T)


def _each(nodes: Nodes, inputs: Sequence[Inputs]) -> list[tuple[Inputs, int]]:
    return [(own, len(kind.elements)) for own, kind in zip(inputs, nodes.target.kinds, strict=True)]


def _names(family: Family, inputs: Sequence[Inputs]) -> tuple[str, ...]:
    """Return the names of what the functions see; a constant sees nothing."""
    if family.design is not None and family.design(jnp.zeros((1, 1))).shape[-1] == 1:
        return ("nothing",)
    return tuple(dict.fromkeys(name for own in inputs for name in own.names))


def _plain(family: Family, inputs: Inputs, number: int, key: PRNGKeyArray) -> Any:
    init = family.init
    if init is None:
        return {}
    seen = jnp.asarray(inputs.values[~inputs.edge])
    return jax.jit(jax.vmap(lambda own: init(own, seen)))(jax.random.split(key, number))


def _distilled(
    nodes: Nodes, optimum: np.ndarray, shape: _Shape, key: PRNGKeyArray, fit: FitSettings
) -> list[list[Any]]:
    """Return functions, for each kind, that reproduce F-VI's optimum; the best regressions first."""
    if shape.family.infer is None:
        return [[{} for _ in nodes.target.kinds]]
    number = 1 if shape.family.design is not None else FINALISTS
    ranked: list[list[Any]] = [[] for _ in range(number)]
    for kind, inputs, inner in zip(nodes.target.kinds, shape.inputs, shape.inner, strict=True):
        found = []
        for element in kind.elements[:, inner]:
            factors = jnp.asarray(optimum[:, element])
            precision = jnp.zeros((2, 2, len(element))).at[0, 0].set(jnp.exp(-2 * factors[1])).at[1, 1].set(2.0)
            seen = jnp.asarray(inputs.values[inner])
            targets = Targets(seen, factors, precision, jnp.asarray(float(len(element))))
            found.append(regress(shape.family, targets, key, 1 if number == 1 else fit.starts, number))
        for rank, own in enumerate(ranked):
            best = [functions[min(rank, len(functions) - 1)] for functions in found]
            own.append(jax.tree.map(lambda *leaves: jnp.stack(leaves), *best))
    return ranked


def evaluate(nodes: Nodes, best: np.ndarray, q: np.ndarray) -> Evaluation:
    """Return ELBO of q and gap to ``best`` by rules that no fit has seen, with the gap's error, in nats.

    The error is the distance of two rules; or twice the standard error over scrambles, and what ``best``, the optimum
    of one of them, is below that of the others; plus a few roundings.
    """
    pairs = np.array([[nodes.elbo(best, rule), nodes.elbo(q, rule)] for rule in nodes.fresh_rules()])
    gaps = pairs[:, 0] - pairs[:, 1]
    rounding = ROUNDINGS * float(np.finfo(float).eps) * (abs(float(pairs[-1, 1])) + nodes.target.num_units)
    if nodes.estimator == "monte_carlo":
        error = 2 * float(gaps.std(ddof=1)) / len(gaps) ** 0.5 + nodes.excess(best)
        return Evaluation(float(pairs[:, 1].mean()), float(gaps.mean()), error + rounding)
    return Evaluation(float(pairs[-1, 1]), float(gaps[-1]), abs(float(gaps[-1] - gaps[0])) + rounding)
