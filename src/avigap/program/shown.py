"""Where a run without an argument shows what the argument would be, so that a program can draw its own data."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import permutations
from typing import Any, NamedTuple

import jax
import numpy as np

from avigap.program.tracing import Trace, draw, is_latent

MAX_PARTS = 4
"""Sites that take parts of one argument, at most, among which their order is sought."""


class Where(NamedTuple):
    """Where a run shows a simulated argument.

    Attributes
    ----------
    sites
        The site that draws it, or several whose values are stacked along ``axis``; if ``each``, the stem of a series of
        sites that differ in a number, of which there is one for each row.
    leaf
        The place among the leaves of what the program returns, if no site draws it.
    """

    sites: tuple[str, ...] = ()
    axis: int | None = None
    each: bool = False
    leaf: int | None = None


def indexed(names: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the series of sites that differ in a number, by what is left of their names, in the order of the numbers.

    There are three sites in a series at least; a name with several numbers belongs to its longest series.
    """
    series: dict[tuple[str, str], dict[int, str]] = {}
    for name in names:
        for before, number, after in _numbers(name):
            series.setdefault((before, after), {})[number] = name
    found: dict[str, list[str]] = {}
    taken: set[str] = set()
    for (before, after), sites in sorted(series.items(), key=lambda item: -len(item[1])):
        own = [sites[number] for number in sorted(sites)]
        if len(own) > 2 and not taken & set(own):
            found[before + after] = own
            taken |= set(own)
    return found


def _numbers(name: str) -> Iterator[tuple[str, int, str]]:
    """Yield what stands before each number in a name, the number, and what stands after it."""
    place = 0
    while place < len(name):
        end = place
        while end < len(name) and name[end].isascii() and name[end].isdigit():
            end += 1
        if end > place:
            yield name[:place], int(name[place:end]), name[end:]
        place = max(end, place + 1)


def shown(trace: Trace, returned: Any, where: Where) -> Any:
    """Return the value of an argument that a run shows; raises whatever indexing raises if there is none."""
    if where.leaf is not None:
        found = jax.tree.leaves(returned)[where.leaf]
        if not np.ndim(found):
            raise TypeError("not an array")
        return found
    sites = indexed(trace)[where.sites[0]] if where.each else where.sites
    values = [trace[site]["value"] for site in sites]
    return values[0] if where.axis is None else jax.numpy.stack(values, axis=where.axis)


def sources(
    function: Callable[..., Any], arguments: Mapping[str, Any], trace: Trace, returned: Any, name: str
) -> Iterator[tuple[Where, tuple[str, ...]]]:
    """Yield where a run shows what the argument ``name`` would be, and the sites that then observe it.

    It is where a run that is given the value observes, at the same sites, what the run without it drew there.

    Parameters
    ----------
    arguments, trace, returned
        Of a run in which the argument is None.
    """
    free = {site: trace[site]["value"] for site in trace if is_latent(trace[site])}
    hopeless: set[tuple[int, ...]] = set()
    for where in _candidates(free, returned):
        try:
            value = shown(trace, returned, where)
        except (TypeError, ValueError):  # no array, or no arrays of one shape
            continue
        if where.axis is not None and np.shape(value) in hopeless:
            continue
        try:
            other, _ = draw(function, {**arguments, name: value}, jax.random.key(0))
        except Exception:  # whatever a user's program raises with a value of another shape
            hopeless.add(np.shape(value))
            continue
        bound = [s for s in other if other[s]["type"] == "sample" and not is_latent(other[s])]
        bound = [s for s in bound if s not in trace or is_latent(trace[s])]
        bound = [s for s in bound if np.size(other[s]["value"])]  # factors have no value
        if not bound:
            hopeless.add(np.shape(value))
        drawn = set(indexed(free)[where.sites[0]] if where.each else where.sites)
        as_drawn = [_equal(other[s]["value"], free.get(s, value)) for s in bound]
        if bound and all(as_drawn) and (drawn <= set(bound) or not set(bound) <= set(free)):
            yield where, tuple(bound)


def _candidates(free: Mapping[str, Any], returned: Any) -> Iterator[Where]:
    yield from (Where((site,)) for site in free)
    yield from (Where((stem,), axis=0, each=True) for stem in indexed(free))
    yield from (Where(leaf=place) for place in range(len(jax.tree.leaves(returned))))
    in_series = {site for sites in indexed(free).values() for site in sites}
    by_shape: dict[tuple[int, ...], list[str]] = {}
    for site, value in free.items():
        if site not in in_series and np.ndim(value):
            by_shape.setdefault(np.shape(value), []).append(site)
    for sites in by_shape.values():
        yield from _parts(sites)


def _parts(sites: Sequence[str]) -> Iterator[Where]:
    """Yield ways to stack several sites of one shape; the order of the program comes first."""
    for number in range(2, min(len(sites), MAX_PARTS) + 1):
        for own in permutations(sites, number) if len(sites) <= MAX_PARTS else [tuple(sites[-number:])]:
            yield Where(own, axis=-1)
            yield Where(own, axis=0)


def _equal(one: Any, other: Any) -> bool:
    return np.shape(one) == np.shape(other) and bool(np.allclose(np.asarray(one), np.asarray(other), equal_nan=True))
