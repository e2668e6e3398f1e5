"""Settings of models and families, checked against the signature of the function that takes them."""

import math
import reprlib
from collections.abc import Callable, Mapping
from inspect import Parameter, signature
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from avigap.errors import InputError, unknown

RESERVED = frozenset({"x", "num_obs"})


def check_settings(owner: str, function: Callable[..., Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``settings`` completed with the defaults of ``function``, each checked against its annotation.

    Annotations understood: ``float``, ``int``, ``bool``, ``str``, ``Literal``, ``X | None``, ``tuple[X, ...]`` and
    ``Annotated[X, "positive"]`` or ``Annotated[int, minimum]``.

    Parameters
    ----------
    owner
        What the settings belong to, for the message, such as ``"model 'linear'"``.
    function
        Its keyword-only parameters are the settings; ``x`` and ``num_obs`` are not.
    settings
        What the user gave.

    Raises
    ------
    InputError
        If a name is unknown or missing, or a value has the wrong type or range.
    """
    if not isinstance(settings, Mapping):
        raise InputError(f"settings of {owner} must be a mapping of names to values, got {settings!r}")
    parameters = {name: p for name, p in signature(function).parameters.items() if name not in RESERVED}
    hints = get_type_hints(function, include_extras=True)
    for name in settings:
        if name not in parameters:
            raise unknown(f"setting of {owner}", name, parameters)
    complete = {}
    for name, parameter in parameters.items():
        if name in settings:
            complete[name] = _check(f"{name} of {owner}", settings[name], hints.get(name, Any))
        elif parameter.default is Parameter.empty:
            raise InputError(f"{owner} needs a value for {name!r}")
        else:
            complete[name] = parameter.default
    return complete


def _check(what: str, value: Any, hint: Any) -> Any:
    """Return ``value`` converted to what ``hint`` asks for, or raise."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _check_range(what, _check(what, value, args[0]), args[1])
    if origin in (Union, UnionType):
        if value is None and NoneType in args:
            return None
        return _check(what, value, next(arg for arg in args if arg is not NoneType))
    if origin is Literal:
        if value not in args:
            raise InputError(f"{what} must be one of {', '.join(map(repr, args))}, got {value!r}")
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise InputError(f"{what} must be a list, got {value!r}")
        return tuple(_check(f"each entry of {what}", entry, args[0]) for entry in value)
    return _check_scalar(what, value, hint)


def _check_scalar(what: str, value: Any, hint: Any) -> Any:
    names = {float: "a finite number", int: "a whole number", bool: "true or false", str: "a text"}
    if hint not in names:
        return value
    numeric = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf
    fits = {float: numeric, int: numeric and value == value // 1, bool: isinstance(value, bool)}
    if not fits.get(hint, isinstance(value, hint)):
        raise InputError(f"{what} must be {names[hint]}, got {reprlib.repr(value)}{text_hint(value)}")
    try:
        return hint(value)
    except OverflowError:
        raise InputError(f"{what} must be {names[hint]}, got {reprlib.repr(value)}") from None


def text_hint(value: Any) -> str:
    """Return what to write instead of a text that spells a number, as 1e-3 is in YAML; empty for anything else."""
    try:
        number = float(value) if isinstance(value, str) else math.nan
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        return ""
    whole = number.is_integer() and abs(number) < 1e15
    return f", which is read as a text: write {int(number) if whole else f'{number:#}'}"


def _check_range(what: str, value: Any, limit: Any) -> Any:
    if limit == "positive" and value <= 0:
        raise InputError(f"{what} must be greater than 0, got {value!r}")
    if isinstance(limit, int) and value < limit:
        raise InputError(f"{what} must be at least {limit}, got {value!r}")
    return value
