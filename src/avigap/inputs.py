"""What the inference functions of a program see: for every unit a vector of inputs, as its verdict says.

- A unit at position n of the plate of the rows sees the rows n + offset, and the n-th row of the covariates needed.
- A unit that needs several rows, such as those of a group, sees them pooled: their number, the mean of every column,
  and the mean of every product of two columns; beside them the row of its own, if it has one.

Inputs are standardised. A unit whose window leaves the data is an edge (Remark 3.7).
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float
from scipy.sparse.csgraph import connected_components

from avigap.adam import ONCE
from avigap.condition.verdict import Verdict
from avigap.errors import InputError
from avigap.program.plates import Position
from avigap.significance import NONZERO
from avigap.target import Kind, Target

CHUNK = 64
"""Changed rows, or moved units, whose gradients are computed at once."""

MAX_PAIRS = 4_000_000
"""Pairs of units and rows up to which dependences are sought in the whole data."""


class Inputs(NamedTuple):
    """Inputs of the units of a kind.

    Attributes
    ----------
    values : (n, C), standardised; of edges, zeros
    edge : (n,) which units are edges
    names : of the C inputs
    """

    values: Float[np.ndarray, "n C"]
    edge: Bool[np.ndarray, " n"]
    names: tuple[str, ...]


def inputs_of(target: Target, verdict: Verdict, offsets: Sequence[int] | None = None) -> list[Inputs]:
    """Return the inputs of the units of each kind.

    Parameters
    ----------
    offsets
        Rows that a unit in the plate of the rows sees, relative to its own; those of the verdict if absent.

    Raises
    ------
    InputError
        If no unit has its whole window in the data, or rows are to be pooled that are too many to be looked for.
    """
    own = tuple(verdict.inputs if offsets is None else offsets)
    columns = _Columns(target, verdict)
    needs = None
    found = []
    for kind in target.kinds:
        if verdict.group is None and len(kind.plates) == 1 and kind.plates == columns.plates:
            parts = columns.window(kind, own)
        else:
            needs = _needs(target, verdict) if needs is None else needs
            parts = columns.pooled(kind, needs)
        if verdict.needs_index:
            parts.append(("n", np.array([[target.places.units[unit][0][1]] for unit in kind.units], float)))
        found.append(_standardised(parts, len(kind.units)))
        if found[-1].edge.all():
            raise InputError(f"inputs {list(own)} are wider than the data: no position has its whole window")
    return found


def _standardised(parts: Sequence[tuple[str, np.ndarray]], number: int) -> Inputs:
    """Join columns (n, c), with NaN where a window leaves the data, and take away those that are constant."""
    values = np.concatenate([np.zeros((number, 0)), *(part for _, part in parts)], axis=1)
    names = [name for name, part in parts for _ in range(part.shape[1])]
    edge = np.isnan(values).any(axis=1)
    inner = values[~edge]
    spread = inner.std(axis=0) if len(inner) else np.zeros(len(names))
    varies = spread > 1e-12 * (1 + np.abs(inner).max(axis=0, initial=0.0))
    if not varies.any():
        return Inputs(np.zeros((number, 1)), edge, ("nothing",))
    scaled = (values[:, varies] - inner[:, varies].mean(axis=0)) / spread[varies]
    return Inputs(np.where(edge[:, None], 0.0, scaled), edge, tuple(np.array(names)[varies]))


class _Columns:
    """Values of observations and needed covariates by the position of their row."""

    def __init__(self, target: Target, verdict: Verdict) -> None:
        self.target, self.windows = target, verdict.covariate_offsets
        places, self.rows, self.tables = target.places, target.places.rows, {}
        for name, row_of in places.row_of.items():
            is_seen = name in target.program.observed or name in verdict.covariates
            if not is_seen or not row_of.size or (row_of < 0).any():
                continue
            by_row: dict[Position, list[float]] = {}
            for row, value in zip(row_of.ravel(), np.ravel(np.asarray(target.arguments[name], float)), strict=True):
                by_row.setdefault(self.rows[row], []).append(value)
            self.tables[name] = by_row
        observed = [self.tables[name] for name in target.program.data if name in self.tables]
        plates = {tuple(plate for plate, _ in position) for table in observed for position in table}
        self.plates = next(iter(plates)) if len(plates) == 1 else ()

    def window(self, kind: Kind, offsets: Sequence[int]) -> list[tuple[str, np.ndarray]]:
        """Return the rows of the observations at offsets, and those of the covariates that the verdict names."""
        parts = []
        for name in self.tables:
            for offset in offsets if name in self.target.program.data else self.windows.get(name, (0,)):
                label = f"{name}_(n{offset:+d})" if offset else f"{name}_n"
                parts.append((label, self._at(name, kind, offset)))
        return parts

    def _at(self, name: str, kind: Kind, offset: int = 0) -> np.ndarray:
        """Return the row of every unit, with NaN where there is none."""
        table, found = self.tables[name], []
        for unit in kind.units:
            position = self.target.places.units[unit]
            found.append(table.get(((position[0][0], position[0][1] + offset), *position[1:])))
        width = max(map(len, table.values()))
        rows = [row if row and len(row) == width else [np.nan] * width for row in found]
        return np.array(rows).reshape(len(found), width)

    def pooled(self, kind: Kind, needs: np.ndarray) -> list[tuple[str, np.ndarray]]:
        """Return number, means and mean products of the rows that each unit needs, and the row of its own."""
        own = [(f"{name}_n", self._at(name, kind)) for name in self.tables]
        parts = [(label, part) for label, part in own if part.size and not np.isnan(part).any()]
        like = [name for name, table in self.tables.items() if set(table) == set(self._of_observations())]
        like = [name for name in like if not self._is_membership(name, kind, needs)]
        matrix = np.concatenate([self._matrix(name) for name in like], axis=1)
        pair = np.triu_indices(matrix.shape[1])
        products = (matrix[:, :, None] * matrix[:, None, :])[:, pair[0], pair[1]]
        weights = needs[kind.units].astype(float)
        count = weights.sum(axis=1, keepdims=True)
        means = weights @ np.concatenate([matrix, products], axis=1) / np.maximum(count, 1.0)
        each = [label for name in like for label in _labels(name, self._matrix(name).shape[1])]
        both = [f"mean {each[i]} {each[j]}" for i, j in zip(*pair, strict=True)]
        names = ["number of rows", *(f"mean {name}" for name in each), *both]
        return [*parts, *zip(names, np.split(np.concatenate([count, means], axis=1), len(names), axis=1), strict=True)]

    def _is_membership(self, name: str, kind: Kind, needs: np.ndarray) -> bool:
        """Say whether a column holds the number of the unit that a row belongs to: it says nothing else of the row."""
        values = self._matrix(name)
        if name in self.target.program.data or values.shape[1] != 1:
            return False
        index = [self.target.places.units[unit][-1][1] for unit in kind.units]
        return all((values[needs[unit]] == number).all() for unit, number in zip(kind.units, index, strict=True))

    def _of_observations(self) -> Mapping[Position, list[float]]:
        return next(self.tables[name] for name in self.target.program.data if name in self.tables)

    def _matrix(self, name: str) -> np.ndarray:
        table = self.tables[name]
        return np.array([table[self.rows[row]] for row in _observed_rows(self.target)])


def _labels(name: str, width: int) -> list[str]:
    return [name] if width == 1 else [f"{name}[{index}]" for index in range(width)]


def _observed_rows(target: Target) -> list[int]:
    """Return the numbers of the rows of the observations, in order."""
    names = [name for name in target.program.data if (target.places.row_of[name] >= 0).all()]
    if not names:
        raise InputError("the observations have no rows that an inference function could see")
    return sorted(set(target.places.row_of[names[0]].ravel().tolist()))


def _needs(target: Target, verdict: Verdict) -> Bool[np.ndarray, "U R"]:
    """Return which rows of the observations each unit needs: its own, or those of all units it is coupled with.

    Found by the change of the gradient of the log joint when a row gets the values of another, and when a unit moves.
    """
    rows = _observed_rows(target)
    if len(rows) * target.num_units > MAX_PAIRS:
        raise InputError(f"{target.num_units} units with {len(rows)} rows are too many to see which depends on which")
    random = np.random.default_rng(0)
    unit_of = np.full(target.size, -1)
    for kind in target.kinds:
        unit_of[kind.elements] = kind.units
    observed = [name for name in target.program.data if (target.places.row_of[name] >= 0).all()]
    gradient = jax.jit(jax.vmap(jax.grad(target.log_joint), (0, 0)), compiler_options=ONCE)

    def related(flats: np.ndarray, data: Mapping[str, np.ndarray], base: np.ndarray) -> np.ndarray:
        change = np.abs(np.asarray(gradient(flats, data)) - base) > NONZERO * (1 + np.abs(base))
        return np.stack([change[:, unit_of == unit].any(axis=1) for unit in range(target.num_units)], axis=1)

    at = 0.7 * random.standard_normal(target.size)
    whole: dict[str, Any] = {name: np.asarray(target.arguments[name]) for name in observed}
    base = np.asarray(gradient(at[None], {name: value[None] for name, value in whole.items()}))[0]
    direct = np.zeros((target.num_units, len(rows)), bool)
    for start in range(0, len(rows), CHUNK):
        some = np.resize(rows[start : start + CHUNK], CHUNK)
        data = {name: np.stack([_changed(target, name, whole[name], row) for row in some]) for name in observed}
        number = min(CHUNK, len(rows) - start)
        direct[:, start : start + number] = related(np.tile(at, (CHUNK, 1)), data, base)[:number].T
    if verdict.group is None:
        return direct
    coupled = np.zeros((target.num_units,) * 2, bool)
    data = {name: np.tile(value, (CHUNK, *[1] * value.ndim)) for name, value in whole.items()}
    for start in range(0, target.num_units, CHUNK):
        units = np.resize(np.arange(start, min(start + CHUNK, target.num_units)), CHUNK)
        moved = np.where(unit_of == units[:, None], at + 0.5, at)
        number = min(CHUNK, target.num_units - start)
        coupled[start : start + number] = related(moved, data, base)[:number]
    label = connected_components(coupled)[1]
    return np.stack([direct[label == label[unit]].any(axis=0) for unit in range(target.num_units)])


def _changed(target: Target, name: str, value: np.ndarray, row: int) -> np.ndarray:
    """Return a column with the values of one row replaced by those of the first other row that differs."""
    row_of = target.places.row_of[name]
    own = value[row_of == row]
    for other in range(1, len(target.places.rows)):
        donor = value[row_of == (row + other) % len(target.places.rows)]
        if donor.shape == own.shape and not np.array_equal(donor, own):
            changed = value.copy()
            changed[row_of == row] = donor
            return changed
    return value
