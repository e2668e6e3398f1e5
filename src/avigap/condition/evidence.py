"""What structure and values say together: which interactions are there, which are not, and which are not settled."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from avigap.condition.dependence import Dependence, groups_of
from avigap.condition.pattern import Pattern
from avigap.condition.sharing import alike_classes
from avigap.condition.values import Moves, Point, Shown, shown_by
from avigap.condition.view import View
from avigap.program.plates import Position

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
    """Return what structure and values say of a program.

    Units of a class have the same terms, by structure: what is there at one of them is there at all.
    """
    shown = shown_by(moves, points, others)
    pairs = pattern.pairs if pattern.pairs is not None else np.zeros((0, 2), int)
    classes = alike_classes(Dependence(view, pattern), np.ones(len(pattern.group), bool))
    seen = _in_class(view, classes, pairs, shown.pairs | _by_differences(moves, points, pairs, shown), True)
    known = {n: _in_class(view, classes, _listed(pattern, n), own, False) for n, own in shown.needs.items()}
    left = np.flatnonzero(shown.compared & ~seen)
    open_rows = {n: np.flatnonzero(shown.looked[n] & ~own) for n, own in known.items()}
    kept, upper_needs, inactive = _at_these_data(view, pattern, pairs, left, open_rows)
    if seen.any():  # some pairs are coupled: that others are not, at these data, ends nothing
        kept = None
    group = pattern.group if kept is None else groups_of(pairs[kept], len(pattern.group))
    needs = {**pattern.needs, **upper_needs}
    upper = Dependence(view, pattern, needs, group)
    there = seen | (~shown.compared & bool(seen.any()))  # of those not looked at, as long as any shows
    shown_needs = {
        n: own if own is None or n not in known else own[known[n] | ~shown.looked[n]]
        for n, own in pattern.needs.items()
    }
    lower = Dependence(view, pattern, shown_needs, groups_of(pairs[there], len(pattern.group)))
    still = left if kept is None else left[kept[left]]
    unsettled = [("", int(u), int(v)) for u, v in pairs[still].tolist()]
    for name, own in open_rows.items():
        table = needs.get(name)
        present = set(map(tuple, table.tolist())) if table is not None else set()
        unsettled += [(name, int(u), int(r)) for u, r in _listed(pattern, name)[own].tolist() if (u, r) in present]
    compared = int(shown.compared.sum() + sum(own.sum() for own in shown.looked.values()))
    return Evidence(upper, lower, inactive, unsettled, pairs[seen], shown.points, compared)


def _listed(pattern: Pattern, name: str) -> np.ndarray:
    own = pattern.needs[name]
    return np.zeros((0, 2), int) if own is None else own


def _in_class(view: View, classes: np.ndarray, pairs: np.ndarray, seen: np.ndarray, of_units: bool) -> np.ndarray:
    """Return which pairs are seen, or have a unit of the same class with one at the same offsets that is seen."""
    if not len(pairs) or len(np.unique(classes)) == len(classes):
        return seen
    others = view.places.units if of_units else view.places.rows
    both = [(pairs[:, 0], pairs[:, 1], view.places.units, others)]
    if of_units:
        both.append((pairs[:, 1], pairs[:, 0], others, view.places.units))
    keys = []
    for one, other, of_one, of_other in both:
        keys.append(
            [
                (int(classes[u]), _offset(of_one[u], of_other[v]))
                for u, v in zip(one.tolist(), other.tolist(), strict=True)
            ]
        )
    present = {key for own in keys for key, is_seen in zip(own, seen.tolist(), strict=True) if is_seen}
    return np.asarray(seen | np.any([[key in present for key in own] for own in keys], axis=0))


def _offset(one: Position, other: Position) -> Position:
    """Return where a position lies relative to another: offsets in the plates that both have."""
    own = dict(one)
    return tuple((plate, index - own[plate]) if plate in own else (plate, index) for plate, index in other)


def _by_differences(moves: Moves, points: Sequence[Point], pairs: np.ndarray, shown: Shown) -> np.ndarray:
    """Return which of a sample of pairs mixed differences show: steps and supports have no derivative."""
    found = np.zeros(len(pairs), bool)
    left = np.flatnonzero(shown.compared & ~shown.pairs)
    for index in np.random.default_rng(0).permutation(left)[:SAMPLE].tolist():
        found[index] = moves.differ(points, *map(int, pairs[index]))
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
        for switch in names:
            now = view.pattern(concrete=[*pattern.concrete, switch])
            off = _absent(pairs, now.pairs) & kept & np.isin(np.arange(len(pairs)), left)
            kept &= ~off
            inactive |= {switch: int(off.sum())} if off.any() else {}
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
