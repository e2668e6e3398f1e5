"""Pairs of positions whose latents are swapped, with data in which their inputs are equal."""

from collections.abc import Sequence
from itertools import chain

import numpy as np

from avigap.needs import edges_of, needed_rows, plate_of
from avigap.probes import Arrays
from avigap.ties import Pair, rows_at, signature, tied
from avigap.twin import pairs_of
from avigap.view import View

MAX_PAIRS = 12
"""Pairs of positions whose latents are swapped, those in the middle first."""


def exchangeable_pairs(view: View, offsets: Sequence[int], covariates: Sequence[str]) -> dict[Pair, Arrays]:
    """Return pairs of units of the same kind, none at an edge, with data in which their inputs are equal."""
    plate = plate_of(view)
    edges = edges_of(view, offsets) if plate else ()
    names = [*view.observed, *(name for name in covariates if name in view.covariates)]
    data: dict[Pair, Arrays] = {}
    for one, other in pairs_of([unit for unit in range(len(view.places.units)) if unit not in edges]):
        if signature(view, [one]) != signature(view, [other]) or len(data) == MAX_PAIRS:
            continue
        own = None
        for name in (n for n in names if not _tells(view, n, one)):
            rows = [rows_at(view, u, offsets) if plate else _own(view, u, name, offsets) for u in (one, other)]
            if rows[0] is None or rows[1] is None or len(rows[0]) != len(rows[1]):
                break
            own = tied(view, [name], list(zip(*rows, strict=True)), own)
        else:
            data[((one,), (other,))] = dict(view.points.data) if own is None else own
    return data


def _own(view: View, unit: int, name: str, offsets: Sequence[int]) -> list[int]:
    """Return the rows of an argument at a unit's position, in order; those that it needs if none lies in its plates."""
    position, present = view.places.units[unit], set(np.unique(view.places.row_of[name]).tolist())
    own = [row for row, place in enumerate(view.places.rows) if row in present and agree(position, place)]
    return (own or sorted(needed_rows(view)[unit] & present)) if offsets else []


def _tells(view: View, name: str, unit: int) -> bool:
    """Say whether a covariate tells like units apart that lie in no plate of the rows, as a group's number does."""
    rows, present = view.places.row_of[name], set(np.unique(view.places.row_of[name]).tolist())
    like = [u for u in range(len(view.places.units)) if signature(view, [u]) == signature(view, [unit])]
    if any(agree(view.places.units[u], view.places.rows[row]) for u in like for row in present if row >= 0):
        return False
    column = np.asarray(view.arguments[name])
    values = [set(column[np.isin(rows, _own(view, u, name, (0,)))].ravel().tolist()) for u in like]
    return all(len(own) <= 1 for own in values) and len(set(chain(*values))) == sum(map(len, values))


def agree(one: Sequence[tuple[str, int]], other: Sequence[tuple[str, int]]) -> bool:
    """Say whether two positions have the same index in every plate that both have, and have one in common."""
    a, b = dict(one), dict(other)
    return bool(set(a) & set(b)) and all(a[plate] == b[plate] for plate in set(a) & set(b))
