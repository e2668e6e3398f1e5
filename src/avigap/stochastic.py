"""Stochastic ascent of the ELBO as published: Adam with constant steps on reparameterised draws, many runs at once.

Parameters and data are in float32, as in the authors' code; what a run has reached is measured on the way by a
deterministic estimator in float64, without the noise of the draws.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from jaxtyping import Array, Float, PRNGKeyArray

from avigap.adam import LONG, Drawing, Draws, advance, begin
from avigap.amortization import Variational, mean_field
from avigap.core import Joint, MeanField
from avigap.draws import LogQ, check_moments, check_strata
from avigap.errors import InputError
from avigap.families import Family

Schedule = Literal["constant", "linear"]


class Method(NamedTuple):
    """What is run: a family of q, from S starts, at K learning rates each.

    Attributes
    ----------
    family : of the factors of the local latents
    starts : parameters with a leading axis of length S
    rates : (K,) learning rates
    """

    family: Family
    starts: Variational
    rates: Float[np.ndarray, " K"]


class Runs(NamedTuple):
    """Where the R = S K runs of a method went, those of a start together.

    Attributes
    ----------
    loss : (R, steps) minus the estimate of the ELBO before each step, in nats
    elbo : (R, steps / every) ELBO after every so many steps, by the deterministic estimator, in nats
    params, q : of each run at the end, with a leading axis of length R
    elbo_averaged : (R,) ELBO of the mean of the params after every so many steps of the second half, in nats
    seconds : (steps / every,) wall time that all runs took together for so many steps, their draws included
    compile_seconds : wall time of compiling them
    """

    loss: np.ndarray
    elbo: np.ndarray
    params: Variational
    q: MeanField
    elbo_averaged: np.ndarray
    seconds: np.ndarray
    compile_seconds: float


class _Course:
    """The runs of one method on their way: where they are, and what was seen.

    Parameters
    ----------
    step, rest
        From states, draws and ``rest`` to states and losses.
    read
        From parameters (R, ..) to q and ELBO.
    late
        Number of looks before those that are averaged.
    """

    def __init__(
        self, states: Any, step: Callable[..., Any], rest: Sequence[Any], read: Callable[..., Any], late: int
    ) -> None:
        self.states, self.step, self.rest, self.read, self.late = states, step, rest, read, late
        self.loss: list[np.ndarray] = []
        self.elbo: list[np.ndarray] = []
        self.seconds: list[float] = []
        self.averaged: Variational = {}

    def go_on(self, drawn: Any) -> float:
        """Take a step on each of the draws; return the wall time."""
        start = time.perf_counter()
        self.states, loss = jax.block_until_ready(self.step(self.states, drawn, *self.rest))
        self.loss.append(np.asarray(loss).reshape(-1, loss.shape[-1]))
        return time.perf_counter() - start

    def look(self, seconds: float) -> None:
        """Measure what the runs have reached, ``seconds`` after the last look."""
        self.params = jax.tree.map(_flat, numpyro.optim.Adam(0.0).get_params(self.states))
        self.q, elbo = self.read(self.params)
        self.elbo.append(np.asarray(elbo))
        self.seconds.append(seconds)
        number = max(len(self.elbo) - self.late, 1)
        mean = self.params if number == 1 else self.averaged
        self.averaged = jax.tree.map(lambda mean, now: mean + (now - mean) / number, mean, self.params)

    def runs(self, compile_seconds: float) -> Runs:
        """Return what became of the runs."""
        loss, elbo, averaged = np.concatenate(self.loss, 1), np.stack(self.elbo, 1), self.read(self.averaged)[1]
        q = jax.tree.map(np.asarray, self.q)
        return Runs(loss, elbo, self.params, q, np.asarray(averaged), np.array(self.seconds), compile_seconds)


def ascend_stochastically(
    joint: Joint,
    methods: Sequence[Method],
    x: Array,
    keys: PRNGKeyArray,
    elbo: Callable[[MeanField], Array],
    steps: int,
    every: int = 100,
    draws: Draws = "independent",
    num_draws: int = 100,
    schedule: Schedule = "constant",
    log_q: LogQ = "points",
    report: Callable[[int, float], None] = lambda step, value: None,
) -> list[Runs]:
    """Run Adam for each method from each of its S starts at each of its K learning rates.

    Runs from the same start, and those of different methods from starts of the same number, take the same draws, which
    are made once for all of them.

    Parameters
    ----------
    keys
        (S,) one for each start: they decide on the draws.
    elbo
        What a run has reached, in nats; called on a q in float64 after every ``every`` steps.
    draws, num_draws
        ``"independent"`` draws, the ``"moments"`` of as many, or ``"stratified"`` ones (:mod:`avigap.draws`).
    schedule
        Of the learning rates: ``"constant"`` as published, or ``"linear"`` to zero at the last step.
    log_q
        How log q is computed, see :func:`avigap.draws.elbo_estimate`.
    report
        Called with the step and the best ELBO of all runs then.

    Raises
    ------
    InputError
        If ``every`` does not divide ``steps``, or the joint does not allow this kind of draws.
    """
    _check(joint, x, steps, every, draws, num_draws)
    drawing, read = Drawing(joint, draws, num_draws, joint.num_obs(x), every, keys), _reader(joint, x, elbo)
    horizon = np.float32(steps if schedule == "linear" else np.inf)
    courses, compile_seconds = [], []
    for method in methods:
        start, states = time.perf_counter(), begin(len(method.rates), method.starts)
        fixed, rest = (joint, method.family, draws, log_q), (np.float32(method.rates), horizon, np.float32(x))
        lowered = advance.lower(*fixed, states, drawing.shapes, *rest)
        compiled = lowered.compile(LONG if draws == "independent" else None)
        compile_seconds.append(time.perf_counter() - start + drawing.compile_seconds)
        courses.append(_Course(states, compiled, rest, partial(read, method.family), steps // 2 // every))
    for done in range(0, steps, every):
        seconds = np.zeros(len(courses))
        for first in range(done, done + every, drawing.block):
            drawn, own = drawing(first)
            seconds += [course.go_on(drawn) + own for course in courses]
        for course, own in zip(courses, seconds, strict=True):
            course.look(float(own))
        report(done + every, float(np.nanmax([course.elbo[-1] for course in courses], initial=-np.inf)))
    return [course.runs(own) for course, own in zip(courses, compile_seconds, strict=True)]


def _check(joint: Joint, x: Array, steps: int, every: int, draws: Draws, num_draws: int) -> None:
    if steps % every:
        raise InputError(f"steps must be a multiple of every = {every}, got {steps}")
    if draws != "independent":
        {"moments": check_moments, "stratified": check_strata}[draws](joint, x, num_draws)


def _flat(leaf: Array) -> np.ndarray:
    """Return the parameters of all runs (S, K, ..) as (R, ..), outside of JAX."""
    return np.asarray(leaf).reshape(leaf.shape[0] * leaf.shape[1], *leaf.shape[2:])


def _reader(
    joint: Joint, x: Array, elbo: Callable[[MeanField], Array]
) -> Callable[[Family, Variational], tuple[MeanField, Array]]:
    """Return the function from a family and its parameters (R, ..) to q and ELBO of all runs, in float64."""

    @partial(jax.jit, static_argnums=0)
    def read(family: Family, params: Variational) -> tuple[MeanField, Array]:
        ends = jax.vmap(lambda own: mean_field(joint, family, jax.tree.map(jnp.float64, own), x))(params)
        return ends, jax.vmap(elbo)(ends)

    return read
