"""Whether a symmetry of the density makes coupled positions with equal inputs alike all the same (Appendix A.3)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import numpy as np

from avigap.condition.dependence import Dependence, agree
from avigap.condition.sharing import is_symmetric, kinds_of
from avigap.condition.values import Moves, Point

SPREAD, TRIES = (0.3, 1.0, 2.5), 12
"""Standard deviations of the values to which two units are moved before they are exchanged, and how often they are."""


MAX_PAIRS = 12
"""Pairs of units that are exchanged, where no two permutations make all of them."""

EQUAL = 1e-7
"""Part of the sum of absolute terms that an exchange may change, by rounding."""


class Pair(NamedTuple):
    """Two units of a kind, and their rows, matched: with equal values in these rows they have equal inputs."""

    one: int
    other: int
    rows: tuple[int, ...]
    others: tuple[int, ...]


def pairs_of(now: Dependence) -> list[Pair]:
    """Return pairs of units with rows that match, so that chains of pairs join as many units of a kind as possible."""
    kinds, own = kinds_of(now), _own_rows(now)
    fixed = _fixed_values(now, own, kinds)
    members: dict[Any, list[int]] = {}
    for unit in range(now.number):
        keys = tuple(sorted(fixed[unit]))
        members.setdefault((int(kinds[unit]), len(own[unit]), keys), []).append(unit)
    found = []
    for units in members.values():
        middle = sorted(units, key=lambda u: abs(u - units[len(units) // 2]))
        for one, other in pairwise(middle):
            rows = [[row for _, row in sorted(zip(fixed[u], own[u], strict=True))] for u in (one, other)]
            found.append(Pair(one, other, tuple(rows[0]), tuple(rows[1])))
    return found


def _own_rows(now: Dependence) -> list[list[int]]:
    """Return the rows at the position of each unit; those that it needs if none lies in its plates."""
    needed: list[list[int]] = [[] for _ in now.units]
    for name in (*now.view.observed, *now.view.covariates):
        own = now.needs.get(name)
        for unit, row in [] if own is None else own.tolist():
            needed[unit].append(row)
    used = sorted({row for own in needed for row in own} | {r for r in range(len(now.rows)) if now.is_dense})
    at: dict[Any, list[int]] = {}
    for row in used:
        at.setdefault(now.rows[row], []).append(row)
    found = []
    for unit, position in enumerate(now.units):
        near = at.get(position) or [row for row in used if len(now.units) < 500 and agree(position, now.rows[row])]
        found.append(sorted(set(near or needed[unit])))
    return found


def _fixed_values(now: Dependence, own: Sequence[Sequence[int]], kinds: np.ndarray) -> list[list[tuple[Any, ...]]]:
    """Return the values of the covariates that are constants for the rows of units, but those that tell the unit."""
    found: list[list[list[Any]]] = [[[] for _ in each] for each in own]
    for name in now.fixed:
        rows = now.view.places.row_of[name].ravel().tolist()
        values = dict(zip(rows, np.asarray(now.view.arguments[name]).ravel().tolist(), strict=True))
        for kind in np.unique(kinds):
            units = np.flatnonzero(kinds == kind).tolist()
            if all(len({values.get(row) for row in own[unit]}) <= 1 for unit in units):
                continue
            for unit in units:
                for key, row in zip(found[unit], own[unit], strict=True):
                    key.append(values.get(row))
    return [[tuple(key) for key in each] for each in found]


class Exchange(NamedTuple):
    """Whether positions with equal inputs can be exchanged, whether those with any inputs can, and how it is known."""

    possible: bool
    without_data: bool
    evidence: Literal["proved", "seen"]


def is_exchangeable(now: Dependence, seen: np.ndarray, moves: Moves, points: Sequence[Point]) -> Exchange | None:
    """Say whether a log joint is unchanged when positions with equal inputs are exchanged; None if there is no pair.

    ``seen`` (P, 2) are pairs of units that values show: with one of them alone another may not be coupled.
    """
    pairs = pairs_of(now)
    few = [pairs[k] for k in np.unique(np.linspace(0, len(pairs) - 1, MAX_PAIRS).astype(int))] if pairs else []
    if any(_has_other_neighbours(now, seen, pair) for pair in few):
        return Exchange(False, False, "seen")
    permutations = list(_permutations(now)) if now.plate and not now.fixed else []
    if permutations:
        units, rows = map(np.stack, zip(*permutations, strict=True))
        if not now.covariates and is_symmetric(now, units, np.tile(np.arange(len(now.rows)), (2, 1))):
            return Exchange(True, True, "proved")
        if is_symmetric(now, units, rows):
            return Exchange(True, False, "proved")
    if not pairs:
        return None
    exchanged = [exchange(now, [pair]) for pair in few]
    if is_symmetric(now, *map(np.stack, zip(*exchanged, strict=True))):
        return Exchange(True, False, "proved" if len(few) == len(pairs) else "seen")
    if moves.sample is not None:  # not all of the log joint is computed
        return Exchange(False, False, "seen")
    return Exchange(changes_nothing(now, moves, points, few), False, "seen")


def changes_nothing(now: Dependence, moves: Moves, points: Sequence[Point], pairs: Sequence[Pair]) -> bool:
    """Say whether no exchange of latents, with equal rows, changes the log joint at points: of a few of the pairs."""
    few = [pairs[k] for k in np.unique(np.linspace(0, len(pairs) - 1, MAX_PAIRS).astype(int))]
    return all(_swap_changes_nothing(now, moves, points, pair) for pair in few)


def _has_other_neighbours(now: Dependence, seen: np.ndarray, pair: Pair) -> bool:
    """Say whether one of two units is coupled, as values show, with a third that the other cannot interact with."""
    pairs = now.pattern.pairs
    if pairs is None or not len(seen):
        return False
    may = [set(pairs[(pairs == unit).any(axis=1)].ravel().tolist()) for unit in (pair.one, pair.other)]
    does = [set(seen[(seen == unit).any(axis=1)].ravel().tolist()) for unit in (pair.one, pair.other)]
    both = {pair.one, pair.other}
    return bool(does[0] - may[1] - both or does[1] - may[0] - both)


def _permutations(now: Dependence) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield an exchange of two positions, and the cycle of all: together they make all permutations."""
    index = now.index(now.plate or "", now.units)
    rows = now.index(now.plate or "", now.rows)
    present = set(rows.tolist())
    inner = [n for n in np.unique(index).tolist() if n in present] or np.unique(index).tolist()
    if len(inner) < 2 or present - set(inner):
        return
    middle = len(inner) // 2
    one = dict(zip(inner, inner, strict=True)) | {inner[middle - 1]: inner[middle], inner[middle]: inner[middle - 1]}
    cycle = dict(zip(inner, inner[1:] + inner[:1], strict=True))
    kinds = kinds_of(now)
    number = {(int(k), int(n)): u for u, (k, n) in enumerate(zip(kinds, index, strict=True))}
    row_number = {int(n): r for r, n in enumerate(rows)}
    for to in (one, cycle):
        units = np.array([number[int(k), to[int(n)]] for k, n in zip(kinds, index, strict=True)])
        yield units, np.array([row_number[to[int(n)]] for n in rows], int)


def pair_at(now: Dependence, one: int, other: int) -> Pair:
    """Return two units with the rows at their positions, if there are any."""
    rows = [now.row_at(now.units[unit]) for unit in (one, other)]
    if rows[0] is None or rows[1] is None:
        return Pair(one, other, (), ())
    return Pair(one, other, (rows[0],), (rows[1],))


def exchange(now: Dependence, pairs: Iterable[Pair]) -> tuple[np.ndarray, np.ndarray]:
    """Return permutations of the units and of the rows that exchange those of pairs."""
    units, rows = np.arange(now.number), np.arange(len(now.rows))
    for pair in pairs:
        units[[pair.one, pair.other]] = pair.other, pair.one
        for row, other in zip(pair.rows, pair.others, strict=True):
            rows[row], rows[other] = other, row
    return units, rows


def tied(now: Dependence, data: Mapping[str, np.ndarray], pair: Pair) -> dict[str, np.ndarray]:
    """Return data in which the rows of one unit have the values of those of the other."""
    found = dict(data)
    for name in (*now.view.observed, *now.view.covariates):
        if name in now.pattern.concrete:
            continue
        row_of, column = now.view.inputs.rows_of[name], np.array(found[name])
        for row, other in zip(pair.rows, pair.others, strict=True):
            if (row_of == row).sum() == (row_of == other).sum():
                column[row_of == other] = column[row_of == row]
        found[name] = column
    return found


def _swap_changes_nothing(now: Dependence, moves: Moves, points: Sequence[Point], pair: Pair) -> bool:
    random = np.random.default_rng(0)
    for point in points:
        data = tied(now, point.data, pair)
        one, other = (np.flatnonzero(moves.unit_of == unit) for unit in (pair.one, pair.other))
        one, other = (own[np.argsort(moves.rank_of[own])] for own in (one, other))
        flats = np.tile(moves.flat(point.latents), (2 * TRIES, 1))
        for number in range(TRIES):
            for mine, swapped in ((one, other), (other, one)):
                to = SPREAD[number % len(SPREAD)] * random.standard_normal(len(mine))
                flats[2 * number, mine] = flats[2 * number + 1, swapped] = to
        value, size = (own.reshape(TRIES, 2) for own in moves.values(flats, Point(point.latents, data)))
        with np.errstate(invalid="ignore"):
            change = np.abs(value[:, 0] - value[:, 1])
            differ = np.isfinite(value).all(axis=1) & (change > EQUAL * (1 + size.max(axis=1)))
        if (differ | ((value == -np.inf).sum(axis=1) == 1)).any():
            return False
    return True
