"""Variational families for the local latents, one file each, found by file name.

A family says how the factor q(z_n) = N(loc_n, scale_n^2) depends on the inputs that position n sees, a window of the
data. The window itself, edge factors and q(theta) are the same for all and live in :mod:`avigap.amortization`.
"""

import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Annotated, Any, NamedTuple

from jaxtyping import Array, Float, PRNGKeyArray

from avigap.errors import InputError, unknown
from avigap.settings import check_settings

Params = Any
"""Parameters of an inference function: any pytree of arrays."""

Offsets = tuple[int, ...]
"""The rows of x that an inference function sees, relative to n."""

AtLeastOne = Annotated[int, 1]
AtLeastZero = Annotated[int, 0]


class Family(NamedTuple):
    """One variational family; ``families/<kind>.py`` exports ``build(**settings) -> Family``.

    Attributes
    ----------
    inputs
        Offsets of the rows of x that the inference function sees.
    init
        ``(key, inputs) -> params``, from all inputs (n, C) of the interior positions.
    infer
        ``(params, inputs (C, *n)) -> (loc (*n), log_scale (*n))``, all positions at once with the inputs of each along
        the first axis (several times faster on a CPU than along the last), or one position with inputs (C,); None for
        a family without an inference function, in which every position has its own factor.
    design
        ``inputs (n, C) -> (n, P)`` if loc is linear in ``params["loc"]`` (P,) and all positions share one
        ``params["log_scale"]``, else None.
    grow
        ``(key, inputs (m, C), targets (2, m), weights (2, m)) -> params`` near given loc and log scale, the start of a
        regression on them; None where ``init`` starts as well.
    """

    inputs: Offsets
    init: Callable[[PRNGKeyArray, Float[Array, "n C"]], Params] | None = None
    infer: Callable[[Params, Float[Array, "C *n"]], tuple[Array, Array]] | None = None
    design: Callable[[Float[Array, "n C"]], Float[Array, "n P"]] | None = None
    grow: Callable[[PRNGKeyArray, Array, Array, Array], Params] | None = None


def names() -> list[str]:
    """Return the kinds of families: the files in this folder."""
    return sorted(module.name for module in iter_modules(__path__))


def build(config: Mapping[str, Any]) -> Family:
    """Return the family that a configuration such as ``{"kind": "mlp", "width": 4, "inputs": [-1, 0]}`` describes.

    Equal configurations give the same object, so that jitted functions that take it are compiled once.

    Raises
    ------
    InputError
        If the kind or a setting is unknown, or a value is not allowed.
    """
    if "kind" not in config:
        raise InputError(f"a family needs a 'kind', one of {', '.join(names())}; got {config!r}")
    kind = config["kind"]
    if kind not in names():
        raise unknown("family", kind, names())
    builder = import_module(f"{__name__}.{kind}").build
    settings = check_settings(f"family {kind!r}", builder, {k: v for k, v in config.items() if k != "kind"})
    if not settings["inputs"]:
        raise InputError(f"inputs of family {kind!r} must name at least one offset, got an empty list")
    if len(set(settings["inputs"])) < len(settings["inputs"]):
        raise InputError(f"inputs of family {kind!r} must not repeat an offset, got {list(settings['inputs'])}")
    return _build(builder, json.dumps(settings, sort_keys=True))


@lru_cache(maxsize=256)
def _build(builder: Callable[..., Family], settings: str) -> Family:
    return builder(**{k: tuple(v) if isinstance(v, list) else v for k, v in json.loads(settings).items()})
