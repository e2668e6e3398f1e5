"""Data sets in which two positions have equal inputs, and whether their latents can then be swapped."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from avigap.coupling import swap_strength
from avigap.probes import NONZERO, Arrays
from avigap.view import View

Rows = Sequence[int]
Pair = tuple[Rows, Rows]
"""Units of one position, or of one group, and those of another, in the order in which they are exchanged."""


class Links:
    """Numbers joined in pairs, and so through chains of pairs."""

    def __init__(self) -> None:
        self.root: dict[int, int] = {}

    def find(self, number: int) -> int:
        """Return the number that stands for all that are joined with one."""
        while self.root.get(number, number) != number:
            number = self.root[number]
        return number

    def join(self, one: int, other: int) -> None:
        """Join two numbers."""
        self.root[self.find(other)] = self.find(one)


def tied(view: View, names: Iterable[str], equal: Sequence[tuple[int, int]], data: Arrays | None = None) -> Arrays:
    """Return the data of all points with pairs of rows made equal: the values of one, through any chain of pairs."""
    links = Links()
    for one, other in equal:
        links.join(one, other)
    changed = dict(view.points.data if data is None else data)
    for name in names:
        rows, leaf = view.places.row_of[name], changed[name].copy()
        for row in links.root:
            if (rows == row).any() and (rows == links.find(row)).any():
                leaf[:, rows == row] = leaf[:, rows == links.find(row)]
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
