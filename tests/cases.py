"""The models, settings and families that the numerical tests run over."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from avigap import models
from avigap.amortization import Variational, initial
from avigap.core import Joint, bind, latent_shapes, simulate
from avigap.families import Family
from avigap.optimum import Optimum, fit_factorized
from avigap.settings import check_settings

SETTINGS: dict[str, list[dict[str, Any]]] = {
    "linear": [{}, {"tau": 0.7, "sigma": 1.3, "theta_scale": 2.0}],
    "nonlinear": [{}, {"normalised": False}, {"z_scale": 1.7, "theta_scale": 0.5}],
    "saw": [{}, {"alpha": 1.4, "theta_scale": 3.0}],
    "hmm": [{}, {"initial": "flat"}],
}
MODELS = [(name, settings) for name, variants in SETTINGS.items() for settings in variants]
GAUSSIAN = [(name, settings) for name, settings in MODELS if name != "nonlinear"]
FLAT_GAUSSIAN = [(name, settings) for name, settings in GAUSSIAN if "theta_scale" not in settings]
PLAIN = [case for case in MODELS if case[1] in ({}, {"initial": "flat"})]
FAMILIES: dict[str, dict[str, Any]] = {
    "factorized": {"kind": "factorized"},
    "constant": {"kind": "constant"},
    "polynomial": {"kind": "polynomial", "degree": 2, "inputs": [-1, 0]},
    "mlp": {"kind": "mlp", "width": 3, "depth": 1, "inputs": [-1, 0, 1]},
}


def label(value: object) -> str | None:
    """Name of a settings mapping in a test's id."""
    if isinstance(value, dict):
        return ",".join(f"{k}={v}" for k, v in value.items()) or "default"
    return None


def complete(model: str, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings with the model's defaults."""
    return check_settings(model, models.load(model).program, settings)


def bound(model: str, settings: dict[str, Any] | None = None) -> Joint:
    """The joint of a model."""
    return bind(models.load(model), complete(model, settings or {}))


@lru_cache(maxsize=256)
def _draw(model: str, settings: tuple[tuple[str, Any], ...], num_obs: int, seed: int) -> np.ndarray:
    return np.asarray(simulate(models.load(model), dict(settings), num_obs, jax.random.key(seed))[0])


def data(model: str, settings: dict[str, Any], num_obs: int, seed: int = 0) -> np.ndarray:
    """A simulated data set."""
    return _draw(model, tuple(sorted(complete(model, settings).items())), num_obs, seed)


def random_latents(joint: Joint, num_obs: int, seed: int = 0) -> dict[str, jax.Array]:
    """Latents of ordinary size."""
    random = np.random.default_rng(seed)
    return {s: jnp.asarray(random.standard_normal(v)) for s, v in latent_shapes(joint, num_obs).items()}


@lru_cache(maxsize=64)
def _solve(model: str, settings: tuple[tuple[str, Any], ...], num_obs: int, seed: int) -> Optimum:
    return fit_factorized(bound(model, dict(settings)), jnp.asarray(data(model, dict(settings), num_obs, seed)))


def optimum(model: str, settings: dict[str, Any], num_obs: int, seed: int = 0) -> Optimum:
    """The certified F-VI optimum of :func:`data`, found once."""
    return _solve(model, tuple(sorted(settings.items())), num_obs, seed)


def published(name: str) -> np.ndarray:
    """One of the authors' data sets."""
    return np.loadtxt(Path(__file__).parents[1] / "data" / name, skiprows=1)


def start_shapes(joint: Joint, family: Family, x: Any) -> Variational:
    """Shapes of the family's parameters, without computing them."""
    return jax.eval_shape(lambda key: initial(joint, family, jnp.asarray(x), key), jax.random.key(0))


def random_params(joint: Joint, family: Family, x: Any, seed: int = 0, size: float = 0.4) -> Variational:
    """Parameters of ordinary size, so that no equality holds by chance."""
    random = np.random.default_rng(seed)
    shapes = start_shapes(joint, family, x)
    return jax.tree.map(lambda leaf: jnp.asarray(size * random.standard_normal(leaf.shape)), shapes)
