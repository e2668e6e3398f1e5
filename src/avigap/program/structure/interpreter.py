"""A walk through a jaxpr that gives every value its lists of terms: calls, loops and branches are entered."""

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np
from jax.extend.core import Literal

from avigap.program.structure.hashes import U, distinct, mix, word
from avigap.program.structure.loops import Loop, slice_of
from avigap.program.structure.operations import RULES, Operation, Wanted, computed, everything
from avigap.program.structure.sets import Sets
from avigap.program.structure.terms import NONE, Lists, Terms, constant_of, stacked, unknown

CALLS = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "remat": "jaxpr",
    "checkpoint": "jaxpr",
    "remat2": "jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "custom_vjp_call_jaxpr": "fun_jaxpr",
}
"""Primitives that call a jaxpr, and the parameter that holds it."""

STEPS = 48
"""Length of a loop up to which it is followed step by step; a longer one as a whole, if its carry forgets."""

MOST_STEPS = 1024
"""Length of a loop up to which it is followed step by step if its carry does not forget."""

LOOPS = 100_000
"""Steps of a loop that ends by a known condition, at most."""

REDUCTIONS = {"reduce_sum", "dot_general", "reduce_max", "reduce_min", "reduce_prod", "argmax", "argmin"}
"""Primitives that make numbers of a whole axis."""

FEW_NUMBERS = 1000
"""Numbers that a cut may make at once, at most."""


class Cut(NamedTuple):
    """Numbers that a reduction makes of the data of all positions: how, by which equation, and of which data."""

    operation: str
    equation: Any
    inputs: np.ndarray


class Interpreter(Lists):
    """Walks through jaxprs.

    Parameters
    ----------
    sets
        Of the inputs.
    of_all
        Says whether inputs, all data, are the data of all positions: a reduction that makes a number of them is cut.

    Attributes
    ----------
    cuts
        Numbers that were cut.
    wanted
        Inputs that an index asks for as constants, and operations without a rule.
    count
        Operations that were met.
    """

    def __init__(self, sets: Sets, of_all: Callable[[np.ndarray], bool] | None = None) -> None:
        super().__init__(sets)
        self.of_all = of_all
        self.cuts: list[Cut] = []
        self.wanted = Wanted(set(), {})
        self.count = 0

    def run(self, jaxpr: Any, consts: Sequence[Terms], arguments: Sequence[Terms]) -> list[Terms]:
        """Return the results of a jaxpr."""
        values: dict[Any, Terms] = dict(zip(jaxpr.constvars, consts, strict=True))
        values.update(zip(jaxpr.invars, arguments, strict=True))
        for eqn in jaxpr.eqns:
            self.count += 1
            own = [constant_of(v.val) if isinstance(v, Literal) else values[v] for v in eqn.invars]
            values.update(zip(eqn.outvars, self.step(eqn, own), strict=True))
        return [constant_of(v.val) if isinstance(v, Literal) else values[v] for v in jaxpr.outvars]

    def closed(self, inner: Any, arguments: Sequence[Terms]) -> list[Terms]:
        """Return the results of a jaxpr that may hold its constants."""
        jaxpr, consts = (inner.jaxpr, inner.consts) if hasattr(inner, "jaxpr") else (inner, [])
        return self.run(jaxpr, [constant_of(c) for c in consts], arguments)

    def step(self, eqn: Any, values: list[Terms]) -> list[Terms]:
        """Return the results of an equation."""
        name, params = eqn.primitive.name, eqn.params
        if name in CALLS:
            return self.closed(params[CALLS[name]], values)
        if name == "scan":
            return self.scan(params, values)
        operation = Operation(eqn.primitive, params, [v.aval for v in eqn.invars], [v.aval for v in eqn.outvars])
        if name == "while":
            return self.loop(operation, values)
        if name == "cond":
            return self.branch(operation, values)
        if values and all(v.is_known for v in values) and not name.startswith("random") and _is_cheap(operation):
            return computed(operation, values)
        found = RULES.get(name, everything)(self, self.wanted, operation, values)
        return found if self.of_all is None else [self._cut(v, operation, values, eqn) for v in found]

    def _cut(self, found: Terms, operation: Operation, values: Sequence[Terms], eqn: Any) -> Terms:
        """Return a constant for a statistic of the data of all positions, that is common to all of them."""
        if found.is_constant or not found.size or found.size > FEW_NUMBERS or self.of_all is None:
            return found
        is_statistic = values[0].ordered and not found.ordered
        if not is_statistic and operation.name not in REDUCTIONS:
            return found
        if self.sets.has_latents(found.own).any() or max(v.size for v in values if not v.is_constant) < 2 * found.size:
            return found
        first = found.row == found.row[0]  # one element tells: all are made alike
        expanded = self.sets.expand(distinct(found.own[first]))
        inputs = distinct(expanded[1]) if expanded else NONE
        if not self.of_all(inputs) or not (is_statistic or self._gathers(values, len(inputs))):
            return found
        self.cuts.append(Cut(operation.name, eqn, inputs))
        return unknown(found.shape, mix(word("cut"), U(len(self.cuts))))

    def _gathers(self, values: Sequence[Terms], number: int) -> bool:
        """Say whether elements of the operands have few of the inputs that the result has."""
        for v in values:
            some = distinct(v.own)[:64]
            expanded = self.sets.expand(some)
            if expanded is None or (len(some) and np.bincount(expanded[0]).max() * 4 > number):
                return False
        return True

    def branch(self, operation: Operation, values: list[Terms]) -> list[Terms]:
        """Return the results of one of several branches: all of them, if it is not known which."""
        branches, which, own = operation.params["branches"], values[0], values[1:]
        if which.is_known and which.value is not None:
            return self.closed(branches[int(np.clip(which.value, 0, len(branches) - 1))], own)
        outs = [self.closed(b, own) for b in branches]
        return [
            self.merged(o[0].shape, [which.take(np.ones(o[0].size, int), o[0].shape), *o], "cond")
            for o in zip(*outs, strict=True)
        ]

    def loop(self, operation: Operation, values: list[Terms]) -> list[Terms]:
        """Return the results of a loop that ends by a known condition."""
        p = operation.params
        first, second = p["cond_nconsts"], p["cond_nconsts"] + p["body_nconsts"]
        test, body, state = values[:first], values[first:second], values[second:]
        for _ in range(LOOPS):
            (goes_on,) = self.closed(p["cond_jaxpr"], [*test, *state])
            if not goes_on.is_known:
                return everything(self, self.wanted, operation, values)
            if not goes_on.value:
                return state
            state = self.closed(p["body_jaxpr"], [*body, *state])
        return everything(self, self.wanted, operation, values)

    def scan(self, params: Mapping[str, Any], values: list[Terms]) -> list[Terms]:
        """Return the results of a loop of known length, step by step, or as a whole where its carry forgets."""
        first, second = params["num_consts"], params["num_consts"] + params["num_carry"]
        consts, carry, xs = values[:first], values[first:second], values[second:]
        if params["length"] > STEPS:
            whole = Loop(self, params, values)
            found = whole.forgetting(consts, carry, xs)
            if found is None and params["length"] > MOST_STEPS:
                found = whole.accumulating(consts, carry, xs)
            if found is not None:
                return found
        inner, ys = params["jaxpr"], []
        own = [constant_of(c) for c in inner.consts]
        steps = range(params["length"])
        for t in reversed(steps) if params["reverse"] else steps:
            now = [slice_of(x, t) for x in xs]
            out = self.run(inner.jaxpr, own, [*consts, *carry, *now])
            carry = out[: params["num_carry"]]
            ys.append(out[params["num_carry"] :])
        ys = ys[::-1] if params["reverse"] else ys
        each = zip(*ys, strict=True)
        return [*carry, *(stacked(y, (params["length"], *y[0].shape)) for y in each)]


def _is_cheap(operation: Operation) -> bool:
    return max((prod(a.shape) for a in operation.results), default=0) <= 5_000_000
