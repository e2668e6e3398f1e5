"""The amortization gap of variational inference: certified optima, exact gaps, and the workflow that plots them."""

from importlib import import_module
from importlib.metadata import version
from typing import Any

from avigap.core import Fit, Joint, MeanField, Model, bind, log_joint, simulate
from avigap.errors import InputError

__version__ = version("avigap")
__all__ = [
    "Fit",
    "InputError",
    "Joint",
    "MeanField",
    "Model",
    "__version__",
    "bind",
    "log_joint",
    "simulate",
]


def __getattr__(name: str) -> Any:
    """Import the guide of any program when it is asked for: no step of the workflow depends on its source."""
    if name == "amortize":
        return import_module("avigap.program_guide").amortize
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
