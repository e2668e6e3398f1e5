"""Where the ascent of an inference function starts: plainly, or from a regression on the F-VI optimum."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from avigap.amortize import Variational, initial, mean_field
from avigap.ascend import Objective, ascend, objective_value
from avigap.core import Joint, MeanField
from avigap.families import AtLeastOne, Family
from avigap.models import Positive
from avigap.newton import clipped_blocks
from avigap.separable import expand


class Problem(NamedTuple):
    """A joint, its data and its F-VI optimum, with the second data set that functions are tried on, if any."""

    joint: Joint
    x: Array
    optimum: MeanField
    local_optimum: MeanField | None = None
    held_out_x: Array | None = None
    held_out_optimum: MeanField | None = None


class FitSettings(NamedTuple):
    """How inference functions without an exact solution are fitted; the ``fit`` block of an experiment.

    Attributes
    ----------
    starts
        Number of regressions on each distillation target that are screened; the best is ascended on the ELBO. One
        plain start is always made.
    warm_rows
        Regressions and first ascents use this many observations, the first ones; the last ascent uses all.
    max_steps, tolerance
        Of each ascent; the tolerance is in nats per observation.
    """

    starts: int
    warm_rows: int
    max_steps: int
    tolerance: float


def fit_settings(
    *,
    starts: AtLeastOne = 4,
    warm_rows: AtLeastOne = 1000,
    max_steps: AtLeastOne = 200,
    tolerance: Positive = 1e-7,
) -> FitSettings:
    """Return checked settings; the keywords are what a ``fit`` block of a configuration may hold."""
    return FitSettings(starts, warm_rows, max_steps, tolerance)


DEFAULTS = fit_settings()


def _first_rows(problem: Problem, num_rows: int) -> Problem:
    """Return the problem of the first observations, with the F-VI factors that belong to them."""
    joint, site = problem.joint, problem.joint.local[0]
    if joint.num_obs(problem.x) <= num_rows:
        return problem

    def cut(q: MeanField) -> MeanField:
        loc, scale = q.loc[site][:num_rows], q.scale[site][:num_rows]
        return MeanField({**q.loc, site: loc}, {**q.scale, site: scale})

    local = None if problem.local_optimum is None else cut(problem.local_optimum)
    return Problem(joint, problem.x[: joint.lead + num_rows], cut(problem.optimum), local)


def make_starts(
    problem: Problem, family: Family, key: PRNGKeyArray, settings: FitSettings, objective: Objective
) -> dict[str, Variational]:
    """Return start parameters by name: plain ones, and regressions on the F-VI optimum and on a local method's q."""
    joint = problem.joint
    starts = {"plain": initial(joint, family, problem.x, jax.random.fold_in(key, 0))}
    if objective.kind == "coupled":
        for index in range(1, settings.starts):
            starts[f"plain_{index}"] = initial(joint, family, problem.x, jax.random.fold_in(key, index))
        return starts
    few = _first_rows(problem, settings.warm_rows)
    for name, q in (("distilled", few.optimum), ("distilled_local", few.local_optimum)):
        if q is not None:
            starts[name] = _distil(few, family, key, settings, q)
    if few is problem:
        return starts
    ceiling = float(objective_value(objective, joint, few.x, few.optimum, None))
    limits = settings.max_steps, settings.tolerance
    climb = partial(ascend, objective, joint, family, x=few.x, max_steps=limits[0], tolerance=limits[1])
    warm = {name: climb(params=params, ceiling=ceiling).params for name, params in starts.items()}

    def value(params: Variational) -> float:
        q = mean_field(joint, family, params, problem.x)
        return float(np.nan_to_num(objective_value(objective, joint, problem.x, q, None), nan=-np.inf))

    # what fits the first observations may explode on the rest
    return {name: max(params, warm[name], key=value) for name, params in starts.items()}


def _distil(problem: Problem, family: Family, key: PRNGKeyArray, settings: FitSettings, q: MeanField) -> Variational:
    """Return the best of several regressions on q, weighted by the ELBO's curvature there, q(theta) held at q's."""
    joint, x = problem.joint, problem.x
    edge = 2 * len(joint.shared)
    blocks = clipped_blocks(expand(joint, x, q).hess[edge:, edge:], q.scale[joint.local[0]], 1e-3)
    shared = {s: {"loc": q.loc[s], "log_scale": jnp.log(q.scale[s])} for s in joint.shared}
    runs = []
    for index in range(1, settings.starts + 1):
        params = initial(joint, family, x, jax.random.fold_in(key, index)) | {"shared": shared}
        runs.append(ascend(Objective("distillation"), joint, family, params, x, (q, blocks), 60, 1e-4))
    return max(runs, key=lambda run: np.nan_to_num(run.trace[-1], nan=-np.inf)).params
