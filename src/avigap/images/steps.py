"""Compiled steps of mini-batch training of q for the Bayesian decoder, of many seeds side by side.

Factors of single images are updated when their image is in the batch, and only then: their moments are not touched by
steps that say nothing of them.
"""

from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from avigap.errors import InputError
from avigap.families import AtLeastOne
from avigap.images.inference import Inference, Start
from avigap.images.objective import Decoder, Params, batch_elbo, elbo_rows, kl_theta, loss_as_coded
from avigap.models import Positive
from avigap.models.bnn_images import decode

LOOK_DRAWS = 2
"""Draws of the ELBO at each look, the same at all looks."""

CHUNK, AT_ONCE = 500, 2_000
"""Images that are scored at once at the end, and at a look."""

Objective = Literal["minibatch", "as_coded"]


class Training(NamedTuple):
    """How runs are trained; the ``fit`` block of a configuration of images.

    Attributes
    ----------
    max_steps, every
        Steps at most, and steps between two looks.
    batch_size
        Images of a batch, or all where there are fewer.
    learning_rate, local_rate
        Of Adam, for all parameters but free factors of single images, and for these. Steps are clipped (:func:`adam`),
        but those of the objective as coded.
    cycle, tolerance
        The rates fall linearly to 0 within ``cycle`` steps, and begin again with a cycle twice as long, and so on: warm
        restarts (Loshchilov and Hutter 2017, with T_mult = 2). A run has converged where a cycle ends within so many
        nats per image of the best end before it, or of its start. With cycle 0 the rates stay, and a run lasts for
        ``max_steps``.
    objective, start
        See :mod:`avigap.images.objective`.
    """

    max_steps: int
    every: int
    batch_size: int
    learning_rate: float
    local_rate: float
    cycle: int
    tolerance: float
    objective: Objective
    start: Start


def training(
    *,
    max_steps: AtLeastOne = 31_000,
    every: AtLeastOne = 200,
    batch_size: AtLeastOne = 100,
    learning_rate: Positive = 3e-3,
    local_rate: Positive = 1e-1,
    cycle: int = 1_000,
    tolerance: Positive = 0.1,
    objective: Objective = "minibatch",
    start: Start = "common",
) -> Training:
    """Return checked settings; the keywords are what a ``fit`` block may hold.

    Raises
    ------
    InputError
        If ``cycle`` is negative or not a whole number of looks, or no cycle ends with ``max_steps``.
    """
    if cycle < 0 or cycle % every:
        raise InputError(f"cycle must be 0 or a multiple of every = {every}, got {cycle}")
    if cycle and max_steps not in (ends := [end for end in cycle_ends(cycle, max_steps) if end]):
        allowed = ", ".join(map(str, [*ends, 2 * (ends[-1] if ends else 0) + cycle]))
        raise InputError(f"max_steps must be where a cycle ends, one of {allowed}, ..; got {max_steps}")
    return Training(max_steps, every, batch_size, learning_rate, local_rate, cycle, tolerance, objective, start)


def cycle_ends(cycle: int, until: int) -> list[int]:
    """Return the steps, from 0 up to ``until``, after which a cycle ends and the next one, twice as long, begins."""
    ends = [0]
    while (end := 2 * ends[-1] + cycle) <= until:
        ends.append(end)
    return ends


class State(NamedTuple):
    """Parameters, Adam's moments and the number of updates of each leaf, with a leading axis of seeds outside."""

    params: Params
    first: Params
    second: Params
    updates: Params


def factors(inference: Inference, local: Any, x: Array, rows: Any = slice(None)) -> tuple[Array, Array]:
    """Return loc and log scale of the factors of the images ``x``, those with numbers ``rows``."""
    if inference.infer is None:
        return local["loc"][rows], local["log_scale"][rows]
    return inference.infer(local, x)


def mean_squared_error(decoder: Decoder, theta: Params, loc: Array, x: Array) -> Float[Array, ""]:
    """Return the squared error per pixel of the images decoded from the means of q (the paper's metric)."""
    return jnp.mean((decode(theta["loc"], loc, decoder.hidden, decoder.pixels) - x) ** 2)


def begin(params: Params, inference: Inference) -> State:
    """Return the state before the first step."""
    zeros = jax.tree.map(jnp.zeros_like, params)
    count = jax.tree.map(lambda leaf: jnp.zeros((1,) * leaf.ndim, jnp.float32), params)
    if inference.infer is None:
        count["local"] = jax.tree.map(lambda leaf: jnp.zeros((len(leaf), 1), jnp.float32), params["local"])
    return State(params, zeros, zeros, count)


def adam(state: State, gradient: Params, rate: Params, *, is_clipped: bool) -> State:
    """Return the state after a step of Adam (Kingma and Ba 2015) with its usual constants.

    If clipped, the rate of an array is divided by the root mean square of gradient / sqrt(second moment) where that is
    above 1: a gradient far larger than those before it makes no step that wide networks do not survive (Wortsman et al.
    2023, "Stable and low-precision training for large-scale vision-language models"). The free factors of a batch are
    one array: a gradient far larger in one image holds back the others of its batch.
    """
    count = jax.tree.map(lambda done: done + 1, state.updates)
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, state.first, gradient)
    second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g**2, state.second, gradient)

    def moved(param: Array, slope: Array, m: Array, v: Array, done: Array, rate: Array) -> Array:
        scale = jnp.sqrt(v / (1 - 0.999**done)) + 1e-8
        excess = jnp.maximum(1.0, jnp.sqrt(jnp.mean((slope / scale) ** 2))) if is_clipped else 1.0
        return param - rate / excess * (m / (1 - 0.9**done)) / scale

    params = jax.tree.map(moved, state.params, gradient, first, second, count, rate)
    return State(params, first, second, count)


def _rows_of(tree: State, rows: Array) -> State:
    """Return a state of free factors with those of a batch alone."""
    return State(*(part | {"local": jax.tree.map(lambda leaf: leaf[rows], part["local"])} for part in tree))


def _with_rows(tree: State, rows: Array, batch: State) -> State:
    def put(whole: Params, part: Params) -> Params:
        return part | {"local": jax.tree.map(lambda a, b: a.at[rows].set(b), whole["local"], part["local"])}

    return State(*(put(whole, part) for whole, part in zip(tree, batch, strict=True)))


def _step(
    decoder: Decoder,
    inference: Inference,
    how: Training,
    x: Array,
    num_obs: Array,
    state: State,
    rows: Array,
    key: PRNGKeyArray,
    rate: Array,
) -> tuple[State, Array]:
    """Return the state after a step, and the loss before it."""
    is_free, is_coded = inference.infer is None, how.objective == "as_coded"
    own = _rows_of(state, rows) if is_free and not is_coded else state
    seen = x if is_coded else x[rows]

    def loss(params: Params) -> Array:
        loc, log_scale = factors(inference, params["local"], seen)
        if is_coded:
            loc = jnp.broadcast_to(loc, log_scale.shape)
            return loss_as_coded(key, decoder, params["theta"], loc, log_scale, x, rows)
        return -batch_elbo(key, decoder, params["theta"], loc, log_scale, seen, num_obs)

    rates = jax.tree.map(lambda _: rate * how.learning_rate, own.params)
    if is_free:
        rates["local"] = jax.tree.map(lambda _: rate * how.local_rate, own.params["local"])
    value, gradient = jax.value_and_grad(loss)(own.params)
    moved = adam(own, gradient, rates, is_clipped=not is_coded)
    return (_with_rows(state, rows, moved) if is_free and not is_coded else moved), value


@partial(jax.jit, static_argnums=(0, 1, 2))
@partial(jax.vmap, in_axes=(None, None, None, None, None, 0, 0, 0, 0))
def run_steps(
    decoder: Decoder,
    inference: Inference,
    how: Training,
    x: Float[Array, "M pixels"],
    num_obs: Float[Array, ""],
    state: State,
    rows: Int[Array, "steps B"],
    key: PRNGKeyArray,
    rate: Float[Array, ""],
) -> tuple[State, Float[Array, ""]]:
    """Return the state after a step on each batch of rows of ``x``, and the mean loss.

    The ELBO is that of the first ``num_obs`` images, from which the rows are: data sets of any size share one program.
    """

    def step(state: State, both: tuple[Array, Array]) -> tuple[State, Array]:
        return _step(decoder, inference, how, x, num_obs, state, *both, rate)

    state, losses = jax.lax.scan(step, state, (rows, jax.random.split(key, len(rows))))
    return state, losses.mean()


@partial(jax.jit, static_argnums=(0, 1))
@partial(jax.vmap, in_axes=(None, None, 0, None, None, None, None))
def look(
    decoder: Decoder, inference: Inference, params: Params, x: Array, num_obs: Array, test: Array, key: PRNGKeyArray
) -> tuple[Array, Array, Array]:
    """Return ELBO in nats, by a few draws, and error of the first ``num_obs`` images, and the error of unseen ones."""
    theta, numbers = params["theta"], jnp.arange(len(x))

    def of_image(image: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        seen, own = image[0][None], image[1][None]
        loc, log_scale = factors(inference, params["local"], seen, own)
        keys = jax.random.split(image[2], LOOK_DRAWS)
        rows = jax.vmap(lambda one: elbo_rows(one, decoder, theta, loc, log_scale, seen)[0])(keys)
        return rows.mean(), mean_squared_error(decoder, theta, loc, seen)

    images = x, numbers, jax.random.split(key, len(x))
    if len(x) <= AT_ONCE:
        rows, errors = jax.vmap(of_image)(images)
    else:
        rows, errors = jax.lax.map(of_image, images, batch_size=AT_ONCE)
    is_own = numbers < num_obs
    unseen = jnp.full((), jnp.nan)
    if inference.infer is not None:
        unseen = mean_squared_error(decoder, theta, factors(inference, params["local"], test)[0], test)
    elbo = jnp.sum(jnp.where(is_own, rows, 0), dtype=float) - kl_theta(decoder, theta)
    return elbo, jnp.sum(jnp.where(is_own, errors, 0)) / num_obs, unseen
