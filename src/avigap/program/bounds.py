"""Indices that lie outside of the array they pick from, where JAX takes another element without a word."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax._src import core, source_info_util

from avigap.errors import InputError
from avigap.faults import line_in_words
from avigap.program.tracing import draw

CHEAP = frozenset(
    {"lt", "ge", "gt", "le", "eq", "ne", "add", "sub", "mul", "select_n", "convert_element_type", "broadcast_in_dim"}
    | {"reshape", "concatenate", "squeeze", "expand_dims", "iota", "rem", "div", "floor", "clamp", "max", "min"}
    | {"slice", "transpose", "and", "or", "not", "rev", "copy", "reduce_max", "reduce_min", "cumsum"}
)
"""Primitives that are computed where all of their operands are known, to follow constants to indices."""

MAX_SIZE = 1_000_000
"""Elements of arrays that are followed, at most."""


def check_bounds(function: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
    """Raise if a program picks by its data or constants beyond the end of an array.

    Raises
    ------
    InputError
        With the line, the index and the length.
    """

    def visit() -> None:
        draw(function, arguments, jax.random.key(0))

    try:
        closed = jax.make_jaxpr(visit)()
    except Exception:  # whatever a user's program raises while it is traced
        return
    for index, length, line in _outside(closed.jaxpr, closed.consts, []):
        raise InputError(
            f"index {index} is beyond an axis of length {length}{line}: JAX would take another element without a word;"
            " categories count from 0, and the number of groups must be that of the data"
        )


def _outside(jaxpr: Any, consts: Sequence[Any], inputs: Sequence[Any]) -> Iterator[tuple[int, int, str]]:
    """Yield index, length and line of every known index that is outside; ``inputs`` are values, None if unknown."""
    known: dict[Any, Any] = dict(zip(jaxpr.constvars, consts, strict=True))
    known |= {var: value for var, value in zip(jaxpr.invars, inputs, strict=False) if value is not None}

    def of(atom: Any) -> Any:
        return atom.val if isinstance(atom, core.Literal) else known.get(atom)

    for eqn in jaxpr.eqns:
        operands, name = [of(atom) for atom in eqn.invars], eqn.primitive.name
        if name == "gather" and operands[1] is not None:
            yield from _beyond(eqn, np.asarray(operands[1]))
        inner = eqn.params.get("jaxpr")
        if name in ("jit", "pjit") and inner is not None:
            yield from _outside(inner.jaxpr, inner.consts, operands)
        if all(value is not None and np.size(value) <= MAX_SIZE for value in operands):
            known |= _computed(eqn, operands)


def _computed(eqn: Any, operands: Sequence[Any]) -> dict[Any, Any]:
    name, inner = eqn.primitive.name, eqn.params.get("jaxpr")
    cheap = name in CHEAP or (
        name in ("jit", "pjit") and inner is not None and all(e.primitive.name in CHEAP for e in inner.jaxpr.eqns)
    )
    if not cheap:
        return {}
    out = eqn.primitive.bind(*operands, **eqn.params)
    return dict(zip(eqn.outvars, out if eqn.primitive.multiple_results else [out], strict=True))


def _beyond(eqn: Any, indices: np.ndarray) -> Iterator[tuple[int, int, str]]:
    shape, sizes = eqn.invars[0].aval.shape, eqn.params["slice_sizes"]
    if eqn.params["mode"] == jax.lax.GatherScatterMode.CLIP:
        return
    for place, axis in enumerate(eqn.params["dimension_numbers"].start_index_map):
        own = indices[..., place]
        bad = own[(own < 0) | (own > shape[axis] - sizes[axis])]
        if bad.size:
            frame = source_info_util.user_frame(eqn.source_info.traceback)
            line = f", {line_in_words(frame.file_name, frame.start_line)}" if frame else ""
            yield int(bad[0]), shape[axis], line
