"""Published experiments run again: what one method of them does from many seeds and at several learning rates.

A replay is described by values alone (density, data, start, draws, learning rates, iterations), so that the protocol
*as coded* by the authors, the *corrected* and the *fair* one are configurations of the same program.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from avigap.adam import Draws
from avigap.amortization import layout, num_params
from avigap.core import Joint, MeanField
from avigap.draws import LogQ
from avigap.elbo import gauss_hermite, supports
from avigap.errors import InputError
from avigap.families import AtLeastOne, Family
from avigap.models import Positive
from avigap.quadratic import bandwidth, hessian_diagonal, quadratic_value
from avigap.replay_starts import Start, starts_of
from avigap.starts import Problem
from avigap.stochastic import Method, Runs, Schedule, ascend_stochastically

DEAD = 1e-5
"""Part of its scale by which the loc of a factor must move over the data for its function to be alive."""

SHARED = ("steps", "every", "draws", "num_draws", "schedule", "log_q")
"""Settings of a protocol on which methods that run together agree."""

Target = Literal["factorized", "certified"]


class Protocol(NamedTuple):
    """How the runs of a replay go; the ``protocol`` block of a configuration.

    Attributes
    ----------
    steps, every
        Steps of Adam, and after how many the ELBO is measured exactly.
    learning_rates
        One run for each, from each seed.
    start
        Parameters as the authors' code draws them, with free local factors standard normal or uniform on (0, 1), or
        one ``common`` start at which q is standard normal in every family; or the ``optimum``, the best fit that
        :func:`avigap.gap.fit_amortized` finds, whose surroundings Adam's noise then explores.
    draws, num_draws
        Of the estimate of the ELBO, see :mod:`avigap.draws`.
    schedule
        Of the learning rates, see :func:`avigap.stochastic.ascend_stochastically`.
    log_q
        How log q is computed, see :func:`avigap.draws.elbo_estimate`.
    target, target_at, cap
        The published rule compares with the loss of F-VI's run from the same seed at iteration ``target_at``, and gives
        up at iteration ``cap``. A fair one compares with the loss at the certified optimum.
    target_loss
        Compare with this loss instead: the published one of F-VI, for runs that are too short to have their own.
    """

    steps: int
    every: int
    learning_rates: tuple[float, ...]
    start: Start
    draws: Draws
    num_draws: int
    schedule: Schedule
    log_q: LogQ
    target: Target
    target_at: int
    cap: int
    target_loss: float | None


def protocol(
    *,
    steps: AtLeastOne,
    learning_rates: tuple[Positive, ...],
    every: AtLeastOne = 100,
    start: Start = "published_normal",
    draws: Draws = "independent",
    num_draws: AtLeastOne = 100,
    schedule: Schedule = "constant",
    log_q: LogQ = "points",
    target: Target = "factorized",
    target_at: AtLeastOne | None = None,
    cap: AtLeastOne | None = None,
    target_loss: float | None = None,
) -> Protocol:
    """Return checked settings; the keywords are what a ``protocol`` block of a configuration may hold.

    Raises
    ------
    InputError
        If ``every`` does not divide ``steps``, or there is no learning rate, or the target lies beyond the last step.
    """
    if steps % every:
        raise InputError(f"steps must be a multiple of every = {every}, got {steps}")
    if not learning_rates:
        raise InputError("at least one learning rate is needed")
    target_at = max(steps - 500, steps // 2, 1) if target_at is None else target_at
    cap = steps if cap is None else cap
    if max(target_at, cap) > steps:
        raise InputError(f"target_at and cap must be at most steps = {steps}, got {target_at} and {cap}")
    return Protocol(
        steps, every, learning_rates, start, draws, num_draws, schedule, log_q, target, target_at, cap, target_loss
    )


class Replay(NamedTuple):
    """R runs of one method of a replay: from every seed, at every learning rate.

    Attributes
    ----------
    runs : see :class:`avigap.stochastic.Runs`
    seed : (R,) index of each run's seed
    learning_rate : (R,) of each run
    dead : (R,) whether the inference function has become a constant
    num_params : of the function with its edge factors, and of q(theta)
    """

    runs: Runs
    seed: np.ndarray
    learning_rate: np.ndarray
    dead: np.ndarray
    num_params: tuple[int, int]


def exact_elbo(joint: Joint, x: Array) -> Callable[[MeanField], Array]:
    """Return the deterministic estimator of the ELBO that applies, as a function of q alone.

    Raises
    ------
    InputError
        If none applies, with the reasons.
    """
    if (quadratic := supports("quadratic", joint, x)).ok:
        diagonal = hessian_diagonal(joint, x, bandwidth(joint) or 0)
        return lambda q: quadratic_value(joint, x, q, diagonal)
    if (separable := supports("gauss_hermite", joint, x)).ok:
        return lambda q: gauss_hermite(joint, x, q)
    raise InputError(f"no deterministic ELBO to measure runs by: {quadratic.reason}; {separable.reason}")


def is_dead(joint: Joint, family: Family, num_obs: int, q: MeanField) -> np.ndarray:
    """Return of each of R runs whether loc is the same at all positions that an inference function serves."""
    site = joint.local[0]
    is_constant = family.design is not None and family.design(jnp.zeros((1, len(family.inputs)))).shape[-1] == 1
    if family.init is None or is_constant:
        return np.zeros(len(q.loc[site]), bool)
    interior = layout(joint, family, num_obs).interior
    return np.ptp(q.loc[site][:, interior], axis=1) <= DEAD * q.scale[site][:, interior].min(axis=1)


def replay(
    problem: Problem,
    methods: Mapping[str, tuple[Family, Protocol]],
    keys: Sequence[PRNGKeyArray],
    report: Callable[[int, float], None] = lambda step, value: None,
) -> dict[str, Replay]:
    """Run each method from every seed at every learning rate.

    Parameters
    ----------
    methods
        Family and protocol of each, by name.
    keys
        One for each seed: it decides on the start and on the draws, which are the same at all learning rates and for
        all methods. Methods whose protocols agree on steps and draws run together: draws are then made once.
    report
        Called with the step and the best ELBO so far.

    Raises
    ------
    InputError
        If no deterministic estimator measures the ELBO, or moments cannot stand for the draws.
    """
    joint, x = problem.joint, problem.x
    elbo = exact_elbo(joint, x)
    of_start, of_draws = jax.vmap(lambda key: (jax.random.fold_in(key, 0), jax.random.fold_in(key, 1)))(jnp.stack(keys))
    together: dict[tuple[Any, ...], dict[str, Method]] = {}
    for name, (family, how) in methods.items():
        method = Method(family, starts_of(how.start, problem, family, of_start), np.asarray(how.learning_rates))
        together.setdefault(tuple(getattr(how, setting) for setting in SHARED), {})[name] = method
    played = {}
    for shared, own in together.items():
        settings = dict(zip(SHARED, shared, strict=True))
        runs = ascend_stochastically(joint, list(own.values()), x, of_draws, elbo, report=report, **settings)
        for (name, method), each in zip(own.items(), runs, strict=True):
            played[name] = _played(problem, method, each)
    return {name: played[name] for name in methods}


def _played(problem: Problem, method: Method, runs: Runs) -> Replay:
    joint, num_seeds = problem.joint, len(runs.loss) // len(method.rates)
    dead = is_dead(joint, method.family, joint.num_obs(problem.x), runs.q)
    seed, rate = np.repeat(np.arange(num_seeds), len(method.rates)), np.tile(method.rates, num_seeds)
    return Replay(runs, seed, rate, dead, num_params(joint, jax.tree.map(lambda leaf: leaf[0], method.starts)))
