"""Stochastic ascent of the ELBO as published: Adam with constant steps on reparameterised draws, many runs at once.

Parameters and data are in float32, as in the authors' code; what a run has reached is measured on the way by a
deterministic estimator in float64, without the noise of the draws.
"""

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from jaxtyping import Array, Float, PRNGKeyArray

from avigap.amortize import Variational, initial, mean_field
from avigap.core import Joint, MeanField
from avigap.draws import (
    check_moments,
    check_strata,
    draw_moments,
    elbo_estimate,
    independent_points,
    points_with,
    stratified_points,
)
from avigap.errors import InputError
from avigap.families import Family

Draws = Literal["independent", "moments", "stratified"]
Schedule = Literal["constant", "linear"]


class Runs(NamedTuple):
    """Where R runs went.

    Attributes
    ----------
    loss : (R, steps) minus the estimate of the ELBO before each step, in nats
    elbo : (R, steps / every) ELBO after every so many steps, by the deterministic estimator, in nats
    params : of each run at the end, with a leading axis of length R
    averaged : the mean of the params after every so many steps of the second half
    seconds : (steps / every,) wall time that all runs took together for so many steps
    compile_seconds : wall time of compiling them
    """

    loss: np.ndarray
    elbo: np.ndarray
    params: Variational
    averaged: Variational
    seconds: np.ndarray
    compile_seconds: float


def _estimate(
    joint: Joint, family: Family, draws: Draws, num_draws: int, x: Array, params: Variational, key: PRNGKeyArray
) -> Array:
    num_obs = joint.num_obs(x)
    if draws == "moments":
        points = points_with(joint, draw_moments(joint, num_obs, num_draws, key))
    else:
        draw = {"independent": independent_points, "stratified": stratified_points}[draws]
        points = draw(joint, num_obs, num_draws, key)
    return elbo_estimate(joint, x, mean_field(joint, family, params, x), points)


@partial(jax.jit, static_argnums=(0, 1, 2, 3, 4))
def _advance(
    joint: Joint,
    family: Family,
    draws: Draws,
    num_draws: int,
    steps: int,
    x: Array,
    states: Any,
    keys: PRNGKeyArray,
    rates: Float[Array, " R"],
    horizon: Float[Array, ""],
) -> tuple[Any, Float[Array, "R steps"]]:
    """Return the optimiser's states after so many steps, and the losses before each; rates reach 0 at ``horizon``."""

    def one(state: Any, key: PRNGKeyArray, rate: Array) -> tuple[Any, Array]:
        optimiser = numpyro.optim.Adam(lambda done: rate * (1 - done / horizon))

        def step(state: Any, _: None) -> tuple[Any, Array]:
            own = jax.random.fold_in(key, state[0])
            loss, gradient = jax.value_and_grad(lambda p: -_estimate(joint, family, draws, num_draws, x, p, own))(
                optimiser.get_params(state)
            )
            return optimiser.update(gradient, state), loss.astype(jnp.float32)

        return jax.lax.scan(step, state, None, length=steps)

    if len(rates) > 1:
        return jax.vmap(one)(states, keys, rates)
    alone = one(*jax.tree.map(lambda leaf: leaf[0], (states, keys, rates)))  # a tenth faster than side by side
    return jax.tree.map(lambda leaf: leaf[None], alone)


def ascend_stochastically(
    joint: Joint,
    family: Family,
    x: Array,
    starts: Variational,
    keys: PRNGKeyArray,
    rates: Float[Array, " R"],
    elbo: Callable[[MeanField], Array],
    steps: int,
    every: int = 100,
    draws: Draws = "independent",
    num_draws: int = 100,
    schedule: Schedule = "constant",
    report: Callable[[int, float], None] = lambda step, value: None,
) -> Runs:
    """Run Adam from R starts side by side.

    Parameters
    ----------
    starts
        Parameters with a leading axis of length R.
    keys, rates
        A key and a learning rate for each run.
    elbo
        What a run has reached, in nats; called on a q in float64 after every ``every`` steps.
    draws, num_draws
        ``"independent"`` draws, the ``"moments"`` of as many, or ``"stratified"`` ones (:mod:`avigap.draws`).
    schedule
        Of the learning rates: ``"constant"`` as published, or ``"linear"`` to zero at the last step.
    report
        Called with the step and the best ELBO so far.

    Raises
    ------
    InputError
        If ``every`` does not divide ``steps``, or the joint does not allow this kind of draws.
    """
    if steps % every:
        raise InputError(f"steps must be a multiple of every = {every}, got {steps}")
    if draws == "moments":
        check_moments(joint, x, num_draws)
    if draws == "stratified":
        check_strata(joint, x)
    small = jax.tree.map(jnp.float32, (x, starts, rates))
    horizon = jnp.float32(steps if schedule == "linear" else jnp.inf)
    states = jax.vmap(numpyro.optim.Adam(0.0).init)(small[1])
    reach = jax.jit(jax.vmap(lambda params: elbo(mean_field(joint, family, jax.tree.map(jnp.float64, params), x))))
    losses, reached, seconds, averaged, start = [], [], [], small[1], time.perf_counter()
    lowered = _advance.lower(joint, family, draws, num_draws, every, small[0], states, keys, small[2], horizon)
    advance, compile_seconds = lowered.compile(), time.perf_counter() - start
    for done in range(every, steps + 1, every):
        start = time.perf_counter()
        states, loss = jax.block_until_ready(advance(small[0], states, keys, small[2], horizon))
        seconds.append(time.perf_counter() - start)
        params = jax.vmap(numpyro.optim.Adam(0.0).get_params)(states)
        looks = max(1, (done - steps // 2) // every)  # of the second half, until now
        averaged = jax.tree.map(lambda mean, now, n=looks: mean + (now - mean) / n, averaged, params)
        losses.append(np.asarray(loss))
        reached.append(np.asarray(reach(params)))
        report(done, float(np.nanmax(reached[-1], initial=-np.inf)))
    course = np.concatenate(losses, axis=1), np.stack(reached, axis=1)
    return Runs(*course, params, averaged, np.array(seconds), compile_seconds)


def published_start(
    joint: Joint, family: Family, x: Array, key: PRNGKeyArray, free: Literal["normal", "uniform"] = "normal"
) -> Variational:
    """Return a start as the authors' code draws it.

    Loc and log scale of q(theta), and the coefficients of polynomials, are standard normal; those of the free local
    factors standard normal or uniform on (0, 1); weights and biases of a network's layer are uniform on
    (-1, 1) / sqrt(inputs of the layer), PyTorch's default.
    """
    params = initial(joint, family, x, key)
    keys = iter(jax.random.split(jax.random.fold_in(key, 1), 1000))

    def normal(leaf: Array) -> Array:
        return jax.random.normal(next(keys), jnp.shape(leaf))

    def layer(leaves: Mapping[str, Array]) -> dict[str, Array]:
        bound = len(leaves["weight"]) ** -0.5
        return {n: jax.random.uniform(next(keys), v.shape, minval=-bound, maxval=bound) for n, v in leaves.items()}

    def is_layer(tree: Any) -> bool:
        return isinstance(tree, dict) and set(tree) == {"weight", "bias"}

    draw = normal if free == "normal" else lambda leaf: jax.random.uniform(next(keys), jnp.shape(leaf))
    return {
        "shared": jax.tree.map(normal, params["shared"]),
        "edge": jax.tree.map(draw, params["edge"]),
        "function": jax.tree.map(
            lambda part: layer(part) if is_layer(part) else normal(part), params["function"], is_leaf=is_layer
        ),
    }


def common_start(joint: Joint, family: Family, x: Array, key: PRNGKeyArray) -> Variational:
    """Return a start at which every factor of q is standard normal, in every family; a network's head is zero."""
    params = initial(joint, family, x, key)

    def is_network(tree: Any) -> bool:
        return isinstance(tree, list)

    def without_head(part: Any) -> Any:
        if is_network(part):
            return [*part[:-1], jax.tree.map(jnp.zeros_like, part[-1])]
        return jnp.zeros_like(part)

    return params | {"function": jax.tree.map(without_head, params["function"], is_leaf=is_network)}
