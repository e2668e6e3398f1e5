"""Anyone's NumPyro program, and what its arguments are: observations, covariates, settings, the number of observations.

A program takes observations and covariates as keyword arguments and simulates where the observations are None. Nothing
else is asked of it: which argument is observed, and where a run shows a simulated value of it, is found by running it.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from avigap.errors import InputError
from avigap.tracing import Trace, draw

Data = Mapping[str, np.ndarray]
"""Columns by name: of the observations or of the covariates."""

Where = tuple[str, ...]
"""Where a run shows a simulated argument: the name of its site; stem and :data:`EACH` of a series of sites that differ
in a number at the end; or () for what the program returns."""

EACH = "#"

NUM_OBS = "num_obs"

MAX_LEAD = 3
"""Rows before the first latent that a column may have, as x_0 of a series."""


class Program(NamedTuple):
    """A NumPyro program with its settings and the data that it was given.

    Attributes
    ----------
    function, settings
        The program, and the arguments that are neither data nor ``num_obs``.
    columns
        Data given, whole.
    observed
        Arguments that are observations, and where a run without them shows a simulated value; None if it cannot run.
    asks_num_obs
        Whether it has a parameter ``num_obs``.
    local
        Local latents, where the model names them.
    """

    function: Callable[..., Any]
    settings: Mapping[str, Any]
    columns: Data
    observed: Mapping[str, Where | None]
    asks_num_obs: bool
    local: tuple[str, ...] = ()

    @property
    def num_rows(self) -> int | None:
        """Number of rows of the data; None without data."""
        return count_rows(self.columns)

    @property
    def simulates(self) -> bool:
        """Say whether it can draw all of its observations."""
        return all(where is not None for where in self.observed.values())

    def arguments(self, num_obs: int | None) -> dict[str, Any]:
        """Return all arguments but the observations, which are None, for the first ``num_obs`` rows."""
        return self._first(num_obs) | dict.fromkeys(self.observed)

    def given(self, num_obs: int | None) -> dict[str, np.ndarray]:
        """Return the first ``num_obs`` rows of the observations that were given."""
        rows = self._first(num_obs)
        return {name: rows[name] for name in self.observed if name in rows}

    def _first(self, num_obs: int | None) -> dict[str, Any]:
        return arguments_for(self.settings, self.columns, self.asks_num_obs, num_obs)

    def simulate(self, arguments: Mapping[str, Any], key: PRNGKeyArray) -> tuple[Trace, dict[str, Any]]:
        """Draw all that is not given; return the trace and the observations.

        Raises
        ------
        InputError
            If the program cannot run without its observations.
        """
        trace, returned = run_program(self.function, arguments, key)
        found = {name: where for name, where in self.observed.items() if where is not None}
        if len(found) < len(self.observed):
            raise InputError("the program cannot simulate its observations")
        return trace, {name: shown(trace, returned, name, where) for name, where in found.items()}


def arguments_for(settings: Mapping[str, Any], columns: Data, asks: bool, num_obs: int | None) -> dict[str, Any]:
    """Return settings, the first rows of every column, and ``num_obs`` if it is asked for."""
    rows, first = count_rows(columns), dict(columns)
    if rows is not None and num_obs is not None and num_obs < rows:
        first = {n: c[: num_obs + len(c) - rows] if np.ndim(c) and len(c) >= rows else c for n, c in columns.items()}
        rows = num_obs
    number = {NUM_OBS: num_obs if rows is None else rows} if asks else {}
    return {**settings, **first, **number}


def count_rows(columns: Data) -> int | None:
    """Return the length that most columns have; those of a series may have a few rows more, those of groups fewer."""
    lengths = [len(column) for column in columns.values() if np.ndim(column)]
    return max(lengths, key=lambda length: (lengths.count(length), length), default=None)


def run_program(function: Callable[..., Any], arguments: Mapping[str, Any], key: PRNGKeyArray) -> tuple[Trace, Any]:
    """Run a program that draws what is not given; return its trace, and what it returned.

    Raises
    ------
    InputError
        If it raises anything.
    """
    try:
        return draw(function, arguments, key)
    except Exception as error:  # whatever a user's program raises
        raise InputError(f"the program does not run: {short(error)}") from error


def short(error: Exception) -> str:
    """Return the kind of an error and the first line of its message."""
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no message'}"


def shown(trace: Trace, returned: Any, name: str, where: Where) -> Any:
    """Return the value of an argument that a run shows; raises whatever indexing raises if there is none."""
    if where == ():
        found = returned[name] if isinstance(returned, Mapping) else getattr(returned, name, returned)
        if not hasattr(found, "shape") or not found.shape:
            raise TypeError("not an array")
        return found
    if where[1:] == (EACH,):
        return jax.numpy.stack([trace[site]["value"] for site in indexed(trace)[where[0]]])
    return trace[where[0]]["value"]


def indexed(names: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the sites of which there are several that differ in a number at the end, in the order of the numbers."""
    series: dict[str, dict[int, str]] = {}
    for name in names:
        stem = name.rstrip("0123456789")
        if stem != name:
            series.setdefault(stem, {})[int(name[len(stem) :])] = name
    return {stem: [sites[n] for n in sorted(sites)] for stem, sites in series.items() if len(sites) > 2}
