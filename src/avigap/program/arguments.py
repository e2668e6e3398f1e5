"""Anyone's NumPyro program, and what its arguments are: observations, covariates, settings, the number of observations.

A program takes observations and covariates as keyword arguments and simulates where the observations are None. Nothing
else is asked of it: which argument is observed, and where a run shows a simulated value of it, is found by running it,
with the arguments and without (:mod:`avigap.program.roles`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from inspect import Parameter, signature
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PRNGKeyArray
from numpyro.primitives import Messenger

from avigap.errors import InputError
from avigap.faults import said
from avigap.program.bounds import check_bounds
from avigap.program.roles import Roles, roles_of
from avigap.program.shown import Where, indexed, shown, sources
from avigap.program.tracing import Trace, draw, is_latent
from avigap.settings import check_settings

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


class Parameters(NamedTuple):
    """The parameters of a program.

    Attributes
    ----------
    names
        Those that can be given by name.
    required
        Those without a default value.
    unset
        Those without one, or with None.
    every
        Whether it takes any other argument, as ``**features``.
    numbers
        Whole numbers that are default values.
    bound
        What :func:`functools.partial` gave it.
    """

    names: tuple[str, ...]
    required: tuple[str, ...]
    unset: tuple[str, ...]
    every: bool
    numbers: Mapping[str, int]
    bound: Mapping[str, Any]


def parameters_of(function: Callable[..., Any]) -> Parameters:
    """Return the parameters of a program, of the function inside handlers that decorate it.

    Raises
    ------
    InputError
        If it has a parameter that can be given by its place alone.
    """
    inner = _innermost(function)
    own = signature(inner).parameters
    if alone := [n for n, p in own.items() if p.kind is Parameter.POSITIONAL_ONLY and p.default is Parameter.empty]:
        raise InputError(f"the program takes {alone[0]!r} by its place alone (before a /): it must take it by name")
    named = {n: p for n, p in own.items() if p.kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)}
    bound = dict(inner.keywords) if isinstance(inner, partial) else {}
    return Parameters(
        tuple(named),
        tuple(n for n, p in named.items() if p.default is Parameter.empty),
        tuple(n for n, p in named.items() if p.default is None or p.default is Parameter.empty),
        any(p.kind is Parameter.VAR_KEYWORD for p in own.values()),
        {n: p.default for n, p in named.items() if type(p.default) is int},
        {name: value for name, value in bound.items() if name in named},
    )


def _innermost(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function inside handlers that decorate it."""
    while isinstance(function, Messenger) and function.fn is not None:
        function = function.fn
    return function


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
    parameters = parameters_of(function)
    for name in settings:
        if (name not in parameters.names and not parameters.every) or name == NUM_OBS:
            raise InputError(f"the program has no setting {name!r}; its arguments are {', '.join(parameters.names)}")
    if local:
        settings = check_settings("the model", function, settings)
    arrays = {name: value for name, value in parameters.bound.items() if np.ndim(value) and not isinstance(value, str)}
    taken = {n: c for n, c in columns.items() if (n in parameters.names or parameters.every) and n not in settings}
    given = {name: np.asarray(value) for name, value in arrays.items()} | taken
    others = [name for name in columns if name not in taken]
    error: InputError | None = None
    sizes = dict.fromkeys([num_obs, None] if given else [num_obs])  # data of two lengths may not be cut
    for own in _readings(given):
        for size in sizes:
            for count, fixed in _counts(parameters, settings, own, size):
                try:
                    return _bound(function, parameters, fixed, own, size, count, local)
                except InputError as refusal:  # that of the whole data, read as they are, is told
                    error = refusal if error is None or (size is None and own is given and count is None) else error
    raise _unable(parameters, settings, given, others, error)


def _readings(columns: Data) -> Iterator[Data]:
    """Yield the columns as they are, then with whole numbers that were read as decimals as integers."""
    yield columns
    whole = [n for n, c in columns.items() if c.dtype.kind == "f" and np.array_equal(c, np.round(c))]
    subsets = [[name] for name in whole] + ([whole] if len(whole) > 1 else [])
    for names in subsets:
        yield {n: c.astype(int) if n in names else c for n, c in columns.items()}


def _counts(
    parameters: Parameters, settings: Mapping[str, Any], columns: Data, size: int | None
) -> Iterator[tuple[str | None, Mapping[str, Any]]]:
    """Yield which parameter may take the number of observations, with the other settings."""
    if NUM_OBS in parameters.names:
        yield NUM_OBS, settings
        return
    yield None, settings
    rows = count_rows(columns)
    if rows is None:
        return
    open_ = [n for n in parameters.numbers if n not in settings and n not in columns]
    equal = [n for n, value in settings.items() if type(value) is int and value == rows]
    for name in [*equal, *open_]:
        yield name, {n: v for n, v in settings.items() if n != name}


def _unable(
    parameters: Parameters,
    settings: Mapping[str, Any],
    columns: Data,
    others: Sequence[str],
    error: InputError | None,
) -> InputError:
    """Return why a program cannot be bound: what is not given, and what its run says."""
    lacking = [n for n in parameters.unset if n not in settings and n not in columns and n != NUM_OBS]
    needed = [n for n in lacking if n in parameters.required]
    missing = needed or (lacking if "NoneType" in str(error) else [])
    if not missing or "none of the arguments" in str(error):
        return error or InputError("the program does not run")
    text = f"{error}; not given: {', '.join(map(repr, missing))}: columns of --data, or --settings"
    if others:
        text += (
            f"; each column fills the argument of its name, and {', '.join(map(repr, others))} fill none:"
            " a program that takes a table or an object must take its columns instead"
        )
    return InputError(text)


def _bound(
    function: Callable[..., Any],
    parameters: Parameters,
    settings: Mapping[str, Any],
    columns: Data,
    num_obs: int | None,
    count: str | None,
    local: tuple[str, ...],
) -> Program:
    fixed = arguments_for(settings, columns, count, num_obs)
    open_ = [n for n in parameters.unset if n not in fixed and n != count]
    free = fixed | dict.fromkeys(open_)
    roles = Roles({}, frozenset(), frozenset())
    if columns:
        trace, _ = run_program(function, free, jax.random.key(0))
        if count and count != NUM_OBS:
            _check_count(function, free, count, trace)
        _check_plates(trace)
        check_bounds(function, free)
        optional = [name for name in parameters.unset if name not in parameters.required]
        roles = roles_of(function, free, list(columns), optional)
    observed: dict[str, Where | None] = dict.fromkeys(roles.sites)
    sites = dict(roles.sites)
    blind = free | dict.fromkeys(name for name in sites if name in roles.drawn)
    trace, returned = run_program(function, blind, jax.random.key(0))
    for name in [*open_, *(name for name in sites if name in roles.drawn)]:
        where, found = next(sources(function, blind, trace, returned, name), (None, ()))
        if where is not None:
            observed[name] = where
            sites.setdefault(name, found)
    if not columns and not observed:
        raise InputError(
            f"none of the arguments ({', '.join(open_) or 'none'}) is observed at a site that draws it when it is None:"
            " give the data with --data"
        )
    if count is None and not columns:
        count = _growing(function, blind, parameters, settings, sites)
    unused = tuple(n for n in columns if n not in sites and n not in roles.enters)
    return Program(function, settings, columns, observed, count, local, sites, unused)


def _growing(
    function: Callable[..., Any],
    blind: Mapping[str, Any],
    parameters: Parameters,
    settings: Mapping[str, Any],
    sites: Mapping[str, Sequence[str]],
) -> str | None:
    """Return the one whole number by which the observed sites get a row more, if it is one more."""
    before, _ = run_program(function, blind, jax.random.key(0))
    found = []
    for name in (n for n in parameters.numbers if n not in settings):
        try:
            after, _ = run_program(function, {**blind, name: parameters.numbers[name] + 1}, jax.random.key(0))
        except InputError:
            continue
        alike = [site for own in sites.values() for site in own if site in after]
        longer = [np.shape(after[s]["value"])[:1] > np.shape(before[s]["value"])[:1] for s in alike]
        series = indexed(dict.fromkeys(alike))
        more = [len(indexed(after).get(stem, [])) == len(own) + 1 for stem, own in series.items()]
        if longer and (all(longer) or (more and all(more))):
            found.append(name)
    return found[0] if len(found) == 1 else None


def _check_count(function: Callable[..., Any], arguments: Mapping[str, Any], count: str, trace: Trace) -> None:
    """Raise if a whole number is not that of the rows: one more leaves the plates of the data as they are."""
    try:
        more, _ = draw(function, {**arguments, count: arguments[count] + 1}, jax.random.key(0))
    except Exception:  # whatever a user's program raises where data and plates differ
        return
    if _sizes(more) == _sizes(trace):
        raise InputError(f"{count!r} is not the number of rows")


def _sizes(trace: Trace) -> list[Any]:
    """Return the sizes of the plates of observed sites, and the shapes of their distributions."""
    observed = [site for site in trace.values() if site["type"] == "sample" and not is_latent(site)]
    return [([frame.size for frame in s["cond_indep_stack"]], s["fn"].shape()) for s in observed]


def _check_plates(trace: Trace) -> None:
    """Raise if an observed value has other rows than the plate it lies in."""
    for name, site in trace.items():
        if site["type"] != "sample" or is_latent(site) or not np.size(site["value"]):
            continue
        shape, batch = np.shape(site["value"]), len(site["fn"].batch_shape)
        events = len(site["fn"].event_shape)
        for frame in site["cond_indep_stack"]:
            axis = len(shape) - events + frame.dim
            length = shape[axis] if axis >= 0 else 1
            if batch + frame.dim >= 0 and length not in (1, frame.size):
                raise InputError(
                    f"the data at site {name!r} have {length} rows, but its plate {frame.name!r} has {frame.size}:"
                    " the number that the program gives the plate must be that of the rows"
                )
