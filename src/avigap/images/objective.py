"""ELBO of the Bayesian decoder on a batch of images: unbiased for that of all of them, and the objective as published.

The expected log likelihood is estimated with the noise of the weights in each layer's outputs (Kingma, Salimans and
Welling 2015, "Variational dropout and the local reparameterization trick"): given the layer's inputs these are
independent normals. Each image has weights of its own then; the ELBO is a sum over images, whose expectations stay the
same. The last layer is integrated exactly, and so are all priors and entropies (KL divergences of normals).
"""

from math import log, pi
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from avigap.images.inference import Inference, Start
from avigap.models.bnn_images import SLOPE, decode, layer_sizes, layers_of, num_weights

Params = dict[str, Any]
"""``{"theta": {"loc", "log_scale"} of (P,), "local": parameters of the inference}``"""

START_LOG_SCALE = {"common": -3.0, "published": -2.0}
"""Log scales of q(theta) at the start; that of the authors' code is the second."""


class Decoder(NamedTuple):
    """The settings of :func:`avigap.models.bnn_images.bnn_images`, hashable."""

    latent: int
    hidden: tuple[int, ...]
    pixels: int
    weight_scale: float = 1.0
    pixel_scale: float = 1.0

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Inputs and outputs of each layer."""
        return layer_sizes(self.latent, self.hidden, self.pixels)

    @property
    def num_weights(self) -> int:
        """Dimension of theta."""
        return num_weights(self.latent, self.hidden, self.pixels)


def initial(key: PRNGKeyArray, decoder: Decoder, inference: Inference, num_obs: int, start: Start) -> Params:
    """Return parameters in float32 to start from.

    The means of q(theta) are 0 in the published start; in the common one the network has outputs of scale 1.
    """
    of_theta, of_local = jax.random.split(key)
    loc = jnp.zeros(decoder.num_weights, jnp.float32)
    if start == "common":
        keys = jax.random.split(of_theta, len(decoder.sizes))
        layers = [
            jax.random.normal(own, (inputs, outputs), jnp.float32) / inputs**0.5
            for own, (inputs, outputs) in zip(keys, decoder.sizes, strict=True)
        ]
        loc = jnp.concatenate([jnp.pad(layer, ((0, 1), (0, 0))).ravel() for layer in layers])
    theta = {"loc": loc, "log_scale": jnp.full_like(loc, START_LOG_SCALE[start])}
    return {"theta": theta, "local": inference.init(of_local, num_obs, decoder.pixels, decoder.latent, start)}


def kl_from_prior(loc: Array, log_scale: Array, prior_scale: float = 1.0) -> Array:
    """Return KL(N(loc, scale^2) || N(0, prior_scale^2)) in nats, entry by entry."""
    log_ratio = log_scale - log(prior_scale)
    return 0.5 * (jnp.exp(2 * log_ratio) + (loc / prior_scale) ** 2 - 1) - log_ratio


def log_likelihood_rows(
    key: PRNGKeyArray, decoder: Decoder, theta: Params, loc: Array, log_scale: Array, x: Float[Array, "B pixels"]
) -> Float[Array, " B"]:
    """Return an unbiased estimate of each image's expected log likelihood under q, in nats, from one draw."""
    sizes, keys = decoder.sizes, jax.random.split(key, len(decoder.sizes))

    def noise(index: int, like: Array) -> Array:
        return jax.random.normal(keys[index], like.shape, like.dtype)

    values = loc + jnp.exp(log_scale) * noise(-1, loc)
    means, variances = (layers_of(each, sizes) for each in (theta["loc"], jnp.exp(2 * theta["log_scale"])))
    for index, (mean, variance) in enumerate(zip(means, variances, strict=True)):
        values = jax.nn.leaky_relu(values, SLOPE) if index else values
        centre, spread = values @ mean[:-1] + mean[-1], values**2 @ variance[:-1] + variance[-1]
        if index < len(sizes) - 1:
            values = centre + jnp.sqrt(spread) * noise(index, centre)
    squares = jnp.sum((x - centre) ** 2 + spread, axis=-1)
    return -0.5 * squares / decoder.pixel_scale**2 - decoder.pixels * (0.5 * log(2 * pi) + log(decoder.pixel_scale))


def elbo_rows(
    key: PRNGKeyArray, decoder: Decoder, theta: Params, loc: Array, log_scale: Array, x: Float[Array, "B pixels"]
) -> Float[Array, " B"]:
    """Return each image's term of the ELBO in nats, from one draw: the rest is minus :func:`kl_theta`."""
    return log_likelihood_rows(key, decoder, theta, loc, log_scale, x) - kl_from_prior(loc, log_scale).sum(-1)


def kl_theta(decoder: Decoder, theta: Params) -> Float[Array, ""]:
    """Return KL(q(theta) || p(theta)) in nats."""
    return jnp.sum(kl_from_prior(theta["loc"], theta["log_scale"], decoder.weight_scale))


def batch_elbo(
    key: PRNGKeyArray, decoder: Decoder, theta: Params, loc: Array, log_scale: Array, x: Array, num_obs: float | Array
) -> Float[Array, ""]:
    """Return an estimate of the ELBO of ``num_obs`` images from a batch of them, drawn without replacement.

    Only the batch is scored and encoded: its terms stand for those of all images, ``num_obs / B`` each.
    """
    rows = elbo_rows(key, decoder, theta, loc, log_scale, x)
    return num_obs / len(x) * jnp.sum(rows) - kl_theta(decoder, theta)


def loss_as_coded(
    key: PRNGKeyArray,
    decoder: Decoder,
    theta: Params,
    loc: Float[Array, "N D"],
    log_scale: Float[Array, "N D"],
    x: Float[Array, "N pixels"],
    rows: Int[Array, " B"],
) -> Float[Array, ""]:
    """Return the loss of the authors' code, from one draw of all latents.

    Likelihood and prior of the weights lack the factor 1/2, that of the local latents has it; the density of q is
    evaluated with its scale where a variance belongs; the factors of all N images are drawn and scored at every step,
    the likelihood is that of the batch, times N / B.
    """
    num_obs, keys = len(x), jax.random.split(key)
    drawn, log_q = [], jnp.zeros(())
    for own, (centre, log_s) in zip(
        keys, ((theta["loc"], theta["log_scale"]), (loc, jnp.broadcast_to(log_scale, loc.shape))), strict=True
    ):
        noise = jax.random.normal(own, centre.shape, centre.dtype)
        drawn.append(centre + jnp.exp(log_s) * noise)
        log_q -= jnp.sum(0.5 * log_s + 0.5 * jnp.exp(log_s) * noise**2)
    weights, z = drawn
    error = jnp.sum((x[rows] - decode(weights, z[rows], decoder.hidden, decoder.pixels)) ** 2)
    return num_obs / len(rows) * error + jnp.sum(weights**2) + 0.5 * jnp.sum(z**2) + log_q
