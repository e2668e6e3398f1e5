"""Compiled programs of stochastic ascent: draws, and Adam's steps on them, of many runs side by side."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from jaxtyping import Array, Float, Int, PRNGKeyArray

from avigap.amortization import Variational, mean_field
from avigap.core import Joint
from avigap.draws import LogQ, draw_moments, elbo_estimate, independent_points, points_with, stratified_points
from avigap.families import Family

Draws = Literal["independent", "moments", "stratified"]

ONCE: dict[str, str | bool] = {
    **{"xla_cpu_use_fusion_emitters": False, "xla_llvm_disable_expensive_passes": True},
    "xla_backend_optimization_level": "0",
}
"""Options of the compiler for programs that run once: a quarter of its time."""

LONG: dict[str, str | bool] = {"xla_cpu_use_fusion_emitters": True}
"""Options for programs of large arrays that run long: a fifth less of their time, whatever XLA_FLAGS says."""

BLOCK_BYTES = 2**24
"""Draws that are made at once, for as many steps as fit, take no more memory; those of one step may."""


@partial(jax.jit, static_argnums=(0, 1, 2, 3, 4))
def _draw_block(
    joint: Joint, draws: Draws, num_draws: int, num_obs: int, steps: int, keys: PRNGKeyArray, done: Int[Array, ""]
) -> Any:
    """Return the draws of the next steps: leaves (steps, S, ..), those of a step and a key the same in any block."""
    draw = {"independent": independent_points, "stratified": stratified_points, "moments": draw_moments}[draws]

    def at_step(index: Array) -> Any:
        return jax.vmap(lambda key: draw(joint, num_obs, num_draws, jax.random.fold_in(key, index)))(keys)

    return jax.lax.map(at_step, done + jnp.arange(steps))


class Drawing:
    """Draws for the steps of a run, block by block: leaves (steps, S, ..), each step's from its own key.

    Attributes
    ----------
    block : steps of a block, a divisor of ``every``
    shapes : of the draws of a block
    compile_seconds : wall time of compiling it
    """

    def __init__(
        self, joint: Joint, draws: Draws, num_draws: int, num_obs: int, every: int, keys: PRNGKeyArray
    ) -> None:
        how, start = (joint, draws, num_draws, num_obs), time.perf_counter()
        one = jax.eval_shape(partial(_draw_block, *how, 1), keys, np.int32(0))
        size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(one))
        fitting = [n for n in range(1, every + 1) if every % n == 0 and n * size <= BLOCK_BYTES]
        self.block, self.keys = max(fitting, default=1), keys
        self.shapes = jax.eval_shape(partial(_draw_block, *how, self.block), keys, np.int32(0))
        options = LONG if draws == "independent" else None
        self.compiled = _draw_block.lower(*how, self.block, keys, np.int32(0)).compile(options)
        self.compile_seconds = time.perf_counter() - start

    def __call__(self, done: int) -> tuple[Any, float]:
        """Return the draws of the block after ``done`` steps, and the wall time of making them."""
        start = time.perf_counter()
        drawn = jax.block_until_ready(self.compiled(self.keys, np.int32(done)))
        return drawn, time.perf_counter() - start


@partial(jax.jit, static_argnums=0, compiler_options=ONCE)
def begin(num_rates: int, starts: Variational) -> Any:
    """Return the optimiser's states (S, K, ..) before the first step."""
    repeated = jax.tree.map(lambda leaf: jnp.repeat(jnp.float32(leaf)[:, None], num_rates, axis=1), starts)
    return jax.vmap(jax.vmap(numpyro.optim.Adam(0.0).init))(repeated)


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def advance(
    joint: Joint,
    family: Family,
    draws: Draws,
    log_q: LogQ,
    states: Any,
    drawn: Any,
    rates: Float[Array, " K"],
    horizon: Float[Array, ""],
    x: Array,
) -> tuple[Any, Float[Array, "S K steps"]]:
    """Return the optimiser's states after a step on each of the draws, and the losses before each.

    Rates reach 0 at ``horizon``.
    """

    def loss(params: Variational, own: Any) -> Array:
        points = points_with(joint, own) if draws == "moments" else own
        return -elbo_estimate(joint, x, mean_field(joint, family, params, x), points, log_q)

    def of_seed(states: Any, own: Any) -> tuple[Any, Array]:
        def at_rate(state: Any, rate: Array) -> tuple[Any, Array]:
            optimiser = numpyro.optim.Adam(lambda done: rate * (1 - done / horizon))
            value, gradient = jax.value_and_grad(loss)(optimiser.get_params(state), own)
            return optimiser.update(gradient, state), value.astype(jnp.float32)

        return _side_by_side(at_rate, states, rates)

    def step(states: Any, drawn: Any) -> tuple[Any, Array]:
        if draws == "independent":  # large arrays: those of one seed stay in the cache, those of all do not
            return jax.lax.map(lambda both: of_seed(*both), (states, drawn))
        return _side_by_side(of_seed, states, drawn)

    states, losses = jax.lax.scan(step, states, drawn)
    return states, jnp.moveaxis(losses, 0, -1)


def _side_by_side(function: Callable[..., Any], *arguments: Any) -> Any:
    """Map a function over the leading axes of its arguments; a single entry is a tenth faster without a batch."""
    if len(jax.tree.leaves(arguments[-1])[0]) > 1:
        return jax.vmap(function)(*arguments)
    alone = function(*jax.tree.map(lambda leaf: leaf[0], arguments))
    return jax.tree.map(lambda leaf: leaf[None], alone)
