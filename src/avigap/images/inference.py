"""How the factors of the local latents depend on the images: free ones, one for all, or an encoder's output.

The factors are q(z_n) = N(loc_n, diag(scale_n^2)) with loc_n and scale_n of ``latent`` entries.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from avigap.errors import InputError, unknown
from avigap.families import AtLeastOne
from avigap.models.bnn_images import SLOPE
from avigap.settings import check_settings

Start = Literal["common", "published"]

PUBLISHED_LOG_SCALE = -1.0
"""Mean of the log scales of free factors at the start of the authors' code."""


class Inference(NamedTuple):
    """A family of factors of the local latents.

    Attributes
    ----------
    init
        ``(key, num_obs, pixels, latent, start) -> params`` in float32. From the ``common`` start every factor has scale
        1, and mean 0 if free: encoders have means of their own from the first step, since the decoder learns to ignore
        latents that say nothing sooner than a narrow encoder learns to say something. The ``published`` start draws
        free factors and the layers of encoders as the authors' code does.
    infer
        ``(params, x (B, pixels)) -> (loc, log_scale)``, each (B, latent) or broadcast to it; None where every image has
        its own factor, with params ``{"loc", "log_scale"}`` of shape (num_obs, latent).
    """

    init: Callable[[PRNGKeyArray, int, int, int, Start], Any]
    infer: Callable[[Any, Float[Array, "B pixels"]], tuple[Array, Array]] | None


def factorized() -> Inference:
    """F-VI: a factor for each image."""
    return Inference(lambda key, num_obs, _, latent, start: _free(key, (num_obs, latent), start), None)


def constant() -> Inference:
    """One factor that all images share."""

    def infer(params: Any, x: Array) -> tuple[Array, Array]:
        return params["loc"] + 0 * x[:, :1], params["log_scale"] + 0 * x[:, :1]

    return Inference(lambda key, _, __, latent, start: _free(key, (latent,), start), infer)


def encoder(*, width: AtLeastOne, depth: AtLeastOne = 2) -> Inference:
    """A-VI: ``depth`` hidden layers of ``width`` leaky rectified units, and linear heads for loc and log scale."""

    def init(key: PRNGKeyArray, _: int, pixels: int, latent: int, start: Start) -> Any:
        sizes = [(pixels, width), *[(width, width)] * (depth - 1), (width, 2 * latent)]
        layers = [_linear(jax.random.fold_in(key, index), *size) for index, size in enumerate(sizes)]
        if start == "common":
            layers[-1] = layers[-1].at[:, latent:].set(0.0)
        return layers

    def infer(params: Any, x: Array) -> tuple[Array, Array]:
        values = x
        for index, layer in enumerate(params):
            values = jax.nn.leaky_relu(values, SLOPE) if index else values
            values = values @ layer[:-1] + layer[-1]
        loc, log_scale = jnp.split(values, 2, axis=-1)
        return loc, log_scale

    return Inference(init, infer)


KINDS: dict[str, Callable[..., Inference]] = {"factorized": factorized, "constant": constant, "encoder": encoder}


@lru_cache(maxsize=64)
def _build(kind: str, settings: tuple[tuple[str, Any], ...]) -> Inference:
    return KINDS[kind](**dict(settings))


def build(config: Mapping[str, Any]) -> Inference:
    """Return the family that a configuration such as ``{"kind": "encoder", "width": 64}`` describes.

    Equal configurations give the same object, so that compiled functions are shared.

    Raises
    ------
    InputError
        If the kind or a setting is unknown, or a value is not allowed.
    """
    kind = config.get("kind")
    if kind is None:
        raise InputError(f"a method needs a 'kind', one of {', '.join(KINDS)}; got {dict(config)!r}")
    if kind not in KINDS:
        raise unknown("kind of method", kind, KINDS)
    rest = {name: value for name, value in config.items() if name != "kind"}
    return _build(kind, tuple(sorted(check_settings(f"method {kind!r}", KINDS[kind], rest).items())))


def _free(key: PRNGKeyArray, shape: tuple[int, ...], start: Start) -> dict[str, Array]:
    if start == "common":
        return {"loc": jnp.zeros(shape, jnp.float32), "log_scale": jnp.zeros(shape, jnp.float32)}
    loc, log_scale = jax.random.normal(key, (2, *shape), jnp.float32)
    return {"loc": loc, "log_scale": log_scale + PUBLISHED_LOG_SCALE}


def _linear(key: PRNGKeyArray, inputs: int, outputs: int) -> Float[Array, "inputs+1 outputs"]:
    """Return weights and, in the last row, biases: uniform within 1 / sqrt(inputs), the default of PyTorch's layers."""
    return jax.random.uniform(key, (inputs + 1, outputs), jnp.float32, -1.0, 1.0) / inputs**0.5
