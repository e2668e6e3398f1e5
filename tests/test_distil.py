"""Regressions on given factors: what they minimise, and that grown functions find what plain ones miss."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from avigap import distil, families, pursuit
from avigap.distil import Targets, regress

RANDOM = np.random.default_rng(0)


def greedy(features, target, weights, number):
    """Chosen features, by a least-squares fit of every candidate at every step."""
    chosen = []
    for _ in range(number):
        errors = np.full(features.shape[1], np.inf)
        for candidate in set(range(features.shape[1])) - set(chosen):
            design = np.column_stack([np.ones(len(features)), features[:, [*chosen, candidate]]])
            root = np.sqrt(weights)
            left = (
                root * target
                - (root[:, None] * design) @ np.linalg.lstsq(root[:, None] * design, root * target, rcond=None)[0]
            )
            errors[candidate] = left @ left
        chosen.append(int(errors.argmin()))
    return chosen


def test_the_pursuit_equals_greedy_least_squares():
    features = RANDOM.standard_normal((40, 12))
    target, weights = RANDOM.standard_normal(40) + features[:, 3], RANDOM.uniform(0.1, 3, 40)
    found = pursuit.choose(jnp.asarray(features), jnp.asarray(target)[None], jnp.asarray(weights)[None], 4)
    assert found.tolist() == greedy(features, target, weights, 4)


def test_the_pursuit_never_chooses_a_combination_of_the_chosen():
    base = RANDOM.standard_normal((30, 2))
    features = jnp.asarray(np.column_stack([base[:, 0], 2 * base[:, 0] + 1, base[:, 0] - 3, base[:, 1]]))
    targets = jnp.asarray(np.stack([10 * base[:, 0] + base[:, 1]] * 2))
    found = pursuit.choose(features, targets, jnp.ones((2, 30)), 2).tolist()
    assert 3 in found and len(set(found)) == 2


def test_a_feature_of_rounding_is_neither_chosen_nor_weighed():
    """A unit whose kink is on an observation may be 1e-17 there; it must not serve as that observation's indicator."""
    features = RANDOM.standard_normal((30, 4))
    noise = np.zeros((30, 1))
    noise[7] = 1e-17
    targets = 0.1 * features.sum(1)[None] + 1e3 * (np.arange(30) == 7)
    both, weights = jnp.asarray(np.hstack([noise, features])), jnp.ones((1, 30))
    assert 0 not in pursuit.choose(both, jnp.asarray(targets), weights, 4).tolist()
    assert np.abs(np.asarray(pursuit.solve(both, jnp.asarray(targets), weights))).max() < 1e3


def test_the_head_is_weighted_least_squares():
    features, targets = RANDOM.standard_normal((50, 3)) * [1, 100, 1e-3], RANDOM.standard_normal((2, 50))
    weights = RANDOM.uniform(0.1, 3, (2, 50))
    found = np.asarray(pursuit.solve(jnp.asarray(features), jnp.asarray(targets), jnp.asarray(weights)))
    design = np.column_stack([features, np.ones(50)])
    for target, weight, own in zip(targets, weights, found.T, strict=True):
        root = np.sqrt(weight)
        expected = np.linalg.lstsq(root[:, None] * design, root * target, rcond=None)[0]
        assert own == pytest.approx(expected, rel=1e-8)


def ramps_of(inputs, targets, number, weights=None):
    """Ramps at the rows, turned so that the first row has 0: a ramp and its reverse are one."""
    ones = jnp.ones(np.shape(targets)) if weights is None else jnp.asarray(weights)
    slopes, offsets = pursuit.rises(jnp.asarray(inputs), jnp.asarray(targets), ones, number)
    assert slopes.shape == (inputs.shape[1], number) and offsets.shape == (number,)
    ramps = np.clip(inputs @ np.asarray(slopes) + np.asarray(offsets), 0, 1)
    return np.abs(ramps - ramps[0])


def test_rises_go_from_the_last_row_before_a_jump_to_the_first_after_it_the_steepest_first():
    x = np.r_[100.0, RANDOM.permutation(np.arange(101.0, 161.0))]
    targets = np.stack([np.sin(x / 10) + 5 * (x > 120.5), 0.1 * x - 9 * (x > 150.5)])
    assert ramps_of(x[:, None], targets, 2) == pytest.approx(1.0 * np.stack([x > 150.5, x > 120.5], axis=1), abs=1e-9)


def test_rises_count_by_the_weights_of_both_rows_and_rows_at_one_place_are_no_rise():
    x = np.array([0.0, 1.0, 2.0, 3.0, 3.0, 4.0, 5.0])
    targets = np.array([[0.0, 0.0, 3.0, 3.0, 50.0, 3.0, 9.0]])
    weights = np.array([[1.0, 1.0, 1.0, 1.0, 0.0, 1.0, 1e-9]])
    ramps = ramps_of(x[:, None], targets, 2, weights)
    assert ramps[:, 0] == pytest.approx(1.0 * (x > 1.5), abs=1e-9)
    assert np.isfinite(ramps).all()


def test_rises_of_two_inputs_go_across_the_line_on_which_targets_jump():
    across, along = np.meshgrid(np.linspace(-1, 1, 12), np.linspace(50, 90, 10))
    inputs = np.stack([across.ravel(), along.ravel()], axis=1)
    ramps = ramps_of(inputs, (7 * (inputs[:, 0] > 0.3) + inputs[:, 1] / 100)[None], 1)
    assert ramps[:, 0] == pytest.approx(1.0 * (inputs[:, 0] > 0.3), abs=1e-9)


def targets_of(factors, inputs, precision=None):
    size = len(inputs)
    each = np.broadcast_to(np.eye(2)[:, :, None], (2, 2, size)) if precision is None else precision
    return Targets(jnp.asarray(inputs), jnp.asarray(factors), jnp.asarray(each), jnp.asarray(float(len(inputs))))


def cost(family, function, targets):
    found = np.stack(family.infer(function, targets.inputs.T))
    error = np.asarray(targets.factors) - found
    return float(np.einsum("im,ijm,jm->", error, np.asarray(targets.precision), error) / 2)


def test_a_regression_on_a_linear_function_is_least_squares():
    """With correlated precisions that differ by row; the scale is one number for all rows."""
    family = families.build({"kind": "polynomial", "degree": 1})
    inputs, factors = RANDOM.standard_normal((60, 1)), RANDOM.standard_normal((2, 60))
    root = RANDOM.standard_normal((2, 2, 60))
    precision = np.einsum("ikm,jkm->ijm", root, root) + np.eye(2)[:, :, None]
    (found,) = regress(family, targets_of(factors, inputs, precision), jax.random.key(0), 1, 1)
    design = np.zeros((60, 2, 3))
    design[:, 0, 0], design[:, 0, 1], design[:, 1, 2] = 1, inputs[:, 0], 1
    normal = np.einsum("map,abm,mbq->pq", design, precision, design)
    best = np.linalg.solve(normal, np.einsum("map,abm,bm->p", design, precision, factors))
    assert [*np.asarray(found["loc"]), float(found["log_scale"])] == pytest.approx(best, abs=1e-4)


@pytest.mark.parametrize(("heads", "depth"), [("separate", 1), ("shared", 2)])
def test_a_grown_network_starts_near_a_jump_that_plain_ones_miss(heads, depth):
    """Few rows lie beyond the jump, as in the nonlinear model's far mode."""
    family = families.build({"kind": "mlp", "width": 8, "depth": depth, "heads": heads})
    inputs = np.concatenate([np.linspace(-3, 3, 390), np.linspace(4, 5, 10)])[:, None]
    loc = np.tanh(inputs[:, 0]) + 6 * (inputs[:, 0] > 3.5)
    targets = targets_of(np.stack([loc, 0.1 * inputs[:, 0]]), inputs)
    weights = jnp.ones((2, 400))
    keys = jax.random.split(jax.random.key(0), 4)
    grown = [cost(family, family.grow(key, targets.inputs, targets.factors, weights), targets) for key in keys]
    plain = [cost(family, family.init(key, targets.inputs), targets) for key in keys]
    assert max(grown) < 0.05 * min(plain)
    best, second = regress(family, targets, jax.random.key(0), 3, 2)
    assert cost(family, best, targets) <= cost(family, second, targets)
    assert cost(family, best, targets) < 0.5


def test_some_grown_networks_make_jumps_between_neighbours_exactly_and_some_leave_them():
    family = families.build({"kind": "mlp", "width": 8, "heads": "separate"})
    x = np.sort(RANDOM.standard_t(3, 600))
    loc = 6.0 * (x > x[570]) - 6.0 * (x < x[20])
    targets = targets_of(np.stack([loc, 0 * x]), x[:, None])
    keys, weights = jax.random.split(jax.random.key(0), 10), jnp.ones((2, 600))
    costs = np.array(
        [cost(family, family.grow(key, targets.inputs, targets.factors, weights), targets) for key in keys]
    )
    assert costs.min() < 1e-10 and costs.max() > 1e-3


def test_regressions_that_break_are_never_chosen(monkeypatch):
    family = families.build({"kind": "mlp", "width": 2})
    inputs = RANDOM.standard_normal((20, 1))
    targets = targets_of(np.concatenate([inputs, inputs], axis=1).T, inputs)
    whole, count = family.grow, iter(range(100))

    def sometimes_broken(*args):
        broken = next(count) % 2 == 0
        return jax.tree.map(lambda leaf: leaf * (jnp.nan if broken else 1.0), whole(*args))

    found = regress(family._replace(grow=sometimes_broken), targets, jax.random.key(0), 2, 2)
    assert all(np.isfinite(cost(family, each, targets)) for each in found)
    assert next(count) == distil.GROWN * 2
