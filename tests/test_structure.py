"""The pattern of interactions: what values show, structure must have."""

from functools import cache
from pathlib import Path

import fields
import graphs
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from columns import columns_of, moves_of, tables_of, view_at
from programs import ROOT
from test_condition import DATA, EXPECTED

from avigap.given import Options, read_data, wanted_by
from avigap.loading import load_program
from avigap.program.arguments import bind_program
from avigap.program.structure import interpreter
from avigap.program.structure.hashes import U, mix, word
from avigap.program.structure.interpreter import Interpreter
from avigap.program.structure.sets import Sets
from avigap.program.structure.terms import ZERO, Terms, constant_of

T = np.linspace(-1, 1, 6)
GROUP = np.array([0, 2, 1, 0, 1, 2])


def pattern(function, number, of_all=None):
    """Return pairs of the inputs z (n,) and x (n,), numbered n, n + 1, .., and the interpreter."""
    closed = jax.make_jaxpr(function)(np.zeros(number), np.full(number, 0.1))
    sets = Sets(2 * number, number)
    walk = Interpreter(sets, of_all)
    inputs = [
        Terms(
            (number,),
            np.arange(number),
            first + np.arange(number),
            mix(word(name), np.arange(number).astype(U))[None],
            ZERO,
        )
        for name, first in (("z", 0), ("x", number))
    ]
    out = walk.run(closed.jaxpr, [constant_of(c) for c in closed.consts], inputs)
    place, member = sets.expand(np.unique(np.concatenate([v.own for v in out])))
    pairs = {
        (int(a), int(b)) for k in np.unique(place) for a in member[place == k] for b in member[place == k] if a < b
    }
    return pairs, walk


def shown(function, number, points=300):
    """Return the pairs that mixed differences show, at points on both sides of steps."""
    random = np.random.default_rng(0)
    value = jax.jit(jax.vmap(lambda v: jnp.sum(function(v[:number], v[number:]).astype(float))))
    found = set()
    here, there = (random.standard_normal((points, 2 * number)) * 1.5 for _ in range(2))
    base = value(here)
    for a in range(2 * number):
        for b in range(a + 1, 2 * number):
            one, other, both = (here.copy() for _ in range(3))
            one[:, a] = both[:, a] = there[:, a]
            other[:, b] = both[:, b] = there[:, b]
            change = np.asarray(value(both) - value(one) - value(other) + base)
            if (np.abs(np.nan_to_num(change)) > 1e-9).any():
                found.add((a, b))
    return found


FUNCTIONS = {
    "sum": lambda z, x: z + 2 * x,
    "square": lambda z, x: (z - x) ** 2,
    "square_of_sum": lambda z, x: (z.sum() - x) ** 2,
    "product_of_lists": lambda z, x: (z[0] + z[1]) * (x[0] + z[2]),
    "compare": lambda z, x: jnp.where(z[:-1] > 0, z[1:], 0.0),
    "compare_data": lambda z, x: jnp.where(x > 0, z, 1.0),
    "floor": lambda z, x: jnp.floor(x) * z,
    "sign": lambda z, x: jnp.sign(z[1:] * z[:-1]),
    "cast": lambda z, x: (x * 3).astype(int) * z,
    "nan": lambda z, x: jnp.where(jnp.isnan(jnp.where(x > 1, jnp.nan, x)), 0.0, z),
    "maximum": lambda z, x: jnp.maximum(z[1:], z[:-1]),
    "abs": lambda z, x: jnp.abs(z - x),
    "clip": lambda z, x: jnp.clip(z, -1, 1) * jnp.clip(x, -1, 1),
    "reverse": lambda z, x: z[::-1] * x,
    "roll": lambda z, x: z * jnp.roll(x, 2),
    "diff": lambda z, x: jnp.diff(z) ** 2,
    "cumsum": lambda z, x: jnp.cumsum(z) * x,
    "cumprod": lambda z, x: jnp.cumprod(jnp.tanh(z) + 2),
    "cummax": lambda z, x: jax.lax.cummax(z) + x,
    "sort": lambda z, x: jnp.sort(z) * jnp.arange(len(z)),
    "sort_two_rows": lambda z, x: jnp.sort(z.reshape(2, -1), axis=1) * jnp.arange(len(z) // 2),
    "median": lambda z, x: jnp.median(x) * z,
    "argmax": lambda z, x: z * jnp.argmax(x),
    "logsumexp": lambda z, x: jax.nn.logsumexp(z.reshape(2, -1), axis=1),
    "softmax": lambda z, x: jax.nn.log_softmax(z.reshape(2, -1), axis=1)[:, 0],
    "matrix": lambda z, x: jnp.tril(jnp.ones((len(z), len(z)))) @ z * x,
    "matrix_with_zeros": lambda z, x: (jnp.eye(len(z), k=2) @ z - x) ** 2,
    "outer": lambda z, x: jnp.outer(z, x)[0],
    "quadratic_form": lambda z, x: z @ jnp.diag(jnp.ones(len(z) - 1), 1) @ z,
    "gather": lambda z, x: z[GROUP] * x,
    "scatter_add": lambda z, x: (jnp.zeros(3).at[GROUP].add(z)) ** 2,
    "scatter_set": lambda z, x: z.at[jnp.array([1, 3])].set(x[:2]) ** 2 * 2.0,
    "segment_max": lambda z, x: jax.ops.segment_max(z, GROUP, 3),
    "dynamic_slice": lambda z, x: jax.lax.dynamic_slice(z, (2,), (3,)) * x[:3],
    "convolve": lambda z, x: (jnp.convolve(z, jnp.ones(3) / 3, "same") - x) ** 2,
    "convolve_both": lambda z, x: jnp.convolve(z, x[:2], "valid"),
    "cond": lambda z, x: jax.lax.cond(x[0] > 0, lambda: z[1] * 2.0, lambda: z[2]),
    "switch_known": lambda z, x: jax.lax.switch(1, [lambda: z[0] * x[0], lambda: z[1] * x[1]]),
    "while_known": lambda z, x: jax.lax.while_loop(lambda s: s[0] < 3, lambda s: (s[0] + 1, s[1] * z[0]), (0, x[0]))[1],
    "fori": lambda z, x: jax.lax.fori_loop(0, 3, lambda k, s: s + z[k] * x[k], 0.0),
    "cholesky": lambda z, x: jnp.linalg.cholesky(jnp.eye(2) * 3 + jnp.outer(jnp.tanh(x[:2]), jnp.tanh(x[:2]))) @ z[:2],
    "solve": lambda z, x: jax.scipy.linalg.solve_triangular(jnp.tril(jnp.ones((len(z),) * 2)), z, lower=True) ** 2,
    "solve_upper": lambda z, x: jax.scipy.linalg.solve_triangular(jnp.triu(jnp.ones((len(z),) * 2)), z) ** 2,
    "det": lambda z, x: jnp.linalg.slogdet(jnp.diag(jnp.exp(z[:2])) + 0.1)[1],
    "lgamma": lambda z, x: jax.lax.lgamma(jnp.exp(z)) * x,
    "stop_gradient": lambda z, x: jax.lax.stop_gradient(x) * z,
    "custom_jvp": lambda z, x: jax.nn.softplus(z + x),
    "einsum": lambda z, x: jnp.einsum("ij,ij->i", z.reshape(2, -1), x.reshape(2, -1)),
    "mod": lambda z, x: (x * 2 % 1.5) * z,
    "and": lambda z, x: ((z[1:] > 0) & (z[:-1] > 0)) * 1.0,
}  # fmt: skip
TOO_WIDE = {"sort", "sort_two_rows", "argmax", "cond", "cholesky", "det", "solve", "solve_upper", "cumprod", "median"}
"""Functions of which structure has pairs that no value shows, at the points that are tried."""


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_values_show_structure_has(name):
    """Two routes to the pairs that interact: the jaxpr, and mixed differences at 300 points."""
    own, walk = pattern(FUNCTIONS[name], 6)
    found = shown(FUNCTIONS[name], 6)
    assert found <= own, found - own
    assert not walk.wanted.inputs
    if name not in TOO_WIDE:
        assert found == own, own - found


def walk_of(z, x):
    def step(carry, now):
        return now[0], -((now[0] - carry) ** 2) - (now[1] - now[0]) ** 2

    return jax.lax.scan(step, 0.0, (z, x))[1]


def variance(z, x):
    def step(carry, now):
        after = 0.9 * carry + 0.1 * now[1] ** 2
        return after, -(now[0] ** 2) / after

    return jax.lax.scan(step, 1.0, (z, x))[1]


def summing(z, x):
    return jax.lax.scan(lambda total, now: (total - (now[0] - now[1]) ** 2, None), 0.0, (z, x))[0]


def summing_a_variance(z, x):
    def step(carry, now):
        total, scale = carry
        after = 0.9 * scale + 0.1 * now[1] ** 2
        return (total - now[0] ** 2 / after, after), None

    return jax.lax.scan(step, (0.0, 1.0), (z, x))[0][0]


def rotating(z, x):
    def step(carry, now):
        after = jnp.concatenate([(carry[2] * 0.5 + now[1])[None], carry[:2]])
        return after, -((now[0] - after[0]) ** 2)

    return jax.lax.scan(step, jnp.zeros(3), (z, x))[1]


def delayed(z, x):
    def step(carry, now):
        return jnp.concatenate([carry[1:], now[0][None]]), -((now[0] - carry[0]) ** 2)

    return jax.lax.scan(step, jnp.zeros(12), (z, x))[1]


def backwards(z, x):
    return jax.lax.scan(lambda carry, now: (now[0], (now[0] - carry) ** 2), 0.0, (z, x), reverse=True)[1]


def counting(z, x):
    def step(carry, now):
        number, before = carry
        return (number + 1, z[number]), (now - before) ** 2

    return jax.lax.scan(step, (0, 0.0), x)[1]


@pytest.mark.parametrize(
    "loop", [walk_of, variance, summing, summing_a_variance, rotating, delayed, backwards, counting]
)
def test_a_loop_as_a_whole_is_that_of_its_steps(loop, monkeypatch):
    """Two routes: one step after the other, and all side by side."""
    by_steps, _ = pattern(loop, 40)
    monkeypatch.setattr(interpreter, "STEPS", 4)
    monkeypatch.setattr(interpreter, "MOST_STEPS", 4)
    assert pattern(loop, 40)[0] == by_steps


def test_an_operation_without_a_rule_is_named():
    own, walk = pattern(lambda z, x: jnp.fft.fft(z).real * x, 4)
    assert walk.wanted.dense and {(a, b) for a in range(4) for b in range(a + 1, 4)} <= own


def test_an_index_that_matters_is_wanted_as_a_constant():
    _, walk = pattern(lambda z, x: z[(x > 0).astype(int)], 4)
    assert walk.wanted.inputs == {4, 5, 6, 7}


@pytest.mark.parametrize(
    ("function", "number"),
    [
        (lambda z, x: (z - x.mean()) ** 2, 1),
        (lambda z, x: (z - jnp.median(x)) * x, 1),
        (lambda z, x: (x - x.mean()) / jnp.sqrt(((x - x.mean()) ** 2).mean()) * z, 2),
        (variance, 0),
        (lambda z, x: jnp.tril(jnp.ones((40, 40))) @ x * z, 0),
        (lambda z, x: x.reshape(20, 2).sum(axis=1) * z[:20], 0),
    ],
)
def test_numbers_that_all_positions_have_in_common_are_cut(function, number):
    """A mean, a median and a variance are; a carry, weighted sums for each position, and sums of rows are not."""
    own, walk = pattern(function, 40, lambda inputs: len(inputs) >= 36 and bool((inputs >= 40).all()))
    assert len({id(cut.equation) for cut in walk.cuts}) >= number and bool(walk.cuts) == bool(number)
    if number:
        assert all(b - a == 40 for a, b in own)


EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
SKIPPED = {"mixture"}  # discrete latents


@cache
def bound(name):
    if name.endswith(".py"):
        function, local = load_program(f"{ROOT}/examples/{name}:program")
        data = read_data(Path(f"{ROOT}/examples/{name}").with_suffix(".csv"), wanted_by(function, {}), Options())[0]
        return bind_program(function, {}, data, 6, local)
    if hasattr(graphs, name):
        return bind_program(getattr(graphs, name), {}, DATA.get(name, {}), 6)
    function, local = load_program(name)
    return bind_program(function, {}, {}, 6, local)


@pytest.mark.parametrize("name", [*(name for name in EXPECTED if name not in SKIPPED), *(p.name for p in EXAMPLES)])
def test_what_values_show_of_a_program_structure_has(name):
    """Every unit and every row of every argument, whole numbers and booleans too, is moved by itself."""
    program = bound(name)
    rows = program.num_rows
    view = view_at(program, min(rows, 12) if rows else 8 if program.count_name else None)
    own = view.pattern(cut=False)
    found, have = columns_of(view, moves_of(view, own), own.concrete), tables_of(view, own)
    assert not (found.units & ~have.units).any()
    for argument, table in found.rows.items():
        assert not (table & ~have.rows[argument]).any(), argument
    number = sum(int(table.sum()) for table in (have.units, *have.rows.values()))
    assert number and sum(int(table.sum()) for table in (found.units, *found.rows.values())) >= 0.25 * number
    assert not own.dense


def test_arguments_that_cannot_be_followed_are_constants():
    program = bind_program(fields.lungs, {}, {"fvc_obs": T, "patient_code": GROUP, "weeks": T}, 6)
    assert view_at(program, 6).pattern().concrete == ("patient_code",)


POINTS = 1000
"""Points at which what is proved is tried to be refuted."""


@pytest.mark.parametrize("name", [*(name for name in EXPECTED if name not in SKIPPED), *(p.name for p in EXAMPLES)])
def test_what_is_proved_is_not_refuted(name):
    """A random half of the units moves, with all rows that no other needs: the gradients of the others are the same."""
    program = bound(name)
    rows = program.num_rows
    view = view_at(program, min(rows, 12) if rows else 8 if program.count_name else None)
    own = view.pattern()
    moves, random = moves_of(view, own), np.random.default_rng(0)
    gradient = jax.jit(
        jax.vmap(lambda flat, data, held: moves._derivatives(flat, data, held, 0 * flat, tangents(moves, data))[0])
    )
    (point, *_), (other, *_) = view.points(0, 1)
    held = moves.evaluator.held(point.latents, point.data)
    start = moves.flat(point.latents)
    flats, datas, still = [], [], []
    for _ in range(POINTS):
        half = random.random(len(np.unique(own.group))) < 0.5
        moving = half[own.group]  # of coupled units all or none
        base = np.where(random.random() < 0.5, 1.0, 3.0) * random.standard_normal(len(start))
        chosen = np.append(moving, False)[moves.unit_of]
        flats += [base, np.where(chosen, random.standard_normal(len(start)), base)]
        data = {n: np.asarray(c) for n, c in point.data.items()}
        datas += [data, moved_rows(view, own, data, other.data, moving)]
        still.append(~moving)
    before, after = [], []
    for first in range(0, 2 * POINTS, 250):
        some = {n: np.stack([own[n] for own in datas[first : first + 250]]) for n in datas[0]}
        many = [np.broadcast_to(np.asarray(h), (250, *np.shape(h))) for h in held]
        out = np.asarray(gradient(np.stack(flats[first : first + 250]), some, many))
        before.append(out[::2])
        after.append(out[1::2])
    before, after = np.concatenate(before), np.concatenate(after)
    unmoved = np.append(np.stack(still), np.zeros((POINTS, 1), bool), axis=1)[:, moves.unit_of]
    finite = np.isfinite(before) & np.isfinite(after)
    assert finite.any() and np.all((np.abs(before - after) <= 1e-9 * (1 + np.abs(before)))[unmoved & finite])


def tangents(moves, data):
    return {name: 0 * data[name] for name in moves.floats}


def moved_rows(view, pattern, data, others, moving):
    """Return data in which the rows that units which stay do not need are those of others, one argument at a time."""
    found = dict(data)
    for name in (name for name in view.inputs.names if name not in pattern.concrete):
        needs = pattern.needs[name]
        kept = np.unique(needs[~moving[needs[:, 0]], 1])
        row_of = view.inputs.rows_of[name]
        found[name] = np.where((row_of >= 0) & ~np.isin(row_of, kept), np.asarray(others[name]), data[name])
    return found
