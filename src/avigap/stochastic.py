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
    params, q : of each run at the end, with a leading axis of length R
    elbo_averaged : (R,) ELBO of the mean of the params after every so many steps of the second half, in nats
    seconds : (steps / every,) wall time that all runs took together for so many steps
    compile_seconds : wall time of compiling them
    """

    loss: np.ndarray
    elbo: np.ndarray
    params: Variational
    q: MeanField
    elbo_averaged: np.ndarray
    seconds: np.ndarray
    compile_seconds: float


def _draw(joint: Joint, draws: Draws, num_draws: int, num_obs: int, key: PRNGKeyArray) -> Any:
    draw = {"independent": independent_points, "stratified": stratified_points, "moments": draw_moments}[draws]
    return draw(joint, num_obs, num_draws, key)


ONCE: dict[str, str | bool] = {
    **{"xla_cpu_use_fusion_emitters": False, "xla_llvm_disable_expensive_passes": True},
    "xla_backend_optimization_level": "0",
}
"""Options of the compiler for programs that run once: a quarter of its time."""

LONG: dict[str, str | bool] = {"xla_cpu_use_fusion_emitters": True}
"""Options for programs of large arrays that run long: a fifth less of their time, whatever XLA_FLAGS says."""


@partial(jax.jit, static_argnums=(0, 1, 2), compiler_options=ONCE)
def _begin(
    joint: Joint, draws: Draws, num_draws: int, x: Array, starts: Variational, keys: PRNGKeyArray, rates: Array
) -> tuple[Any, Any]:
    """Return the optimiser's states (S, K, ..) before the first step, and the draws (S, ..) of that step."""
    num_obs = joint.num_obs(x)
    repeated = jax.tree.map(lambda leaf: jnp.repeat(jnp.float32(leaf)[:, None], len(rates), axis=1), starts)
    states = jax.vmap(jax.vmap(numpyro.optim.Adam(0.0).init))(repeated)
    return states, jax.vmap(lambda key: _draw(joint, draws, num_draws, num_obs, jax.random.fold_in(key, 0)))(keys)


@partial(jax.jit, static_argnums=(0, 1, 2, 3, 4, 5))
def _advance(
    joint: Joint,
    family: Family,
    draws: Draws,
    log_q: LogQ,
    num_draws: int,
    steps: int,
    x: Array,
    begun: tuple[Any, Any],
    keys: PRNGKeyArray,
    rates: Float[Array, " K"],
    done: Int[Array, ""],
    horizon: Float[Array, ""],
) -> tuple[tuple[Any, Any], Float[Array, "S K steps"]]:
    """Return states and draws as :func:`_begin` does after more steps, and the losses before each.

    Rates reach 0 at ``horizon``. The draws of the next step are part of what is carried along: so they are made once,
    and not again by each of the loops into which the compiler puts what depends on them.
    """
    num_obs = joint.num_obs(x)

    def loss(params: Variational, drawn: Any) -> Array:
        points = points_with(joint, drawn) if draws == "moments" else drawn
        return -elbo_estimate(joint, x, mean_field(joint, family, params, x), points, log_q)

    def of_seed(begun: tuple[Any, Any], key: PRNGKeyArray) -> tuple[Any, Array]:
        def draw(index: Array) -> Any:
            return _draw(joint, draws, num_draws, num_obs, jax.random.fold_in(key, index))

        def step(carried: tuple[Any, Any], index: Array) -> tuple[Any, Array]:
            def at_rate(state: Any, rate: Array) -> tuple[Any, Array]:
                optimiser = numpyro.optim.Adam(lambda done: rate * (1 - done / horizon))
                value, gradient = jax.value_and_grad(loss)(optimiser.get_params(state), carried[1])
                return optimiser.update(gradient, state), value.astype(jnp.float32)

            states, values = _side_by_side(at_rate, carried[0], rates)
            return (states, draw(index + 1)), values

        begun, losses = jax.lax.scan(step, begun, done + jnp.arange(steps))
        return begun, losses.T

    return _side_by_side(of_seed, begun, keys)


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
    data, small_rates, start = np.float32(x), np.float32(rates), time.perf_counter()
    begun = _begin(joint, draws, num_draws, data, starts, keys, small_rates)
    course = (np.float32(steps if schedule == "linear" else np.inf),)
    lowered = _advance.lower(
        *(joint, family, draws, log_q, num_draws, every), data, begun, keys, small_rates, np.int32(0), *course
    )
    advance = lowered.compile(LONG if draws == "independent" else None)
    compile_seconds, read, looks = time.perf_counter() - start, _reader(joint, family, x, elbo), []
    averaged: Variational = {}
    for done in range(0, steps, every):
        start = time.perf_counter()
        begun, loss = jax.block_until_ready(advance(data, begun, keys, small_rates, np.int32(done), *course))
        seconds = time.perf_counter() - start
        params = jax.tree.map(_flat, numpyro.optim.Adam(0.0).get_params(begun[0]))
        q, reached = read(params)
        looks.append((np.asarray(loss).reshape(-1, every), np.asarray(reached), seconds))
        late = done // every + 1 - steps // 2 // every  # looks at the second half, until now
        averaged = params if late <= 1 else jax.tree.map(lambda a, b, n=late: a + (b - a) / n, averaged, params)
        report(done + every, float(np.nanmax(looks[-1][1], initial=-np.inf)))
    losses, elbos, times = zip(*looks, strict=True)
    rest = (params, jax.tree.map(np.asarray, q), np.asarray(read(averaged)[1]), np.array(times), compile_seconds)
    return Runs(np.concatenate(losses, 1), np.stack(elbos, 1), *rest)


def _flat(leaf: Array) -> np.ndarray:
    """Return the parameters of all runs (S, K, ..) as (R, ..), outside of JAX."""
    return np.asarray(leaf).reshape(leaf.shape[0] * leaf.shape[1], *leaf.shape[2:])


def _reader(
    joint: Joint, family: Family, x: Array, elbo: Callable[[MeanField], Array]
) -> Callable[[Variational], tuple[MeanField, Array]]:
    """Return the function from parameters (R, ..) to q and ELBO of all runs, in float64."""

    @jax.jit
    def read(params: Variational) -> tuple[MeanField, Array]:
        ends = jax.vmap(lambda own: mean_field(joint, family, jax.tree.map(jnp.float64, own), x))(params)
        return ends, jax.vmap(elbo)(ends)

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
