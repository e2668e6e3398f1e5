"""Bayesian neural decoder of images (Margossian and Blei 2024, section 4.4).

    theta_p ~ N(0, weight_scale^2)                  p = 1..P, all weights and biases of a network
    z_n ~ N(0, I), z_n of ``latent`` entries
    x_n ~ N(m(z_n; theta), pixel_scale^2 I)         n = 1..N, x_n of ``pixels`` entries

m is a network with hidden layers of ``hidden`` leaky rectified units (slope 0.2) and a linear output. A simple
hierarchical model with vectors for z_n and x_n: an encoder of x_n can close the gap. P follows from the sizes,
283,920 for those of the paper, which has 57,232. The authors' code has variance 1/2 where the paper has 1.
"""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float

from avigap.core import Model
from avigap.families import AtLeastOne
from avigap.models import Positive

SLOPE = 0.2
"""Of the hidden units below 0."""


def layer_sizes(latent: int, hidden: tuple[int, ...], pixels: int) -> list[tuple[int, int]]:
    """Return inputs and outputs of each layer of the decoder."""
    widths = (latent, *hidden, pixels)
    return list(pairwise(widths))


def num_weights(latent: int, hidden: tuple[int, ...], pixels: int) -> int:
    """Return the dimension of theta: the weights and biases of all layers."""
    return sum((inputs + 1) * outputs for inputs, outputs in layer_sizes(latent, hidden, pixels))


def layers_of(theta: Float[Array, " P"], sizes: list[tuple[int, int]]) -> list[Float[Array, "inputs+1 outputs"]]:
    """Return the matrix of each layer, whose last row has the biases, from the vector of all of them."""
    layers, first = [], 0
    for inputs, outputs in sizes:
        layers.append(theta[first : first + (inputs + 1) * outputs].reshape(inputs + 1, outputs))
        first += (inputs + 1) * outputs
    return layers


def decode(
    theta: Float[Array, " P"], z: Float[Array, "N D"], hidden: tuple[int, ...], pixels: int
) -> Float[Array, "N pixels"]:
    """Return the mean image m(z_n; theta) of each latent vector."""
    values = z
    for index, layer in enumerate(layers_of(theta, layer_sizes(z.shape[-1], hidden, pixels))):
        values = jax.nn.leaky_relu(values, SLOPE) if index else values
        values = values @ layer[:-1] + layer[-1]
    return values


def bnn_images(
    x: Array | None = None,
    *,
    num_obs: int,
    latent: AtLeastOne = 64,
    hidden: tuple[AtLeastOne, ...] = (256, 256),
    pixels: AtLeastOne = 784,
    weight_scale: Positive = 1.0,
    pixel_scale: Positive = 1.0,
) -> Array:
    """Bayesian neural decoder; ``x`` has shape (num_obs, pixels)."""
    size = num_weights(latent, hidden, pixels)
    theta = numpyro.sample("theta", dist.Normal(0.0, weight_scale).expand([size]).to_event(1))
    with numpyro.plate("obs", num_obs):
        z = numpyro.sample("z", dist.Normal(jnp.zeros(latent), 1.0).to_event(1))
        image = dist.Normal(decode(theta, z, hidden, pixels), pixel_scale).to_event(1)
        drawn: Array = numpyro.sample("x", image, obs=x)
    return drawn


MODEL = Model(bnn_images, truth={}, row_shape=lambda settings: (settings["pixels"],))
