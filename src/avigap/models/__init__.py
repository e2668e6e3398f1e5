"""The models of the study, one file each, found by file name."""

from collections.abc import Mapping
from importlib import import_module
from pkgutil import iter_modules
from typing import Annotated, Any

from avigap.core import Model
from avigap.errors import unknown

Positive = Annotated[float, "positive"]
"""A setting that must be greater than zero."""


def names() -> list[str]:
    """Return the names of the models: the files in this folder."""
    return sorted(module.name for module in iter_modules(__path__))


def load(name: str) -> Model:
    """Return the model called ``name``.

    Raises
    ------
    InputError
        If there is no such model.
    """
    if name not in names():
        raise unknown("model", name, names())
    model: Any = import_module(f"{__name__}.{name}").MODEL
    return model


def published_loss(name: str, settings: Mapping[str, Any], num_obs: int, elbo: float) -> float | None:
    """Return -ELBO in nats without the constants that the authors' code drops; None where they published no loss."""
    dropped = load(name).dropped_constants
    return None if dropped is None else -elbo - dropped(num_obs, settings)
