"""Which interactions of a structure values show: entries of Hessians, changes of gradients, and mixed differences.

What values show is there; what they do not show may be. A value counts only where the log joint is finite and all
observed values lie in the support of their distributions: rows of data move together with others' rows, where each by
itself is legal. Entries of Hessians are exact products of derivatives: one counts if it is not zero, and stays the same
when the point is moved by a ten-millionth, which rounding does not. So units do not matter.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal
from jax.interpreters import partial_eval

from avigap.adam import ONCE
from avigap.condition.pattern import Inputs, Pattern
from avigap.program.structure.hashes import ranks
from avigap.program.structure.interpreter import CALLS
from avigap.program.structure.joint import TracedJoint

NEAR, STABLE = 1e-7, 1e-3
"""Relative distance of a point at which an entry is computed again, and relative change up to which it counts."""

CHANGED = 1e-9
"""Change of a gradient relative to its size that is more than rounding."""

MAX_COLOURS, FEW_COLOURS = 64, 16
"""Groups of units, or of rows, that are moved one after the other, at most, if numbers modulo a period are; if not."""

SPREAD, TRIES = (1.0, 2.5, 6.0, 16.0), 24
"""Standard deviations of the values to which two units are moved for mixed differences, and how often they are."""

BATCH = 3
"""Points at which derivatives are computed at once."""

RUN = 6
"""Units in each of three runs that are looked at, of a program with a site for each."""

MANY_EQUATIONS = 2500
"""Equations of a log joint up to which all of it is computed; of a longer one, sites of some of the units are."""


class Point(NamedTuple):
    """Latents on the unconstrained space, and data, at which a log joint is finite."""

    latents: Mapping[str, np.ndarray]
    data: Mapping[str, np.ndarray]


class Evaluator:
    """A log joint as numbers, with what all positions have in common held fixed.

    Parameters
    ----------
    joint
        The log joint.
    common
        Equations whose results are held fixed.
    outputs
        Which of its results are summed; all by default.
    """

    def __init__(self, joint: TracedJoint, common: Sequence[Any] = (), outputs: np.ndarray | None = None) -> None:
        self.joint, self.common = joint, {id(eqn) for eqn in common}
        jaxpr = joint.closed.jaxpr
        if outputs is not None:
            jaxpr, _ = partial_eval.dce_jaxpr(jaxpr, list(map(bool, outputs)), instantiate=True)
        self.jaxpr, self.consts = jaxpr, joint.closed.consts
        self.order = [name for name, _ in joint.inputs]

    def _arguments(self, latents: Mapping[str, Any], data: Mapping[str, Any]) -> list[Any]:
        return [latents[n] if n in self.joint.latents else data[n] for n in self.order]

    def terms(
        self, latents: Mapping[str, Any], data: Mapping[str, Any], held: Sequence[Any] | None = None
    ) -> list[Any]:
        """Return the unsummed log densities of the sites."""
        replaced = None if held is None else iter(held)
        return self._run(self.jaxpr, self.consts, self._arguments(latents, data), replaced, None)

    def held(self, latents: Mapping[str, Any], data: Mapping[str, Any]) -> list[Any]:
        """Return the numbers that all positions have in common."""
        found: list[Any] = []
        if self.common:
            self._run(self.jaxpr, self.consts, self._arguments(latents, data), None, found)
        return found

    def total(self, latents: Mapping[str, Any], data: Mapping[str, Any], held: Sequence[Any] | None = None) -> Any:
        """Return the log joint in nats."""
        return sum(map(jnp.sum, self.terms(latents, data, held)), jnp.zeros(()))

    def _run(self, jaxpr: Any, consts: Sequence[Any], arguments: Sequence[Any], held: Any, found: Any) -> list[Any]:
        values: dict[Any, Any] = dict(zip(jaxpr.constvars, consts, strict=True))
        values.update(zip(jaxpr.invars, arguments, strict=True))

        def of(atom: Any) -> Any:
            return atom.val if isinstance(atom, Literal) else values[atom]

        for eqn in jaxpr.eqns:
            own = list(map(of, eqn.invars))
            if id(eqn) in self.common and held is not None:
                out: Any = [next(held) for _ in eqn.outvars]
            elif eqn.primitive.name in CALLS and self._has_common(eqn):
                inner = eqn.params[CALLS[eqn.primitive.name]]
                closed, more = (inner.jaxpr, inner.consts) if hasattr(inner, "jaxpr") else (inner, [])
                out = self._run(closed, more, own, held, found)
            else:
                params = eqn.primitive.get_bind_params(eqn.params)
                functions, params = params if isinstance(params, tuple) else ((), params)  # JAX before 0.10
                out = eqn.primitive.bind(*functions, *own, **params)
                out = out if eqn.primitive.multiple_results else [out]
            if id(eqn) in self.common and found is not None:
                found.extend(out)
            values.update(zip(eqn.outvars, out, strict=True))
        return list(map(of, jaxpr.outvars))

    def _has_common(self, eqn: Any) -> bool:
        inner = eqn.params.get(CALLS.get(eqn.primitive.name, ""))
        if inner is None or not self.common:
            return False
        return any(id(e) in self.common or self._has_common(e) for e in getattr(inner, "jaxpr", inner).eqns)


class Shown(NamedTuple):
    """Which of the interactions of a pattern values show.

    Attributes
    ----------
    pairs, compared : (P,) of the pairs of units: which are shown, and which were looked at
    needs, looked : the same of the rows that units depend on, for each argument
    at : (P,) point at which a pair shows; -1 if it does not
    points : number of points that count
    """

    pairs: np.ndarray
    compared: np.ndarray
    needs: Mapping[str, np.ndarray]
    looked: Mapping[str, np.ndarray]
    at: np.ndarray
    points: int


class Moves:
    """Gradients of a log joint, how they change with latents and with data, and which data are legal."""

    def __init__(self, inputs: Inputs, pattern: Pattern, checked: TracedJoint) -> None:
        joint = inputs.joint
        self.inputs, self.pattern = inputs, pattern
        self.sample = _sample(inputs, pattern)
        outputs = None if self.sample is None else _outputs_of(pattern, self.sample)
        self.evaluator = Evaluator(joint, pattern.cuts, outputs)
        self.names = sorted(joint.latents)
        self.shapes = [joint.latents[name].shape for name in self.names]
        self.sizes = [int(np.prod(shape)) for shape in self.shapes]
        unit_of = inputs.places.unit_of
        owners = [
            unit_of[n].ravel() if n in unit_of else np.full(s, -1) for n, s in zip(self.names, self.sizes, strict=True)
        ]
        self.unit_of = np.concatenate(owners) if owners else np.zeros(0, int)
        self.rank_of = _places_in_units(inputs, self.names, self.sizes, self.unit_of)
        self.floats = [n for n, v in {**joint.data, **joint.outside}.items() if v.dtype.kind == "f"]
        self._checked = Evaluator(checked, (), outputs)
        self.kept = np.ones(len(joint.sites), bool) if outputs is None else outputs
        self._moved = jax.jit(jax.vmap(self._derivatives), compiler_options=ONCE)
        self._legal = jax.jit(jax.vmap(self._checked_terms), compiler_options=ONCE)
        self._value: Any = None
        self._held = jax.jit(self.evaluator.held, compiler_options=ONCE)

    def gradient(self, point: Point) -> np.ndarray:
        """Return the gradient (L,) at a point."""
        flat = self.flat(point.latents)
        return derivatives_at(self, point, flat[None], [{}], [np.zeros_like(flat)], [{}])[0][0]

    def flat(self, latents: Mapping[str, Any]) -> np.ndarray:
        """Return latents as one vector (L,)."""
        return np.concatenate([np.zeros(0), *(np.ravel(latents[name]) for name in self.names)])

    def _latents(self, flat: Any) -> dict[str, Any]:
        ends = np.cumsum(self.sizes)[:-1]
        return {n: p.reshape(s) for n, p, s in zip(self.names, jnp.split(flat, ends), self.shapes, strict=True)}

    def _derivatives(self, flat: Any, data: Any, held: Any, direction: Any, tangent: Any) -> tuple[Any, Any]:
        fixed = {name: value for name, value in data.items() if name not in self.floats}

        def gradient(flat: Any, moving: Any) -> Any:
            return jax.grad(lambda own: self.evaluator.total(self._latents(own), {**fixed, **moving}, held))(flat)

        moving = {name: data[name] for name in self.floats}
        out: tuple[Any, Any] = jax.jvp(gradient, (flat, moving), (direction, tangent))
        return out

    def _checked_terms(self, flat: Any, data: Any) -> list[Any]:
        return [jnp.isfinite(term) for term in self._checked.terms(self._latents(flat), data)]

    def derivatives(
        self, point: Point, flats: np.ndarray, datas: Mapping[str, np.ndarray], directions: np.ndarray, tangents: Any
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return gradients (C, L) at C points, and their derivatives along directions and tangents."""
        held = self._held(point.latents, point.data)
        many = [np.broadcast_to(np.asarray(own), (len(flats), *np.shape(own))) for own in held]
        found = self._moved(flats, dict(datas), many, directions, tangents)
        return np.asarray(found[0]), np.asarray(found[1])

    def differ(self, points: Sequence[Point], one: int, other: int) -> bool:
        """Say whether a mixed difference of the log joint in two units is not zero, or the support tells it so."""
        mine = [np.isin(self.unit_of, moved) for moved in ((), (one,), (other,), (one, other))]
        random = np.random.default_rng(one * 7919 + other)
        for point in points:
            start = self.flat(point.latents)
            corners = np.tile(start, (4 * TRIES, 1))
            for number in range(TRIES):
                end = SPREAD[number % len(SPREAD)] * random.standard_normal(len(start))
                for row, chosen in enumerate(mine):
                    corners[4 * number + row, chosen] = end[chosen]
            value, size = (own.reshape(TRIES, 4) for own in self.values(corners, point))
            empty = value == -np.inf
            count = empty.sum(axis=1)
            odd = (count == 1) | ((count == 2) & (empty[:, 0] == empty[:, 3]))
            if (odd & (np.isfinite(value) | empty).all(axis=1)).any():
                return True
            with np.errstate(invalid="ignore"):
                change = np.abs(value @ np.array([1.0, -1.0, -1.0, 1.0]))
                if (np.isfinite(value).all(axis=1) & (change > CHANGED * (1 + size.max(axis=1)))).any():
                    return True
        return False

    def mixed_derivative(self, point: Point, one: int, other: int) -> tuple[float, str, str]:
        """Return the largest mixed derivative of two units in nats, and the sites of the two elements."""
        flat = self.flat(point.latents)
        sites = np.repeat(self.names, self.sizes)
        mine, best = np.flatnonzero(self.unit_of == one), (0.0, "", "")
        for element in np.flatnonzero(self.unit_of == other).tolist():
            direction = np.zeros_like(flat)
            direction[element] = 1.0
            column = derivatives_at(self, point, flat[None], [{}], [direction], [{}])[1][0][mine]
            at = int(np.argmax(np.abs(np.nan_to_num(column))))
            if not best[1] or abs(np.nan_to_num(column[at])) > abs(best[0]):
                best = float(np.nan_to_num(column[at])), str(sites[mine[at]]), str(sites[element])
        return best

    def values(self, flats: np.ndarray, point: Point) -> tuple[np.ndarray, np.ndarray]:
        """Return the log joint in nats at latents (C, L) and the data of a point, and the sum of its absolute terms."""
        if self._value is None:
            self._value = jax.jit(jax.vmap(self._size, (0, None, None)), compiler_options=ONCE)
        held = self._held(point.latents, point.data)
        value, size = self._value(flats, dict(point.data), held)
        return np.asarray(value), np.asarray(size)

    def _size(self, flat: Any, data: Any, held: Any) -> tuple[Any, Any]:
        terms = self.evaluator.terms(self._latents(flat), data, held)
        return sum(map(jnp.sum, terms), jnp.zeros(())), sum((jnp.abs(t).sum() for t in terms), jnp.zeros(()))

    def by_unit(self, values: np.ndarray) -> np.ndarray:
        """Return the largest of the elements (C, L) of each unit, (C, U)."""
        local = np.flatnonzero(self.unit_of >= 0)
        order = local[np.argsort(self.unit_of[local], kind="stable")]
        starts = np.searchsorted(self.unit_of[order], np.arange(self.inputs.num_units))
        return np.asarray(np.maximum.reduceat(values[:, order], starts, axis=1))

    def legal_rows(self, flat: np.ndarray, data: Mapping[str, np.ndarray], name: str) -> np.ndarray:
        """Return the rows of an argument that no site finds outside of its support, at a point."""
        ok = [np.asarray(own)[0] for own in self._legal(flat[None], {n: np.asarray(v)[None] for n, v in data.items()})]
        legal = np.ones(self.inputs.num_rows, bool)
        first = self.inputs.first[name]
        elements = [own for own, keep in zip(self.pattern.elements or [], self.kept, strict=False) if keep]
        for own, (element, member) in zip(ok, elements, strict=False):
            bad = ~own.ravel()[element] & (member >= first) & (member < first + self.inputs.num_rows)
            legal[member[bad] - first] = False
        return legal


def _places_in_units(inputs: Inputs, names: Sequence[str], sizes: Sequence[int], unit_of: np.ndarray) -> np.ndarray:
    """Return the place of each element among those of its unit, by the names of the sites of like units."""
    label_of = inputs.places.label_of
    labels = sorted(set(label_of.values()))
    label = [np.full(s, labels.index(label_of[n]) if n in label_of else -1) for n, s in zip(names, sizes, strict=True)]
    order = np.lexsort((np.concatenate([np.zeros(0, int), *label]), unit_of))
    found = np.empty(len(order), np.int64)
    found[order] = ranks(unit_of[order])
    return found


def _sample(inputs: Inputs, pattern: Pattern) -> np.ndarray | None:
    """Return which units (U,) are looked at; None for all, unless the log joint has a site for each of many units.

    They are runs of neighbours, at both ends and in the middle.
    """
    if len(inputs.joint.closed.jaxpr.eqns) <= MANY_EQUATIONS or pattern.elements is None:
        return None
    sample = np.zeros(inputs.num_units, bool)
    for start in np.linspace(0, max(inputs.num_units - RUN, 0), 3).astype(int):
        sample[start : start + RUN] = True
    return sample


def _outputs_of(pattern: Pattern, sample: np.ndarray) -> np.ndarray:
    """Return which results of the log joint have some of the units."""
    units = np.append(sample, False)
    return np.array([bool(units[np.minimum(m, len(sample))].any()) for _, m in pattern.elements or []])


def colours_of(one: np.ndarray, other: np.ndarray, number: int, apart: np.ndarray | None = None) -> np.ndarray:
    """Return colours (n,) of the ``other`` of pairs so that no ``one`` has two of the same colour; -1 for none.

    ``apart`` are pairs that may not have the same colour. Colours are numbers modulo a period, if there is one.
    """
    for period in range(1, MAX_COLOURS + 1):
        colours = np.arange(number) % period
        key = one.astype(np.int64) * period + colours[other]
        if len(np.unique(key)) == len(key) and (apart is None or (colours[apart[:, 0]] != colours[apart[:, 1]]).all()):
            return colours
    return _greedy(one, other, number, apart)


def _greedy(one: np.ndarray, other: np.ndarray, number: int, apart: np.ndarray | None) -> np.ndarray:
    """Return colours of some of the ``other``, one by one in a random order."""
    colours, order = np.full(number, -1), np.random.default_rng(0).permutation(number)
    by_other: dict[int, list[int]] = {}
    if len(one) > 400_000:
        few = order[:FEW_COLOURS]
        colours[few] = np.arange(len(few))
        return colours
    for a, b in zip(one.tolist(), other.tolist(), strict=True):
        by_other.setdefault(b, []).append(a)
    near: dict[int, list[int]] = {}
    for a, b in [] if apart is None else apart.tolist():
        near.setdefault(a, []).append(b)
        near.setdefault(b, []).append(a)
    taken: dict[int, set[int]] = {}
    for b in order.tolist():
        used = set().union(*(taken.get(a, set()) for a in by_other.get(b, ())))
        used |= {int(colours[c]) for c in near.get(b, ())}
        colour = next((c for c in range(FEW_COLOURS) if c not in used), -1)
        colours[b] = colour
        for a in by_other.get(b, ()) if colour >= 0 else ():
            taken.setdefault(a, set()).add(colour)
    return colours


def shown_by(moves: Moves, points: Sequence[Point], others: Sequence[Point], seed: int = 0) -> Shown:
    """Return which interactions of a pattern values show.

    Parameters
    ----------
    points, others
        K points each: rows of data are moved from the one to the other.
    """
    pattern, inputs = moves.pattern, moves.inputs
    rng = np.random.default_rng(seed)
    pairs = pattern.pairs if pattern.pairs is not None else np.zeros((0, 2), int)
    both = np.concatenate([pairs, pairs[:, ::-1]])
    looked_at = np.ones(inputs.num_units, bool) if moves.sample is None else moves.sample
    inside = looked_at[both[:, 0]]
    unit_colours = colours_of(both[inside, 0], both[inside, 1], inputs.num_units, pairs)
    seen, at = np.zeros(len(both), bool), np.full(len(both), -1)
    needs = {n: own for n, own in pattern.needs.items() if own is not None and n not in pattern.concrete}
    some = {n: looked_at[own[:, 0]] for n, own in needs.items()}
    colours = {n: colours_of(own[some[n], 0], own[some[n], 1], inputs.num_rows) for n, own in needs.items()}
    rows = {name: np.zeros(len(own), bool) for name, own in needs.items()}
    compared = (unit_colours[both[:, 1]] >= 0) & inside
    looked = {n: some[n] & (colours[n][own[:, 1]] >= 0) for n, own in needs.items()}
    count = 0
    for number, (point, other) in enumerate(zip(points, others, strict=True)):
        flat = moves.flat(point.latents)
        gradient, _ = derivatives_at(moves, point, flat[None], [{}], [np.zeros_like(flat)], [{}])
        if not np.isfinite(gradient).all():
            continue
        count += 1
        hit = _units(moves, point, flat, unit_colours, both, rng) & inside
        at[hit & ~seen] = number
        seen |= hit
        for name, own in needs.items():
            rows[name] |= _rows(moves, point, other, flat, name, own, colours[name], rng) & looked[name]
    half = len(pairs)
    first = np.where(at[:half] >= 0, at[:half], at[half:])
    return Shown(seen[:half] | seen[half:], compared[:half] | compared[half:], rows, looked, first, count)


def derivatives_at(
    moves: Moves,
    point: Point,
    flats: np.ndarray,
    datas: Sequence[Mapping[str, np.ndarray]],
    directions: Sequence[np.ndarray],
    tangents: Sequence[Mapping[str, np.ndarray]],
) -> tuple[np.ndarray, np.ndarray]:
    """Return gradients and derivatives at points that differ from one in some of the data."""
    lacking = BATCH - len(flats)  # of one size, so that it is compiled once
    flats = np.concatenate([flats, np.tile(flats[:1], (lacking, 1))])
    datas, directions, tangents = ([*own, *[own[0]] * lacking] for own in (datas, directions, tangents))
    base = {**point.data}
    wide = {n: np.stack([np.asarray(own.get(n, base[n])) for own in datas]) for n in base}
    zero = {n: np.zeros_like(np.asarray(base[n], float)) for n in moves.floats}
    along = {n: np.stack([own.get(n, zero[n]) for own in tangents]) for n in moves.floats}
    return moves.derivatives(point, flats, wide, np.stack(directions), along)


def stable_units(moves: Moves, here: np.ndarray, near: np.ndarray) -> np.ndarray:
    """Say which units have an element whose derivative is not zero, and stays the same near a point."""
    both = np.isfinite(here) & np.isfinite(near) & (here != 0)
    return moves.by_unit(both & (np.abs(here - np.where(both, near, 0)) <= STABLE * np.abs(here)))


def near_to(flat: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a point near to one."""
    return np.asarray(flat * (1 + NEAR * rng.standard_normal(flat.shape)))


def _units(
    moves: Moves, point: Point, flat: np.ndarray, colours: np.ndarray, both: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Return which pairs of units have an entry of the Hessian, each by the second."""
    used = np.unique(colours[both[:, 1]]) if len(both) else np.zeros(0, int)
    found = np.zeros(len(both), bool)
    near = near_to(flat, rng)
    of_element = np.where(moves.unit_of >= 0, colours[moves.unit_of], -2)
    for colour in used[used >= 0].tolist():
        direction = np.where(of_element == colour, rng.uniform(0.5, 1.5, flat.shape), 0.0)
        out = derivatives_at(moves, point, np.stack([flat, near]), [{}, {}], [direction] * 2, [{}, {}])[1]
        shows = stable_units(moves, out[:1], out[1:])[0]
        own = colours[both[:, 1]] == colour
        found[own] = shows[both[own, 0]]
    return found


def _rows(
    moves: Moves,
    point: Point,
    other: Point,
    flat: np.ndarray,
    name: str,
    own: np.ndarray,
    colours: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return which units depend on rows of an argument."""
    row_of = moves.inputs.rows_of[name]
    base, target = np.asarray(point.data[name]), np.asarray(other.data[name])
    shown = np.zeros(len(own), bool)
    used = np.unique(colours[own[:, 1]]) if len(own) else np.zeros(0, int)
    near = near_to(flat, rng)
    for colour in used[used >= 0].tolist():
        chosen = np.append(colours == colour, False)[row_of]  # elements without a row are the last
        moved = np.where(chosen, target, base)
        legal = moves.legal_rows(flat, {**point.data, name: moved}, name)
        moved = np.where(chosen & np.append(legal, False)[row_of], target, base)
        tangent = {name: np.where(chosen, rng.uniform(0.5, 1.5, base.shape), 0.0)} if name in moves.floats else {}
        out, along = derivatives_at(
            moves,
            point,
            np.stack([flat, near, flat]),
            [{}, {}, {name: moved}],
            [np.zeros_like(flat)] * 3,
            [tangent, tangent, {}],
        )
        shows = stable_units(moves, along[:1], along[1:2])[0]
        size = np.abs(out[0]) + np.abs(out[2])
        shows |= moves.by_unit((np.abs(out[2] - out[0]) > CHANGED * size)[None] & np.isfinite(size))[0]
        here = colours[own[:, 1]] == colour
        shown[here] |= shows[own[here, 0]]
    return shown
