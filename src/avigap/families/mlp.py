"""Neural inference functions: a multilayer perceptron from the window's inputs to loc and log scale."""

from collections.abc import Callable
from functools import partial
from math import prod
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr
from jaxtyping import Array, Float, Int, PRNGKeyArray

from avigap import pursuit
from avigap.families import AtLeastOne, Family, Offsets, Params
from avigap.subsample import spread_probability

Activation = Callable[[Array], Array]
Layer = dict[str, Array]

ACTIVATIONS: dict[str, Activation] = {
    "relu": jax.nn.relu,
    "leaky_relu": lambda x: jax.nn.leaky_relu(x, 0.2),
    "tanh": jnp.tanh,
    "softplus": jax.nn.softplus,
}


CANDIDATES = 24
"""Units among which a grown start chooses one."""


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

    A plain start has inputs standardised through its first layer and the kink of every hidden unit (where its input is
    0) on an observation, so that no unit is dead on all the data. A grown start chooses the units of every layer among
    many such ones, extreme observations more often, by orthogonal matching pursuit on the factors to be reproduced;
    every other start also has up to ``width // 4`` ramps where these factors jump, passed through all layers.
    """
    act, nets = ACTIVATIONS[activation], 1 if heads == "shared" else 2
    outputs = 2 // nets
    plain, grown = partial(_plain, act, depth, width, outputs), partial(_grown, act, depth, width)

    def noise(key: PRNGKeyArray, num_inputs: int, units: int) -> Float[Array, "nets layers _ units"]:
        shape = nets, depth + 1, max(num_inputs, width) + 1, units
        return jax.random.normal(key, (prod(shape),)).reshape(shape)  # one flat draw compiles fastest

    def init(key: PRNGKeyArray, inputs: Float[Array, "n C"]) -> Params:
        return _for_heads(plain, noise(key, inputs.shape[1], max(width, outputs)), inputs)

    @jax.jit
    def grow(
        key: PRNGKeyArray, inputs: Float[Array, "m C"], targets: Float[Array, "2 m"], weights: Float[Array, "2 m"]
    ) -> Params:
        return _for_heads(grown, noise(key, inputs.shape[1], CANDIDATES * width), inputs, targets, weights)

    def infer(params: Params, inputs: Float[Array, "C *n"]) -> tuple[Array, Array]:
        if heads == "shared":
            loc, log_scale = _forward(act, params, inputs)
            return loc, log_scale
        return _forward(act, params["loc"], inputs)[0], _forward(act, params["log_scale"], inputs)[0]

    return Family(inputs, init, infer, grow=grow)


def _forward(act: Activation, params: Params, inputs: Float[Array, "C *n"]) -> Float[Array, "outputs *n"]:
    values = inputs
    for index, layer in enumerate(params):
        bias = layer["bias"].reshape(-1, *(1 for _ in inputs.shape[1:]))
        values = layer["weight"].T @ (act(values) if index else values) + bias
    return values


def _for_heads(
    network: Callable[..., Params], noise: Float[Array, "nets layers _ units"], inputs: Array, *factors: Array
) -> Params:
    """Return one network for both heads, or one for each from its own factor, as there is noise for."""
    if len(noise) == 1:
        return network(noise[0], inputs, *factors)
    each = [factor[:, None] for factor in factors]
    both = jax.vmap(network, (0, None, *(0 for _ in each)))(noise, inputs, *each)
    return {"loc": jax.tree.map(lambda leaf: leaf[0], both), "log_scale": jax.tree.map(lambda leaf: leaf[1], both)}


def _plain(
    act: Activation,
    depth: int,
    width: int,
    outputs: int,
    noise: Float[Array, "layers _ _"],
    inputs: Float[Array, "n C"],
) -> Params:
    """Return a network whose units have their kinks on observations, and a small head."""
    layers, values = [], inputs
    rows = (ndtr(noise[:depth, -1, :width]) * len(inputs)).astype(int)
    for index in range(depth):
        layers.append(_units(noise[index, :-1, :width], values, rows[index]))
        values = act(values @ layers[-1]["weight"] + layers[-1]["bias"])
    spread = jnp.sqrt(jnp.mean(values**2)) + 1e-12
    weight = 0.1 * noise[depth, :width, :outputs] / (spread * width**0.5)
    return [*layers, {"weight": weight, "bias": jnp.zeros(outputs)}]


def _grown(
    act: Activation,
    depth: int,
    width: int,
    noise: Float[Array, "layers _ _"],
    inputs: Float[Array, "m C"],
    targets: Float[Array, "outputs m"],
    weights: Float[Array, "outputs m"],
) -> Params:
    """Return a network of which each layer's units are chosen among many for the targets, and its head solved."""
    layers, values, most = [], inputs, width // 4
    number = jnp.maximum((ndtr(noise[depth, 0, 0]) * (2 * most + 1)).astype(int) - most, 0)
    edges = jnp.cumsum(spread_probability(inputs))
    rows = jnp.searchsorted(edges / edges[-1], ndtr(noise[:depth, -1]))
    for index in range(depth):
        some = _units(noise[index, :-1], values, rows[index])
        if index:  # among the candidates are those that pass a unit of the layer below through
            through = {"weight": jnp.eye(width), "bias": 0.1 * values.mean(0)}
            units = _joined(_passed_ramps(width, most, index), through, some)
        else:
            units = _joined(_ramps(*pursuit.rises(inputs, targets, weights, most)), some)
        features = act(values @ units["weight"] + units["bias"])
        chosen = pursuit.choose(features, targets, weights, width, number if index else 2 * number)
        layers.append({"weight": units["weight"][:, chosen], "bias": units["bias"][chosen]})
        values = features[:, chosen]
    head = pursuit.solve(values, targets, weights)
    return [*layers, {"weight": head[:-1], "bias": head[-1]}]


def _joined(*units: Layer) -> Layer:
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves, axis=-1), *units)


def _ramps(slopes: Float[Array, "C ramps"], offsets: Float[Array, " ramps"]) -> Layer:
    """Return two units for each ramp, which is their difference."""
    return {"weight": jnp.repeat(slopes, 2, axis=1), "bias": jnp.stack([offsets, offsets - 1], axis=-1).ravel()}


def _passed_ramps(width: int, ramps: int, index: int) -> Layer:
    """Return a unit for each ramp, of which layer 0 has two units and later ones have one, before all others."""
    unit = np.eye(width)
    ramp = unit[:, :ramps] if index > 1 else unit[:, : 2 * ramps : 2] - unit[:, 1 : 2 * ramps : 2]
    return {"weight": jnp.asarray(ramp), "bias": jnp.zeros(ramps)}


def _units(noise: Float[Array, "_ number"], values: Float[Array, "n C"], rows: Int[Array, " number"]) -> Layer:
    """Return weights (C, number) and biases of units on standardised inputs, each with its kink on a row of values."""
    size = values.shape[1]
    spread = jnp.std(values, axis=0)
    weight = noise[:size] / jnp.where(spread > 1e-12, spread, 1.0)[:, None] / size**0.5
    return {"weight": weight, "bias": -jnp.sum(values[rows] * weight.T, axis=1)}
