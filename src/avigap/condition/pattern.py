"""The pattern of interactions of a program's log joint: which units and rows of data some term of it has together."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from avigap.faults import line_of_operation
from avigap.program.plates import Places
from avigap.program.structure.hashes import U, distinct, mix, ranges, ranks, starts_of, word
from avigap.program.structure.interpreter import Interpreter
from avigap.program.structure.joint import TracedJoint
from avigap.program.structure.sets import Sets
from avigap.program.structure.terms import ZERO, Terms, constant_of, unknown

MOST = 20_000_000
"""Pairs that are listed, at most."""

PART, LEAST = 0.9, 3
"""Part of the rows of an argument, and number of them, that a number common to all positions is made of."""


class Labels(NamedTuple):
    """Numbers of the units (U,) and of the rows (R,) by which terms are told apart: equal ones for what is equal."""

    units: np.ndarray
    rows: np.ndarray


class Pattern(NamedTuple):
    """What may interact, for all values of the latents and of the traced data.

    Attributes
    ----------
    pairs : (P, 2) units, the first below the second; None if they are too many to be listed
    needs : for each argument (K, 2) units with the rows that their factors depend on directly; None if too many
    group : (U,) number of the connected component of each unit
    concrete : arguments that were given as constants
    common : numbers that all positions have in common, in words
    dense : operations without a rule, and how often they were met
    operations : how many operations were met
    unit : (I,) unit of each of its terms, sorted; None if the pattern is too dense
    hashes : (S, I) hash of the term, for each labelling
    total : (S,) hash of all terms with latents
    cuts : equations that make the numbers in common
    elements : for each result of the log joint, element and inputs of every input of it; None if they are too many
    """

    pairs: np.ndarray | None
    needs: Mapping[str, np.ndarray | None]
    group: np.ndarray
    concrete: tuple[str, ...]
    common: tuple[str, ...]
    dense: Mapping[str, int]
    operations: int
    unit: np.ndarray | None
    hashes: np.ndarray
    total: np.ndarray
    cuts: tuple[Any, ...]
    elements: list[tuple[np.ndarray, np.ndarray]] | None

    def keys(self, owner: np.ndarray, number: int) -> np.ndarray:
        """Return hashes (S, number) of all terms of the units of each owner, whatever their order.

        ``owner`` (U,) is that of each unit. A term of several units of one owner is counted once for each.
        """
        found = np.zeros((len(self.hashes), number), U)
        if self.unit is None or not len(self.unit):
            return found
        own = owner[self.unit]
        order = np.argsort(own, kind="stable")
        at = starts_of(own[order])
        with np.errstate(over="ignore"):
            found[:, own[order][at]] = np.add.reduceat(mix(self.hashes[:, order], U(19)), at, axis=1)
        return found


class Inputs:
    """Numbers of the inputs of a log joint: first the units, then the rows of every argument."""

    def __init__(self, joint: TracedJoint, places: Places, rows_of: Mapping[str, np.ndarray]) -> None:
        self.joint, self.places, self.rows_of = joint, places, rows_of
        self.num_units, self.num_rows = len(places.units), len(places.rows)
        self.names = [name for name in (*sorted(joint.data), *sorted(joint.outside)) if (rows_of[name] >= 0).any()]
        self.first = {name: self.num_units + k * self.num_rows for k, name in enumerate(self.names)}
        self.count = self.num_units + len(self.names) * self.num_rows
        self.used = {name: len(distinct(rows_of[name][rows_of[name] >= 0])) for name in self.names}

    def named(self, inputs: Collection[int]) -> set[str]:
        """Return the arguments that inputs belong to."""
        own = np.fromiter(inputs, np.int64, len(inputs))
        return {self.names[k] for k in distinct((own[own >= self.num_units] - self.num_units) // max(self.num_rows, 1))}

    def is_of_all(self, inputs: np.ndarray) -> bool:
        """Say whether inputs, all data, are the rows of an argument at all positions."""
        number = np.bincount((inputs - self.num_units) // max(self.num_rows, 1), minlength=len(self.names))
        return any(n >= max(LEAST, PART * self.used[name]) for name, n in zip(self.names, number, strict=False))

    def values(self, concrete: Collection[str], labels: Sequence[Labels]) -> list[Terms]:
        """Return the inputs as lists of terms; concrete ones, and elements without a row, as constants."""
        found = []
        for name, leaf in self.joint.inputs:
            if name in self.joint.latents:
                found.append(self._latent(name, leaf, labels))
                continue
            row = self.rows_of[name].ravel()
            if name in concrete or not (row >= 0).any():
                found.append(constant_of(leaf))
                continue
            kept = np.flatnonzero(row >= 0)
            key = _labelled(f"data {name}", row[kept], [own.rows for own in labels])
            constant = None if len(kept) < row.size else ZERO
            known = None if constant is ZERO else (row < 0).reshape(leaf.shape)
            own = constant_of(leaf).constant if constant is None else ZERO
            value = leaf if known is not None else None
            found.append(Terms(leaf.shape, kept, self.first[name] + row[kept], key, own, value, known))
        return found

    def _latent(self, name: str, leaf: np.ndarray, labels: Sequence[Labels]) -> Terms:
        if name not in self.places.unit_of:
            return unknown(leaf.shape, word(f"shared {name}"))
        unit = self.places.unit_of[name].ravel()
        key = _labelled(f"latent {self.places.label_of[name]}", unit, [own.units for own in labels])
        return Terms(leaf.shape, np.arange(unit.size), unit, key, ZERO)


def _labelled(name: str, owner: np.ndarray, labels: Sequence[np.ndarray]) -> np.ndarray:
    """Return hashes (S, E) of elements, by name, number within their owner, and label of the owner."""
    within = mix(word(name), ranks(owner).astype(U))
    return np.stack([mix(within, own[owner].astype(U)) for own in labels])


def pattern_of(inputs: Inputs, labels: Sequence[Labels], concrete: Collection[str] = (), cut: bool = True) -> Pattern:
    """Return the pattern of a log joint.

    Parameters
    ----------
    labels
        Labellings of units and rows, for each of which the terms get hashes.
    concrete
        Arguments to be given as constants; those that an index asks for are added.
    cut
        Whether numbers that all positions have in common are taken for constants.
    """
    given = set(concrete)
    while True:
        sets = Sets(inputs.count, inputs.num_units)
        walk = Interpreter(sets, inputs.is_of_all if cut else None)
        closed = inputs.joint.closed
        out = walk.run(closed.jaxpr, [constant_of(c) for c in closed.consts], inputs.values(given, labels))
        more = inputs.named(walk.wanted.inputs) - given
        if not more:
            return _pattern(inputs, walk, out, given, len(labels))
        given |= more


def _pattern(inputs: Inputs, walk: Interpreter, out: Sequence[Terms], concrete: set[str], number: int) -> Pattern:
    own = np.concatenate([np.zeros(0, np.int64), *(v.own for v in out)])
    keys = np.concatenate([np.zeros((number, 0), U), *(np.broadcast_to(v.terms, (number, len(v.own))) for v in out)], 1)
    keep = walk.sets.has_latents(own)
    own, keys = own[keep], keys[:, keep]
    unique, which = np.unique(own, return_inverse=True)
    pairs, needs, of_unit = None, dict[str, Any].fromkeys(inputs.names), None
    expanded = walk.sets.expand(unique, MOST)
    if expanded is not None:
        place, member = expanded
        latent = member < inputs.num_units
        group = _components(inputs.num_units, place[latent], member[latent], len(unique))
        pairs = _pairs(place[latent], member[latent])
        needs = _needs(inputs, place, member, len(unique))
        of_unit = _terms_of_units(which, keys, place[latent], member[latent], len(unique))
    else:
        group = _by_parts(walk.sets, unique, inputs.num_units)
    with np.errstate(over="ignore"):
        total = mix(keys, U(19)).sum(axis=1, dtype=U)
    common = tuple(
        dict.fromkeys(
            f"{cut.operation.removeprefix('reduce_')} of {', '.join(sorted(inputs.named(cut.inputs)))}"
            f" {line_of_operation(cut.equation.source_info)}".strip()
            for cut in walk.cuts
        )
    )
    elements = _elements(walk.sets, out)
    return Pattern(
        pairs,
        needs,
        group,
        tuple(sorted(concrete)),
        common,
        dict(walk.wanted.dense),
        walk.count,
        None if of_unit is None else of_unit[0],
        keys if of_unit is None else of_unit[1],
        total,
        tuple(cut.equation for cut in walk.cuts),
        elements,
    )


def _elements(sets: Sets, out: Sequence[Terms]) -> list[tuple[np.ndarray, np.ndarray]] | None:
    found = []
    for value in out:
        unique, which = np.unique(value.own, return_inverse=True)
        expanded = sets.expand(unique, MOST)
        if expanded is None:
            return None
        starts, counts = _runs(expanded[0], len(unique))
        times = counts[which]
        if times.sum() > MOST:
            return None
        found.append((np.repeat(value.row, times), expanded[1][ranges(starts[which], times)]))
    return found


def _components(number: int, place: np.ndarray, unit: np.ndarray, num_sets: int) -> np.ndarray:
    edges = coo_array((np.ones(len(unit)), (unit, number + place)), shape=(number + num_sets,) * 2)
    labels: np.ndarray = connected_components(edges, directed=False)[1][:number]
    return np.unique(labels, return_inverse=True)[1]


def _by_parts(sets: Sets, own: np.ndarray, number: int) -> np.ndarray:
    """Return the connected component of each unit, by the parts of sets that are too large to be expanded."""
    rows, columns, seen = [], [], np.zeros(sets.count, bool)
    while len(own):
        seen[own] = True
        place, part, is_set = sets.parts(own)
        linked = sets.has_latents(part)
        rows.append(own[place[linked]])
        columns.append(part[linked])
        own = distinct(part[is_set & linked])
        own = own[~seen[own]]
    every = np.concatenate(rows), np.concatenate(columns)
    edges = coo_array((np.ones(len(every[0])), every), shape=(sets.count,) * 2)
    labels: np.ndarray = connected_components(edges, directed=False)[1][:number]
    return np.unique(labels, return_inverse=True)[1]


def _runs(place: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
    counts = np.bincount(place, minlength=number)
    return np.cumsum(counts) - counts, counts


def _products(
    left: tuple[np.ndarray, np.ndarray], right: tuple[np.ndarray, np.ndarray], number: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return all pairs of members of two lists of sets that are in the same set; None if there are too many."""
    starts, counts = _runs(right[0], number)
    times = counts[left[0]]
    if times.sum() > MOST:
        return None
    first = np.repeat(left[1], times)
    return first, right[1][ranges(starts[left[0]], times)]


def _pairs(place: np.ndarray, unit: np.ndarray) -> np.ndarray | None:
    several = np.bincount(place)[place] > 1 if len(place) else np.zeros(0, bool)
    place, unit = place[several], unit[several]
    found = _products((place, unit), (place, unit), int(place.max(initial=-1)) + 1)
    if found is None:
        return None
    size = int(unit.max(initial=0)) + 1
    key = distinct(found[0][found[0] < found[1]] * size + found[1][found[0] < found[1]])
    return np.stack([key // size, key % size], axis=1)


def _needs(inputs: Inputs, place: np.ndarray, member: np.ndarray, number: int) -> dict[str, np.ndarray | None]:
    latent = member < inputs.num_units
    found: dict[str, np.ndarray | None] = {}
    for name in inputs.names:
        first = inputs.first[name]
        own = (member >= first) & (member < first + inputs.num_rows)
        both = _products((place[latent], member[latent]), (place[own], member[own] - first), number)
        if both is None:
            found[name] = None
        else:
            key = distinct(both[0] * max(inputs.num_rows, 1) + both[1])
            found[name] = np.stack([key // max(inputs.num_rows, 1), key % max(inputs.num_rows, 1)], axis=1)
    return found


def _terms_of_units(
    which: np.ndarray, keys: np.ndarray, place: np.ndarray, unit: np.ndarray, num_sets: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return unit and hashes of every term of every unit, sorted by unit; None if there are too many."""
    starts, counts = _runs(place, num_sets)
    times = counts[which]
    if times.sum() > MOST:
        return None
    term = np.repeat(np.arange(len(which)), times)
    own = unit[ranges(starts[which], times)]
    order = np.argsort(own, kind="stable")
    return own[order], keys[:, term[order]]
