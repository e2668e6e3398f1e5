"""Loops of known length as a whole: all steps side by side, instead of one after the other.

The body of the loop, mapped over the steps, takes the carries of all of them to those of the next. Carries that it
takes to themselves, one step later, are those of the loop. They are found in a few rounds where the carry forgets, as
z_(n-1) does in a Markov chain. A carry to which each step only adds is a sum. Any other gets a set for each step, that
refers to the sets of the step before.
"""

from collections.abc import Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax.extend.core import jaxpr_as_fun
from jax.interpreters import partial_eval

from avigap.program.structure.hashes import U, distinct, mix, starts_of, word
from avigap.program.structure.sets import Sets
from avigap.program.structure.terms import NONE, ZERO, Terms, constant_of, stacked, unknown

if TYPE_CHECKING:
    from avigap.program.structure.interpreter import Interpreter

ROUNDS, PROGRESS = 100, 0.005
"""Rounds in which the carries of a long loop are followed, and part of them that each round must settle."""


def slice_of(value: Terms, t: int) -> Terms:
    """Return the elements of an array at an index of its first axis."""
    shape = value.shape[1:]
    return value.take(np.arange(1, prod(shape) + 1) + t * prod(shape), shape)


class Loop:
    """All steps of a loop side by side: the body, mapped over the steps, takes the carries of all of them to the next.

    Carries that the body takes to themselves, one step later, are those of the loop.
    """

    def __init__(
        self,
        interpreter: "Interpreter",
        params: Mapping[str, Any],
        values: Sequence[Terms],
        known: Mapping[int, np.ndarray] | None = None,
    ) -> None:
        self.interpreter, self.params = interpreter, params
        self.known = _known_carries(params, values) if known is None else known
        body = params["jaxpr"]
        first, avals = params["num_consts"], [v.aval for v in body.jaxpr.invars]
        axes = [None if k < first else 0 for k in range(len(avals))]
        length = params["length"]
        wide = [
            jax.ShapeDtypeStruct(a.shape if axis is None else (length, *a.shape), a.dtype)
            for a, axis in zip(avals, axes, strict=True)
        ]
        self.mapped = jax.make_jaxpr(jax.vmap(jaxpr_as_fun(body), in_axes=axes))(*wide)

    def _run(self, consts: list[Terms], carry: list[Terms], xs: list[Terms]) -> tuple[list[Terms], list[Terms]]:
        """Return the carries after each step, in the order of the steps, and the results."""
        number = self.params["num_carry"]
        carry = [self._turned(c) for c in carry]
        out = self.interpreter.closed(self.mapped, [*consts, *carry, *xs])
        return [self._turned(c) for c in out[:number]], out[number:]

    def _turned(self, value: Terms) -> Terms:
        """Return steps in the order of their data, or data in the order of the steps."""
        if not self.params["reverse"]:
            return value
        return value.take(value.places()[::-1], value.shape)

    def _ends(self, after: list[Terms], ys: list[Terms]) -> list[Terms]:
        last = self.params["length"] - 1
        return [*(slice_of(c, last) for c in after), *ys]

    def _next(self, first: list[Terms], after: list[Terms]) -> list[Terms]:
        """Return the carries before each step from those after each."""
        found = []
        for number, (start, own) in enumerate(zip(first, after, strict=True)):
            if number in self.known:
                found.append(constant_of(self.known[number]))
                continue
            size = own.size - prod(own.shape[1:])
            found.append(stacked([start, own.take(np.arange(1, size + 1), (size,))], own.shape))
        return found

    def forgetting(self, consts: list[Terms], carry: list[Terms], xs: list[Terms]) -> list[Terms] | None:
        """Return the results if every carry is made of a few steps before it; None if not."""
        state, keeps = self._rounds(consts, carry, xs)
        if any(keeps):
            return None
        return self._ends(*self._run(consts, state, xs))

    def _rounds(self, consts: list[Terms], carry: list[Terms], xs: list[Terms]) -> tuple[list[Terms], list[bool]]:
        """Return the carries before each step, after enough rounds, and which of them are not settled."""
        length, own = self.params["length"], self.interpreter
        state = [
            constant_of(self.known[k])
            if k in self.known
            else stacked([c, unknown(((length - 1) * c.size,), word("later"))], (length, *c.shape))
            for k, c in enumerate(carry)
        ]
        cuts, dense, settled = len(own.cuts), dict(own.wanted.dense), -1.0
        for _ in range(ROUNDS):
            following = self._next(carry, self._run(consts, state, xs)[0])
            del own.cuts[cuts:]
            own.wanted.dense.clear()
            own.wanted.dense.update(dense)
            parts = [_same(one, other) for one, other in zip(state, following, strict=True)]
            before, settled = settled, float(np.concatenate([np.ones(1), *parts]).mean())
            state = following
            if settled == 1.0 or settled < before + PROGRESS:
                return state, [not part.all() for part in parts]
        return state, [not part.all() for part in parts]

    def accumulating(self, consts: list[Terms], carry: list[Terms], xs: list[Terms]) -> list[Terms] | None:
        """Return the results where carries are sums, or made of all steps before; None if sets are too large."""
        state, keeps = self._rounds(consts, carry, xs)
        kept = [k for k, keep in enumerate(keeps) if keep]
        opened = self._opened(consts, carry, xs, state, kept)
        if opened is None:
            return None
        sums = [k for k in kept if opened.is_sum(k)]
        for k in sums:
            state[k] = unknown(state[k].shape, word("sum"))
        opened.refer(self.interpreter.sets, state, [k for k in kept if k not in sums])
        after, ys = self._run(consts, state, xs)
        found = self._ends(after, ys)
        for k in sums:
            size = carry[k].size
            index = np.tile(np.arange(size), self.params["length"])
            added = self.interpreter.summed(carry[k].shape, after[k], index)
            found[k] = self.interpreter.joined(carry[k].shape, [carry[k], added], mix(carry[k].constant, word("sum")))
        return found

    def _opened(
        self, consts: list[Terms], carry: list[Terms], xs: list[Terms], state: list[Terms], kept: list[int]
    ) -> "_Opened | None":
        """Return what one step makes of carries that are inputs of their own; None if sets are too large."""
        every = distinct(np.concatenate([NONE, *(v.own for v in (*consts, *xs, *state, *carry))]))
        places = len(every) + np.cumsum([0, *(state[k].size for k in kept)])
        sets = Sets(int(places[-1]), 0)

        def inside(v: Terms) -> Terms:
            return Terms(v.shape, v.row, np.searchsorted(every, v.own), v.terms, v.constant, v.value, v.known)

        own = list(map(inside, state))
        for k, first in zip(kept, places, strict=False):
            size = state[k].size
            labels = mix(word("carry"), np.arange(size).astype(U))[None]
            own[k] = Terms(state[k].shape, np.arange(size), first + np.arange(size), labels, ZERO)
        through = Loop(type(self.interpreter)(sets), self.params, (), self.known)
        after, ys = through._run([inside(v) for v in consts], own, [inside(v) for v in xs])
        following = through._next([inside(c) for c in carry], after)
        lists = [sets.expand(v.own) for v in (*following, *ys, *after)]
        if any(own is None for own in lists):
            return None
        number = len(following)
        expanded = [own for own in lists if own is not None]
        return _Opened(
            every, dict(zip(kept, places.tolist(), strict=False)), self.params["length"], following, after,
            expanded[:number], expanded[number:],
        )  # fmt: skip


class _Opened:
    """One step of a loop, whose unsettled carries are inputs of their own.

    Parameters
    ----------
    every
        Sets that have the numbers 0, 1, .. here.
    first
        Number of the first input of each unsettled carry.
    following, after
        Carries before each step, and after each.
    members, others
        Place and input of every input of the former, and of all results and of the latter.
    """

    def __init__(
        self,
        every: np.ndarray,
        first: Mapping[int, int],
        length: int,
        following: list[Terms],
        after: list[Terms],
        members: list[tuple[np.ndarray, np.ndarray]],
        others: list[tuple[np.ndarray, np.ndarray]],
    ) -> None:
        self.every, self.first, self.length = every, first, length
        self.following, self.after, self.members, self.others = following, after, members, others

    def is_sum(self, k: int) -> bool:
        """Say whether each step adds to a carry, and nothing else is made of it."""
        first, size = self.first[k], self.after[k].size
        number, others = len(self.following), self.others[: len(self.others) - len(self.following)]
        elsewhere = [own[1] for own in others] + [
            own[1] for j, own in enumerate(self.others[len(others) :]) if j != k and j < number
        ]
        if any(((leaf >= first) & (leaf < first + size)).any() for leaf in elsewhere):
            return False
        place, leaf = self.others[len(others) + k]
        mine = (leaf >= first) & (leaf < first + size)
        own = self.after[k]
        alone = np.bincount(place, minlength=len(own.row)) == 1
        labels = mix(word("carry"), np.arange(size).astype(U))
        at, which = place[mine], leaf[mine] - first
        return bool(alone[at].all() and (own.row[at] == which).all() and (own.terms[:, at] == labels[which]).all())

    def refer(self, sets: Sets, state: list[Terms], kept: list[int]) -> None:
        """Give each element of unsettled carries a set that refers to what it is made of one step before."""
        if not kept:
            return
        sizes = np.array([state[k].size for k in kept])
        starts = np.cumsum(sizes) - sizes
        numbers = [np.arange(s).reshape(self.length, -1) + p for s, p in zip(sizes, starts, strict=True)]
        order = np.concatenate(numbers, axis=1).ravel()  # sets are made step by step
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        inner = np.full(len(self.every) + sum(own.size for own in self.after), -1)
        inner[: len(self.every)] = self.every
        for k, start, size in zip(kept, starts, sizes, strict=True):
            inner[self.first[k] : self.first[k] + size] = sets.count + rank[start : start + size]
        rows, parts = [], []
        for k, start in zip(kept, starts, strict=True):
            place, leaf = self.members[k]
            rows.append(rank[self.following[k].row[place] + start])
            parts.append(inner[leaf])
        key = np.unique(np.stack([np.concatenate(rows), np.concatenate(parts)], axis=1), axis=0)
        key = key[key[:, 1] >= 0]
        filled = np.bincount(key[:, 0], minlength=len(order)) > 0
        made = sets.referring(key[:, 0], key[:, 1], len(order))
        for k, start, size in zip(kept, starts, sizes, strict=True):
            own = rank[start : start + size]
            row = np.flatnonzero(filled[own])
            labels = mix(word("carried"), made[own[row]].astype(U))[None]
            constant = mix(word("carried"), self.following[k].constant)
            state[k] = Terms(state[k].shape, row, made[own[row]], labels, constant)


def _known_carries(params: Mapping[str, Any], values: Sequence[Terms]) -> dict[int, np.ndarray]:
    """Return the values (T, ..) of the carries that are made of known values alone, such as a counter."""
    first, number, body = params["num_consts"], params["num_carry"], params["jaxpr"]
    own = {k for k in range(number) if values[first + k].is_known}
    while own:
        jaxpr, used = partial_eval.dce_jaxpr(body.jaxpr, [k in own for k in range(len(body.jaxpr.outvars))])
        needed = {k for k, use in enumerate(used) if use}
        lacking = {
            k for k in needed if not values[k].is_known or (first <= k < first + number and k - first not in own)
        }
        if not lacking:
            break
        own = {k for k in own if not _uses(body, k, lacking)}
    if not own:
        return {}
    order = sorted(own)

    def step(carry: list[Any], xs: list[Any]) -> tuple[list[Any], list[Any]]:
        given = dict(zip([first + k for k in order], carry, strict=True)) | dict(zip(swept, xs, strict=True))
        operands = [given[k] if k in given else values[k].value for k in sorted(needed)]
        return list(jax.core.eval_jaxpr(jaxpr, body.consts, *operands)), carry

    swept = [k for k in sorted(needed) if k >= first + number]
    avals = [v.aval for v in body.jaxpr.invars]
    starts = [np.asarray(values[first + k].value, avals[first + k].dtype) for k in order]
    xs = [np.asarray(values[k].value, avals[k].dtype) for k in swept]
    _, every = jax.lax.scan(step, starts, xs, length=params["length"], reverse=params["reverse"])
    turned = slice(None, None, -1) if params["reverse"] else slice(None)
    return {k: np.asarray(own)[turned] for k, own in zip(order, every, strict=True)}


def _uses(body: Any, output: int, inputs: set[int]) -> bool:
    """Say whether a result of a jaxpr is made of some of its inputs."""
    _, used = partial_eval.dce_jaxpr(body.jaxpr, [k == output for k in range(len(body.jaxpr.outvars))])
    return any(used[k] for k in inputs)


def _same(one: Terms, other: Terms) -> np.ndarray:
    """Say which elements of two arrays have the same terms, computed in the same way."""
    same = (one.whole() == other.whole()).all(axis=0)
    own = [np.zeros(v.size, U) for v in (one, other)]
    for found, v in zip(own, (one, other), strict=True):
        starts = starts_of(v.row)
        if len(starts):
            with np.errstate(over="ignore"):
                found[v.row[starts]] = np.add.reduceat(mix(v.own.astype(U), U(3)), starts)
    return np.asarray(same & (own[0] == own[1]))
