"""What each unit of a program needs directly, and with which others it is coupled."""

from collections.abc import Iterable, Sequence
from itertools import chain

import numpy as np
from scipy.sparse.csgraph import connected_components

from avigap.coupling import X
from avigap.probes import NONZERO
from avigap.ties import rows_at
from avigap.view import View


def needed_rows(view: View, name: str = X) -> list[set[int]]:
    """Return for each unit the rows of the observations, or of a covariate, that its factor depends on directly."""
    return [set(np.flatnonzero(strength > NONZERO).tolist()) for strength in view.relations.rows[name]]


def groups_of(view: View) -> list[list[int]]:
    """Return the units of each group that is coupled, directly or through others."""
    number, group = connected_components(view.relations.units > NONZERO, directed=False)
    return [np.flatnonzero(group == index).tolist() for index in range(number)]


def largest_group(view: View) -> tuple[int, int]:
    """Return the largest number of units in a coupled group, and of rows that one needs."""
    groups, rows = groups_of(view), needed_rows(view)
    return max(map(len, groups)), max(len(set(chain(*(rows[unit] for unit in group)))) for group in groups)


def plate_of(view: View) -> str | None:
    """Return the one plate in which all units and all rows lie; None if there are several."""
    plates = {tuple(plate for plate, _ in position) for position in (*view.places.units, *view.places.rows)}
    return next(iter(plates))[0] if len(plates) == 1 and len(next(iter(plates))) == 1 else None


def offsets_of(view: View, rows: Sequence[set[int]]) -> list[set[int]]:
    """Return rows relative to the position of each unit, all in one plate."""
    places = view.places
    return [{places.rows[r][0][1] - places.units[u][0][1] for r in own} for u, own in enumerate(rows)]


def needed_covariates(view: View) -> tuple[str, ...]:
    """Return the covariates on which any factor depends directly."""
    return (*(name for name in view.covariates if any(needed_rows(view, name))), *view.fixed)


def edges_of(view: View, offsets: Iterable[int]) -> tuple[int, ...]:
    """Return the units whose inputs leave the data."""
    offsets = tuple(offsets)
    return tuple(unit for unit in range(len(view.places.units)) if rows_at(view, unit, offsets) is None)
