"""Anyone's NumPyro program, and what its arguments are: observations, covariates, settings, the number of observations.

A program takes observations and covariates as keyword arguments and simulates where the observations are None. Nothing
else is asked of it: which argument is observed, and where a run shows a simulated value of it, is found by running it.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import PRNGKeyArray

from avigap.errors import InputError
from avigap.faults import said
from avigap.shown import Where, shown
from avigap.tracing import Trace, draw

Data = Mapping[str, np.ndarray]
"""Columns by name: of the observations or of the covariates."""

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
    count_name
        The parameter that takes the number of observations, as ``num_obs``; None if there is none.
    local
        Local latents, where the model names them.
    sites
        For each argument that is observed, the sites that condition on it.
    unused
        Columns whose values enter neither an observed site nor the density of any.
    """

    function: Callable[..., Any]
    settings: Mapping[str, Any]
    columns: Data
    observed: Mapping[str, Where | None]
    count_name: str | None
    local: tuple[str, ...] = ()
    sites: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    unused: tuple[str, ...] = ()

    @property
    def data(self) -> tuple[str, ...]:
        """Names of the arguments that x_n stands for: the observations, or the data of factors if there are none."""
        factored = (n for n, c in self.columns.items() if np.ndim(c) and n not in self.unused)
        return tuple(self.observed) or tuple(factored)

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
        return arguments_for(self.settings, self.columns, self.count_name, num_obs)

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
        return trace, {name: shown(trace, returned, where) for name, where in found.items()}


def arguments_for(settings: Mapping[str, Any], columns: Data, count: str | None, num_obs: int | None) -> dict[str, Any]:
    """Return settings, the first rows of every column, and their number as the argument ``count``, if there is one."""
    rows, first = count_rows(columns), dict(columns)
    if rows is not None and num_obs is not None and num_obs < rows:
        first = {n: c[: num_obs + len(c) - rows] if np.ndim(c) and len(c) >= rows else c for n, c in columns.items()}
        rows = num_obs
    number = {count: num_obs if rows is None else rows} if count else {}
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
        If it raises anything; the message names the line of the program, and the cause.
    """
    try:
        return draw(function, arguments, key)
    except Exception as error:  # whatever a user's program raises
        raise InputError(f"the program does not run: {said(error)}") from error
