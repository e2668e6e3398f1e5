"""What the arguments of a program are: found by running it with and without each of them."""

from collections.abc import Callable, Iterator, Mapping
from inspect import Parameter, signature
from typing import Any

import jax
import numpy as np
from numpyro.primitives import Messenger

from avigap.errors import InputError
from avigap.program import EACH, NUM_OBS, Data, Program, Where, arguments_for, indexed, run_program, shown
from avigap.settings import check_settings
from avigap.tracing import Trace, draw, is_latent


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
    try:
        return _bound(function, settings, columns, num_obs, local)
    except InputError:
        if num_obs is None or not columns:
            raise
        return _bound(function, settings, columns, None, local)  # its data may not be cut, as those of two lengths


def _bound(
    function: Callable[..., Any],
    settings: Mapping[str, Any],
    columns: Data,
    num_obs: int | None,
    local: tuple[str, ...],
) -> Program:
    parameters = signature(_innermost(function)).parameters
    names = [n for n, p in parameters.items() if p.kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)]
    for name in settings:
        if name not in names or name == NUM_OBS:
            raise InputError(f"the program has no setting {name!r}; its arguments are {', '.join(names)}")
    if local:
        settings = check_settings("the model", function, settings)
    columns = {name: column for name, column in columns.items() if name in names and name not in settings}
    asks = NUM_OBS in names
    fixed = arguments_for(settings, columns, asks, num_obs)
    unset = [n for n in names if parameters[n].default is None or parameters[n].default is Parameter.empty]
    open_ = [n for n in unset if n not in fixed and n != NUM_OBS]
    free = fixed | dict.fromkeys(open_)
    try:
        observed: dict[str, Where | None] = dict(_given_observations(function, free, list(columns)))
        blind = free | dict.fromkeys(name for name, where in observed.items() if where == ())
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
            value = shown(trace, returned, name, where)
            other, _ = draw(function, {**arguments, name: value}, jax.random.key(0))
        except Exception:
            continue
        bound = {site for site in other if other[site]["type"] == "sample" and not is_latent(other[site])}
        bound -= {site for site in trace if not is_latent(trace[site])}
        like = [_equal(other[s]["value"], value) or (s in free and _equal(other[s]["value"], free[s])) for s in bound]
        if like and all(like):
            yield where


def _equal(one: Any, other: Any) -> bool:
    return np.shape(one) == np.shape(other) and bool(np.allclose(np.asarray(one), np.asarray(other), equal_nan=True))
