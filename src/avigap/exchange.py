"""Pairs of positions whose latents are swapped, with data in which their inputs are equal."""

from collections.abc import Sequence
from itertools import chain

import numpy as np

from avigap.needs import edges_of, needed_rows, plate_of
from avigap.probes import Arrays
from avigap.ties import Links, Pair, rows_at, signature, tied
from avigap.view import View


def pairs_of(units: Sequence[int]) -> list[tuple[int, int]]:
    """Return all pairs, those in the middle first."""
    middle = (len(units) - 1) / 2
    pairs = [(a, b) for i, a in enumerate(units) for b in units[i + 1 :]]
    place = {unit: abs(index - middle) for index, unit in enumerate(units)}
    return sorted(pairs, key=lambda pair: place[pair[0]] + place[pair[1]])


def exchangeable_pairs(view: View, offsets: Sequence[int], covariates: Sequence[str]) -> dict[Pair, Arrays]:
    """Return pairs of units of the same kind, none at an edge, with data in which their inputs are equal.

    Pairs join all units of a kind, as far as there are data in which their inputs are equal.
    """
    plate, links = plate_of(view), Links()
    edges = edges_of(view, offsets) if plate else ()
    seen = {name: (0,) for name in covariates if name in view.covariates}
    data: dict[Pair, Arrays] = {}
    for one, other in pairs_of([unit for unit in range(len(view.places.units)) if unit not in edges]):
        if signature(view, [one]) != signature(view, [other]) or links.find(one) == links.find(other):
            continue
        own = None
        for name, window in (dict.fromkeys(view.observed, tuple(offsets)) | seen).items():
            if _tells(view, name, one):
                continue
            rows = [rows_at(view, u, window) if plate else _own(view, u, name, window) for u in (one, other)]
            if rows[0] is None or rows[1] is None or len(rows[0]) != len(rows[1]):
                break
            own = tied(view, [name], list(zip(*rows, strict=True)), own)
        else:
            if have_equal_fixed(view, covariates, one, other):
                links.join(one, other)
                data[((one,), (other,))] = dict(view.points.data) if own is None else own
    return data


def have_equal_fixed(view: View, covariates: Sequence[str], one: int, other: int) -> bool:
    """Say whether covariates that cannot be changed have the same values for two units, if they do not tell groups."""
    for name in (name for name in covariates if name in view.fixed and not _tells(view, name, one)):
        column, rows = np.asarray(view.arguments[name]), view.places.row_of[name]
        first, second = (column[np.isin(rows, _own(view, unit, name, (0,)))] for unit in (one, other))
        if not np.array_equal(first, second):
            return False
    return True


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
