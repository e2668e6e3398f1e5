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
from jaxtyping import Array, Float, Int, PRNGKeyArray

from avigap.amortize import Variational, initial, mean_field
from avigap.core import Joint, MeanField
from avigap.draws import (
    LogQ,
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


def _draw(joint: Joint, draws: Draws, num_draws: int, num_obs: int, key: PRNGKeyArray) -> Any:
    draw = {"independent": independent_points, "stratified": stratified_points, "moments": draw_moments}[draws]
    return draw(joint, num_obs, num_draws, key)


@partial(jax.jit, static_argnums=(0, 1, 2, 3, 4, 5))
def _advance(
    joint: Joint,
    family: Family,
    draws: Draws,
    log_q: LogQ,
    num_draws: int,
    steps: int,
    x: Array,
    states: Any,
    keys: PRNGKeyArray,
    rates: Float[Array, " K"],
    done: Int[Array, ""],
    horizon: Float[Array, ""],
) -> tuple[Any, Float[Array, "S K steps"]]:
    """Return the optimiser's states (S, K, ..) after more steps, and the losses before each; rates reach 0 at horizon.

    The draws of the next step are part of what is carried along: so they are made once, and not again by each of the
    loops into which the compiler puts what depends on them.
    """
    num_obs = joint.num_obs(x)

    def loss(params: Variational, drawn: Any) -> Array:
        points = points_with(joint, drawn) if draws == "moments" else drawn
        return -elbo_estimate(joint, x, mean_field(joint, family, params, x), points, log_q)

    def of_seed(states: Any, key: PRNGKeyArray) -> tuple[Any, Array]:
        def draw(index: Array) -> Any:
            return _draw(joint, draws, num_draws, num_obs, jax.random.fold_in(key, index))

        def step(carried: tuple[Any, Any], index: Array) -> tuple[Any, Array]:
            def at_rate(state: Any, rate: Array) -> tuple[Any, Array]:
                optimiser = numpyro.optim.Adam(lambda done: rate * (1 - done / horizon))
                value, gradient = jax.value_and_grad(loss)(optimiser.get_params(state), carried[1])
                return optimiser.update(gradient, state), value.astype(jnp.float32)

            states, values = _side_by_side(at_rate, carried[0], rates)
            return (states, draw(index + 1)), values

        (states, _), losses = jax.lax.scan(step, (states, draw(done)), done + jnp.arange(steps))
        return states, losses.T

    return _side_by_side(of_seed, states, keys)


def _side_by_side(function: Callable[..., Any], *arguments: Any) -> Any:
    """Map a function over the leading axes of its arguments; a single entry is a tenth faster without a batch."""
    if len(jax.tree.leaves(arguments[-1])[0]) > 1:
        return jax.vmap(function)(*arguments)
    alone = function(*jax.tree.map(lambda leaf: leaf[0], arguments))
    return jax.tree.map(lambda leaf: leaf[None], alone)


def ascend_stochastically(
    joint: Joint,
    family: Family,
    x: Array,
    starts: Variational,
    keys: PRNGKeyArray,
    rates: Float[Array, " K"],
    elbo: Callable[[MeanField], Array],
    steps: int,
    every: int = 100,
    draws: Draws = "independent",
    num_draws: int = 100,
    schedule: Schedule = "constant",
    log_q: LogQ = "points",
    report: Callable[[int, float], None] = lambda step, value: None,
) -> Runs:
    """Run Adam from S starts at each of K learning rates side by side: R = S K runs, the rates of a start together.

    Parameters
    ----------
    starts
        Parameters with a leading axis of length S.
    keys
        One for each start; the runs from it at all rates take the same draws.
    elbo
        What a run has reached, in nats; called on a q in float64 after every ``every`` steps.
    draws, num_draws
        ``"independent"`` draws, the ``"moments"`` of as many, or ``"stratified"`` ones (:mod:`avigap.draws`).
    schedule
        Of the learning rates: ``"constant"`` as published, or ``"linear"`` to zero at the last step.
    log_q
        How log q is computed, see :func:`avigap.draws.elbo_estimate`.
    report
        Called with the step and the best ELBO so far.

    Raises
    ------
    InputError
        If ``every`` does not divide ``steps``, or the joint does not allow this kind of draws.
    """
    if steps % every:
        raise InputError(f"steps must be a multiple of every = {every}, got {steps}")
    if draws != "independent":
        {"moments": check_moments, "stratified": check_strata}[draws](joint, x, num_draws)
    data, small_rates = jnp.float32(x), jnp.float32(rates)
    repeated = jax.tree.map(lambda leaf: jnp.repeat(jnp.float32(leaf)[:, None], len(rates), axis=1), starts)
    states = jax.vmap(jax.vmap(numpyro.optim.Adam(0.0).init))(repeated)
    horizon = jnp.float32(steps if schedule == "linear" else jnp.inf)
    read, start = _reader(joint, family, x, elbo, len(keys) * len(rates)), time.perf_counter()
    lowered = _advance.lower(
        *(joint, family, draws, log_q, num_draws, every), data, states, keys, small_rates, jnp.int32(0), horizon
    )
    advance, compile_seconds = lowered.compile(), time.perf_counter() - start
    averaged, course = read(states)[0], []
    for done in range(0, steps, every):
        start = time.perf_counter()
        states, loss = jax.block_until_ready(advance(data, states, keys, small_rates, jnp.int32(done), horizon))
        seconds = time.perf_counter() - start
        params, reached = read(states)
        looks = max(1, done // every + 1 - steps // 2 // every)  # of the second half, until now
        averaged = jax.tree.map(lambda mean, now, n=looks: mean + (now - mean) / n, averaged, params)
        course.append((np.asarray(loss).reshape(-1, every), np.asarray(reached), seconds))
        report(done + every, float(np.nanmax(reached, initial=-np.inf)))
    losses, elbos, times = zip(*course, strict=True)
    return Runs(np.concatenate(losses, 1), np.stack(elbos, 1), params, averaged, np.array(times), compile_seconds)


def _reader(
    joint: Joint, family: Family, x: Array, elbo: Callable[[MeanField], Array], runs: int
) -> Callable[[Any], tuple[Variational, Array]]:
    """Return the function from the optimiser's states (S, K, ..) to parameters and ELBO of all R runs."""

    @jax.jit
    def read(states: Any) -> tuple[Variational, Array]:
        own = numpyro.optim.Adam(0.0).get_params(states)
        params = jax.tree.map(lambda leaf: leaf.reshape(runs, *leaf.shape[2:]), own)
        ends = jax.vmap(lambda own: mean_field(joint, family, jax.tree.map(jnp.float64, own), x))(params)
        return params, jax.vmap(elbo)(ends)

    return read


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
