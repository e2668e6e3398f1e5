"""What the arguments of a program are: which sites observe them, and which of them enter the log density.

Arguments are followed through a run (:mod:`avigap.program.marks`); what a program computes from one outside of JAX, as
with ``numpy``, is followed by values: by runs with its rows in other orders. Names play no part.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from numpyro import handlers
from numpyro.distributions import biject_to

from avigap.program.marks import Mark, mark_of, plain, run_marked
from avigap.program.tracing import Trace, draw, is_latent


class Roles(NamedTuple):
    """What the arguments of a program are.

    Attributes
    ----------
    sites
        For each argument that is observed, the sites that condition on it, in the order of the program.
    enters
        Arguments on which the density of some site depends, its value apart, or that choose an observed value.
    drawn
        Arguments without which the program runs, and draws the sites that observed them.
    """

    sites: Mapping[str, tuple[str, ...]]
    enters: frozenset[str]
    drawn: frozenset[str]


def roles_of(
    function: Callable[..., Any], arguments: Mapping[str, Any], names: Collection[str], optional: Collection[str] = ()
) -> Roles:
    """Return what the arguments ``names`` of a program are, all of which are given as arrays.

    Of several arguments that the value of one site is made of, as ``y - offset``, those are observed without which the
    program draws the site; else those of ``optional``, which may be None; else all.
    """
    key = jax.random.key(0)
    if not names:
        return Roles({}, frozenset(), frozenset())
    candidates, enters = _followed(function, arguments, names, key)
    trace, _ = draw(function, arguments, key)
    found = {name: _without(function, arguments, name, key) for name in sorted(set().union(*candidates.values()))}
    drawn = {name: [s for s in candidates if s in other and is_latent(other[s])] for name, other in found.items()}
    sites: dict[str, list[str]] = {}
    for site, own in candidates.items():
        chosen = {name for name in own if site in drawn[name]} or own & set(optional) or own
        for name in (n for n in arguments if n in chosen):
            sites.setdefault(name, []).append(site)
    order = {name: tuple(s for s in trace if s in own) for name, own in sites.items()}
    can_be_drawn = {name for name, own in order.items() if own and set(own) <= set(drawn[name])}
    return Roles(order, frozenset(enters), frozenset(can_be_drawn))


def _without(function: Callable[..., Any], arguments: Mapping[str, Any], name: str, key: jax.Array) -> Trace:
    try:
        return draw(function, {**arguments, name: None}, key)[0]
    except Exception:  # whatever a user's program raises
        return {}


def _followed(
    function: Callable[..., Any], arguments: Mapping[str, Any], names: Collection[str], key: jax.Array
) -> tuple[dict[str, set[str]], set[str]]:
    """Return which arguments the value of each observed site is made of, and those that enter the density."""
    reference = {name: np.asarray(arguments[name]) for name in names}
    found: list[tuple[dict[str, Mark], Mark]] = []

    def run(**own: Any) -> None:
        trace, _ = draw(function, own, key)
        samples = {name: site for name, site in trace.items() if site["type"] == "sample"}
        values = {name: mark_of(site["value"]) for name, site in samples.items() if not is_latent(site)}
        found.append((values, mark_of([_density(site, plain(site["value"])) for site in samples.values()])))

    def visit(given: Mapping[str, Any]) -> None:
        asked.append(run_marked(run, {**arguments, **given}, reference)[1].asked)

    asked: list[list[tuple[str, frozenset[str]]]] = []
    try:
        try:
            jax.eval_shape(visit, reference)
        except Exception:  # it may compute with the values that it draws
            visit(reference)
    except Exception:  # marks are no arrays of NumPy, whose methods a program may want
        return _by_values(function, arguments, names, key), _entering(function, arguments, names, key)
    (values, density), kinds = found[-1], asked[-1]
    by_kind = {how: set[str]().union(*(own for kind, own in kinds if kind == how)) for how, _ in kinds}
    escaped = by_kind.get("array", set())
    seen = _by_values(function, arguments, escaped, key)
    candidates = {}
    for name, mark in values.items():
        outside = seen.get(name, set())
        numbers = {own for own in outside if reference[own].dtype.kind == "f"}  # others are counts, codes and choices
        candidates[name] = set(mark.data | numbers or mark.control | outside)
    of_shape = by_kind.get("int", set()) | by_kind.get("float", set())
    choosing = set[str]().union(*(mark.control for mark in values.values()))
    unclear = (escaped | by_kind.get("bool", set())) - density.all - of_shape
    entering = _entering(function, arguments, unclear, key)
    return candidates, set(density.all) | choosing | of_shape | entering


def _density(site: Mapping[str, Any], value: Any) -> Any:
    """Return what the density of a site at a value is made of."""
    parts = [jax.tree.leaves(site["fn"]), site["scale"], site["fn"].log_prob(value)]
    if is_latent(site) and not site["fn"].is_discrete:
        transform = biject_to(site["fn"].support)
        parts.append(transform(jax.numpy.zeros(transform.inverse_shape(np.shape(value)))))
    return parts


def _by_values(
    function: Callable[..., Any],
    arguments: Mapping[str, Any],
    names: Collection[str],
    key: jax.Array,
) -> dict[str, set[str]]:
    """Return the arguments of which the values of observed sites are seen to be made."""
    found: dict[str, set[str]] = {}
    for name in names:
        for before, after in _changed_runs(function, arguments, name, key):
            for site in before:
                if before[site]["type"] == "sample" and not is_latent(before[site]):
                    other = after.get(site, before[site])
                    if not _same(before[site]["value"], other["value"]):
                        found.setdefault(site, set()).add(name)
    return found


def _entering(
    function: Callable[..., Any], arguments: Mapping[str, Any], names: Collection[str], key: jax.Array
) -> set[str]:
    """Return the arguments of which densities are seen to be made."""
    found = set()
    for name in names:
        for before, after in _changed_runs(function, arguments, name, key):
            if not _have_equal_densities(before, after):
                found.add(name)
                break
    return found


def _have_equal_densities(before: Trace, after: Trace) -> bool:
    """Say whether two runs have the same sites, with equal densities at the values of the first."""
    samples = [{name: s for name, s in trace.items() if s["type"] == "sample"} for trace in (before, after)]
    if [(n, type(s["fn"])) for n, s in samples[0].items()] != [(n, type(s["fn"])) for n, s in samples[1].items()]:
        return False
    for name, site in samples[0].items():
        try:
            parts = [jax.tree.leaves(_density(own[name], site["value"])) for own in samples]
        except Exception:  # the shapes differ
            return False
        if len(parts[0]) != len(parts[1]) or not all(map(_same, *parts)):
            return False
    return True


def _changed_runs(
    function: Callable[..., Any], arguments: Mapping[str, Any], name: str, key: jax.Array
) -> Iterator[tuple[Trace, Trace]]:
    """Yield runs with an argument and with another value of it, where the program runs with it; latents are equal."""
    before, _ = draw(function, arguments, key)
    latents = {site: before[site]["value"] for site in before if is_latent(before[site])}
    held = handlers.substitute(function, data=latents)
    for other in _others(np.asarray(arguments[name])):
        try:
            yield before, draw(held, {**arguments, name: other}, key)[0]
        except Exception:  # whatever a user's program raises
            continue


def other_orders(column: np.ndarray) -> list[np.ndarray]:
    """Return a column with its rows in other orders: turned round, one row moved, and at random."""
    if not column.ndim or not len(column):
        return []
    rows, rng = np.arange(len(column)), np.random.default_rng(0)
    moved = [rows[::-1], np.roll(rows, 1), np.r_[rows[1:2], rows[:1], rows[2:]], *(rng.permutation(rows) for _ in "ab")]
    return [column[order] for order in moved if not np.array_equal(column[order], column)]


def _others(column: np.ndarray) -> list[np.ndarray]:
    """Return other values of a column: its rows in other orders, one row twice, and others in all rows."""
    moved = [~column] if column.dtype.kind == "b" else [column + 1] if column.dtype.kind in "iuf" else []
    if column.ndim and len(column):
        moved.append(np.concatenate([column[:1], column[:1], column[2:]])[: len(column)])
    return [*other_orders(column), *(other for other in moved if not np.array_equal(other, column))]


def _same(one: Any, other: Any) -> bool:
    if jax.dtypes.issubdtype(getattr(one, "dtype", float), jax.dtypes.prng_key):
        return True
    one, other = np.asarray(one), np.asarray(other)
    if one.shape != other.shape:
        return False
    return np.array_equal(one, other, equal_nan=one.dtype.kind == "f" and other.dtype.kind == "f")


def elements_of(
    function: Callable[..., Any], arguments: Mapping[str, Any], name: str, sites: Sequence[str]
) -> dict[str, np.ndarray] | None:
    """Return for each site that observes an argument which element of it each of its own is made of.

    The places are flat; None if an element of a site is made of several. Elements are changed by the bits of their
    numbers, so that twice as many runs as bits tell.
    """
    value = np.asarray(arguments[name])
    numbers, key = np.arange(value.size).reshape(value.shape), jax.random.key(0)
    moved = ~value if value.dtype.kind == "b" else np.where(value < 0, value - 1, value + 1).astype(value.dtype)

    def changed(chosen: np.ndarray) -> dict[str, np.ndarray]:
        after, _ = draw(function, {**arguments, name: np.where(chosen, moved, value)}, key)
        return {s: _differ(before[s]["value"], after[s]["value"]) for s in sites}

    try:
        before, _ = draw(function, arguments, key)
        found = {site: np.zeros(np.shape(before[site]["value"]), int) for site in sites}
        for bit in range(max(1, int(value.size - 1).bit_length())):
            with_bit = (numbers >> bit) & 1 == 1
            ones, zeros = changed(with_bit), changed(~with_bit)
            if any((ones[site] == zeros[site]).any() for site in sites):
                return None
            found = {site: own + (ones[site].astype(int) << bit) for site, own in found.items()}
    except Exception:  # whatever a user's program raises with other values
        return None
    return found


def _differ(one: Any, other: Any) -> np.ndarray:
    one, other = np.asarray(one, float), np.asarray(other, float)
    return ~((one == other) | (np.isnan(one) & np.isnan(other)))
