"""The amortization gap of variational inference: certified optima, exact gaps, and the workflow that plots them."""

from importlib.metadata import version

from avigap.core import Fit, Joint, MeanField, Model, bind, log_joint, simulate
from avigap.errors import InputError
from avigap.program_guide import amortize

__version__ = version("avigap")
__all__ = [
    "Fit",
    "InputError",
    "Joint",
    "MeanField",
    "Model",
    "__version__",
    "amortize",
    "bind",
    "log_joint",
    "simulate",
]
