"""Runs of a function whose arguments are marked: of which of them every value is made, and how.

A marked array carries the names of the arguments that it is made of. As *data* where numbers flow from the argument to
it, as *control* where the argument only chooses, by a comparison, an index or a branch. It also has a value: where
Python asks for one, as ``if (y > total).any()`` and ``numpy.asarray(y)`` do, it gets the value of the run, and the
request is noted. Within :func:`jax.jit` and :func:`jax.vmap` these are the values of a reference, while everything else
stays traced.

This module and :mod:`avigap.program.bounds` are the only ones that use internals of JAX (0.10).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax._src import core

from avigap.faults import line_here

Names = frozenset[str]

NOTHING: Names = frozenset()


class Mark(NamedTuple):
    """Names of the arguments that a value is made of."""

    data: Names = NOTHING
    control: Names = NOTHING

    @property
    def all(self) -> Names:
        """Names of all arguments that the value depends on."""
        return self.data | self.control


COMPARISONS = frozenset({"eq", "ne", "lt", "le", "gt", "ge", "eq_to", "lt_to", "le_to", "is_finite", "sign"})

FIRST_CHOOSES = {"gather": 1, "dynamic_slice": 1, "scatter": 2, "dynamic_update_slice": 2}
"""Primitives whose further operands are indices: of how many operands, from the first, the numbers are kept."""


class Marked(core.Tracer):
    """An array with its mark, and with a function that returns its value."""

    __slots__ = ["mark", "traced", "value"]

    def __init__(self, trace: "Marks", traced: Any, mark: Mark, value: Callable[[], Any]) -> None:
        super().__init__(trace, core.typeof(traced))
        self.traced, self.mark, self.value = traced, mark, value

    def _ask(self, how: str) -> np.ndarray:
        self._trace.asked.append((how, self.mark.all))
        self._trace.lines.append(line_here())
        return np.asarray(self.value())

    def full_lower(self) -> "Marked":
        """Return the array itself."""
        return self

    def __array__(self, dtype: Any = None, context: None = None, copy: bool | None = None) -> np.ndarray:
        """Return the value, for NumPy."""
        return np.array(self._ask("array"), dtype=dtype)

    def __bool__(self) -> bool:
        """Return the value, for a condition."""
        return bool(self._ask("bool"))

    def __int__(self) -> int:
        """Return the value, for a whole number."""
        return int(self._ask("int"))

    def __index__(self) -> int:
        """Return the value, for a size or an index."""
        return int(self._ask("int"))

    def __float__(self) -> float:
        """Return the value, for a number."""
        return float(self._ask("float"))

    def tolist(self) -> Any:
        """Return the value as lists."""
        return self._ask("array").tolist()

    def item(self, *place: int) -> Any:
        """Return one number of the value."""
        return self._ask("array").item(*place)


class Marks(core.Trace):
    """Interprets primitives on marked arrays; hands all others to the trace around it.

    Attributes
    ----------
    asked
        How a value was asked for (``bool``, ``int``, ``float`` or ``array``), and of which arguments it was made.
    lines
        The line of the program that asked, for each.
    """

    __slots__ = ("around", "asked", "lines")

    def __init__(self) -> None:
        super().__init__()
        self.around = core.trace_ctx.trace
        self.asked: list[tuple[str, Names]] = []
        self.lines: list[str] = []
        self.requires_low = False

    def mark(self, name: str, traced: Any, value: Any) -> Marked:
        """Return an argument, whose value is that of the reference."""
        return Marked(self, traced, Mark(frozenset({name})), lambda: value)

    def stage_value(self, val: Any) -> Any:
        """Return a value as the trace around takes it."""
        return val if isinstance(val, Marked) else self.around.stage_value(val)

    def process_primitive(self, primitive: Any, tracers: Sequence[Any], params: Any, /) -> Any:
        """Apply a primitive, and mark its results."""
        plain = [t.traced if isinstance(t, Marked) else t for t in tracers]
        with core.set_current_trace(self.around):
            out = primitive.bind(*plain, **params)
        if not any(isinstance(t, Marked) for t in tracers):
            return out
        marks = marks_after(primitive.name, params, [t.mark if isinstance(t, Marked) else Mark() for t in tracers])
        values: list[Any] = []

        def value(index: int) -> Any:
            if not values:
                with core.set_current_trace(core.eval_trace):
                    own = [t.value() if isinstance(t, Marked) else t for t in tracers]
                    found = primitive.bind(*own, **params)
                values.extend(found if primitive.multiple_results else [found])
            return values[index]

        outs = out if primitive.multiple_results else [out]
        each = zip(outs, marks * len(outs) if len(marks) == 1 else marks, strict=True)
        made = [self._made(traced, mark, index, value) for index, (traced, mark) in enumerate(each)]
        return made if primitive.multiple_results else made[0]

    def _made(self, traced: Any, mark: Mark, index: int, value: Callable[[int], Any]) -> Marked:
        known = not isinstance(traced, core.Tracer)
        return Marked(self, traced, mark, (lambda: traced) if known else (lambda: value(index)))

    def process_custom_jvp_call(
        self, primitive: Any, fun: Any, jvp: Any, tracers: Sequence[Any], /, *, symbolic_zeros: bool
    ) -> Any:
        """Apply a function with a derivative of its own."""
        if any(isinstance(t, Marked) for t in tracers):
            with core.set_current_trace(self):
                return fun.call_wrapped(*tracers)
        return self.around.process_custom_jvp_call(primitive, fun, jvp, tracers, symbolic_zeros=symbolic_zeros)

    def process_custom_vjp_call(
        self, primitive: Any, fun: Any, fwd: Any, bwd: Any, tracers: Sequence[Any], /, **rest: Any
    ) -> Any:
        """Apply a function with a derivative of its own."""
        if any(isinstance(t, Marked) for t in tracers):
            with core.set_current_trace(self):
                return fun.call_wrapped(*tracers)
        return self.around.process_custom_vjp_call(primitive, fun, fwd, bwd, tracers, **rest)


def run_marked(
    function: Callable[..., Any], arguments: Mapping[str, Any], reference: Mapping[str, Any]
) -> tuple[Any, Marks]:
    """Return what a function of keyword arguments returns, with marks, and the trace that holds what was asked for.

    Parameters
    ----------
    arguments
        All arguments; those named in ``reference`` are marked.
    reference
        The values that Python gets where it asks for one.
    """
    trace = Marks()
    marked = {name: trace.mark(name, jax.numpy.asarray(arguments[name]), value) for name, value in reference.items()}
    with core.set_current_trace(trace):
        return function(**{**arguments, **marked}), trace


def plain(tree: Any) -> Any:
    """Return a tree without marks."""
    return jax.tree.map(lambda leaf: leaf.traced if isinstance(leaf, Marked) else leaf, tree)


def mark_of(tree: Any) -> Mark:
    """Return of which arguments the leaves of a tree are made."""
    leaves = [leaf.mark for leaf in jax.tree.leaves(tree) if isinstance(leaf, Marked)]
    return _joined(leaves)


def _joined(marks: Sequence[Mark]) -> Mark:
    return Mark(NOTHING.union(*(m.data for m in marks)), NOTHING.union(*(m.control for m in marks)))


def _chooses(mark: Mark) -> Mark:
    return Mark(NOTHING, mark.all)


def marks_after(name: str, params: Mapping[str, Any], marks: Sequence[Mark]) -> list[Mark]:
    """Return the marks of the results of a primitive: one for each, or one for all."""
    if name in COMPARISONS:
        return [_chooses(_joined(marks))]
    if name == "select_n":
        return [_joined([_chooses(marks[0]), *marks[1:]])]
    if name.split("-")[0] in FIRST_CHOOSES:
        kept = FIRST_CHOOSES[name.split("-")[0]]
        own = [marks[0], *marks[2:]] if name.startswith("scatter") else marks[:kept]
        rest = marks[1:2] if name.startswith("scatter") else marks[kept:]
        return [_joined([*own, *map(_chooses, rest)])]
    if name == "scan":
        return _after_scan(params, marks)
    if name == "while":
        return _after_while(params, marks)
    if name == "cond":
        branches = [_through(branch.jaxpr, marks[1:]) for branch in params["branches"]]
        return [_joined([_chooses(marks[0]), *own]) for own in zip(*branches, strict=True)]
    inner = next((p for p in _jaxprs(params) if len(p.invars) == len(marks)), None)
    return _through(inner, marks) if inner is not None else [_joined(marks)]


def _jaxprs(params: Mapping[str, Any]) -> Iterator[Any]:
    for value in params.values():
        found = getattr(value, "jaxpr", value)
        if isinstance(found, core.Jaxpr):
            yield found


def _through(jaxpr: Any, marks: Sequence[Mark]) -> list[Mark]:
    """Return the marks of the results of a jaxpr."""
    own: dict[Any, Mark] = dict(zip(jaxpr.invars, marks, strict=True))

    def of(atom: Any) -> Mark:
        return Mark() if isinstance(atom, core.Literal) else own.get(atom, Mark())

    for eqn in jaxpr.eqns:
        operands = list(map(of, eqn.invars))
        after = marks_after(eqn.primitive.name, eqn.params, operands)
        after = after * len(eqn.outvars) if len(after) == 1 else after
        own |= dict(zip(eqn.outvars, after, strict=True))
    return list(map(of, jaxpr.outvars))


def _after_scan(params: Mapping[str, Any], marks: Sequence[Mark]) -> list[Mark]:
    first, last = params["num_consts"], params["num_consts"] + params["num_carry"]
    consts, carry, xs = list(marks[:first]), list(marks[first:last]), list(marks[last:])
    while True:
        out = _through(params["jaxpr"].jaxpr, [*consts, *carry, *xs])
        after = [_joined(pair) for pair in zip(carry, out, strict=False)]
        if after == carry:
            return out
        carry = after


def _after_while(params: Mapping[str, Any], marks: Sequence[Mark]) -> list[Mark]:
    first, second = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]
    cond, body, carry = list(marks[:first]), list(marks[first:second]), list(marks[second:])
    while True:
        (goes_on,) = _through(params["cond_jaxpr"].jaxpr, [*cond, *carry])
        out = _through(params["body_jaxpr"].jaxpr, [*body, *carry])
        after = [_joined([*pair, _chooses(goes_on)]) for pair in zip(carry, out, strict=True)]
        if after == carry:
            return out
        carry = after
