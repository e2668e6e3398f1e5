"""Data sets in which two positions have equal inputs, and whether their latents can then be swapped."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from avigap.coupling import swap_strength
from avigap.probes import NONZERO, Arrays
from avigap.view import View

Rows = Sequence[int]
Pair = tuple[Rows, Rows]
"""Units of one position, or of one group, and those of another, in the order in which they are exchanged."""

MAX_PAIRS = 15
"""Pairs of positions whose latents are swapped."""


def tied(view: View, names: Iterable[str], equal: Sequence[tuple[int, int]], data: Arrays | None = None) -> Arrays:
    """Return the data of all points with pairs of rows made equal: the values of one, through any chain of pairs."""
    root: dict[int, int] = {}

    def find(row: int) -> int:
        while root.get(row, row) != row:
            row = root[row]
        return row

    for one, other in equal:
        root[find(other)] = find(one)
    changed = dict(view.points.data if data is None else data)
    for name in names:
        rows, leaf = view.places.row_of[name], changed[name].copy()
        for row in root:
            if (rows == row).any() and (rows == find(row)).any():
                leaf[:, rows == row] = leaf[:, rows == find(row)]
        changed[name] = leaf
    return changed


def signature(view: View, units: Rows) -> tuple[str, ...]:
    """Return what units consist of: two sets can be exchanged if it is the same."""
    return tuple(label for unit in units for label, _, _ in view.places.elements(unit))


def alike(view: View, pairs: Sequence[Pair], data_of: Mapping[Pair, Arrays]) -> np.ndarray:
    """Return how much the log joint changes when the latents of each pair are swapped, with its own data."""
    return swap_strength(view.scorer, view.places, view.points, pairs, data_of.__getitem__)


def are_alike(view: View, pairs: Sequence[Pair], data_of: Mapping[Pair, Arrays]) -> bool:
    """Say whether no swap changes the log joint."""
    return bool((alike(view, pairs, data_of) <= NONZERO).all())


def rows_at(view: View, unit: int, offsets: Iterable[int]) -> list[int] | None:
    """Return the rows at offsets of a unit that lies in one plate; None if one of them leaves the data."""
    ((plate, index),) = view.places.units[unit]
    numbers = {position: row for row, position in enumerate(view.places.rows)}
    found = [numbers.get(((plate, index + offset),)) for offset in offsets]
    return None if None in found else [row for row in found if row is not None]
