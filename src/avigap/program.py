"""Anyone's NumPyro program, and what its arguments are: observations, covariates, settings, the number of observations.

A program takes observations and covariates as keyword arguments and simulates where the observations are None. Nothing
else is asked of it: which argument is observed, and where a run shows a simulated value of it, is found by running it.
"""

from collections.abc import Callable, Iterator, Mapping
from inspect import Parameter, signature
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PRNGKeyArray
from numpyro.primitives import Messenger

from avigap.errors import InputError
from avigap.settings import check_settings
from avigap.tracing import Trace, draw, is_latent

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
        return _num_rows(self.columns)

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
        return _arguments(self.settings, self.columns, self.asks_num_obs, num_obs)

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
        return trace, {name: _shown(trace, returned, name, where) for name, where in found.items()}


def bind_program(
    function: Callable[..., Any],
    settings: Mapping[str, Any],
    columns: Data,
    num_obs: int | None,
    local: tuple[str, ...] = (),
) -> Program:
    """Find out what the arguments of a program are, by runs with ``num_obs`` observations.

    Raises
    ------
    InputError
        If an argument is neither given nor found by simulation, or the program does not run.
    """
    parameters = signature(_innermost(function)).parameters
    names = [n for n, p in parameters.items() if p.kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)]
    for name in settings:
        if name not in names or name == NUM_OBS:
            raise InputError(f"the program has no setting {name!r}; its arguments are {', '.join(names)}")
    if local:
        settings = check_settings("the model", function, settings)
    columns = {name: column for name, column in columns.items() if name in names and name not in settings}
    asks = NUM_OBS in names
    fixed = _arguments(settings, columns, asks, num_obs)
    unset = [n for n in names if parameters[n].default is None or parameters[n].default is Parameter.empty]
    open_ = [n for n in unset if n not in fixed and n != NUM_OBS]
    free = fixed | dict.fromkeys(open_)
    observed: dict[str, Where | None] = dict(_given_observations(function, free, list(columns)))
    blind = free | dict.fromkeys(name for name, where in observed.items() if where == ())
    try:
        trace, returned = run_program(function, blind, jax.random.key(0))
    except InputError as error:
        required = [n for n in open_ if parameters[n].default is Parameter.empty]
        missing = ", ".join(map(repr, required or open_))
        raise InputError(f"{error}; not given: {missing or 'nothing'}: columns of --data, or --settings") from error
    for name in [*open_, *(name for name, where in observed.items() if where == ())]:
        where = next(_sources(function, blind, trace, returned, name), None)
        if where is not None or name in observed:
            observed[name] = where
    if not columns and not observed:
        raise InputError(
            f"none of the arguments ({', '.join(open_) or 'none'}) is observed at a site that draws it when it is None:"
            " give the data with --data"
        )
    return Program(function, settings, columns, observed, asks, local)


def _innermost(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function inside handlers that decorate it."""
    while isinstance(function, Messenger) and function.fn is not None:
        function = function.fn
    return function


def _arguments(settings: Mapping[str, Any], columns: Data, asks: bool, num_obs: int | None) -> dict[str, Any]:
    """Return settings, the first rows of every column, and ``num_obs`` if it is asked for."""
    rows, first = _num_rows(columns), dict(columns)
    if rows is not None and num_obs is not None and num_obs < rows:
        first = {n: c[: num_obs + len(c) - rows] if np.ndim(c) and len(c) >= rows else c for n, c in columns.items()}
        rows = num_obs
    number = {NUM_OBS: num_obs if rows is None else rows} if asks else {}
    return {**settings, **first, **number}


def _num_rows(columns: Data) -> int | None:
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


def _given_observations(
    function: Callable[..., Any], arguments: Mapping[str, Any], names: list[str]
) -> Iterator[tuple[str, Where | None]]:
    """Yield which of the columns are observations: () if the program draws them when they are None, else None."""
    if not names:
        return
    trace, _ = run_program(function, arguments, jax.random.key(0))
    observed = {name: site["value"] for name, site in trace.items() if site["type"] == "sample" and not is_latent(site)}
    for name in names:
        try:
            without, _ = draw(function, {**arguments, name: None}, jax.random.key(0))
        except Exception:
            if any(_equal(value, arguments[name]) for value in observed.values()):
                yield name, None
        else:
            gone = [site for site in observed if site not in without or is_latent(without[site])]
            if any(is_latent(without[s]) for s in gone if s in without) or any(
                _equal(observed[s], arguments[name]) for s in gone
            ):
                yield name, ()


def _sources(
    function: Callable[..., Any], arguments: Mapping[str, Any], trace: Trace, returned: Any, name: str
) -> Iterator[Where]:
    """Yield where a run shows what the argument ``name`` would be: a run with it observes the values of one without."""
    free = {site: trace[site]["value"] for site in trace if is_latent(trace[site])}
    for where in [(), (name,), *((site,) for site in free), *((stem, EACH) for stem in indexed(free))]:
        try:
            value = _shown(trace, returned, name, where)
            other, _ = draw(function, {**arguments, name: value}, jax.random.key(0))
        except Exception:
            continue
        bound = {site for site in other if other[site]["type"] == "sample" and not is_latent(other[site])}
        bound -= {site for site in trace if not is_latent(trace[site])}
        like = [_equal(other[s]["value"], value) or (s in free and _equal(other[s]["value"], free[s])) for s in bound]
        if like and all(like):
            yield where


def _shown(trace: Trace, returned: Any, name: str, where: Where) -> Any:
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


def _equal(one: Any, other: Any) -> bool:
    return np.shape(one) == np.shape(other) and bool(np.allclose(np.asarray(one), np.asarray(other), equal_nan=True))
