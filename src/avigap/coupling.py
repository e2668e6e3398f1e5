"""What the factor of each position depends on: other positions, rows of data, and whether two positions are alike.

The joint of a program is known by values alone. A block of local latents is *related* to another block, or to a row of
data, where the mixed difference of the log joint in the two is not zero (:mod:`avigap.probes`). Two positions are
*alike* under equal inputs if the log joint does not change when their latents are swapped.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from avigap.adam import ONCE
from avigap.errors import InputError
from avigap.faults import said
from avigap.probes import NONZERO, Arrays, Points, Scorer, significance
from avigap.program.arguments import Program
from avigap.program.marks import mark_of, run_marked
from avigap.program.plates import Places
from avigap.program.tracing import WholePlates, log_probs

Block = tuple[str, int]
"""("", unit) for local latents, or (name, row) for a row of an argument; name is :data:`X` for all observations."""

X = "x"

MAX_SCORES, MIN_PROBES = 150_000, 32
"""Log joints that are computed at most, unless there are so many relations that the fewest probes take more."""


class Relations(NamedTuple):
    """How strongly blocks are related: the largest significance over all probes.

    Attributes
    ----------
    units : (U, U) of pairs of units
    rows : for the observations and each single argument, (U, R) of units with rows
    at : (U, U) probe at which a pair is related most
    valid : least number of probes at which a relation could be judged
    """

    units: np.ndarray
    rows: Mapping[str, np.ndarray]
    at: np.ndarray
    valid: int


def changeable(
    program: Program, arguments: Mapping[str, Any], places: Places, latents: Any
) -> tuple[tuple[str, ...], Scorer]:
    """Return the arguments with rows whose values the log joint takes as a function, and the log joint.

    The observations are among them. A program may look at the values of its data, as to refuse bad ones: they are taken
    for what they are if it has the same log joint for the rows in another order.

    Raises
    ------
    InputError
        If the program computes with the values of its observations outside of JAX.
    """
    with_rows = [name for name, rows in places.row_of.items() if (rows >= 0).any()]
    observed = [name for name in with_rows if name in program.observed]
    others = [name for name in with_rows if name not in observed and name not in program.unused]
    scorer = Scorer(program, arguments)
    data = {name: arguments[name] for name in observed}
    try:
        terms = jax.eval_shape(scorer.terms, latents, data)
    except KeyError as error:  # as for missing data that are drawn
        raise InputError(f"the latent {error} appears only with other observations") from error
    except Exception as error:  # whatever a user's program raises
        scorer = Scorer(program, arguments, checked=True)
        if not _only_checks(program, arguments, scorer, [*observed, *others], latents):
            raise InputError(f"the log joint is no function of the observations: {said(error)}") from error
        terms = jax.eval_shape(scorer.terms, latents, data)
    if any(term.dtype == np.float32 for term in jax.tree.leaves(terms)):
        raise InputError("the log joint is computed in float32, where a dependence cannot be told from rounding")
    if scorer.checked:
        return (*observed, *others), scorer
    traceable = [n for n in others if _is_traceable(scorer.log_joint, latents, {**data, n: arguments[n]})]
    looked_at = [n for n in others if n not in traceable and _flows(program, arguments, n, latents)]
    if looked_at:
        checked = Scorer(program, arguments, checked=True)
        if _only_checks(program, arguments, checked, [*observed, *traceable, *looked_at], latents):
            return (*observed, *(n for n in others if n in traceable or n in looked_at)), checked
    return (*observed, *traceable), scorer


def _flows(program: Program, arguments: Mapping[str, Any], name: str, latents: Any) -> bool:
    """Say whether numbers of an argument flow to the log joint, rather than that it chooses, as an index does."""
    function = WholePlates(program.function)
    found: list[bool] = []

    def visit(given: Mapping[str, Any], values: Any) -> None:
        reference = {name: np.asarray(arguments[name])}
        terms, _ = run_marked(lambda **own: log_probs(function, own, values), {**arguments, **given}, reference)
        found.append(name in mark_of(terms).data)

    return _is_traceable(visit, {name: arguments[name]}, latents) and found[-1]


def _only_checks(
    program: Program, arguments: Mapping[str, Any], scorer: Scorer, names: Sequence[str], latents: Any
) -> bool:
    """Say whether what a program looks at changes nothing: its log joint is the same for rows in other orders."""
    drawn = {name: np.asarray(arguments[name]) for name in names}
    traced = jax.jit(scorer.log_joint, compiler_options=ONCE)  # traced, it sees the values of the reference
    rows = {len(column) for name, column in drawn.items() if name in program.observed}
    cut = max((len(column) for column in drawn.values()), default=0)
    given = {n: np.asarray(c[: len(drawn[n])]) for n, c in program.columns.items() if n in drawn and cut <= len(c)}
    for data, shift in ((drawn, 1), (drawn, 2), (drawn | given, 0), (drawn | given, 1)):
        moved = {n: np.roll(c, shift, axis=0) if len(c) in rows else c for n, c in data.items()}
        try:
            value, size = traced(latents, moved)
            again, _ = Scorer(program, {**arguments, **moved}).log_joint(latents, {})
        except Exception:  # whatever a user's program raises
            return False
        if not np.abs(value - again) <= NONZERO * (1 + size):
            return False
    return True


def _is_traceable(function: Any, *arguments: Any) -> bool:
    try:
        jax.eval_shape(function, *arguments)
    except Exception:
        return False
    return True


def relations(
    scorer: Scorer, places: Places, points: Points, others: Points, observed: Sequence[str], single: Sequence[str]
) -> Relations:
    """Return how strongly units are related with each other and with the rows of data.

    Parameters
    ----------
    points, others
        K points each: a block is changed by taking its values from the other point.
    observed, single
        Arguments whose rows are changed together, and those whose rows are changed by themselves.
    """
    units = [("", unit) for unit in range(len(places.units))]
    groups = {X: tuple(observed)} | {name: (name,) for name in single}
    rows = {g: [(g, r) for r in _rows(places, names)] for g, names in groups.items()}
    data = [block for blocks in rows.values() for block in blocks]
    pairs = [(u, v) for i, u in enumerate(units) for v in [*units[i + 1 :], *data]]
    changes: list[tuple[Block, ...]] = [(), *((b,) for b in [*units, *data]), *pairs]
    least = min(MIN_PROBES, points.number // 8)
    most_probes = np.arange(min(points.number, max(least, MAX_SCORES // len(changes))))
    points, others = points.take(most_probes), others.take(most_probes)
    value, size = _scores(scorer, places, groups, points, others, changes)
    number = {change: index for index, change in enumerate(changes)}
    corners = np.array([[0, number[u,], number[v,], number[u, v]] for u, v in pairs]).T
    found = _mixed(value[corners], size[corners])  # (pairs, K)
    most = np.nanmax(found, axis=1, initial=0.0)
    coupling, at = np.zeros((len(units),) * 2), np.zeros((len(units),) * 2, int)
    by_rows = {g: np.zeros((len(units), len(places.rows))) for g in groups}
    for (u, v), strength, where in zip(pairs, most, np.argmax(np.nan_to_num(found), axis=1), strict=True):
        if v[0]:
            by_rows[v[0]][u[1], v[1]] = strength
        else:
            coupling[u[1], v[1]] = coupling[v[1], u[1]] = strength
            at[u[1], v[1]] = at[v[1], u[1]] = where
    valid = np.isfinite(found).sum(axis=1)
    return Relations(coupling, by_rows, at, int(valid.min(initial=found.shape[1])))


def related_to_change(
    scorer: Scorer, other: Scorer, places: Places, points: Points, others: Points, data: Arrays
) -> np.ndarray:
    """Return (U,) how strongly each unit is related to a change to another scorer and other data."""
    changes: list[tuple[Block, ...]] = [(), *((("", unit),) for unit in range(len(places.units)))]
    before = _scores(scorer, places, {}, points, others, changes)
    after = _scores(other, places, {}, points._replace(data=data), others, changes)
    corners = [np.broadcast_arrays(b[:1], b[1:], a[:1], a[1:]) for b, a in zip(before, after, strict=True)]
    found = _mixed(*(np.stack(corner) for corner in corners))
    return np.nanmax(found, axis=1, initial=0.0)


def _rows(places: Places, names: Iterable[str]) -> list[int]:
    return sorted({int(row) for name in names for row in np.unique(places.row_of[name]) if row >= 0})


def _scores(
    scorer: Scorer,
    places: Places,
    groups: Mapping[str, tuple[str, ...]],
    points: Points,
    others: Points,
    changes: Sequence[tuple[Block, ...]],
) -> tuple[np.ndarray, np.ndarray]:
    """Return the log joint (C, K) after each change, and the sum of its absolute terms."""

    def taken(leaf: np.ndarray, other: np.ndarray, here: np.ndarray, numbers: Sequence[list[int]]) -> np.ndarray:
        masks = np.stack([np.isin(here, own) for own in numbers])[:, None]
        return np.where(masks, other, leaf).reshape(-1, *leaf.shape[1:])

    units = [[n for name, n in change if not name] for change in changes]
    latents = {}
    for name, leaf in points.latents.items():
        here = places.unit_of.get(name, np.full(leaf.shape[1:], -1))
        latents[name] = taken(leaf, others.latents[name], here, units)
    data = {}
    for name, leaf in points.data.items():
        own = [[n for group, n in change if name in groups.get(group, ())] for change in changes]
        data[name] = taken(leaf, others.data[name], places.row_of[name], own)
    value, size = scorer(Points(latents, data))
    return value.reshape(len(changes), -1), size.reshape(len(changes), -1)


def _mixed(values: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return the significance of mixed differences from their four corners (4, ..): infinite where the support tells.

    A support that is a product is empty at none, at two adjacent, at three or at four corners.
    """
    found = significance(np.array([1.0, -1.0, -1.0, 1.0]), values, sizes)
    empty = values == -np.inf
    others_finite = (np.isfinite(values) | empty).all(0)
    count = empty.sum(0)
    odd = (count == 1) | ((count == 2) & (empty[0] == empty[3]))
    return np.where(others_finite & odd, np.inf, found)


def swap_strength(
    scorer: Scorer, places: Places, points: Points, pairs: Sequence[tuple[Sequence[int], Sequence[int]]], tied: Any
) -> np.ndarray:
    """Return for each pair of sets of units how much the log joint changes if their latents are swapped, at most.

    Parameters
    ----------
    pairs
        Units that are exchanged, in order.
    tied
        Function from a pair to the K data sets in which their inputs are equal.
    """
    strengths = []
    for one, other in pairs:
        data = tied((one, other))
        swapped = _swapped(points.latents, places, one, other)
        values, sizes = zip(scorer(Points(points.latents, data)), scorer(Points(swapped, data)), strict=True)
        value, size = np.stack(values), np.stack(sizes)
        found = significance(np.array([-1.0, 1.0]), value, size)
        odd = (value == -np.inf).sum(0) == 1
        strengths.append(np.nanmax(np.where(odd, np.inf, found), initial=0.0))
    return np.array(strengths)


def _swapped(latents: Arrays, places: Places, one: Sequence[int], other: Sequence[int]) -> Arrays:
    """Exchange the elements of two lists of units in arrays (K, *shape)."""
    swapped = {name: leaf.copy().reshape(len(leaf), -1) for name, leaf in latents.items()}
    for a, b in zip(one, other, strict=True):
        for (_, site, i), (_, twin, j) in zip(places.elements(a), places.elements(b), strict=True):
            swapped[site][:, i] = latents[twin].reshape(len(latents[twin]), -1)[:, j]
            swapped[twin][:, j] = latents[site].reshape(len(latents[site]), -1)[:, i]
    return {name: leaf.reshape(latents[name].shape) for name, leaf in swapped.items()}
