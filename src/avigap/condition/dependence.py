"""What each unit of a program needs directly, and with which others it is coupled."""

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from avigap.condition.pattern import Pattern
from avigap.condition.view import View
from avigap.program.plates import Position

MAX_OFFSETS = 48
"""Offsets of one latent that are a window, at most."""


class Dependence:
    """Units and rows of a program that interact, for one reading of what is known of it.

    Parameters
    ----------
    view
        The program.
    pattern
        What may interact.
    needs
        For each argument (K, 2) units and rows that count; those of the pattern by default.
    group
        (U,) number of the coupled group of each unit; that of the pattern by default.
    """

    def __init__(
        self,
        view: View,
        pattern: Pattern,
        needs: Mapping[str, np.ndarray | None] | None = None,
        group: np.ndarray | None = None,
    ) -> None:
        self.view, self.pattern = view, pattern
        self.needs = dict(pattern.needs if needs is None else needs)
        self.group = pattern.group if group is None else group
        self.units, self.rows = view.places.units, view.places.rows
        self.number = len(self.units)

    @cached_property
    def sizes(self) -> np.ndarray:
        """Number of units of each coupled group."""
        return np.bincount(self.group)

    @property
    def is_coupled(self) -> bool:
        """Say whether any two units interact."""
        return bool((self.sizes > 1).any())

    @property
    def is_dense(self) -> bool:
        """Say whether units depend on so many rows that they are not listed."""
        return any(self.needs.get(name) is None for name in self.view.inputs.names)

    @cached_property
    def data(self) -> np.ndarray:
        """(K, 2) units and rows of the observations."""
        return _joined([self.needs[name] for name in self.view.observed])

    @cached_property
    def covariates(self) -> tuple[str, ...]:
        """Covariates on which any factor depends, those that were given as constants among them."""
        traced = [n for n in self.view.covariates if n not in self.pattern.concrete and self.is_needed(n)]
        return (*traced, *self.fixed)

    @cached_property
    def fixed(self) -> tuple[str, ...]:
        """Covariates that were given as constants, or with which the program computes outside of JAX."""
        return fixed_covariates(self.view, self.pattern)

    def is_needed(self, name: str) -> bool:
        """Say whether any unit depends on an argument."""
        own = self.needs.get(name)
        return own is None or len(own) > 0

    @cached_property
    def counts(self) -> np.ndarray:
        """(U,) number of rows of the observations that each unit depends on directly."""
        return np.bincount(self.data[:, 0], minlength=self.number)

    @cached_property
    def plate(self) -> str | None:
        """The one plate in which all units, and all rows that they need, lie; None if there are several."""
        plates = {tuple(name for name, _ in unit) for unit in self.units}
        used = np.unique(np.concatenate([np.zeros(0, int), *(o[:, 1] for o in self.needs.values() if o is not None)]))
        plates |= {tuple(name for name, _ in self.rows[row]) for row in used.tolist()}
        only = next(iter(plates)) if len(plates) == 1 else ()
        return only[0] if len(only) == 1 else None

    def index(self, plate: str, positions: Iterable[Position]) -> np.ndarray:
        """Return the index of positions in a plate; -1 for one that does not lie in it."""
        return np.array([dict(own).get(plate, -1) for own in positions], int)

    def offsets(self, name: str | None = None, plate: str | None = None) -> np.ndarray:
        """Return the offset along a plate of each row that a unit needs, of the observations or of an argument."""
        own = self.data if name is None else self.needs.get(name)
        units, rows = (self.index(plate or self.plate or "", of) for of in (self.units, self.rows))
        found: np.ndarray = rows[own[:, 1]] - units[own[:, 0]] if own is not None else np.zeros(0, int)
        return found

    def window(self, name: str | None = None, plate: str | None = None) -> tuple[int, ...]:
        """Return the different offsets of the rows that units need."""
        return tuple(np.unique(self.offsets(name, plate)).tolist())

    def row_at(self, position: Position) -> int | None:
        """Return the row at a position; None if there is none."""
        return self._row_numbers.get(position)

    def unit_at(self, position: Position) -> int | None:
        """Return the last of the units at a position; None if there is none."""
        return self._unit_numbers.get(position)

    @cached_property
    def _row_numbers(self) -> dict[Position, int]:
        return {own: row for row, own in enumerate(self.rows)}

    @cached_property
    def _unit_numbers(self) -> dict[Position, int]:
        return {own: unit for unit, own in enumerate(self.units)}

    def rows_of_groups(self) -> np.ndarray:
        """Return the number of different rows of the observations that the units of each group need."""
        if not len(self.data):
            return np.zeros(len(self.sizes), int)
        size = max(len(self.rows), 1)
        key = np.unique(self.group[self.data[:, 0]] * size + self.data[:, 1])
        return np.bincount(key // size, minlength=len(self.sizes))

    def edges(self, windows: Iterable[tuple[int, ...]], plate: str) -> np.ndarray:
        """Return the units for which an offset of a window along a plate leaves the data."""
        offsets = sorted({offset for window in windows for offset in window})
        outside = [
            any(moved_along(position, plate, offset) not in self._row_numbers for offset in offsets)
            for position in self.units
        ]
        return np.flatnonzero(outside)


def moved_along(position: Position, plate: str, offset: int) -> Position:
    """Return a position with another index in a plate."""
    return tuple((name, index + offset) if name == plate else (name, index) for name, index in position)


def groups_of(pairs: np.ndarray, number: int) -> np.ndarray:
    """Return the group (U,) of each of a number of units, of which pairs (P, 2) are in one."""
    edges = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(number, number))
    return np.asarray(connected_components(edges, directed=False)[1])


def _joined(parts: list[Any]) -> np.ndarray:
    some = [part for part in parts if part is not None and len(part)]
    return np.unique(np.concatenate(some), axis=0) if some else np.zeros((0, 2), int)


def fixed_covariates(view: View, pattern: Pattern) -> tuple[str, ...]:
    """Return the covariates whose values are constants of a pattern: indices, and what is computed outside of JAX."""
    program, found = view.program, []
    escaped = {name for own in view.joint.asked if own.how == "array" for name in own.names}
    for name, column in program.columns.items():
        if name in program.observed or name in program.unused or not np.ndim(column):
            continue
        traced = pattern.needs.get(name)
        is_traced = name in view.inputs.names and (traced is None or len(traced) > 0)
        untraced = name not in view.joint.data
        if name in pattern.concrete or untraced or (name in escaped and not is_traced):
            found.append(name)
    return tuple(found)


def agree(one: Position, other: Position) -> bool:
    """Say whether two positions have the same index in every plate that both have, and have one in common."""
    a, b = dict(one), dict(other)
    return bool(set(a) & set(b)) and all(a[plate] == b[plate] for plate in set(a) & set(b))
