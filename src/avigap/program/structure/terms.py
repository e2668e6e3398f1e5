"""Arrays whose elements are lists of terms, and joins, merges, scalings and products of the lists.

All elements of an array are held at once: for every term the element that it belongs to, the set of its inputs, and
hashes of how it was computed. What is constant of an element has hashes too, and a value where it is known.
"""

from collections.abc import Sequence
from math import prod
from typing import Any

import jax
import numpy as np

from avigap.program.structure.hashes import U, hash_of, mix, ranges, ranks, starts_of, word
from avigap.program.structure.sets import Sets

PAIRS = 64
"""Products of two lists up to which they are held one by one; more are one term of all inputs."""

MOST = 20_000_000
"""Terms that an operation may make; where it makes more, lists are merged first."""

NONE = np.zeros(0, np.int64)
NO_HASH = np.zeros((1, 0), U)
ZERO = np.zeros((1, 1), U)
OF_ZERO = hash_of(np.zeros(1))[0]


class Terms:
    """Elements of an array: their terms, sorted by element, and what is constant.

    Attributes
    ----------
    shape, size : of the array
    row, own : (T,) element and set of inputs of every term
    terms : (S, T) or (1, T) hashes of the terms, one for each labelling of the inputs
    value : what is known of it; None if it has terms, or nothing is known
    known : which elements of the value are known; None if all are
    ordered : whether it is sorted, so that one of its elements is a statistic of all
    """

    __slots__ = ("_constant", "known", "ordered", "own", "row", "shape", "size", "terms", "value")

    def __init__(
        self,
        shape: Sequence[int],
        row: np.ndarray = NONE,
        own: np.ndarray = NONE,
        terms: np.ndarray = NO_HASH,
        constant: np.ndarray | None = None,
        value: np.ndarray | None = None,
        known: np.ndarray | None = None,
    ) -> None:
        self.shape, self.size = tuple(shape), prod(shape)
        self.row, self.own, self.terms, self._constant = row, own, terms, constant
        self.value, self.known, self.ordered = value, known, False

    @property
    def is_constant(self) -> bool:
        """Say whether it has no term."""
        return not len(self.row)

    @property
    def is_known(self) -> bool:
        """Say whether all of its values are known."""
        return self.value is not None and self.known is None

    @property
    def is_single(self) -> bool:
        """Say whether every element has one term."""
        return len(self.row) == self.size and (self.size < 2 or bool((self.row[1:] > self.row[:-1]).all()))

    @property
    def constant(self) -> np.ndarray:
        """(S or 1, E or 1) hashes of what is constant."""
        if self._constant is None:
            known = self.value if self.known is None else None
            self._constant = ZERO if known is None else hash_of(known)[None]
        return self._constant

    def take(self, index: np.ndarray, shape: Sequence[int]) -> "Terms":
        """Return the elements index - 1; an element 0 is zero."""
        index = np.asarray(index).ravel()
        ok = (index > 0) & (index <= self.size)
        every = bool(ok.all())
        at = np.where(ok, index - 1, 0) if not every else index - 1
        constant = self._constant
        if constant is not None and not (every and constant.shape[1] == 1):
            wide = np.broadcast_to(constant, (len(constant), max(self.size, 1)))
            constant = wide[:, at] if every else np.where(ok, wide[:, at], OF_ZERO)
        elif constant is None and not self.is_known:
            constant = ZERO if every else np.where(ok, U(0), OF_ZERO)[None]
        value = known = None
        if self.value is not None:
            flat = self.value.ravel()
            value = (flat[at] if every else np.where(ok, flat[at] if self.size else 0, 0)).reshape(shape)
            known = None if self.known is None else (self.known.ravel()[at] | ~ok).reshape(shape)
            known = None if known is not None and known.all() else known
            constant = None if known is None and self.is_constant else constant
        if self.is_constant:
            return Terms(shape, constant=constant, value=value, known=known)
        if self.is_single:
            rows = np.arange(len(index)) if every else np.flatnonzero(ok)
            place = at if every else at[rows]
        else:
            ends = np.searchsorted(self.row, np.arange(self.size + 1))
            counts = np.where(ok, ends[at + 1] - ends[at], 0)
            place, rows = ranges(ends[at], counts), np.repeat(np.arange(len(index)), counts)
        return Terms(shape, rows, self.own[place], self.terms[:, place], constant, value, known)

    def places(self) -> np.ndarray:
        """Return the numbers of its elements, from 1, as :meth:`take` reads them."""
        return np.arange(1, self.size + 1).reshape(self.shape)

    def spread(self, shape: Sequence[int]) -> "Terms":
        """Return it in a shape to which it is broadcast, axes of length 1 among them."""
        if self.shape == tuple(shape):
            return self
        return self.take(np.broadcast_to(self.places(), shape), shape)

    def whole(self) -> np.ndarray:
        """Return the hashes (S, E) of the elements, of constant and terms."""
        if self.is_constant:
            return np.broadcast_to(self.constant, (len(self.constant), self.size))
        own = mix(self.terms, U(7))
        with np.errstate(over="ignore"):
            if self.is_single:
                return np.asarray(self.constant + own)
            out = np.broadcast_to(self.constant, (max(len(own), len(self.constant)), self.size)).copy()
            starts = starts_of(self.row)
            out[:, self.row[starts]] += np.add.reduceat(own, starts, axis=1)
            return out


def constant_of(value: Any) -> Terms:
    """Return a constant whose value is known, unless it is a random key."""
    if jax.dtypes.issubdtype(getattr(value, "dtype", float), jax.dtypes.prng_key):
        return Terms(value.shape, constant=ZERO)
    known = np.asarray(value)
    return Terms(known.shape, value=known)


def unknown(shape: Sequence[int], label: np.ndarray) -> Terms:
    """Return constants whose values are not known, told apart by a label and their number."""
    return Terms(shape, constant=mix(label, np.arange(prod(shape)).astype(U))[None])


def stacked(values: Sequence[Terms], shape: Sequence[int] | None = None) -> Terms:
    """Return the elements of several arrays, one after the other."""
    sizes = np.array([v.size for v in values])
    starts = np.cumsum(sizes) - sizes
    total = int(sizes.sum())
    shape = (total,) if shape is None else shape
    some = [v for v in values if v.size]
    if all(v.is_known for v in some):
        flat = np.concatenate([v.value.ravel() for v in values if v.value is not None] or [np.zeros(0)])
        return Terms(shape, value=flat.reshape(shape))
    deep = max([len(v.terms) for v in some if not v.is_constant] + [len(v.constant) for v in some])
    with_terms = [(s, v) for s, v in zip(starts, values, strict=True) if not v.is_constant]
    row = np.concatenate([NONE, *(v.row + s for s, v in with_terms)])
    own = np.concatenate([NONE, *(v.own for _, v in with_terms)])
    terms = np.concatenate(
        [np.zeros((deep, 0), U), *(np.broadcast_to(v.terms, (deep, len(v.row))) for _, v in with_terms)], 1
    )
    if all(v.constant.shape[1] == 1 and np.array_equal(v.constant, some[0].constant) for v in some):
        constant = some[0].constant
    else:
        constant = np.concatenate([np.broadcast_to(v.constant, (deep, v.size)) for v in values], axis=1)
    value = known = None
    if any(v.value is not None for v in some):
        parts = [np.zeros(v.size) if v.value is None else np.asarray(v.value, float).ravel() for v in values]
        masks = [np.zeros(v.size, bool) if v.value is None else _mask(v) for v in values]
        value, known = np.concatenate(parts).reshape(shape), np.concatenate(masks).reshape(shape)
    return Terms(shape, row, own, terms, constant, value, known)


def _mask(value: Terms) -> np.ndarray:
    return np.ones(value.size, bool) if value.known is None else value.known.ravel()


class Lists:
    """Operations on lists of terms whose sets are of the same inputs."""

    def __init__(self, sets: Sets) -> None:
        self.sets = sets

    def joined(self, shape: Sequence[int], values: Sequence[Terms], constant: np.ndarray) -> Terms:
        """Return the sum of arrays of a shape: a term with the same inputs is one."""
        some = [v for v in values if not v.is_constant]
        if not some:
            return Terms(shape, constant=constant)
        if len(some) == 1:
            return Terms(shape, some[0].row, some[0].own, some[0].terms, constant)
        first = some[0]
        if all(v.is_single and (v.own is first.own or np.array_equal(v.own, first.own)) for v in some):
            with np.errstate(over="ignore"):
                terms = sum((v.terms for v in some[1:]), first.terms)
            return Terms(shape, first.row, first.own, np.asarray(terms), constant)
        deep = max(len(v.terms) for v in some)
        row, own = (np.concatenate([getattr(v, name) for v in some]) for name in ("row", "own"))
        terms = np.concatenate([np.broadcast_to(v.terms, (deep, len(v.row))) for v in some], axis=1)
        return self.collected(shape, row, own, terms, constant)

    def collected(
        self, shape: Sequence[int], row: np.ndarray, own: np.ndarray, terms: np.ndarray, constant: np.ndarray
    ) -> Terms:
        """Return an array of terms in any order: those of an element with the same inputs are one."""
        if not len(row):
            return Terms(shape, constant=constant)
        key = row * (self.sets.count + 1) + own
        if not (key[1:] > key[:-1]).all():
            order = np.argsort(key, kind="stable")
            key, row, own, terms = key[order], row[order], own[order], terms[:, order]
            at = starts_of(key)
            if len(at) < len(key):
                with np.errstate(over="ignore"):
                    row, own, terms = row[at], own[at], np.add.reduceat(terms, at, axis=1)
        return Terms(shape, row, own, terms, constant)

    def merged(self, shape: Sequence[int], values: Sequence[Terms], name: str) -> Terms:
        """Return a function of all operands, element by element: one term of all of their inputs."""
        h: np.ndarray = word(name).reshape(1, 1)
        for v in values:
            h = mix(h, v.whole())
        some = [v for v in values if not v.is_constant]
        size = prod(shape)
        h = np.broadcast_to(h, (len(h), size))
        if not some:
            return Terms(shape, constant=h)
        first = some[0]
        if first.is_single and all(
            v.is_single and (v.own is first.own or np.array_equal(v.own, first.own)) for v in some[1:]
        ):
            return Terms(shape, first.row, first.own, h, ZERO)
        row, own = (np.concatenate([getattr(v, part) for v in some]) for part in ("row", "own"))
        rows, sets = self.sets.union(row, own)
        constant = ZERO
        if len(rows) < size:
            constant = h.copy()
            constant[:, rows] = U(0)
        return Terms(shape, rows, sets, h[:, rows], constant)

    def grouped(self, shape: Sequence[int], value: Terms, index: np.ndarray, name: str) -> Terms:
        """Return for each group of elements a function of all of them; ``index`` is the group of every element."""
        order = np.argsort(index, kind="stable")
        starts = starts_of(index[order])
        own = mix(value.whole()[:, order], ranks(index)[order].astype(U))
        h = np.broadcast_to(word(name).reshape(1, 1), (len(own), prod(shape))).copy()
        if len(starts):
            with np.errstate(over="ignore"):
                h[:, index[order][starts]] += np.add.reduceat(own, starts, axis=1)
        if value.is_constant:
            return Terms(shape, constant=h)
        rows, sets = self.sets.union(index[value.row], value.own)
        return Terms(shape, rows, sets, h[:, rows], h)

    def summed(self, shape: Sequence[int], value: Terms, index: np.ndarray) -> Terms:
        """Return the sum of each group of elements; ``index`` is the group of every element."""
        constant = np.zeros((len(value.constant), prod(shape)), U)
        own = np.broadcast_to(mix(value.constant, U(3)), (len(value.constant), value.size))
        with np.errstate(over="ignore"):
            for run in range(len(own)):
                np.add.at(constant[run], index, own[run])
        return self.collected(shape, index[value.row], value.own, value.terms, constant)

    def scaled(self, value: Terms, factor: Terms, name: str) -> Terms:
        """Return a list times or divided by constants; where a factor is known to be 0, nothing is left."""
        row, own, terms = value.row, value.own, value.terms
        if name == "mul" and factor.value is not None:
            zero = factor.value.ravel() == 0
            zero = zero if factor.known is None else zero & factor.known.ravel()
            if zero.any():
                keep = ~zero[row]
                row, own, terms = row[keep], own[keep], terms[:, keep]
        by = factor.constant if factor.constant.shape[1] == 1 else factor.constant[:, row]
        constant = mix(mix(value.constant, word(name)), factor.constant)
        return Terms(value.shape, row, own, mix(mix(terms, word(name)), by), constant)

    def product(self, a: Terms, b: Terms, name: str) -> Terms:
        """Return the product of two lists: a term for each pair of theirs, unless there are too many."""
        if a.is_constant or b.is_constant:
            return self.scaled(a, b, name) if b.is_constant else self.scaled(b, a, name)
        if a.is_single and b.is_single:
            return self.merged(a.shape, [a, b], name)
        of_a, of_b = (np.bincount(v.row, minlength=a.size) for v in (a, b))
        if (of_a * of_b).max() > PAIRS or (of_a * of_b).sum() > MOST:
            return self.merged(a.shape, [a, b], name)
        starts = np.searchsorted(b.row, np.arange(a.size))
        times = of_b[a.row]  # each term of a, with each of b
        left, right = np.repeat(np.arange(len(a.row)), times), ranges(starts[a.row], times)
        pair = np.arange(len(left))
        _, sets = self.sets.union(np.concatenate([pair, pair]), np.concatenate([a.own[left], b.own[right]]))
        both = [
            np.broadcast_to(mix(v.terms + mix(self._at(v.constant, v.row), U(5)), U(6)), (len(v.terms), len(v.row)))
            for v in (a, b)
        ]
        with np.errstate(over="ignore"):
            h = mix(word(name), both[0][:, left] + both[1][:, right])
        alone = [(a, b, times == 0), (b, a, of_a[b.row] == 0)]
        parts = [(a.row[left], sets, h)]
        for v, w, which in alone:
            by = mix(self._at(w.constant, v.row[which]), word(name))
            parts.append((v.row[which], v.own[which], mix(v.terms[:, which], by)))
        deep = max(len(p[2]) for p in parts)
        row, own = (np.concatenate([p[k] for p in parts]) for k in (0, 1))
        terms = np.concatenate([np.broadcast_to(p[2], (deep, len(p[0]))) for p in parts], axis=1)
        with np.errstate(over="ignore"):
            constant = mix(word(name), mix(a.constant, U(6)) + mix(b.constant, U(6)))
        return self.collected(a.shape, row, own, terms, constant)

    @staticmethod
    def _at(constant: np.ndarray, row: np.ndarray) -> np.ndarray:
        return constant if constant.shape[1] == 1 else constant[:, row]

    def chosen(self, values: Sequence[Terms], shape: Sequence[int]) -> Terms:
        """Return elements of several arrays, chosen by the first: all that any case has, beside what chooses it."""
        which, cases = values[0], values[1:]
        if which.is_known and which.value is not None:
            picked = which.value.ravel().astype(np.int64)
            if picked.size and (picked == picked[0]).all():
                return cases[picked[0]]
            return stacked(cases).take(picked * which.size + np.arange(which.size) + 1, shape)
        constant = self.merged(shape, [Terms(shape, constant=v.constant) for v in values], "select").constant
        parts = []
        for number, case in enumerate(cases):
            own = self.merged(shape, [which], f"case {number}")
            if own.is_constant and case.is_constant:
                continue
            if case.is_constant:
                by = self._at(case.constant, own.row)
                parts.append(Terms(shape, own.row, own.own, mix(own.terms, by)))
            else:
                parts.append(self.product(case, own, "select"))
        return self.joined(shape, parts, constant)
