"""The rules of a verdict: what a program needs where its local latents are not coupled, and where they are."""

from collections.abc import Sequence
from itertools import chain, pairwise
from typing import Literal, NamedTuple

import numpy as np

from avigap.exchange import agree, exchangeable_pairs, have_equal_fixed, pairs_of
from avigap.names import rows_named
from avigap.needs import (
    MAX_OFFSETS,
    direct_offsets,
    edges_of,
    groups_of,
    needed_covariates,
    needed_rows,
    offsets_of,
    plate_of,
    plates_of,
    window_of,
)
from avigap.probes import NONZERO, Arrays
from avigap.ties import Links, Pair, are_alike, rows_at, signature, tied
from avigap.view import View

Attainable = Literal["yes", "wider_input", "no", "unknown"]


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
    edges = edges_of(view, offsets, covariates)
    inner = [unit for unit in range(len(view.places.units)) if unit not in edges]
    pairs = [pair for pair in pairs_of(inner) if signature(view, pair[:1]) == signature(view, pair[1:])]
    separate = [pair for pair in pairs if not _overlap(view, pair, offsets)]
    pairs = separate or ([] if apart else pairs)
    windows = {name: window_of(view, name) for name in covariates if name in view.covariates}
    data: dict[Pair, Arrays] = {}
    links = Links()
    for one, other in pairs:
        if links.find(one) == links.find(other) or not have_equal_fixed(view, covariates, one, other):
            continue
        links.join(one, other)
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


def in_one_plate(view: View, bounded: bool) -> Found | None:
    """Return what uncoupled units in one plate need; None if the rows that they need are many, and not in common.

    ``bounded`` says whether the offsets on which factors depend stay the same as N grows.
    """
    direct, covariates = direct_offsets(view), needed_covariates(view)
    wider = [direct] if bounded else [(-1, 0), (0, 1), (-1, 0, 1)]
    suffice: bool | None = None
    for offsets in dict.fromkeys([(), (0,), *wider]):
        suffice = window_suffices(view, offsets, covariates, apart=not bounded)
        if suffice:
            return _least(view, offsets, covariates, bounded)
    if bounded and suffice is None:
        reason = f"no two positions have the whole window {list(direct)}: look at more with --num-obs"
        if outside := [name for name in covariates if name in view.fixed]:
            names = ", ".join(outside)
            reason = f"no two positions have equal values of {names}, with which the program computes outside of JAX"
        return Found("unknown", None, direct, covariates, False, None, (), "too_few", reason)
    if not bounded and not _is_common(view):
        return None
    offsets = direct if bounded else (0,)
    named = _named(view, offsets, covariates)
    reason = f"no two z_n are coupled, but positions with equal {named} differ: n itself is needed"
    edges = edges_of(view, offsets, covariates)
    return Found("wider_input", True, offsets, covariates, True, None, edges, "index", reason)


def _least(view: View, offsets: tuple[int, ...], covariates: tuple[str, ...], bounded: bool) -> Found:
    """Drop the offsets and covariates without which positions are still alike."""
    for offset in offsets if len(offsets) > 1 else ():
        fewer = tuple(o for o in offsets if o != offset)
        offsets = fewer if window_suffices(view, fewer, covariates) else offsets
    for name in covariates:
        fewer_names = tuple(n for n in covariates if n != name)
        varies = name not in view.covariates or len(np.unique(view.points.data[name])) > 1
        covariates = fewer_names if varies and window_suffices(view, offsets, fewer_names) else covariates
    plain = set(offsets) <= {0} and all(set(window_of(view, name)) <= {0} for name in covariates)
    common = "" if bounded else "; what all data have in common enters the parameters of the function"
    named = _named(view, offsets, covariates)
    reason = f"no two z_n are coupled, and positions with equal {named} have equal factors{common}"
    rule = "simple_hierarchical" if plain else "window"
    edges = edges_of(view, offsets, covariates)
    return Found("yes" if plain else "wider_input", True, offsets, covariates, False, None, edges, rule, reason)


def _named(view: View, offsets: Sequence[int], covariates: Sequence[str]) -> str:
    return (
        ", ".join(rows_named(view.observed, offsets, {name: window_of(view, name) for name in covariates})) or "nothing"
    )


def _is_common(view: View) -> bool:
    """Say whether exchanging two rows of data changes no factor but those of their own positions."""
    count = len(view.places.units)
    for one, other in pairwise(range(len(view.places.rows))):
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
    own = [{r for r, row in enumerate(rows) if agree(unit, row)} for unit in units]
    if not any(needed):
        return Found(
            "yes", True, (), covariates, False, None, (), "simple_hierarchical", "no factor depends on the data"
        )
    if all(n <= o for n, o in zip(needed, own, strict=True)) and any(len(o) < len(rows) for o in own):
        reason = "no two z_n are coupled, and a factor depends on the whole row of its own position"
        found = Found("yes", True, (0,), covariates, False, None, (), "simple_hierarchical", reason)
        return _with_index(view, found)
    if window := _along_a_plate(view, needed):
        return window._replace(covariates=covariates)
    for plate in plates_of(view):
        inside = [set(rows_in(view, plate, dict(unit).get(plate))) for unit in units]
        if all(n <= i for n, i in zip(needed, inside, strict=True)) and any(len(i) < len(rows) for i in inside):
            reason = f"no two z_n are coupled, and a factor depends on the rows of its own {plate!r}"
            return group_found(view, covariates, plate, reason)
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


def _along_a_plate(view: View, needed: Sequence[set[int]]) -> Found | None:
    """Return the window along one of several plates that holds all rows that are needed, if there is one."""
    units, rows = [dict(unit) for unit in view.places.units], [dict(row) for row in view.places.rows]
    for plate in plates_of(view):
        pairs = [(units[u], rows[r]) for u, own in enumerate(needed) for r in own]
        if not all(plate in unit and {**row, plate: 0} == {**unit, plate: 0} for unit, row in pairs):
            continue
        window = tuple(sorted({row[plate] - unit[plate] for unit, row in pairs}))
        shifted = [[{**unit, plate: unit[plate] + offset} for offset in window] for unit in units]
        edges = tuple(u for u, own in enumerate(shifted) if any(row not in rows for row in own))
        if len(window) <= MAX_OFFSETS and len(edges) < len(units):
            reason = f"no two z_n are coupled, and a factor depends on the rows at {list(window)} along its {plate!r}"
            return Found("wider_input", True, window, (), False, None, edges, "window", reason)
    return None


def group_found(view: View, covariates: tuple[str, ...], plate: str, reason: str) -> Found:
    """Return that the rows of a group are needed; with n itself, if groups or members with equal rows differ."""
    members: dict[int, list[int]] = {}
    for unit, position in enumerate(view.places.units):
        if plate in dict(position):
            members.setdefault(dict(position)[plate], []).append(unit)
    names = [*view.observed, *(name for name in covariates if name in view.covariates)]
    data: dict[Pair, Arrays] = {}
    for one, other in pairwise(members):
        rows = [rows_in(view, plate, index) for index in (one, other)]
        if signature(view, members[one]) == signature(view, members[other]) and len(rows[0]) == len(rows[1]):
            data[tuple(members[one]), tuple(members[other])] = tied(view, names, list(zip(*rows, strict=True)))
    within = exchangeable_pairs(view, (0,), covariates)
    group_of = {unit: index for index, units in members.items() for unit in units}
    data |= {pair: own for pair, own in within.items() if group_of.get(pair[0][0]) == group_of.get(pair[1][0])}
    differ = bool(data) and not are_alike(view, list(data), data)
    reason += "; positions with equal inputs differ, so that n itself is needed" if differ else ""
    return Found("wider_input", True, (0,), covariates, differ, plate, (), "group", reason)


def rows_in(view: View, plate: str, index: int | None) -> list[int]:
    """Return the rows of data that lie at an index of a plate, in order."""
    return [row for row, place in enumerate(view.places.rows) if dict(place).get(plate) == index]


def in_bounded_groups(view: View) -> Found:
    """Return what units need that are coupled in groups which do not grow with N."""
    groups, covariates, direct = groups_of(view), needed_covariates(view), needed_rows(view)
    reason = "z_n are coupled in groups that do not grow with N: a factor needs the rows of its group"
    plates = []
    for plate in plates_of(view):
        indices = [
            {dict(view.places.units[u])[plate] for u in g if plate in dict(view.places.units[u])} for g in groups
        ]
        if all(len(own) == 1 for own in indices) and len(set(chain(*indices))) == len(groups):
            plates.append(plate)
    if plates:
        return group_found(view, covariates, plates[0], f"{reason}, that of its {plates[0]!r}")
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
