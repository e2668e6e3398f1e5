"""Sets of inputs, by number: small ones hold their members, large ones refer to the sets that they are made of.

So that a dense block of a log joint costs its terms and not their members, a set is made once for the same members, or
for the same parts, and is expanded last.
"""

from typing import Any

import numpy as np
from jaxtyping import Int

from avigap.program.structure.hashes import U, distinct, mix, ranges, starts_of

Numbers = Int[np.ndarray, " k"]

SMALL = 48
"""Members up to which a set holds them."""

FEW, MANY = 16, 4096
"""Hashes that are looked up one by one, and hashes that are kept so before they are sorted into the others."""


class _Rows:
    """Rows of whole numbers of different lengths, to which more are added at the end."""

    def __init__(self) -> None:
        self.ends, self.values, self.count, self.used = np.zeros(1024, np.int64), np.zeros(4096, np.int64), 0, 0

    def add(self, counts: Numbers, values: Numbers) -> int:
        """Add rows of the given lengths, and return the number of the first."""
        total, used = self.count + len(counts), self.used + len(values)
        if total >= len(self.ends):
            self.ends = np.concatenate([self.ends, np.zeros(total + len(self.ends), np.int64)])
        if used > len(self.values):
            self.values = np.concatenate([self.values, np.zeros(used + len(self.values), np.int64)])
        self.values[self.used : used] = values
        self.ends[self.count + 1 : total + 1] = self.used + np.cumsum(counts)
        first, self.count, self.used = self.count, total, used
        return first

    def lengths(self, rows: Numbers) -> Numbers:
        """Return the lengths of rows."""
        lengths: Numbers = self.ends[rows + 1] - self.ends[rows]
        return lengths

    def of(self, rows: Numbers) -> tuple[Numbers, Numbers]:
        """Return place in ``rows`` and value of every number of them."""
        lengths = self.lengths(rows)
        return np.repeat(np.arange(len(rows)), lengths), self.values[ranges(self.ends[rows], lengths)]


class _Grown:
    """Numbers to which more are added at the end."""

    def __init__(self, values: np.ndarray) -> None:
        self._all, self.used = np.concatenate([values, np.zeros(1024, values.dtype)]), len(values)

    def add(self, values: np.ndarray) -> None:
        """Add numbers at the end."""
        used = self.used + len(values)
        if used > len(self._all):
            self._all = np.concatenate([self._all, np.zeros(used, self._all.dtype)])
        self._all[self.used : used] = values
        self.used = used

    def __getitem__(self, index: np.ndarray) -> np.ndarray:
        return np.asarray(self._all[index])


class _Known:
    """Numbers by hash: the last few in a dictionary, all others sorted."""

    def __init__(self) -> None:
        self.keys, self.numbers = np.zeros(0, U), np.zeros(0, np.int64)
        self.few: dict[int, int] = {}

    def find(self, keys: np.ndarray) -> Numbers:
        """Return the number of each key; -1 if there is none."""
        if self.few and len(keys) > FEW:
            self.flush(keys[:0], self.numbers[:0])
        found = np.full(len(keys), -1)
        if len(self.keys):
            at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
            found = np.where(self.keys[at] == keys, self.numbers[at], -1)
        if self.few:
            own = [self.few.get(key, -1) for key in keys.tolist()]
            return np.maximum(found, own)
        return found

    def add(self, keys: np.ndarray, numbers: Numbers) -> None:
        """Add keys that are not there."""
        if len(keys) <= FEW:
            self.few.update(zip(keys.tolist(), numbers.tolist(), strict=True))
        if len(keys) > FEW or len(self.few) > MANY:
            self.flush(keys if len(keys) > FEW else keys[:0], numbers if len(keys) > FEW else numbers[:0])

    def flush(self, keys: np.ndarray, numbers: Numbers) -> None:
        """Sort keys into all others, the few among them."""
        few = np.fromiter(self.few.keys(), U, len(self.few)), np.fromiter(self.few.values(), np.int64, len(self.few))
        keys, numbers = (np.concatenate(p) for p in ((self.keys, few[0], keys), (self.numbers, few[1], numbers)))
        order = np.argsort(keys, kind="stable")
        self.keys, self.numbers, self.few = keys[order], numbers[order], {}


class Sets:
    """The sets made so far; inputs 0 .. num_inputs - 1 have the sets of these numbers.

    Parameters
    ----------
    num_inputs
        Number of inputs.
    num_latents
        How many of them, the first, are latents; all others are data.
    """

    def __init__(self, num_inputs: int, num_latents: int) -> None:
        self.num_inputs, self.num_latents = num_inputs, num_latents
        self._rows, self._by_members, self._by_parts = _Rows(), _Known(), _Known()
        every = np.arange(num_inputs)
        self._rows.add(np.ones(num_inputs, np.int64), every)
        self._large = _Grown(np.zeros(num_inputs, bool))
        self._latents = _Grown(np.where(every < num_latents, mix(every.astype(U), U(5)), U(0)))
        self._by_members.flush(mix(every.astype(U), U(11)), every)
        self._pairs: dict[tuple[int, ...], int] = {}
        self._frozen: dict[int, frozenset[int] | None] = {}
        self._by_frozen: dict[frozenset[int], int] = {}

    @property
    def count(self) -> int:
        """Number of sets."""
        return self._rows.count

    def has_latents(self, sets: Numbers) -> np.ndarray:
        """Say which sets have a latent."""
        return self._latents[sets] != 0

    def latents_key(self, sets: Numbers) -> np.ndarray:
        """Return a hash of the latents of each set; large sets with the same latents may have different ones."""
        return self._latents[sets]

    def union(self, row: Numbers, own: Numbers) -> tuple[Numbers, Numbers]:
        """Return for each row that has sets the number of their union: (rows, sets)."""
        if len(own) <= 4 and len(own) and row[0] == row[-1]:
            return row[:1], np.array([self.united(own.tolist())])
        if len(own) > 1:
            key = row * (self.count + 1) + own
            if not (key[1:] > key[:-1]).all():
                key = distinct(key)
            row, own = key // (self.count + 1), key % (self.count + 1)
        at = starts_of(row)
        lengths = np.diff(np.append(at, len(row)))
        rows, found = row[at], own[at].copy()
        many = lengths > 1
        if many.any():
            chosen = np.repeat(many, lengths)
            found[many] = self._made(own[chosen], lengths[many])
        return rows, found

    def united(self, own: list[int]) -> int:
        """Return the union of a few sets."""
        parts = tuple(sorted(set(own)))
        if len(parts) == 1:
            return parts[0]
        found = self._pairs.get(parts)
        if found is None:
            members = frozenset[int]().union(*(self._small(part) or () for part in parts))
            if len(members) > SMALL or not all(map(self._small, parts)):
                found = int(self._made(np.array(parts), np.array([len(parts)]))[0])
            else:
                found = self._by_frozen.get(members)
            if found is None:
                listed = np.array(sorted(members))
                with np.errstate(over="ignore"):
                    content = mix(listed.astype(U), U(11)).sum(keepdims=True)
                found = int(self._by_members.find(content)[0])
                if found < 0:
                    found = int(self._add(np.array([len(listed)]), listed)[0])
                    self._by_members.add(content, np.array([found]))
                self._by_frozen[members] = found
                self._frozen[found] = members
            self._pairs[parts] = found
        return found

    def _small(self, own: int) -> frozenset[int] | None:
        """Return the members of a small set; None of a large one."""
        if own not in self._frozen:
            large = bool(self._large[np.array(own)])
            self._frozen[own] = None if large else frozenset(self._rows.of(np.array([own]))[1].tolist())
        return self._frozen[own]

    def _made(self, own: Numbers, lengths: Numbers) -> Numbers:
        """Return the union of each run of sets, sorted in it, of which there are two at least."""
        starts = np.cumsum(lengths) - lengths
        with np.errstate(over="ignore"):
            keys = np.add.reduceat(mix(own.astype(U), U(13)), starts)
        found = self._by_parts.find(keys)
        fresh = np.flatnonzero(found < 0)
        if len(fresh):
            unique, first, which = np.unique(keys[fresh], return_index=True, return_inverse=True)
            runs = fresh[first]
            new = self._new(own[ranges(starts[runs], lengths[runs])], lengths[runs])
            self._by_parts.add(unique, new)
            found[fresh] = new[which]
        return found

    def _new(self, parts: Numbers, lengths: Numbers) -> Numbers:
        """Return the union of each run of sets that were not united before."""
        run = np.repeat(np.arange(len(lengths)), lengths)
        sizes = self._rows.lengths(parts)
        starts = np.cumsum(lengths) - lengths
        large = np.logical_or.reduceat(self._large[parts], starts)
        large |= np.add.reduceat(sizes, starts) > 4 * SMALL
        made = np.full(len(lengths), -1)
        small = ~large[run]
        if small.any():
            which, member = self._rows.of(parts[small])
            key = distinct(run[small][which] * self.num_inputs + member)
            row, member = key // self.num_inputs, key % self.num_inputs
            at = starts_of(row)
            counts = np.diff(np.append(at, len(row)))
            with np.errstate(over="ignore"):
                content = np.add.reduceat(mix(member.astype(U), U(11)), at)
            known = self._by_members.find(content)
            new, first, place = np.unique(content, return_index=True, return_inverse=True)
            lacking = known[first] < 0
            runs = first[lacking]
            numbers = self._add(counts[runs], member[ranges(at[runs], counts[runs])])
            self._by_members.add(new[lacking], numbers)
            every = known[first]
            every[lacking] = numbers
            made[row[at]] = every[place]
        if large.any():
            own = parts[~small]
            latents = self._after(
                lambda inside: np.add.reduceat(inside, np.cumsum(lengths[large]) - lengths[large]), own
            )
            made[large] = self._add(lengths[large], own, latents)
        return made

    def chained(self, own: Numbers) -> Numbers:
        """Return the unions of the first, the first two, .. of some sets, each of which refers to the one before."""
        before = np.concatenate([own[:1], self.count + np.arange(len(own) - 1)])
        parts = np.stack([before, own], axis=1).ravel()
        return self._add(np.full(len(own), 2), parts, self._after(np.cumsum, own))

    def referring(self, row: Numbers, parts: Numbers, number: int) -> Numbers:
        """Return ``number`` sets, of which each refers to its parts: sets that are made, or earlier ones of these."""
        made = parts < self.count
        own = np.zeros(number, U)
        with np.errstate(over="ignore"):
            np.add.at(own, row[made], mix(self._latents[parts[made]], U(17)) * (self._latents[parts[made]] != 0))
            latents = np.cumsum(own)
        return self._add(np.bincount(row, minlength=number), parts, latents)

    def _after(self, along: Any, own: Numbers) -> np.ndarray:
        latents = self._latents[own]
        with np.errstate(over="ignore"):
            return np.asarray(along(mix(latents, U(17)) * (latents != 0)))

    def _add(self, lengths: Numbers, values: Numbers, latents: np.ndarray | None = None) -> Numbers:
        """Add sets: small ones, of members, unless a hash of the latents of every one is given."""
        if not len(lengths):
            return np.zeros(0, np.int64)
        first = self._rows.add(lengths, values)
        self._large.add(np.full(len(lengths), latents is not None))
        if latents is None:
            inside = mix(values.astype(U), U(5)) * (values < self.num_latents)
            with np.errstate(over="ignore"):
                latents = np.add.reduceat(inside, np.cumsum(lengths) - lengths)
        self._latents.add(latents)
        return np.arange(first, first + len(lengths))

    def parts(self, sets: Numbers) -> tuple[Numbers, Numbers, np.ndarray]:
        """Return place in ``sets`` and part of every part of them, and which parts are sets rather than inputs."""
        place, part = self._rows.of(sets)
        return place, part, self._large[sets][place]

    def expand(self, sets: Numbers, most: int = 50_000_000) -> tuple[Numbers, Numbers] | None:
        """Return place in ``sets`` and number of every input in them, once; None if there are more than ``most``."""
        place, own = np.arange(len(sets)), sets
        found = []
        while len(own):
            if int(self._rows.lengths(own).sum()) > most:
                return None
            inner, part, is_set = self.parts(own)
            place = place[inner]
            found.append(distinct(place[~is_set] * self.num_inputs + part[~is_set]))
            key = distinct(place[is_set] * (self.count + 1) + part[is_set])
            place, own = key // (self.count + 1), key % (self.count + 1)
            if sum(map(len, found)) + len(own) > most:
                return None
        key = distinct(np.concatenate([np.zeros(0, np.int64), *found]))
        return key // self.num_inputs, key % self.num_inputs
