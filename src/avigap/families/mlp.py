"""Neural inference functions: a multilayer perceptron from the window's inputs to loc and log scale."""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from avigap.families import AtLeastOne, Family, Offsets, Params

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": jax.nn.relu,
    "leaky_relu": lambda x: jax.nn.leaky_relu(x, 0.2),
    "tanh": jnp.tanh,
    "softplus": jax.nn.softplus,
}


def build(
    *,
    width: AtLeastOne = 8,
    depth: AtLeastOne = 2,
    activation: Literal["relu", "leaky_relu", "tanh", "softplus"] = "relu",
    heads: Literal["shared", "separate"] = "shared",
    inputs: Offsets = (0,),
) -> Family:
    """Return the family of networks with ``depth`` hidden layers of ``width`` units.

    ``heads: shared`` is one trunk with a linear head for each of loc and log scale; ``separate`` is a network for each.

    Every network starts with inputs standardised through its first layer and with the kink of every hidden unit
    (where its input is 0) on an observation drawn at random, so that no unit is dead on all the data at the start.
    """
    act = ACTIVATIONS[activation]
    outputs = 2 if heads == "shared" else 1

    def network(key: PRNGKeyArray, inputs: Float[Array, "n C"]) -> Params:
        layers, values = [], inputs
        for _ in range(depth):
            key, key_weight, key_row = jax.random.split(key, 3)
            spread = jnp.std(values, axis=0)
            spread = jnp.where(spread > 1e-12, spread, 1.0)
            weight = jax.random.normal(key_weight, (values.shape[1], width)) / spread[:, None]
            weight = weight / jnp.sqrt(values.shape[1])
            rows = values[jax.random.randint(key_row, (width,), 0, len(values))]
            bias = -jnp.sum(rows * weight.T, axis=1)
            layers.append({"weight": weight, "bias": bias})
            values = act(values @ weight + bias)
        spread = jnp.sqrt(jnp.mean(values**2)) + 1e-12
        weight = 0.1 * jax.random.normal(key, (width, outputs)) / (spread * width**0.5)
        return [*layers, {"weight": weight, "bias": jnp.zeros(outputs)}]

    def forward(params: Params, inputs: Float[Array, " C"]) -> Float[Array, " outputs"]:
        values = inputs
        for layer in params[:-1]:
            values = act(values @ layer["weight"] + layer["bias"])
        return jnp.asarray(values @ params[-1]["weight"] + params[-1]["bias"])

    def init(key: PRNGKeyArray, inputs: Float[Array, "n C"]) -> Params:
        if heads == "shared":
            return network(key, inputs)
        keys = jax.random.split(key)
        return {"loc": network(keys[0], inputs), "log_scale": network(keys[1], inputs)}

    def infer(params: Params, inputs: Float[Array, " C"]) -> tuple[Array, Array]:
        if heads == "shared":
            loc, log_scale = forward(params, inputs)
            return loc, log_scale
        return forward(params["loc"], inputs)[0], forward(params["log_scale"], inputs)[0]

    return Family(inputs, init, infer)
