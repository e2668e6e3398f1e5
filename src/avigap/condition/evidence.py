"""What structure and values say together: which interactions are there, which are not, and which are not settled."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from avigap.condition.dependence import Dependence
from avigap.condition.pattern import Pattern
from avigap.condition.values import Moves, Point, Shown, shown_by
from avigap.condition.view import View

SAMPLE = 24
"""Pairs of units, of those that derivatives do not show, whose mixed differences are looked at."""


class Evidence(NamedTuple):
    """What is known of the interactions of a program.

    Attributes
    ----------
    upper
        What may interact at these data: the structure, without what is switched off.
    lower
        What values show.
    inactive
        Arguments that switch interactions off at these data, and how many pairs.
    unsettled
        Pairs of units, or units with rows of an argument, that structure has and values do not show.
    seen
        (P, 2) pairs of units that values show.
    points
        Points that count.
    compared
        Number of pairs that values were asked for.
    """

    upper: Dependence
    lower: Dependence
    inactive: Mapping[str, int]
    unsettled: Sequence[tuple[str, int, int]]
    seen: np.ndarray
    points: int
    compared: int


def evidence_of(
    view: View, pattern: Pattern, moves: Moves, points: Sequence[Point], others: Sequence[Point]
) -> Evidence:
    """Return what structure and values say of a program."""
    shown = shown_by(moves, points, others)
    pairs = pattern.pairs if pattern.pairs is not None else np.zeros((0, 2), int)
    seen = shown.pairs | _by_differences(moves, points, pairs, shown)
    known = {n: shown.needs[n] | ~shown.looked[n] for n in shown.needs}
    if repeats(view, pattern):  # what is there at one position is there at all
        seen = _everywhere(view, pairs, seen, shown.compared, of_units=True)
        known = {n: _everywhere(view, _listed(pattern, n), own, shown.looked[n]) for n, own in known.items()}
    left = np.flatnonzero(shown.compared & ~seen)
    open_rows = {n: np.flatnonzero(shown.looked[n] & ~own) for n, own in known.items()}
    kept, upper_needs, inactive = _at_these_data(view, pattern, pairs, left, open_rows)
    if (seen & shown.compared).any():  # some pairs are coupled: that others are not, at these data, ends nothing
        kept = None
    group = pattern.group if kept is None else _groups(pairs[kept], len(pattern.group))
    needs = {**pattern.needs, **upper_needs}
    upper = Dependence(view, pattern, needs, group)
    shown_needs = {n: own if own is None or n not in known else own[known[n]] for n, own in pattern.needs.items()}
    there = seen | ~shown.compared
    lower_group = _groups(pairs[there], len(pattern.group)) if len(pairs) else group
    still = left if kept is None else left[kept[left]]
    unsettled = [("", int(u), int(v)) for u, v in pairs[still].tolist()]
    for name, own in open_rows.items():
        table = needs.get(name)
        present = set(map(tuple, table.tolist())) if table is not None else set()
        unsettled += [(name, int(u), int(r)) for u, r in _listed(pattern, name)[own].tolist() if (u, r) in present]
    compared = int(shown.compared.sum() + sum(own.sum() for own in shown.looked.values()))
    lower = Dependence(view, pattern, shown_needs, lower_group)
    return Evidence(upper, lower, inactive, unsettled, pairs[seen & shown.compared], shown.points, compared)


def _listed(pattern: Pattern, name: str) -> np.ndarray:
    own = pattern.needs[name]
    return np.zeros((0, 2), int) if own is None else own


def repeats(view: View, pattern: Pattern) -> bool:
    """Say whether, by structure, positions in one plate have the same terms as the ones before, but at the ends."""
    if pattern.unit is None or len(pattern.hashes) < 2:
        return False
    number = len(view.places.units)
    here, before = pattern.keys(np.arange(number), number)[:2]
    at = {position: unit for unit, position in enumerate(view.places.units)}
    pairs = []
    for (plate, index), *rest in view.places.units:
        following = at.get(((plate, index + 1), *rest))
        if following is not None:
            pairs.append((at[((plate, index), *rest)], following))
    if len(pairs) < 2:
        return False
    one, other = np.array(pairs).T
    same = here[one] == before[other]
    ends = min(len(same) // 4, int(np.flatnonzero(~same).size))
    return bool(same[ends : len(same) - ends].all()) and ends < len(same) / 4


def _everywhere(
    view: View, pairs: np.ndarray, seen: np.ndarray, compared: np.ndarray, of_units: bool = False
) -> np.ndarray:
    """Return which pairs, in one plate, are at the same offset as one that is seen."""
    if not len(pairs):
        return seen
    index = [np.array([own[0][1] for own in of], int) for of in (view.places.units, view.places.rows)]
    offset = index[0 if of_units else 1][pairs[:, 1]] - index[0][pairs[:, 0]]
    return np.asarray(seen | np.isin(offset, np.unique(offset[seen & compared])))


def _groups(pairs: np.ndarray, number: int) -> np.ndarray:
    edges = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(number, number))
    return np.asarray(connected_components(edges, directed=False)[1])


def _by_differences(moves: Moves, points: Sequence[Point], pairs: np.ndarray, shown: Shown) -> np.ndarray:
    """Return which pairs of units mixed differences show: steps and supports have no derivative.

    Where all of a sample show, so do all: they are steps of one kind.
    """
    found = np.zeros(len(pairs), bool)
    left = np.flatnonzero(shown.compared & ~shown.pairs)
    if not len(left):
        return found
    sample = np.random.default_rng(0).permutation(left)[:SAMPLE]
    for index in sample.tolist():
        found[index] = moves.differ(points, *map(int, pairs[index]))
    if found[sample].all():
        found[left] = True
    return found


def _at_these_data(
    view: View,
    pattern: Pattern,
    pairs: np.ndarray,
    left: np.ndarray,
    open_rows: Mapping[str, np.ndarray],
) -> tuple[np.ndarray | None, dict[str, np.ndarray], dict[str, int]]:
    """Return which pairs, and which rows, may interact at these data, and which argument switches the others off."""
    inactive: dict[str, int] = {}
    names = [n for n in view.inputs.names if n not in pattern.concrete]
    kept = np.ones(len(pairs), bool)
    needs: dict[str, np.ndarray] = {}
    if len(left):
        for switch in ([name] for name in names):
            now = view.pattern(concrete=[*pattern.concrete, *switch])
            off = _absent(pairs, now.pairs) & kept
            off &= np.isin(np.arange(len(pairs)), left)
            kept &= ~off
            inactive |= {switch[0]: int(off.sum())} if off.any() else {}
    for name, own in open_rows.items():
        listed = pattern.needs[name]
        if not len(own) or listed is None:
            continue
        for switch_name in (n for n in names if n != name):
            now = view.pattern(concrete=[*pattern.concrete, switch_name])
            off = _absent(listed, now.needs.get(name)) & np.isin(np.arange(len(listed)), own)
            if off.any():
                inactive[switch_name] = inactive.get(switch_name, 0) + int(off.sum())
                needs[name] = listed[~off]
        if name in inactive and len(left):  # it switches pairs of units off, by itself
            needs[name] = np.delete(listed, own, axis=0)
    return kept if len(left) else None, needs, inactive


def _absent(pairs: np.ndarray, others: np.ndarray | None) -> np.ndarray:
    if others is None or not len(pairs):
        return np.zeros(len(pairs), bool)
    size = int(max(pairs.max(initial=0), others.max(initial=0))) + 1
    return ~np.isin(pairs[:, 0] * size + pairs[:, 1], others[:, 0] * size + others[:, 1])
