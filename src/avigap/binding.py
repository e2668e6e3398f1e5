"""What the arguments of a program are: found by running it, with them and without (:mod:`avigap.roles`)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from inspect import Parameter, signature
from typing import Any, NamedTuple

import jax
import numpy as np
from numpyro.primitives import Messenger

from avigap.bounds import check_bounds
from avigap.errors import InputError
from avigap.program import NUM_OBS, Data, Program, arguments_for, count_rows, run_program
from avigap.roles import Roles, roles_of
from avigap.settings import check_settings
from avigap.shown import Where, indexed, sources
from avigap.tracing import Trace, draw, is_latent


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
