"""Where the ascent of an inference function starts: plainly, or from a regression on the F-VI optimum."""

from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from avigap.amortization import Variational, initial, layout, mean_field, window_inputs
from avigap.ascend import Objective, ascend, objective_value
from avigap.core import Joint, MeanField, latent_shapes, log_rows
from avigap.distil import Targets, regress
from avigap.errors import InputError
from avigap.families import AtLeastOne, Family
from avigap.models import Positive
from avigap.newton import clipped_blocks
from avigap.separable import expand
from avigap.subsample import draw_rows, repeat_rows

LEAST_ROWS = 1000
"""Rows that a fit works on at least: fewer are repeated, so that small data sets share their compiled programs."""

LOCAL_STARTS = 4
"""Regressions on a local method's q, which has no jumps, at most."""

FINALISTS = 2
"""Regressions on each target that are ascended on the ELBO."""


class Problem(NamedTuple):
    """A joint, its data and its F-VI optimum, with the second data set that functions are tried on, if any.

    Attributes
    ----------
    x : (lead + N,) data, of which N observations have a local latent
    optimum : ``fit_factorized(joint, x).fit.q``
    local_optimum : what a local method reaches, ``fit_factorized(joint, x).local_q``, if that is to be a start too
    held_out_x, held_out_optimum : another data set of the same size and its F-VI optimum
    """

    joint: Joint
    x: Array
    optimum: MeanField
    local_optimum: MeanField | None = None
    held_out_x: Array | None = None
    held_out_optimum: MeanField | None = None


def check_problem(problem: Problem) -> None:
    """Raise unless the optima of a problem are factors of its latents.

    Raises
    ------
    InputError
        With what was given instead.
    """
    for x, name in ((problem.x, "optimum"), (problem.x, "local_optimum"), (problem.held_out_x, "held_out_optimum")):
        if x is None or (q := getattr(problem, name)) is None:
            continue
        if not isinstance(q, MeanField):
            raise InputError(
                f"{name} must be a MeanField, such as fit_factorized(joint, x).fit.q, got {type(q).__name__}"
            )
        wanted = latent_shapes(problem.joint, problem.joint.num_obs(x))
        found = {site: jnp.shape(value) for site, value in q.loc.items()}
        if found != wanted:
            raise InputError(f"{name} must have a loc and a scale of shapes {wanted}, got {found}")


class FitSettings(NamedTuple):
    """How inference functions without an exact solution are fitted; the ``fit`` block of an experiment.

    Attributes
    ----------
    starts
        Number of regressions on the F-VI optimum (on a local method's q, at most four); the best two of each are
        ascended on the ELBO. One plain start is always made.
    warm_rows
        Regressions and first ascents use this many observations; the last ascent uses all.
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


def start_kind(name: str) -> str:
    """Return the kind of a start, without the number that tells several of a kind apart."""
    return name.rstrip("_0123456789")


def rows_stand_alone(joint: Joint, family: Family) -> bool:
    """Return whether observations of a separable joint can be taken out one by one."""
    return joint.lead == 0 and family.inputs == (0,)


@lru_cache(maxsize=64)
def _rows_repeat(joint: Joint) -> bool:
    """Return whether a separable series can be followed by itself: tried on one drawn at random.

    Row n of the log joint must depend on the rows n to n + lead of x alone, and the rest on no row.
    """
    size, lead, random = 5, joint.lead, np.random.default_rng(0)
    x, z = random.standard_normal(lead + size), random.standard_normal(size)
    theta = dict(zip(joint.shared, random.standard_normal(len(joint.shared)), strict=True))
    rows, weights = map(np.asarray, repeat_rows(size, 3 * size - 2, lead))
    own, rest = log_rows(joint, jnp.asarray(x), {**theta, joint.local[0]: jnp.asarray(z)})
    longer = jnp.asarray(np.r_[x[:lead], x[lead + rows]])
    repeated, rest_repeated = log_rows(joint, longer, {**theta, joint.local[0]: jnp.asarray(z[rows])})
    same = np.isclose(np.asarray(repeated), np.asarray(own)[rows], rtol=1e-12, atol=0.0)
    return bool(same[weights > 0].all()) and bool(np.isclose(rest, rest_repeated, rtol=1e-12, atol=0.0))


def stretched(problem: Problem, family: Family, num_rows: int = LEAST_ROWS) -> tuple[Problem, Array]:
    """Return a separable problem with its rows repeated up to ``num_rows``, if they can be, and the rows' weights.

    The weighted ELBO is that of the problem; the held-out data set stays as it is. Rows are not repeated where a window
    looks ahead: the last positions, whose windows leave the data, would not stay the last.
    """
    joint, x, site = problem.joint, problem.x, problem.joint.local[0]
    num_obs = joint.num_obs(x)
    if num_obs >= num_rows or max(family.inputs) > 0 or not _rows_repeat(joint):
        return problem, jnp.ones(num_obs)
    rows, weights = repeat_rows(num_obs, num_rows, max(joint.lead, -min(family.inputs)))

    def repeat(q: MeanField) -> MeanField:
        return MeanField({**q.loc, site: q.loc[site][rows]}, {**q.scale, site: q.scale[site][rows]})

    local = problem.local_optimum
    longer = problem._replace(
        x=jnp.concatenate([x[: joint.lead], x[joint.lead + rows]]),
        optimum=repeat(problem.optimum),
        local_optimum=None if local is None else repeat(local),
    )
    return longer, weights


def make_starts(
    problem: Problem, family: Family, key: PRNGKeyArray, settings: FitSettings, objective: Objective, aux: Any
) -> dict[str, Variational]:
    """Return start parameters by name: plain ones, and regressions on the F-VI optimum and on a local method's q.

    ``aux`` is what the objective needs, see :class:`avigap.ascend.Objective`. With more observations than
    ``warm_rows`` each start climbs the ELBO of some of them first, and the best of its kind goes on.
    """
    joint, x = problem.joint, problem.x
    num_obs = jnp.asarray(joint.num_obs(x) if objective.kind == "coupled" else aux.sum(), float)
    starts = {"plain": initial(joint, family, x, jax.random.fold_in(key, 0))}
    for name, q in (("distilled", problem.optimum), ("distilled_local", problem.local_optimum)):
        if q is not None:
            precision = _precision(objective, joint, x, q, aux)
            targets, free = _targets(joint, family, x, q, precision, num_obs, settings.warm_rows)
            number = settings.starts if q is problem.optimum else min(settings.starts, LOCAL_STARTS)
            functions = regress(family, targets, jax.random.fold_in(key, 1), number, FINALISTS)
            for index, function in enumerate(functions):
                starts[f"{name}_{index}" if index else name] = {**free, "function": function}
    if objective.kind == "coupled" or joint.num_obs(x) <= settings.warm_rows:
        return starts
    warm = {name: _warmed(problem, family, params, settings, objective) for name, params in starts.items()}
    best: dict[str, tuple[Variational, float]] = {}
    for name, each in warm.items():
        kind = start_kind(name)
        if kind not in best or each[1] > best[kind][1]:
            best[kind] = each
    return {kind: params for kind, (params, _) in best.items()}


@partial(jax.jit, static_argnums=(0, 1))
def _precision(objective: Objective, joint: Joint, x: Array, q: MeanField, aux: Any) -> Float[Array, "2 2 N"]:
    """Return minus the ELBO's curvature in loc and log scale of every local factor of q, made positive definite.

    Weighted as the rows are.
    """
    site, shared = joint.local[0], 2 * len(joint.shared)
    if objective.kind == "coupled":
        own = -aux[site]
        zero = jnp.zeros_like(own)
        return jnp.stack([jnp.stack([own, zero]), jnp.stack([zero, 2 * own * q.scale[site] ** 2])])
    return -clipped_blocks(expand(joint, x, q).hess[shared:, shared:], q.scale[site], 1e-3) * aux


@partial(jax.jit, static_argnums=(0, 1, 6))
def _targets(
    joint: Joint, family: Family, x: Array, q: MeanField, precision: Array, num_obs: Array, num_rows: int
) -> tuple[Targets, Variational]:
    """Return drawn rows of q as targets, weighted by its precision, and the free factors, which are q's own.

    Fewer rows than ``LEAST_ROWS`` are repeated, so that data sets of all sizes share compiled regressions.
    """
    places, site = layout(joint, family, joint.num_obs(x)), joint.local[0]
    inputs, factors = window_inputs(x, places), jnp.stack([q.loc[site], jnp.log(q.scale[site])])
    least = max(LEAST_ROWS, len(inputs))
    rows, weights = draw_rows(inputs, num_rows) if num_rows < least else repeat_rows(len(inputs), least)
    own = places.start + rows
    free = {
        "shared": {s: {"loc": q.loc[s], "log_scale": jnp.log(q.scale[s])} for s in joint.shared},
        "edge": {"loc": factors[0, places.edge], "log_scale": factors[1, places.edge]},
    }
    return Targets(inputs[rows], factors[:, own], precision[:, :, own] * weights, num_obs), free


def _warmed(
    problem: Problem, family: Family, params: Variational, settings: FitSettings, objective: Objective
) -> tuple[Variational, float]:
    """Return parameters after an ascent on some of the observations, or as they were if better, and their ELBO on all.

    A sample that keeps rare inputs, weighted, where rows can be taken out one by one; else the first rows.
    """
    joint, x, site = problem.joint, problem.x, problem.joint.local[0]
    if rows_stand_alone(joint, family):
        rows, weights = draw_rows(x.reshape(len(x), -1), settings.warm_rows)
        some = x[rows]
    else:
        rows, weights = jnp.arange(settings.warm_rows), jnp.ones(settings.warm_rows)
        some = x[: joint.lead + settings.warm_rows]
    best = problem.optimum
    own = MeanField({**best.loc, site: best.loc[site][rows]}, {**best.scale, site: best.scale[site][rows]})
    ceiling = float(objective_value(objective, joint, some, own, weights))  # nearly: q(theta) is that of all rows
    climb = ascend(
        *(objective, joint, family, params, some, weights, settings.max_steps, settings.tolerance), ceiling=ceiling
    )

    def value(each: Variational) -> float:
        q = mean_field(joint, family, each, x)
        return float(np.nan_to_num(objective_value(objective, joint, x, q, jnp.ones(joint.num_obs(x))), nan=-np.inf))

    candidates = params, climb.params | {"edge": params["edge"]}
    return max(((each, value(each)) for each in candidates), key=lambda pair: pair[1])
