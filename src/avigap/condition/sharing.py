"""Whether units with equal inputs are alike: by structure, at all positions at once, or by values.

Each term of a log joint has a hash of how it was computed, in which constants enter by value and inputs by their name
and a label. Units whose terms have the same hashes under labels that are equal for equal inputs have the same factor
for all values: no constant, index or covariate that differs between them enters. Where hashes differ, gradients at
points with equal inputs tell: a difference is there; equal gradients are only seen.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from avigap.condition.dependence import Dependence, groups_of, moved_along
from avigap.condition.pattern import Labels
from avigap.condition.values import Moves, Point
from avigap.program.structure.hashes import ranks

Sharing = Literal["proved", "seen", "differs", "unknown"]
"""Alike by structure, alike at all points looked at, not alike at one of them, or nothing to compare."""

EQUAL = 1e-7
"""Relative difference of gradients up to which they are equal."""


def kinds_of(dependence: Dependence) -> np.ndarray:
    """Return the kind of each unit: units of one kind have the same sites, in the same plates."""
    places = dependence.view.places
    labels = sorted({places.label_of[name] for name in places.local})
    table = np.zeros((dependence.number, len(labels)), int)
    for name in places.local:
        column = labels.index(places.label_of[name])
        np.add.at(table[:, column], places.unit_of[name].ravel(), 1)
    plates = [tuple(name for name, _ in unit) for unit in dependence.units]
    number = {own: k for k, own in enumerate(dict.fromkeys(plates))}
    every = np.column_stack([table, [number[own] for own in plates]])
    return np.asarray(np.unique(every, axis=0, return_inverse=True)[1]).ravel()


def next_along(dependence: Dependence, plate: str, kinds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the units that have one of their kind at the next index of a plate, and these."""
    number = {(int(k), own): u for u, (k, own) in enumerate(zip(kinds, dependence.units, strict=True))}
    one, other = [], []
    for unit, (kind, position) in enumerate(zip(kinds.tolist(), dependence.units, strict=True)):
        after = number.get((kind, moved_along(position, plate, 1)))
        if after is not None and after != unit:
            one.append(unit)
            other.append(after)
    return np.array(one, int), np.array(other, int)


def alike_classes(dependence: Dependence, inner: np.ndarray) -> np.ndarray:
    """Return the class of each unit: those of one class have the same terms, by structure, but for their position.

    Units next to each other along a plate are compared; ``inner`` (U,) tells those that are not at an edge.
    """
    view, number = dependence.view, dependence.number
    if dependence.pattern.unit is None or len(dependence.pattern.hashes) <= len(view.plates()):
        return np.arange(number)
    kinds, keys = kinds_of(dependence), dependence.pattern.keys(np.arange(number), number)
    edges = []
    for shift, plate in enumerate(view.plates()):
        one, other = next_along(dependence, plate, kinds)
        same = (keys[0][one] == keys[1 + shift][other]) & inner[one] & inner[other]
        edges.append(np.stack([one[same], other[same]], axis=1))
    return groups_of(np.concatenate(edges), number)


def along_a_plate(
    dependence: Dependence, moves: Moves, points: Sequence[Point], inner: np.ndarray, plate: str
) -> Sharing:
    """Say whether units are alike if the rows at the same offsets along a plate are equal.

    ``inner`` (U,) tells the units that are not at an edge.
    """
    view, kinds = dependence.view, kinds_of(dependence)
    if not (np.bincount(kinds[inner]) > 1).any():
        return "unknown"
    classes = alike_classes(dependence, inner)
    if all(len(np.unique(classes[inner & (kinds == kind)])) <= 1 for kind in np.unique(kinds)):
        return "proved"
    spans = [own for name in (None, *view.covariates) for own in dependence.offsets(name, plate).tolist()]
    width = max(spans, default=0) - min(spans, default=0) + 1
    rows, index = dependence.index(plate, dependence.rows), dependence.index(plate, dependence.units)
    if width * 2 > len(np.unique(rows)):
        return "unknown"
    for period in (width, width + 1):
        donor = _donors(rows % period, rows, width)
        alike = np.where(inner, kinds * period + index % period, -1)
        if not _have_equal_gradients(dependence, moves, points, donor, alike):
            return "differs"
    return "seen"


def _donors(phase: np.ndarray, rows: np.ndarray, start: int) -> np.ndarray:
    """Return the row whose values each row takes, so that rows of one phase are equal."""
    first: dict[int, int] = {}
    for row in np.argsort(np.abs(rows - (rows.min(initial=0) + start)), kind="stable").tolist():
        first.setdefault(int(phase[row]), row)
    return np.array([first[int(own)] for own in phase], int)


def own_rows(
    dependence: Dependence,
    moves: Moves,
    points: Sequence[Point],
    classes: np.ndarray,
    owner: np.ndarray,
    members: np.ndarray,
) -> Sharing:
    """Say whether owners whose rows are equal, in the same order, are alike; each row belongs to one owner.

    Parameters
    ----------
    classes
        (O,) owners are compared with those of the same class.
    owner
        (U,) owner of each unit: the unit itself, or its group.
    members
        (R,) owner of each row; -1 for rows of none.
    """
    number = len(classes)
    places = np.full(len(members), -1)
    places[members >= 0] = ranks(members[members >= 0])
    labels = Labels(ranks(owner), np.where(members >= 0, places, np.arange(len(members)) + len(members)))
    pattern = dependence.view.pattern([labels], dependence.pattern.concrete)
    sizes = np.bincount(members[members >= 0], minlength=number)
    if not (np.bincount(classes)[classes] > 1).any():
        return "unknown"
    if pattern.unit is not None and _same_terms(pattern.unit, pattern.hashes[1], owner, classes, sizes):
        return "proved"
    largest = {int(c): int(own) for own, c in sorted(enumerate(classes), key=lambda pair: sizes[pair[0]])}
    donor = np.arange(len(members))
    by_place = {(int(members[r]), int(places[r])): r for r in np.flatnonzero(members >= 0).tolist()}
    for row in np.flatnonzero(members >= 0).tolist():
        donor[row] = by_place[largest[int(classes[members[row]])], int(places[row])]
    kinds = np.unique(np.column_stack([classes, sizes]), axis=0, return_inverse=True)[1].ravel()
    alike = kinds[owner] * (int(labels.units.max(initial=0)) + 1) + labels.units
    if (np.bincount(alike)[alike] > 1).any():
        return "seen" if _have_equal_gradients(dependence, moves, points, donor, alike) else "differs"
    return "unknown"


def _same_terms(
    unit: np.ndarray, hashes: np.ndarray, owner: np.ndarray, classes: np.ndarray, sizes: np.ndarray
) -> bool:
    """Say whether the terms of each owner are among those of the owner of its class that has the most rows."""
    own = owner[unit]
    key = np.unique(np.stack([own.astype(np.uint64), hashes], axis=1), axis=0)
    own, term = key[:, 0].astype(np.int64), key[:, 1]
    counts = np.bincount(own, minlength=len(classes))
    for of in np.unique(classes).tolist():
        inside = classes[own] == of
        members = np.flatnonzero(classes == of)
        most = members[np.lexsort((counts[members], sizes[members]))[-1]]
        reference = np.sort(term[own == most])
        at = np.minimum(np.searchsorted(reference, term[inside]), max(len(reference) - 1, 0))
        if not len(reference) or not (reference[at] == term[inside]).all():
            return False
        like = members[sizes[members] == sizes[most]]
        if len(set(counts[like].tolist())) > 1:
            return False
    return True


def _have_equal_gradients(
    dependence: Dependence, moves: Moves, points: Sequence[Point], donor: np.ndarray, classes: np.ndarray
) -> bool:
    """Say whether units of a class have equal gradients where all rows take the values of their donors.

    Latents of a class are equal too. A class of -1 is not compared.
    """
    view = dependence.view
    if moves.sample is not None:
        classes = np.where(moves.sample, classes, -1)
    places, names = view.places, [*view.observed, *view.covariates]
    compared = False
    for point in points:
        data = dict(point.data)
        for name in names:
            if name not in dependence.pattern.concrete:
                data[name] = _taken(np.asarray(data[name]), view.inputs.rows_of[name], donor)
        latents = {n: np.array(v, float) for n, v in point.latents.items()}
        for name in places.local:
            unit = places.unit_of[name].ravel()
            within = ranks(unit)
            flat, of = latents[name].ravel(), classes[unit]
            first: dict[tuple[int, int], float] = {}
            for k in np.flatnonzero(of >= 0).tolist():
                flat[k] = first.setdefault((int(of[k]), int(within[k])), float(flat[k]))
            latents[name] = flat.reshape(latents[name].shape)
        gradient = moves.gradient(Point(latents, data))
        if not np.isfinite(gradient).all():
            continue
        compared = True
        unit = moves.unit_of
        local = np.flatnonzero(unit >= 0)
        within = moves.rank_of[local]
        of = classes[unit[local]]
        use = of >= 0
        key = of[use] * (int(within.max(initial=0)) + 1) + within[use]
        values = gradient[local][use]
        order = np.argsort(key, kind="stable")
        key, values = key[order], values[order]
        starts = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]]))
        low, high = np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)
        if (high - low > EQUAL * np.maximum(np.abs(low), np.abs(high))).any():
            return False
    return compared


def _taken(column: np.ndarray, row_of: np.ndarray, donor: np.ndarray) -> np.ndarray:
    """Return a column in which the elements of each row are those of its donor, as far as they are as many."""
    rows = row_of.ravel()
    within = ranks(rows)
    flat, found = column.ravel(), column.ravel().copy()
    number = int(within.max(initial=0)) + 1
    place = np.full((len(donor) + 1) * number, -1)
    place[rows * number + within] = np.arange(len(rows))
    keep = rows >= 0
    source = place[donor[rows[keep]] * number + within[keep]]
    found[keep] = np.where(source >= 0, flat[np.maximum(source, 0)], flat[keep])
    return found.reshape(column.shape)


def is_symmetric(dependence: Dependence, one: np.ndarray, other: np.ndarray) -> bool:
    """Say whether, by structure, the log joint is unchanged when units, with their rows, are exchanged.

    ``one`` and ``other`` are (2, U) and (2, R) permutations of the units and of the rows.
    """
    labels = [Labels(units, rows) for units, rows in zip(one, other, strict=True)]
    total = dependence.view.pattern(labels, dependence.pattern.concrete).total
    return bool((total == total[0]).all())
