"""What each unit of a program needs directly, and with which others it is coupled."""

from collections.abc import Iterable, Sequence
from itertools import chain

import numpy as np
from scipy.sparse.csgraph import connected_components

from avigap.coupling import X
from avigap.probes import NONZERO
from avigap.ties import rows_at
from avigap.view import View

MAX_OFFSETS = 4
"""Offsets of one latent that are a window; more are a dependence on all rows, if no larger N tells."""


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


def plates_of(view: View) -> list[str]:
    """Return the plates of the units, in the order of the program."""
    return list(dict.fromkeys(plate for unit in view.places.units for plate, _ in unit))


def offsets_of(view: View, rows: Sequence[set[int]]) -> list[set[int]]:
    """Return rows relative to the position of each unit, all in one plate."""
    places = view.places
    return [{places.rows[r][0][1] - places.units[u][0][1] for r in own} for u, own in enumerate(rows)]


def needed_covariates(view: View) -> tuple[str, ...]:
    """Return the covariates on which any factor depends directly."""
    return (*(name for name in view.covariates if any(needed_rows(view, name))), *view.fixed)


def direct_offsets(view: View) -> tuple[int, ...]:
    """Return the offsets of all rows of the observations on which a factor in one plate depends directly."""
    return tuple(sorted(set(chain(*offsets_of(view, needed_rows(view))))))


def window_of(view: View, name: str) -> tuple[int, ...]:
    """Return the offsets of a covariate that are needed; its own row alone if all rows are, or it cannot be changed."""
    if name not in view.covariates:
        return (0,)
    offsets = sorted(set(chain(*offsets_of(view, needed_rows(view, name)))))
    return tuple(offsets) if len(offsets) <= MAX_OFFSETS else (0,)


def edges_of(view: View, offsets: Iterable[int], covariates: Sequence[str] = ()) -> tuple[int, ...]:
    """Return the units whose inputs leave the data."""
    windows = [tuple(offsets), *(window_of(view, name) for name in covariates)]
    units = range(len(view.places.units))
    return tuple(unit for unit in units if any(rows_at(view, unit, window) is None for window in windows))
