"""The rules of a verdict: what a program needs where its local latents are not coupled, and where they are."""

from collections.abc import Sequence
from itertools import chain, combinations
from typing import Literal, NamedTuple

import numpy as np

from avigap.needs import edges_of, groups_of, needed_covariates, needed_rows, offsets_of, plate_of
from avigap.probes import NONZERO, Arrays
from avigap.ties import Pair, are_alike, rows_at, signature, tied
from avigap.twin import pairs_of
from avigap.view import View

Attainable = Literal["yes", "wider_input", "no", "unknown"]

MAX_OFFSETS = 4
"""Offsets of one latent that are a window; more are a dependence on all rows."""

MAX_PAIRS = 12
"""Pairs of positions whose latents are swapped, those in the middle first."""


class Found(NamedTuple):
    """What a rule found; the first fields of a verdict."""

    attainable: Attainable
    attainable_here: bool | None
    inputs: tuple[int, ...]
    covariates: tuple[str, ...]
    needs_index: bool
    group: str | None
    edges: tuple[int, ...]
    rule: str
    reason: str


def window_suffices(view: View, offsets: Sequence[int], covariates: Sequence[str], apart: bool = False) -> bool | None:
    """Say whether positions with equal rows at offsets, and equal covariates, are alike; None if there is no pair.

    ``apart`` asks for pairs whose windows share no row: where they do, equal windows are many equal rows, and hide what
    depends on their differences.
    """
    edges = edges_of(view, offsets)
    inner = [unit for unit in range(len(view.places.units)) if unit not in edges]
    pairs = [pair for pair in pairs_of(inner) if signature(view, pair[:1]) == signature(view, pair[1:])]
    separate = [pair for pair in pairs if not _overlap(view, pair, offsets)]
    pairs = separate or ([] if apart else pairs)
    windows = {name: window_of(view, name) for name in covariates if name in view.covariates}
    data: dict[Pair, Arrays] = {}
    for one, other in pairs[:MAX_PAIRS]:
        own = tied(view, view.observed, _equal(view, one, other, offsets))
        for name, window in windows.items():
            own = tied(view, [name], _equal(view, one, other, window), own)
        data[((one,), (other,))] = own
    return are_alike(view, list(data), data) if data else None


def _equal(view: View, one: int, other: int, offsets: Sequence[int]) -> list[tuple[int, int]]:
    """Return the pairs of rows that make the windows of two units equal; none if one leaves the data."""
    return list(zip(rows_at(view, one, offsets) or [], rows_at(view, other, offsets) or [], strict=False))


def _overlap(view: View, pair: tuple[int, int], offsets: Sequence[int]) -> bool:
    one, other = (set(rows_at(view, unit, offsets) or []) for unit in pair)
    return bool(one & other)


def window_of(view: View, name: str) -> tuple[int, ...]:
    """Return the offsets of a covariate that are needed; its own row alone if all rows are, or it cannot be changed."""
    if name not in view.covariates:
        return (0,)
    offsets = sorted(set(chain(*offsets_of(view, needed_rows(view, name)))))
    return tuple(offsets) if len(offsets) <= MAX_OFFSETS else (0,)


def in_one_plate(view: View) -> Found | None:
    """Return what uncoupled units in one plate need; None if the rows that they need are many, and not in common."""
    direct = tuple(sorted(set(chain(*offsets_of(view, needed_rows(view))))))
    covariates = needed_covariates(view)
    bounded = len(direct) <= MAX_OFFSETS
    wider = [direct] if bounded else [(-1, 0), (0, 1), (-1, 0, 1)]
    for offsets in dict.fromkeys([(), (0,), *wider]):
        if window_suffices(view, offsets, covariates, apart=not bounded):
            return _least(view, offsets, covariates, bounded)
    if not bounded and not _is_common(view):
        return None
    offsets = direct if bounded else (0,)
    reason = (
        f"no two z_n are coupled, but positions with equal {_named(offsets, covariates)} differ: n itself is needed"
    )
    return Found("wider_input", True, offsets, covariates, True, None, edges_of(view, offsets), "index", reason)


def _least(view: View, offsets: tuple[int, ...], covariates: tuple[str, ...], bounded: bool) -> Found:
    """Drop the offsets and covariates without which positions are still alike."""
    for offset in offsets if len(offsets) > 1 else ():
        fewer = tuple(o for o in offsets if o != offset)
        offsets = fewer if window_suffices(view, fewer, covariates) else offsets
    for name in covariates:
        fewer_names = tuple(n for n in covariates if n != name)
        covariates = fewer_names if window_suffices(view, offsets, fewer_names) else covariates
    plain = set(offsets) <= {0} and all(set(window_of(view, name)) <= {0} for name in covariates)
    common = "" if bounded else "; what all data have in common enters the parameters of the function"
    reason = (
        f"no two z_n are coupled, and positions with equal {_named(offsets, covariates)} have equal factors{common}"
    )
    rule = "simple_hierarchical" if plain else "window"
    edges = edges_of(view, offsets)
    return Found("yes" if plain else "wider_input", True, offsets, covariates, False, None, edges, rule, reason)


def _named(offsets: Sequence[int], covariates: Sequence[str]) -> str:
    rows = [f"x_(n{offset:+d})" if offset else "x_n" for offset in offsets]
    return ", ".join([*rows, *(f"{name}_n" for name in covariates)]) or "nothing"


def _is_common(view: View) -> bool:
    """Say whether exchanging two rows of data changes no factor but those of their own positions."""
    count = len(view.places.units)
    pairs = [(row, other) for row, other in combinations(range(len(view.places.rows)), 2)][:MAX_PAIRS]
    for one, other in pairs:
        exchanged = dict(view.points.data)
        for name in view.observed:
            here, leaf = view.places.row_of[name], exchanged[name].copy()
            leaf[:, here == one], leaf[:, here == other] = (
                view.points.data[name][:, here == other],
                view.points.data[name][:, here == one],
            )
            exchanged[name] = leaf
        moved = view.related_to(exchanged)
        inside = [u for u in range(count) if view.places.units[u] in (view.places.rows[one], view.places.rows[other])]
        if (np.delete(moved, inside) > NONZERO).any():
            return False
    return True


def in_several_plates(view: View) -> Found | None:
    """Return what uncoupled units need whose rows do not lie in one plate; None if no rule applies."""
    units, rows = view.places.units, view.places.rows
    needed, covariates = needed_rows(view), needed_covariates(view)
    own = [{r for r, row in enumerate(rows) if _agree(unit, row)} for unit in units]
    if not any(needed):
        return Found(
            "yes", True, (), covariates, False, None, (), "simple_hierarchical", "no factor depends on the data"
        )
    if all(n <= o for n, o in zip(needed, own, strict=True)) and any(len(o) < len(rows) for o in own):
        reason = "no two z_n are coupled, and a factor depends on the whole row of its own position"
        found = Found("yes", True, (0,), covariates, False, None, (), "simple_hierarchical", reason)
        return _with_index(view, found)
    for plate in sorted({name for unit in units for name, _ in unit}):
        inside = [{r for r, row in enumerate(rows) if dict(row).get(plate) == dict(unit).get(plate)} for unit in units]
        if all(n <= i for n, i in zip(needed, inside, strict=True)) and any(len(i) < len(rows) for i in inside):
            reason = f"no two z_n are coupled, and a factor depends on the rows of its own {plate!r}"
            return Found("wider_input", True, (0,), covariates, False, plate, (), "group", reason)
    if len(set(chain(*needed))) == sum(map(len, needed)) and len(needed) > 1:
        plate = units[0][0][0]
        reason = f"no two z_n are coupled, and every row of data belongs to one of the {plate!r}"
        found = Found("wider_input", True, (0,), covariates, False, plate, (), "group", reason)
        return _with_index(view, found)
    return None


def _with_index(view: View, found: Found) -> Found:
    """Add that n itself is needed, if positions with equal inputs are not alike."""
    pairs = exchangeable_pairs(view, found.inputs, found.covariates)
    if not pairs or are_alike(view, list(pairs), pairs):
        return found
    reason = f"{found.reason}, but positions with equal inputs differ: n itself is needed"
    return found._replace(attainable="wider_input", needs_index=True, rule="index", reason=reason)


def _agree(one: Sequence[tuple[str, int]], other: Sequence[tuple[str, int]]) -> bool:
    """Say whether two positions have the same index in every plate that both have, and have one in common."""
    a, b = dict(one), dict(other)
    return bool(set(a) & set(b)) and all(a[plate] == b[plate] for plate in set(a) & set(b))


def in_bounded_groups(view: View) -> Found:
    """Return what units need that are coupled in groups which do not grow with N."""
    groups, covariates, direct = groups_of(view), needed_covariates(view), needed_rows(view)
    reason = "z_n are coupled in groups that do not grow with N: a factor needs the rows of its group"
    shared = [set.intersection(*(set(view.places.units[u]) for u in group)) for group in groups]
    plates = [{plate for plate, _ in constant} for constant in shared]
    if plate := min(set.intersection(*plates), default=None):
        return Found(
            "wider_input", True, (0,), covariates, False, plate, (), "group", f"{reason}, that of its {plate!r}"
        )
    if plate_of(view) is None:
        return Found("wider_input", True, (0,), covariates, False, None, (), "group", reason)
    rows = [set[int]() for _ in view.places.units]
    for group in groups:
        for unit in group:
            rows[unit] = set(chain(*(direct[u] for u in group)))
    relative = offsets_of(view, rows)
    offsets = tuple(sorted(set(chain(*relative))))
    edges = edges_of(view, offsets)
    differ = len({frozenset(own) for unit, own in enumerate(relative) if unit not in edges}) > 1
    reason += ", and which rows these are depends on n" if differ else ""
    return Found("wider_input", True, offsets, covariates, differ, None, edges, "group", reason)


def exchangeable_pairs(view: View, offsets: Sequence[int], covariates: Sequence[str]) -> dict[Pair, Arrays]:
    """Return pairs of units of the same kind, none at an edge, with data in which their inputs are equal."""
    plate = plate_of(view)
    edges = edges_of(view, offsets) if plate else ()
    data: dict[Pair, Arrays] = {}
    for one, other in pairs_of([unit for unit in range(len(view.places.units)) if unit not in edges]):
        if signature(view, [one]) != signature(view, [other]) or len(data) == MAX_PAIRS:
            continue
        rows = [rows_at(view, unit, offsets) if plate else _own(view, unit, offsets) for unit in (one, other)]
        if rows[0] is not None and rows[1] is not None and len(rows[0]) == len(rows[1]):
            names = [name for name in covariates if name in view.covariates and not _tells(view, name, one)]
            data[((one,), (other,))] = tied(view, [*view.observed, *names], list(zip(*rows, strict=True)))
    return data


def _own(view: View, unit: int, offsets: Sequence[int]) -> list[int]:
    """Return the rows of a unit's own position, in order; those that it needs if rows lie in no plate of its own."""
    position = view.places.units[unit]
    own = [row for row, place in enumerate(view.places.rows) if _agree(position, place)]
    return (own or sorted(needed_rows(view)[unit])) if offsets else []


def _tells(view: View, name: str, unit: int) -> bool:
    """Say whether a covariate tells like units apart that lie in no plate of the rows, as a group's number does."""
    like = [u for u in range(len(view.places.units)) if signature(view, [u]) == signature(view, [unit])]
    if any(_agree(view.places.units[u], row) for u in like for row in view.places.rows):
        return False
    column, rows = np.asarray(view.arguments[name]), view.places.row_of[name]
    values = [set(column[np.isin(rows, _own(view, u, (0,)))].ravel().tolist()) for u in like]
    return all(len(own) <= 1 for own in values) and len(set(chain(*values))) == sum(map(len, values))
