"""The one exception that a user is meant to read."""

from collections.abc import Iterable


class InputError(ValueError):
    """A value given by the user is not allowed; the message names it and what is allowed, in one sentence."""


def unknown(kind: str, name: object, available: Iterable[object]) -> InputError:
    """Return the error for a misspelt name, with the names that exist.

    Parameters
    ----------
    kind
        What was looked up, such as ``"family"``.
    name
        The name that was not found.
    available
        The names that exist.
    """
    names = ", ".join(sorted(map(str, available))) or "none"
    return InputError(f"unknown {kind} {name!r}; available: {names}")
