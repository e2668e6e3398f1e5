"""What primitives of JAX do to lists of terms.

- *moves* (reshape, slice, gather by known indices, ..) keep the lists of the elements;
- *joins* (add, sum, products with constants, casts to decimals, choices by constants) put lists together;
- *products* (mul, dot_general, choices) have a term for each pair of terms;
- *merges* (all other functions of elements) make one term of all inputs of an element; reductions, sorts and
  factorisations do so by line or by matrix.

A gather or a slice whose index is an input keeps it an input where all that it may mean has the same latents; else the
arguments in the index are asked for as constants. An operation that is not listed makes one term of all its inputs.
"""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, NamedTuple

import jax
import numpy as np
from scipy import special

from avigap.program.structure.hashes import U, distinct, mix, word
from avigap.program.structure.terms import MOST, ZERO, Lists, Terms, constant_of, stacked, unknown


class Operation(NamedTuple):
    """A primitive with its parameters, and the types of operands and results."""

    primitive: Any
    params: dict[str, Any]
    operands: Sequence[Any]
    results: Sequence[Any]

    @property
    def name(self) -> str:
        """Name of the primitive."""
        return str(self.primitive.name)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the first result."""
        return tuple(self.results[0].shape)


class Wanted(NamedTuple):
    """What operations have to say of a walk: inputs wanted as constants, and operations without a rule."""

    inputs: set[int]
    dense: dict[str, int]


Rule = Callable[[Lists, Wanted, Operation, list[Terms]], list[Terms]]

RULES: dict[str, Rule] = {}
"""What is done for each primitive, by its name."""


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Return a decorator that makes a function the rule of primitives."""

    def add(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, function))
        return function

    return add


MERGED = [
    "abs",
    "acos",
    "acosh",
    "and",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "bessel_i0e",
    "bessel_i1e",
    "cbrt",
    "ceil",
    "clamp",
    "cos",
    "cosh",
    "digamma",
    "eq",
    "erf",
    "erf_inv",
    "erfc",
    "exp",
    "exp2",
    "expm1",
    "floor",
    "ge",
    "gt",
    "igamma",
    "igammac",
    "igamma_grad_a",
    "integer_pow",
    "is_finite",
    "le",
    "lgamma",
    "log",
    "log1p",
    "logistic",
    "lt",
    "max",
    "min",
    "ne",
    "nextafter",
    "not",
    "or",
    "polygamma",
    "population_count",
    "pow",
    "reduce_precision",
    "regularized_incomplete_beta",
    "rem",
    "round",
    "rsqrt",
    "shift_left",
    "shift_right_logical",
    "shift_right_arithmetic",
    "sign",
    "sin",
    "sinh",
    "sqrt",
    "square",
    "tan",
    "tanh",
    "xor",
    "zeta",
    "random_gamma_grad",
    "bessel_i0",
    "bessel_i1",
    "real",
    "imag",
    "complex",
    "conj",
]

KNOWN: dict[str, Callable[..., Any]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "neg": np.negative, "lt": np.less, "le": np.less_equal,
    "gt": np.greater, "ge": np.greater_equal, "eq": np.equal, "ne": np.not_equal, "exp": np.exp, "log": np.log,
    "sqrt": np.sqrt, "square": np.square, "log1p": np.log1p, "max": np.maximum, "min": np.minimum, "abs": np.abs,
    "lgamma": special.gammaln, "sign": np.sign, "and": np.bitwise_and, "or": np.bitwise_or, "floor": np.floor,
    "tanh": np.tanh, "is_finite": np.isfinite, "not": np.invert,
}  # fmt: skip
"""Primitives of which NumPy computes the values of constants: its functions need no compilation."""


def computed(operation: Operation, values: Sequence[Terms]) -> list[Terms]:
    """Return the results of an operation on constants whose values are known."""
    own = [np.asarray(v.value, a.dtype) for v, a in zip(values, operation.operands, strict=True)]
    if operation.name in KNOWN:
        with np.errstate(all="ignore"):
            found = np.asarray(KNOWN[operation.name](*own)).astype(operation.results[0].dtype)
        return [Terms(found.shape, value=found)]
    out = operation.primitive.bind(*own, **operation.params)
    return [constant_of(x) for x in (out if operation.primitive.multiple_results else [out])]


def everything(lists: Lists, wanted: Wanted, operation: Operation, values: list[Terms]) -> list[Terms]:
    """Return results of which every element is a function of all inputs of all operands, and note the operation."""
    wanted.dense[operation.name] = wanted.dense.get(operation.name, 0) + 1
    own = np.concatenate([np.zeros(0, np.int64), *(distinct(v.own) for v in values)])
    h = word(operation.name)
    for v in values:
        with np.errstate(over="ignore"):
            h = mix(h, mix(v.whole(), np.arange(v.size).astype(U)).sum(axis=1, keepdims=True, dtype=U))
    made = lists.sets.union(np.zeros(len(own), np.int64), own)[1] if len(own) else own
    found = []
    for number, aval in enumerate(operation.results):
        each = mix(np.arange(prod(aval.shape)).astype(U), mix(h, U(number)))
        each = each.reshape(-1, prod(aval.shape))
        if len(made):
            found.append(Terms(aval.shape, np.arange(prod(aval.shape)), np.repeat(made, prod(aval.shape)), each, ZERO))
        else:
            found.append(Terms(aval.shape, constant=each))
    return found


@rule(*MERGED)
def _merge(lists: Lists, wanted: Wanted, operation: Operation, values: list[Terms]) -> list[Terms]:
    name = f"{operation.name}{operation.params.get('y', '')}"
    return [lists.merged(operation.shape, [v.spread(operation.shape) for v in values], name)]


@rule("neg")
def _negative(lists: Lists, wanted: Wanted, operation: Operation, values: list[Terms]) -> list[Terms]:
    return [_negated(values[0])]


def _negated(a: Terms) -> Terms:
    return Terms(a.shape, a.row, a.own, mix(a.terms, word("neg")), mix(a.constant, word("neg")))


@rule("add", "sub", "add_any")
def _add(lists: Lists, wanted: Wanted, operation: Operation, values: list[Terms]) -> list[Terms]:
    a, b = (v.spread(operation.shape) for v in values)
    b = _negated(b) if operation.name == "sub" else b
    with np.errstate(over="ignore"):
        constant = mix(a.constant, U(9)) + mix(b.constant, U(9))
    return [lists.joined(operation.shape, [a, b], constant)]


@rule("mul")
def _multiply(lists: Lists, wanted: Wanted, operation: Operation, values: list[Terms]) -> list[Terms]:
    a, b = (v.spread(operation.shape) for v in values)
    return [lists.product(a, b, "mul")]


@rule("div")
def _divide(lists: Lists, wanted: Wanted, operation: Operation, values: list[Terms]) -> list[Terms]:
    a, b = (v.spread(operation.shape) for v in values)
    if a.is_constant:
        return [lists.merged(operation.shape, [a, b], "div")]
    if b.is_constant:
        return [lists.scaled(a, b, "div")]
    return [lists.product(a, lists.merged(operation.shape, [b], "reciprocal"), "mul")]


@rule("convert_element_type")
def _cast(lists: Lists, wanted: Wanted, operation: Operation, values: list[Terms]) -> list[Terms]:
    if np.issubdtype(operation.params["new_dtype"], np.inexact):
        return values
    return [lists.merged(operation.shape, values, f"cast {operation.params['new_dtype']}")]


@rule("select_n")
def _select(lists: Lists, wanted: Wanted, operation: Operation, values: list[Terms]) -> list[Terms]:
    return [lists.chosen([v.spread(operation.shape) for v in values], operation.shape)]


@rule(
    *[
        "stack",
        "unstack",
        "reshape",
        "transpose",
        "broadcast_in_dim",
        "slice",
        "squeeze",
        "rev",
        "concatenate",
        "pad",
        "split",
        "copy",
        "copy_p",
        "tile",
        "stop_gradient",
        "expand_dims",
        "optimization_barrier",
        "device_put",
        "sharding_constraint",
    ]
)
def _move(lists: Lists, wanted: Wanted, operation: Operation, values: list[Terms]) -> list[Terms]:
    name, params, start, index = operation.name, operation.params, 1, []
    for v in values:
        index.append(np.arange(start, start + v.size).reshape(v.shape))
        start += v.size
    every, x, shape = stacked(values) if len(values) > 1 else values[0], index[0], operation.shape
    if name in ("reshape", "squeeze", "expand_dims"):
        out = [x.reshape(shape)]
    elif name == "transpose":
        out = [x.transpose(params["permutation"])]
    elif name == "broadcast_in_dim":
        wide = np.ones(len(shape), int)
        wide[list(params["broadcast_dimensions"])] = x.shape
        out = [np.broadcast_to(x.reshape(wide), shape)]
    elif name == "slice":
        steps = params["strides"] or (1,) * x.ndim
        out = [x[tuple(slice(*s) for s in zip(params["start_indices"], params["limit_indices"], steps, strict=True))]]
    elif name == "concatenate":
        out = [np.concatenate(index, params["dimension"])]
    elif name == "stack":
        out = [np.stack(index, params["axis"])]
    elif name == "unstack":
        out = list(np.moveaxis(x, params["axis"], 0))
    elif name == "rev":
        out = [np.flip(x, params["dimensions"])]
    elif name == "split":
        out = np.split(x, np.cumsum(params["sizes"])[:-1], params["axis"])
    elif name == "tile":
        out = [np.tile(x, params["reps"])]
    elif name == "pad":
        out = [np.asarray(operation.primitive.bind(*(i.astype(np.int32) for i in index), **params))]
    else:
        out = index
    found = [every.take(o, a.shape) for o, a in zip(out, operation.results, strict=True)]
    for own in found:
        own.ordered = values[0].ordered and own.size >= values[0].size
    return found


@rule("reduce_sum")
def _sum(lists: Lists, wanted: Wanted, operation: Operation, values: list[Terms]) -> list[Terms]:
    return [lists.summed(operation.shape, values[0], _kept(operation, values[0]))]


@rule("reduce_max", "reduce_min", "reduce_prod", "reduce_and", "reduce_or", "reduce_xor", "argmax", "argmin")
def _reduce(lists: Lists, wanted: Wanted, operation: Operation, values: list[Terms]) -> list[Terms]:
    index = _kept(operation, values[0])
    return [lists.grouped(operation.shape, values[0], index, operation.name)]


def _kept(operation: Operation, value: Terms) -> np.ndarray:
    """Return for every element of an operand the element of the result that it is reduced to."""
    axes = operation.params["axes"]
    index = np.arange(prod(operation.shape)).reshape([1 if k in axes else s for k, s in enumerate(value.shape)])
    return np.broadcast_to(index, value.shape).ravel()


@rule("cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp")
def _cumulate(lists: Lists, wanted: Wanted, operation: Operation, values: list[Terms]) -> list[Terms]:
    shape, axis, value = operation.shape, operation.params["axis"], values[0]
    lines = np.moveaxis(np.arange(prod(shape)).reshape(shape), axis, -1).reshape(-1, shape[axis])
    lines = lines[:, ::-1] if operation.params["reverse"] else lines
    length = lines.shape[1]
    if lines.size * length <= MOST // 4:
        to, of = np.tril_indices(length)
        every = value.take(lines[:, of].ravel() + 1, (lines[:, of].size,))
        index = lines[:, to].ravel()
        if operation.name == "cumsum":
            return [lists.summed(shape, every, index)]
        return [lists.grouped(shape, every, index, operation.name)]
    each = value.take(lines.ravel() + 1, (lines.size,))
    own = lists.merged(each.shape, [each], operation.name)
    row, sets = [], []
    for line in range(len(lines)):
        inside = (own.row >= line * length) & (own.row < (line + 1) * length)
        row.append(own.row[inside])
        sets.append(lists.sets.chained(own.own[inside]))
    rows, chain = np.concatenate(row), np.concatenate(sets)
    labels = mix(own.terms, np.arange(len(rows)).astype(U))
    place = lines.ravel()[rows]
    order = np.argsort(place)
    return [Terms(shape, place[order], chain[order], labels[:, order], mix(word("cumulated"), value.constant))]


@rule("dot_general")
def _dot(lists: Lists, wanted: Wanted, operation: Operation, values: list[Terms]) -> list[Terms]:
    (lc, rc), (lb, rb) = operation.params["dimension_numbers"]
    left, right = _lined(values[0], lc, lb), _lined(values[1], rc, rb)  # (batch, free, contracted)
    shape, (batch, rows, depth), columns = operation.shape, left.shape, right.shape[1]
    if all(v.is_constant for v in values):
        each = [
            lists.grouped(
                (o.shape[0] * o.shape[1],), v.take(o, (o.size,)), np.repeat(np.arange(o[..., 0].size), depth), "line"
            )
            for v, o in zip(values, (left, right), strict=True)
        ]
        h = [e.constant.reshape(-1, batch, n) for e, n in zip(each, (rows, columns), strict=True)]
        return [Terms(shape, constant=mix(h[0][:, :, :, None], h[1][:, :, None, :]).reshape(-1, prod(shape)))]
    deep = max(1, len(values[0].row) // max(values[0].size, 1)) * max(1, len(values[1].row) // max(values[1].size, 1))
    if batch * rows * columns * depth * deep > MOST:
        return [_merged_lines(lists, shape, values, (left, right))]
    one, other = np.broadcast_arrays(left[:, :, None, :], right[:, None, :, :])
    a, b = values[0].take(one, (one.size,)), values[1].take(other, (other.size,))
    made = lists.product(a, b, "mul")
    return [lists.summed(shape, made, np.repeat(np.arange(prod(shape)), depth))]


def _lined(value: Terms, contracted: Sequence[int], batch: Sequence[int]) -> np.ndarray:
    free = [k for k in range(len(value.shape)) if k not in contracted and k not in batch]
    index = value.places().transpose([*batch, *free, *contracted])
    return index.reshape(prod(value.shape[k] for k in batch), -1, prod(value.shape[k] for k in contracted))


def _merged_lines(lists: Lists, shape: Sequence[int], values: Sequence[Terms], lines: Sequence[np.ndarray]) -> Terms:
    """Return a product of matrices of which each element is one term of all inputs of a row and a column."""
    own = []
    for value, line in zip(values, lines, strict=True):
        of_line = np.repeat(np.arange(line[..., 0].size), line.shape[-1])
        own.append(lists.grouped((line[..., 0].size,), value.take(line, (line.size,)), of_line, "line"))
    batch, rows, columns = lines[0].shape[0], lines[0].shape[1], lines[1].shape[1]
    b, i, j = (k.ravel() for k in np.indices((batch, rows, columns)))
    return lists.merged(shape, [own[0].take(b * rows + i + 1, shape), own[1].take(b * columns + j + 1, shape)], "dot")


@rule("triangular_solve")
def _solve(lists: Lists, wanted: Wanted, operation: Operation, values: list[Terms]) -> list[Terms]:
    """By a constant matrix, each row of the result is a sum of rows of the right side."""
    if not values[0].is_constant:
        return _by_matrix(lists, wanted, operation, values)
    p, shape = operation.params, operation.shape
    index = np.arange(prod(shape)).reshape(shape)
    index = np.moveaxis(index, -2, -1) if p["left_side"] else index
    size = shape[-2] if p["left_side"] else shape[-1]
    lines = index.reshape(-1, size)
    lower = (p["lower"] != bool(p["transpose_a"])) == p["left_side"]
    i, j = np.tril_indices(size) if lower else np.triu_indices(size)
    every = values[1].take(lines[:, j].ravel() + 1, (lines[:, j].size,))
    with np.errstate(over="ignore"):
        whole = values[0].whole().reshape(-1, values[0].size)
        matrix = mix(whole, np.arange(values[0].size).astype(U)).reshape(len(whole), -1, size * size).sum(-1, dtype=U)
    each = matrix[:, np.arange(len(lines)) * matrix.shape[1] // len(lines)]
    factor = mix(each[:, :, None], (i * size + j).astype(U)).reshape(len(each), -1)
    scaled = lists.scaled(every, Terms(every.shape, constant=factor), "solve")
    return [lists.summed(shape, scaled, lines[:, i].ravel())]


@rule("conv_general_dilated")
def _convolve(lists: Lists, wanted: Wanted, operation: Operation, values: list[Terms]) -> list[Terms]:
    """Return a convolution as a sum, over the places of the kernel, of elements of the signal times those of it."""
    signal, kernel = values
    dims, shape = operation.params["dimension_numbers"], operation.shape
    size = prod(shape)
    if kernel.size * size > MOST:
        return everything(lists, wanted, operation, values)
    places = kernel.places().transpose(dims.rhs_spec)  # (out channels, in channels, ..)
    parts, factors = [], []
    for place in np.ndindex(*places.shape[1:]):
        one = np.zeros(places.shape)
        one[(slice(None), *place)] = 1.0
        back = one.transpose(np.argsort(dims.rhs_spec))
        params = {**operation.params, "preferred_element_type": None}
        picked = operation.primitive.bind(signal.places().astype(np.float64), back, **params)
        parts.append(np.rint(np.asarray(picked)).astype(np.int64).ravel())
        channel = np.expand_dims(places[(slice(None), *place)], tuple(k for k in range(len(shape) - 1)))
        wide = np.broadcast_to(np.moveaxis(channel, -1, dims.out_spec[1]), shape)
        factors.append(wide.ravel())
    every = signal.take(np.concatenate(parts), (len(parts) * size,))
    by = kernel.take(np.concatenate(factors), (len(parts) * size,))
    return [lists.summed(shape, lists.product(every, by, "mul"), np.tile(np.arange(size), len(parts)))]


@rule("sort", "top_k")
def _sort(lists: Lists, wanted: Wanted, operation: Operation, values: list[Terms]) -> list[Terms]:
    axis = operation.params.get("dimension", -1)

    def lines(shape: Sequence[int]) -> np.ndarray:
        index = np.moveaxis(np.arange(prod(shape)).reshape(shape), axis, -1)
        return index.reshape(-1, index.shape[-1])

    found = _in_blocks(lists, wanted, operation, values, lines)
    for own in found:
        own.ordered = True
    return found


@rule("cholesky", "eigh", "lu", "qr", "householder_product", "lu_pivots_to_permutation", "svd", "schur", "eig")
def _by_matrix(lists: Lists, wanted: Wanted, operation: Operation, values: list[Terms]) -> list[Terms]:
    dims = 1 if operation.name == "lu_pivots_to_permutation" else 2

    def lines(shape: Sequence[int]) -> np.ndarray:
        return np.arange(prod(shape)).reshape(prod(shape[:-dims]), -1)

    return _in_blocks(lists, wanted, operation, values, lines)


def _in_blocks(
    lists: Lists,
    wanted: Wanted,
    operation: Operation,
    values: list[Terms],
    lines: Callable[[Sequence[int]], np.ndarray],
) -> list[Terms]:
    """Return results of which each line, or matrix, is a function of the same line of all operands."""
    number = len(lines(values[0].shape))
    if any(len(lines(own.shape)) != number for own in (*values, *operation.results)):
        return everything(lists, wanted, operation, values)
    every = []
    for v in values:
        own, index = lines(v.shape), np.zeros(v.size, np.int64)
        index[own.ravel()] = np.repeat(np.arange(number), own.shape[1])
        every.append(lists.grouped((number,), v, index, operation.name))
    made, found = lists.merged((number,), every, operation.name), []
    for k, aval in enumerate(operation.results):
        own, size = lines(aval.shape), prod(aval.shape)
        index, place = np.zeros(size, np.int64), np.zeros(size, U)
        index[own.ravel()] = np.repeat(np.arange(number), own.shape[1])
        place[own.ravel()] = np.tile(np.arange(own.shape[1]), number) + 1_000_003 * k
        v = made.take(index + 1, aval.shape)
        constant = mix(np.broadcast_to(v.constant, (len(v.constant), size)), place)
        found.append(Terms(aval.shape, v.row, v.own, mix(v.terms, place[v.row]), constant))
    return found


@rule("gather", "dynamic_slice")
def _gather(lists: Lists, wanted: Wanted, operation: Operation, values: list[Terms]) -> list[Terms]:
    operand, where, shape = values[0], values[1:], operation.shape
    if all(v.is_known for v in where):
        known = [np.asarray(v.value, a.dtype) for v, a in zip(where, operation.operands[1:], strict=True)]
        index = _picked(operation, operand, known)
        found = operand.take(index, shape)
        if operand.ordered and found.size > 16:
            found.ordered = True
        return [found]
    if operation.name == "dynamic_slice":
        return [_all_slices(lists, wanted, operation, values)]
    own = where[0]
    if operand.is_constant:
        parts = [p.spread(shape) for p in _index_parts(operation, own, range(own.shape[-1]))]
        with np.errstate(over="ignore"):
            table = mix(operand.whole(), np.arange(operand.size).astype(U)).sum(axis=1, keepdims=True, dtype=U)
        return [lists.merged(shape, [*parts, Terms(shape, constant=table)], "gather")]
    made = _alternatives(lists, operation, operand, own)
    return [made] if made is not None else _asked(lists, wanted, operation, values, where)


def _picked(operation: Operation, operand: Terms, where: Sequence[np.ndarray]) -> np.ndarray:
    """Return the numbers of the elements that a gather or a slice by known indices picks, from 1."""
    if operation.name == "gather":
        simple = _simple(operation, operand, where[0])
        if simple is not None:
            return simple
    index = operand.places().astype(np.int32)
    params = {**operation.params, "fill_value": 0} if "fill_value" in operation.params else operation.params
    return np.asarray(operation.primitive.bind(index, *where, **params))


def _simple(operation: Operation, operand: Terms, where: np.ndarray) -> np.ndarray | None:
    """Return what x[i] picks for an array of indices, which needs no compilation."""
    dims, sizes = operation.params["dimension_numbers"], operation.params["slice_sizes"]
    if tuple(dims.start_index_map) != (0,) or tuple(dims.collapsed_slice_dims) != (0,) or where.shape[-1:] != (1,):
        return None
    if tuple(sizes[1:]) != operand.shape[1:] or len(dims.operand_batching_dims):
        return None
    batch = where.ndim - 1
    if tuple(dims.offset_dims) != tuple(range(batch, batch + len(operand.shape) - 1)):
        return None
    if not operand.size or where.min(initial=0) < 0 or where.max(initial=0) >= operand.shape[0]:
        return None
    return operand.places()[where[..., 0]]


def _index_parts(operation: Operation, index: Terms, which: Sequence[int]) -> list[Terms]:
    """Return components of the index of a gather, for every element of the result."""
    shape, offset = operation.shape, operation.params["dimension_numbers"].offset_dims
    at = np.arange(prod(index.shape[:-1])).reshape(index.shape[:-1])
    at = np.broadcast_to(np.expand_dims(at, tuple(offset)), shape).ravel()
    return [index.take(at * index.shape[-1] + k + 1, shape) for k in which]


def _alternatives(lists: Lists, operation: Operation, operand: Terms, index: Terms) -> Terms | None:
    """Merge all elements that an index may mean, if they have the same latents: then nothing is lost."""
    dims, shape = operation.params["dimension_numbers"], operation.shape
    known = np.full((index.size // index.shape[-1], index.shape[-1]), np.nan)
    if index.value is not None:
        mask = np.ones(index.size, bool) if index.known is None else index.known.ravel()
        known = np.where(mask, np.asarray(index.value, float).ravel(), np.nan).reshape(known.shape)
    known[:, np.isnan(known).any(axis=0)] = np.nan
    open_ = np.flatnonzero(np.isnan(known).any(axis=0))
    sizes = [operand.shape[dims.start_index_map[k]] for k in open_]
    if prod(sizes) > 256 or prod(sizes) * prod(shape) > MOST:
        return None
    every = []
    for choice in np.ndindex(*sizes):
        now = np.nan_to_num(known)
        now[:, open_] = choice
        own = now.reshape(index.shape).astype(operation.operands[1].dtype)
        every.append(operand.take(_picked(operation, operand, [own]), shape))
    latents = [_latents_of(lists, v) for v in every]
    if not all(np.array_equal(own, latents[0]) for own in latents[1:]):
        return None
    return lists.merged(shape, [*every, *_index_parts(operation, index, open_.tolist())], "gather")


def _latents_of(lists: Lists, value: Terms) -> np.ndarray:
    """Return a hash of the latents of each element."""
    found = np.zeros(value.size, U)
    rows, sets = lists.sets.union(value.row, value.own)
    found[rows] = lists.sets.latents_key(sets)
    return found


def _all_slices(lists: Lists, wanted: Wanted, operation: Operation, values: list[Terms]) -> Terms:
    """Return a slice from a start that is an input: of every element that it may mean."""
    operand, where, shape = values[0], values[1:], operation.shape
    starts = [
        [int(np.clip(np.ravel(v.value)[0], 0, n - s))] if v.is_known and v.value is not None else range(n - s + 1)
        for v, n, s in zip(where, operand.shape, shape, strict=True)
    ]
    choices = list(np.ndindex(*map(len, starts)))
    if len(choices) > 256 or len(choices) * prod(shape) > MOST:
        return _asked(lists, wanted, operation, values, where)[0]
    places = operand.places()
    every = []
    for choice in choices:
        at = tuple(slice(own[c], own[c] + s) for own, c, s in zip(starts, choice, shape, strict=True))
        every.append(operand.take(places[at], shape))
    latents = [_latents_of(lists, v) for v in every]
    if not operand.is_constant and not all(np.array_equal(own, latents[0]) for own in latents[1:]):
        return _asked(lists, wanted, operation, values, where)[0]
    inside = [v.spread(()).take(np.ones(prod(shape), int), shape) for v in where if not v.is_known]
    return lists.merged(shape, [*every, *inside], "dynamic_slice")


def _asked(
    lists: Lists, wanted: Wanted, operation: Operation, values: list[Terms], where: Sequence[Terms]
) -> list[Terms]:
    """Note the data in an index as wanted, and go on as if every element had all inputs."""
    for v in where:
        expanded = lists.sets.expand(distinct(v.own))
        wanted.inputs.update(expanded[1][expanded[1] >= lists.sets.num_latents].tolist() if expanded else ())
    return everything(lists, wanted, operation, values)


@rule("scatter", "dynamic_update_slice", "scatter-add", "scatter_add", "scatter-max", "scatter-min", "scatter-mul")
def _scatter(lists: Lists, wanted: Wanted, operation: Operation, values: list[Terms]) -> list[Terms]:
    is_slice, shape = operation.name == "dynamic_update_slice", operation.shape
    operand, updates, where = (values[0], values[1], values[2:]) if is_slice else (values[0], values[2], values[1:2])
    if not all(v.is_known for v in where):
        return _asked(lists, wanted, operation, values, where)
    one = np.arange(1, operand.size + 1, dtype=np.int32).reshape(operand.shape)
    two = np.arange(operand.size + 1, operand.size + updates.size + 1, dtype=np.int32).reshape(updates.shape)
    own = [np.asarray(v.value) for v in where]
    if is_slice:
        return [
            stacked([operand, updates]).take(
                np.asarray(operation.primitive.bind(one, two, *own, **operation.params)), shape
            )
        ]
    how = {"dimension_numbers": operation.params["dimension_numbers"], "mode": operation.params["mode"]}
    if operation.name == "scatter":
        index = np.asarray(jax.lax.scatter(one, own[0].astype(int), two, **how))
        return [stacked([operand, updates]).take(index, shape)]

    def added(u: Any) -> Any:
        return jax.lax.scatter_add(np.zeros(operand.shape), own[0].astype(int), u, **how)

    transposed = jax.linear_transpose(added, np.zeros(updates.shape))(jax.numpy.asarray(one, float))[0]
    at = np.asarray(transposed).ravel().astype(np.int64)
    kept = updates.take(np.flatnonzero(at > 0) + 1, ((at > 0).sum(),))
    if operation.name not in ("scatter-add", "scatter_add"):
        index = np.concatenate([np.arange(operand.size), at[at > 0] - 1])
        return [lists.grouped(shape, stacked([operand, kept]), index, operation.name)]
    more = lists.summed(shape, kept, at[at > 0] - 1)
    with np.errstate(over="ignore"):
        constant = mix(operand.constant, U(9)) + mix(more.constant, U(9))
    return [lists.joined(shape, [operand, more], constant)]


@rule(
    "iota",
    "platform_index",
    "random_wrap",
    "random_seed",
    "random_split",
    "random_fold_in",
    "random_unwrap",
    "random_bits",
)
def _made(lists: Lists, wanted: Wanted, operation: Operation, values: list[Terms]) -> list[Terms]:
    if operation.name in ("iota", "platform_index"):
        return [constant_of(np.asarray(operation.primitive.bind(**operation.params)))]
    return [unknown(aval.shape, word(operation.name)) for aval in operation.results]
