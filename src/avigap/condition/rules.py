"""The rules of a verdict: what units need that are not coupled, and those that are."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from avigap.condition.dependence import MAX_OFFSETS, Dependence, agree
from avigap.condition.sharing import Sharing, along_a_plate, is_symmetric, kinds_of, own_rows
from avigap.condition.symmetry import Pair, changes_nothing, exchange, pair_at
from avigap.condition.values import Moves, Point
from avigap.names import rows_named

MAX_LISTED = 9
"""Offsets of the rows of a coupled group that are listed; more are an index map."""

Attainable = Literal["yes", "wider_input", "no", "unknown"]


class Found(NamedTuple):
    """What a rule found; the first fields of a verdict.

    ``index_map`` holds for each unit the rows that it needs, where these are not at the same offsets.
    """

    attainable: Attainable
    attainable_here: bool | None
    inputs: tuple[int, ...]
    covariates: tuple[str, ...]
    needs_index: bool
    group: str | None
    edges: tuple[int, ...]
    rule: str
    reason: str
    group_bounded: bool | None = None
    index_map: tuple[tuple[int, ...], ...] | None = None
    sharing: Sharing | None = None


class Case(NamedTuple):
    """A program to be judged: what depends on what at N and at 2 N, and how gradients are computed.

    ``more`` is None where there is no larger N.
    """

    now: Dependence
    more: Dependence | None
    moves: Moves
    points: Sequence[Point]


def judge(case: Case) -> Found:
    """Return what a program needs."""
    return _coupled(case) if case.now.is_coupled else _uncoupled(case)


def _uncoupled(case: Case) -> Found:
    now = case.now
    if now.is_dense:
        return _many(case)
    return _in_one_plate(case) if now.plate else _in_several_plates(case)


def _many(case: Case) -> Found:
    reason = "no two z_n are coupled, but each factor depends on rows whose number grows with N, in a way of its own"
    inputs = (0,) if case.now.is_dense or len(case.now.data) else ()
    return Found("no", None, inputs, case.now.covariates, False, None, (), "many_rows", reason)


def _grows(case: Case) -> bool:
    """Say whether the number of rows that a unit needs grows with N; of a file, whether it is more than half."""
    most = int(case.now.counts.max(initial=0))
    if case.more is not None and not case.more.is_dense:
        return int(case.more.counts.max(initial=0)) > most
    return case.more is not None or (most > 3 and most > len(np.unique(case.now.data[:, 1])) / 2)


def _in_one_plate(case: Case) -> Found:
    now = case.now
    if _grows(case):
        return _many(case)
    window, most = now.window(), int(now.counts.max(initial=0))
    covariates = {name: _window_of(now, name) for name in now.covariates}
    if len(window) > min(most, MAX_OFFSETS) or any(own is None for own in covariates.values()):
        return _mapped(case)
    windows = {name: own for name, own in covariates.items() if own is not None}
    edges = now.edges([window, *windows.values()], now.plate or "")
    inner = np.ones(now.number, bool)
    inner[edges] = False
    sharing = _sharing(case, inner)
    plain = set(window) <= {0} and all(set(own) <= {0} for own in windows.values())
    named = ", ".join(rows_named(now.view.observed, window, windows)) or "nothing"
    where = tuple(edges.tolist())
    if sharing == "unknown":
        reason = f"no two positions have the whole window {list(window)}: look at more with --num-obs"
        if now.fixed:
            reason = (
                f"no two positions have equal values of {', '.join(now.fixed)}, with which the program computes outside"
                " of JAX, or which it takes for an index"
            )
        return Found("unknown", None, window, now.covariates, False, None, (), "too_few", reason, sharing=sharing)
    if sharing == "differs":
        reason = f"no two z_n are coupled, but positions with equal {named} differ: n itself is needed"
        return Found("wider_input", True, window, now.covariates, True, None, where, "index", reason, sharing=sharing)
    common = "; what all data have in common enters the parameters of the function" if now.pattern.common else ""
    reason = f"no two z_n are coupled, and positions with equal {named} have equal factors{common}"
    rule = "simple_hierarchical" if plain else "window"
    kind: Attainable = "yes" if plain else "wider_input"
    return Found(kind, True, window, now.covariates, False, None, where, rule, reason, sharing=sharing)


def _window_of(now: Dependence, name: str) -> tuple[int, ...] | None:
    """Return the offsets of the rows of a covariate that are needed; None if they are not at the same offsets."""
    if name in now.fixed:
        return (0,)
    window = now.window(name)
    own = now.needs[name]
    most = int(np.bincount(own[:, 0]).max(initial=0)) if own is not None and len(own) else 0
    return window if len(window) <= min(most, MAX_OFFSETS) else None


def _sharing(case: Case, inner: np.ndarray) -> Sharing:
    """Say whether the units of one plate are alike, where they are not at an edge."""
    now = case.now
    if not now.fixed:
        found = along_a_plate(now, case.moves, case.points, inner, now.plate or "")
        if found != "unknown":
            return found
    members = _exclusive(now)
    if members is None:
        return "unknown"
    classes = _classes(now, kinds_of(now), np.arange(now.number), members)
    classes = np.where(inner, classes, np.arange(now.number) + int(classes.max(initial=0)) + 1)
    classes = np.unique(classes, return_inverse=True)[1].ravel()
    return own_rows(now, case.moves, case.points, classes, np.arange(now.number), members)


def _exclusive(now: Dependence) -> np.ndarray | None:
    """Return the unit (R,) that needs each row, -1 for none; None if a row is needed by two."""
    every = [own for own in (now.data, *(now.needs[n] for n in now.view.covariates)) if own is not None]
    both = np.unique(np.concatenate([np.zeros((0, 2), int), *every]), axis=0)
    if len(np.unique(both[:, 1])) < len(both):
        return None
    members = np.full(len(now.rows), -1)
    members[both[:, 1]] = both[:, 0]
    for unit, position in enumerate(now.units) if now.plate and now.fixed else ():
        row = now.row_at(position)
        if row is not None and members[row] < 0:
            members[row] = unit
    return members


def _classes(now: Dependence, kinds: np.ndarray, owner: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Return the class of each owner: of one kind, with equal values of the covariates that are constants."""
    number = int(owner.max(initial=-1)) + 1
    of_owner = np.zeros(number, int)
    of_owner[owner] = kinds
    keys: list[list[Any]] = [[int(k)] for k in of_owner]
    for name in now.fixed:
        rows = now.view.places.row_of[name].ravel()
        column = np.asarray(now.view.arguments[name]).ravel()
        own: list[list[Any]] = [[] for _ in range(number)]
        for row, value in zip(rows.tolist(), column.tolist(), strict=True):
            if row >= 0 and members[row] >= 0:
                own[members[row]].append(value)
        if all(len(set(values)) <= 1 for values in own) and _tells(own):
            continue
        for key, values in zip(keys, own, strict=True):
            key.append(tuple(values))
    number_of = {key: k for k, key in enumerate(dict.fromkeys(map(tuple, keys)))}
    return np.array([number_of[tuple(key)] for key in keys], int)


def _tells(values: Sequence[Sequence[Any]]) -> bool:
    """Say whether a covariate tells owners of several rows apart, as the number of a group does."""
    some = [own[0] for own in values if own]
    return len(set(some)) == len(some) and any(len(own) > 1 for own in values)


def _mapped(case: Case) -> Found:
    """Return that each unit needs rows of its own, which an index map tells."""
    now = case.now
    rows: list[list[int]] = [[] for _ in range(now.number)]
    for unit, row in now.data.tolist():
        rows[unit].append(row)
    position = [_index_of(now, row) for row in range(len(now.rows))]
    table = tuple(tuple(position[row] for row in own) for own in rows)
    reason = "no two z_n are coupled, and each factor depends on a few rows, which ones depends on n"
    return Found(
        "wider_input", True, (), now.covariates, True, None, (), "index_map", reason, index_map=table, sharing=None
    )


def _index_of(now: Dependence, row: int) -> int:
    position = now.rows[row]
    return position[0][1] if len(position) == 1 else row


def _in_several_plates(case: Case) -> Found:
    now = case.now
    members = _exclusive(now)
    if not len(now.data):
        sharing = _exclusive_sharing(case, members)
        found = Found(
            "yes",
            True,
            (),
            now.covariates,
            False,
            None,
            (),
            "simple_hierarchical",
            "no factor depends on the data",
            sharing=sharing,
        )
        return _with_index(found, sharing)
    if all(agree(now.units[u], now.rows[r]) for u, r in now.data.tolist()) and _has_whole_rows(now):
        reason = "no two z_n are coupled, and a factor depends on the whole row of its own position"
        sharing = _exclusive_sharing(case, members)
        found = Found(
            "yes", True, (0,), now.covariates, False, None, (), "simple_hierarchical", reason, sharing=sharing
        )
        return _with_index(found, sharing)
    if window := _along(case):
        return window
    for plate in now.view.plates():
        unit, row = now.index(plate, now.units), now.index(plate, now.rows)
        if (unit >= 0).all() and (unit[now.data[:, 0]] == row[now.data[:, 1]]).all() and len(np.unique(unit)) > 1:
            reason = f"no two z_n are coupled, and a factor depends on the rows of its own {plate!r}"
            return _group(case, plate, unit, reason)
    if members is not None and now.number > 1:
        plate = now.units[0][0][0]
        reason = f"no two z_n are coupled, and every row of data belongs to one of the {plate!r}"
        return _group(case, plate, np.arange(now.number), reason, members)
    return _many(case) if _grows(case) else _mapped(case)


def _has_whole_rows(now: Dependence) -> bool:
    """Say whether some row is not at the position of some unit, so that units have rows of their own."""
    return now.number > 1 and len(np.unique(now.data[:, 1])) > int(now.counts.max(initial=0))


def _exclusive_sharing(case: Case, members: np.ndarray | None) -> Sharing:
    now = case.now
    if members is None:
        return "unknown"
    classes = _classes(now, kinds_of(now), np.arange(now.number), members)
    return own_rows(now, case.moves, case.points, classes, np.arange(now.number), members)


def _with_index(found: Found, sharing: Sharing) -> Found:
    """Add that n itself is needed, if positions with equal inputs are not alike."""
    if sharing != "differs":
        return found
    reason = f"{found.reason}, but positions with equal inputs differ: n itself is needed"
    return found._replace(attainable="wider_input", needs_index=True, rule="index", reason=reason)


def _along(case: Case) -> Found | None:
    """Return the window along one of several plates that holds all rows that are needed, if there is one."""
    now = case.now
    for plate in now.view.plates():
        rest = [[[own for own in p if own[0] != plate] for p in of] for of in (now.units, now.rows)]
        if (now.index(plate, now.units) < 0).any() or any(rest[0][u] != rest[1][r] for u, r in now.data.tolist()):
            continue
        window = now.window(None, plate)
        edges = now.edges([window], plate)
        if len(window) > min(MAX_OFFSETS, int(now.counts.max())) or len(edges) == now.number:
            continue
        inner = np.ones(now.number, bool)
        inner[edges] = False
        sharing = along_a_plate(now, case.moves, case.points, inner, plate)
        reason = f"no two z_n are coupled, and a factor depends on the rows at {list(window)} along its {plate!r}"
        where = tuple(edges.tolist())
        found = Found(
            "wider_input", True, window, now.covariates, False, None, where, "window", reason, sharing=sharing
        )
        return _with_index(found, sharing)
    return None


def _group(
    case: Case,
    plate: str,
    owner: np.ndarray,
    reason: str,
    members: np.ndarray | None = None,
    bounded: bool | None = None,
) -> Found:
    """Return that the rows of a group are needed; with n itself, if groups or members with equal rows differ."""
    now = case.now
    owner = np.unique(owner, return_inverse=True)[1].ravel()
    if members is None:
        size = max(len(now.rows), 1)
        key = np.unique(owner[now.data[:, 0]] * size + now.data[:, 1])
        members = np.full(len(now.rows), -1)
        members[key % size] = key // size
        for name in now.view.covariates:
            own = now.needs[name]
            if own is not None and len(own) and name not in now.pattern.concrete:
                free = members[own[:, 1]] < 0
                members[own[free, 1]] = owner[own[free, 0]]
    kinds = kinds_of(now)
    consists: list[list[int]] = [[] for _ in range(int(owner.max()) + 1)]
    for group, kind in sorted(zip(owner.tolist(), kinds.tolist(), strict=True)):
        consists[group].append(kind)
    number = {key: k for k, key in enumerate(dict.fromkeys(map(tuple, consists)))}
    of_owner = np.array([number[tuple(each)] for each in consists])
    classes = _classes(now, of_owner[owner], owner, members)
    sharing = own_rows(now, case.moves, case.points, classes, owner, members)
    alike = sharing != "differs" and (len(owner) == int(owner.max()) + 1 or _members_alike(case, owner))
    grown = None if case.more is None else _largest(case.more) > _largest(case.now)
    if bounded is None:
        bounded = not grown if grown is not None else all(plate in dict(row) for row in now.rows)
    reason += "" if alike else "; positions with equal inputs differ, so that n itself is needed"
    return Found(
        "wider_input", True, (0,) if len(now.data) else (), now.covariates, not alike, plate, (), "group", reason,
        group_bounded=bounded, sharing=sharing,
    )  # fmt: skip


def _largest(now: Dependence) -> int:
    return int(now.rows_of_groups().max(initial=0))


def _members_alike(case: Case, owner: np.ndarray) -> bool:
    """Say whether members of a kind can be exchanged in their group with their own rows, by structure or by values."""
    now, kinds = case.now, kinds_of(case.now)
    order = np.lexsort((np.arange(now.number), kinds, owner))
    one, other = order[:-1], order[1:]
    like = (owner[one] == owner[other]) & (kinds[one] == kinds[other])
    pairs = [pair_at(now, *both) for both in zip(one[like].tolist(), other[like].tolist(), strict=True)]
    if not pairs:
        return True
    halves = [own for own in (pairs[::2], pairs[1::2]) if own]  # pairs of a half may share a unit: each is apart
    if all(is_symmetric(now, *(own[None] for own in exchange(now, _apart(half)))) for half in halves):
        return True
    return changes_nothing(now, case.moves, case.points, pairs)


def _apart(pairs: Sequence[Pair]) -> list[Pair]:
    """Return the pairs of which no unit is in a pair before."""
    used, found = set[int](), []
    for pair in pairs:
        if not used & {pair.one, pair.other}:
            found.append(pair)
            used |= {pair.one, pair.other}
    return found


def _coupled(case: Case) -> Found:
    now = case.now
    size, rows = int(now.sizes.max()), int(now.rows_of_groups().max(initial=0))
    if case.more is not None:
        after = int(case.more.sizes.max()), int(case.more.rows_of_groups().max(initial=0))
        grows = after[0] > size or after[1] > rows
        how = f"the largest coupled group has {size} positions with {rows} rows, {after[0]} with {after[1]} at twice N"
    else:
        grows = size > now.number / 2
        how = (
            f"all {size} positions are coupled"
            if size == now.number
            else f"{size} of {now.number} positions are coupled"
        )
    if grows:
        reason = f"{how}: a factor needs rows whose number grows with N"
        inputs = (0,) if now.is_dense or len(now.data) else ()
        return Found("no", None, inputs, now.covariates, False, None, (), "coupling", reason)
    return _in_bounded_groups(case)


def _in_bounded_groups(case: Case) -> Found:
    """Return what units need that are coupled in groups which do not grow with N."""
    now = case.now
    reason = "z_n are coupled in groups that do not grow with N: a factor needs the rows of its group"
    for plate in now.view.plates():
        index = now.index(plate, now.units)
        if (index < 0).any():
            continue
        key = np.unique(np.stack([now.group, index], axis=1), axis=0)
        if len(key) == len(now.sizes) and len(np.unique(index)) == len(now.sizes):
            return _group(case, plate, index, f"{reason}, that of its {plate!r}", bounded=True)
    if now.plate is None:
        reason_ = f"{reason}, which ones depends on n"
        return Found("wider_input", True, (0,), now.covariates, True, None, (), "group", reason_, group_bounded=True)
    size = max(len(now.rows), 1)
    key = np.unique(now.group[now.data[:, 0]] * size + now.data[:, 1])
    by_group: dict[int, list[int]] = {}
    for own in key.tolist():
        by_group.setdefault(own // size, []).append(own % size)
    unit, row = now.index(now.plate, now.units), now.index(now.plate, now.rows)
    relative = [tuple(int(row[r] - unit[u]) for r in by_group.get(int(now.group[u]), [])) for u in range(now.number)]
    offsets = tuple(sorted({offset for own in relative for offset in own}))
    edges = now.edges([offsets], now.plate)
    inside = set(range(now.number)) - set(edges.tolist())
    differ = len({relative[u] for u in inside}) > 1
    reason += ", and which rows these are depends on n" if differ else ""
    table = None
    if len(offsets) > MAX_LISTED:
        table = tuple(tuple(_index_of(now, r) for r in by_group.get(int(now.group[u]), [])) for u in range(now.number))
        return Found("wider_input", True, (), now.covariates, True, None, (), "group", reason, True, table)
    return Found(
        "wider_input", True, offsets, now.covariates, differ, None, tuple(edges.tolist()), "group", reason, True
    )
