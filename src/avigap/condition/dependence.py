"""What each unit of a program needs directly, and with which others it is coupled."""

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

import numpy as np

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
        traced = [n for n in self.view.covariates if n not in self.pattern.concrete and self._any(n)]
        return (*traced, *self.fixed)

    @cached_property
    def fixed(self) -> tuple[str, ...]:
        """Covariates that were given as constants, or with which the program computes outside of JAX."""
        return fixed_covariates(self.view, self.pattern)

    def _any(self, name: str) -> bool:
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

    @cached_property
    def _index(self) -> tuple[np.ndarray, np.ndarray]:
        plate = self.plate or ""
        return self.index(plate, self.units), self.index(plate, self.rows)

    def offsets(self, name: str | None = None) -> np.ndarray:
        """Return the offset of each row that a unit needs, of the observations or of an argument, in one plate."""
        own = self.data if name is None else self.needs[name]
        units, rows = self._index
        found: np.ndarray = rows[own[:, 1]] - units[own[:, 0]] if own is not None else np.zeros(0, int)
        return found

    def window(self, name: str | None = None) -> tuple[int, ...]:
        """Return the different offsets of the rows that units need."""
        return tuple(np.unique(self.offsets(name)).tolist())

    def rows_of_groups(self) -> np.ndarray:
        """Return the number of different rows of the observations that the units of each group need."""
        if not len(self.data):
            return np.zeros(len(self.sizes), int)
        size = max(len(self.rows), 1)
        key = np.unique(self.group[self.data[:, 0]] * size + self.data[:, 1])
        return np.bincount(key // size, minlength=len(self.sizes))

    def edges(self, windows: Iterable[tuple[int, ...]]) -> np.ndarray:
        """Return the units, in one plate, for which an offset of a window leaves the data."""
        units, rows = self._index
        present = set(rows.tolist())
        outside = np.zeros(self.number, bool)
        for window in windows:
            for offset in window:
                outside |= ~np.isin(units + offset, list(present))
        return np.flatnonzero(outside)


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
