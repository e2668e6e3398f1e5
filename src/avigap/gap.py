"""The amortization gap of one family on one data set, with its numerical error and what a plain start misses.

    gap = ELBO(certified F-VI optimum) - ELBO(best inference function found)

Optimization gap, what a plain start loses against the best start, and held-out gap, what the frozen function loses on a
fresh data set, are separate numbers.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, PRNGKeyArray

from avigap.affine import fit_affine, refit_free_factors
from avigap.amortization import Variational, initial, layout, mean_field, window_inputs
from avigap.ascend import Ascent, Objective, ascend, objective_value
from avigap.core import Latents, require_float64
from avigap.elbo import supports
from avigap.errors import InputError
from avigap.evaluation import Evaluation, evaluate
from avigap.families import Family
from avigap.quadratic import bandwidth, hessian_diagonal
from avigap.result import AmortizedFit
from avigap.starts import DEFAULTS, LEAST_ROWS, FitSettings, Problem, check_problem, make_starts, start_kind, stretched

MAX_NODES = 128
"""Nodes beyond which the rule is not refined; where it still disagrees, ``gap_error`` says by how much."""

AGREEMENT = 1e-7
"""Nats per observation to which a rule and its four times finer one must agree, else the rule is doubled."""

DEAD = 1e-6
"""A function that varies less than this part of what the F-VI optimum does is dead."""


def fit_amortized(
    problem: Problem,
    family: Family,
    key: PRNGKeyArray,
    settings: FitSettings = DEFAULTS,
    report: Callable[[str, int, float], None] = lambda start, step, value: None,
) -> AmortizedFit:
    """Return the best inference function of a family for one data set, with its gap.

    Solved exactly where the log joint is quadratic and the family linear in its parameters; else ascended from a plain
    start and from regressions on the F-VI optimum. ``factorized`` is the F-VI optimum itself; what a local method
    reaches is its plain start.

    Raises
    ------
    InputError
        If the window is wider than the data, no deterministic estimator applies, the optima are not factors of the
        data, or JAX is not in float64.
    """
    require_float64()
    check_problem(problem)
    began = time.perf_counter()
    joint, x = problem.joint, problem.x
    quadratic = supports("quadratic", joint, x).ok
    separable = supports("gauss_hermite", joint, x)
    if not quadratic and not separable.ok:
        raise InputError(f"no deterministic estimator applies: {separable.reason}")
    diagonal = hessian_diagonal(joint, x, bandwidth(joint) or 0) if quadratic else None
    if family.infer is None:
        fit = _factorized(problem, family, key, diagonal)
    elif diagonal is not None and family.design is not None:
        fit = _exact(problem, family, diagonal)
    else:
        objective = Objective("separable", 8 if quadratic else 32) if separable.ok else Objective("coupled")
        fit = _ascended(problem, family, key, settings, objective, diagonal, report)
    return fit._replace(seconds=time.perf_counter() - began)


def _factorized(problem: Problem, family: Family, key: PRNGKeyArray, diagonal: Latents | None) -> AmortizedFit:
    joint, x, q = problem.joint, problem.x, problem.optimum
    params = initial(joint, family, x, key)
    params["edge"] = {"loc": q.loc[joint.local[0]], "log_scale": jnp.log(q.scale[joint.local[0]])}
    params["shared"] = {s: {"loc": q.loc[s], "log_scale": jnp.log(q.scale[s])} for s in joint.shared}
    best = evaluate(joint, x, q, q, diagonal, 32)
    local = q if problem.local_optimum is None else problem.local_optimum
    plain = evaluate(joint, x, q, local, diagonal, 32)
    held_out = float("nan") if problem.held_out_x is None else 0.0
    return _exact_fit(params, best, plain, held_out)


def _exact(problem: Problem, family: Family, diagonal: Latents) -> AmortizedFit:
    joint, x = problem.joint, problem.x
    params = fit_affine(joint, family, x, diagonal)
    best = evaluate(joint, x, problem.optimum, mean_field(joint, family, params, x), diagonal, 0)
    held_out = float("nan")
    if problem.held_out_x is not None and problem.held_out_optimum is not None:
        fresh = problem.held_out_x
        own = hessian_diagonal(joint, fresh, bandwidth(joint) or 0)
        q = mean_field(joint, family, refit_free_factors(joint, family, params, fresh, own), fresh)
        held_out = evaluate(joint, fresh, problem.held_out_optimum, q, own, 0).gap
    return _exact_fit(params, best, best, held_out)


def _exact_fit(params: Variational, best: Evaluation, plain: Evaluation, held_out: float) -> AmortizedFit:
    is_finite = bool(np.isfinite([*best, *plain]).all())
    status = "converged" if is_finite else "nonfinite"
    return AmortizedFit(
        params, best, plain, held_out, "exact", 1, int(not is_finite), status, np.array([best.elbo]), 0.0
    )


def _ascended(
    problem: Problem,
    family: Family,
    key: PRNGKeyArray,
    settings: FitSettings,
    objective: Objective,
    diagonal: Latents | None,
    report: Callable[[str, int, float], None],
) -> AmortizedFit:
    joint, x = problem.joint, problem.x
    longer, aux = _with_auxiliary(problem, family, objective, diagonal, settings.warm_rows)
    ceiling = float(objective_value(objective, joint, longer.x, longer.optimum, aux))

    def climb(objective: Objective, params: Variational, name: str) -> Ascent:
        return ascend(
            *(objective, joint, family, params, longer.x, aux, settings.max_steps, settings.tolerance),
            ceiling=ceiling,
            report=partial(report, name),
        )

    def evaluated(name: str) -> Evaluation:
        q = mean_field(joint, family, ascents[name].params, x)
        return evaluate(joint, x, problem.optimum, q, diagonal, objective.num_nodes)

    starts = make_starts(longer, family, key, settings, objective, aux)
    ascents = {name: climb(objective, params, name) for name, params in starts.items()}
    winner = max(ascents, key=lambda name: np.nan_to_num(ascents[name].trace[-1], nan=-np.inf))
    best = evaluated(winner)
    while diagonal is None and best.gap_error >= AGREEMENT * joint.num_obs(x) and objective.num_nodes < MAX_NODES:
        objective = objective._replace(num_nodes=2 * objective.num_nodes)
        for name in dict.fromkeys((winner, "plain")):
            ascents[name] = climb(objective, ascents[name].params, name)
        best = evaluated(winner)
    statuses = {name: _status(problem, family, ascent) for name, ascent in ascents.items()}
    params, trace, _ = ascents[winner]
    held_out = _held_out(problem, family, params, objective, settings)
    return AmortizedFit(
        *(params, best, evaluated("plain"), held_out, start_kind(winner), len(ascents)),
        *(sum(status != "converged" for status in statuses.values()), statuses[winner], trace, 0.0),
    )


def _with_auxiliary(
    problem: Problem, family: Family, objective: Objective, diagonal: Latents | None, num_rows: int
) -> tuple[Problem, Any]:
    """Return the problem to be ascended on, and what its objective needs beside the data.

    Explicit weights, of ones too, let a sample and all rows share a compiled program.
    """
    if objective.kind == "coupled":
        return problem, diagonal
    return stretched(problem, family, min(num_rows, LEAST_ROWS))


def _status(problem: Problem, family: Family, ascent: Ascent) -> str:
    """Return the status of an ascent; a function that has died, such as a ReLU network, has not converged."""
    if ascent.status != "converged" or family.design is not None:
        return ascent.status
    joint, x, site = problem.joint, problem.x, problem.joint.local[0]
    places = layout(joint, family, joint.num_obs(x))
    q = mean_field(joint, family, ascent.params, x)

    def spread(values: Array) -> float:
        return float(np.ptp(np.asarray(values)[places.interior], axis=0).max())

    wanted = spread(problem.optimum.loc[site]) * bool(np.ptp(window_inputs(x, places), axis=0).max() > 0)
    found = max(spread(q.loc[site]), spread(jnp.log(q.scale[site])))
    return "dead" if found < DEAD * wanted else "converged"


def _held_out(
    problem: Problem, family: Family, params: Variational, objective: Objective, settings: FitSettings
) -> float:
    """Return the gap in nats of the frozen function on the held-out data, edge and shared factors refitted."""
    joint, fresh, optimum = problem.joint, problem.held_out_x, problem.held_out_optimum
    if fresh is None or optimum is None:
        return float("nan")
    quadratic = supports("quadratic", joint, fresh).ok
    diagonal = hessian_diagonal(joint, fresh, bandwidth(joint) or 0) if quadratic else None
    own = Problem(joint, fresh, optimum)
    longer, aux = _with_auxiliary(own, family, objective, diagonal, settings.warm_rows)
    edges, size = (ravel_pytree(params[part])[0].size for part in ("edge", "function"))
    total = ravel_pytree(params)[0].size
    free = np.r_[np.arange(edges), np.arange(edges + size, total)]
    if len(free):
        climb = ascend(
            *(objective, joint, family, params, longer.x, aux, settings.max_steps, settings.tolerance), free=free
        )
        params = climb.params
    q = mean_field(joint, family, params, fresh)
    return evaluate(joint, fresh, optimum, q, diagonal, objective.num_nodes).gap
