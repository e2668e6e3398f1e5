"""Gauss-Hermite rules, and Stein's identities that turn values into derivatives."""

from math import comb, factorial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avigap.quadrature import gauss_hermite_rule, stein_table, tensor_rule

locs = st.floats(-2, 2)
scales = st.floats(0.2, 1.5)


def normal_moment(power):
    return 0.0 if power % 2 else factorial(power) / (2 ** (power // 2) * factorial(power // 2))


def power_mean(power, loc, scale):
    """E[z^power] under N(loc, scale^2); zero for a negative power, as a derivative's factor makes it."""
    if power < 0:
        return 0.0
    return sum(comb(power, j) * loc ** (power - j) * scale**j * normal_moment(j) for j in range(power + 1))


def power_derivatives(p, loc, scale):
    """Value, gradient and upper Hessian of E[z^p] in (loc, log scale); d/d(variance) is half the second derivative."""
    m = [power_mean(p - k, loc, scale) * np.prod([p - i for i in range(k)]) for k in range(5)]
    variance = scale**2
    return m[0], m[1], variance * m[2], m[2], variance * m[3], 2 * variance * m[2] + variance**2 * m[4]


def wave_derivatives(frequency, loc, scale):
    """The same of E[exp(frequency z)], frequency real or imaginary."""
    value = np.exp(frequency * loc + (frequency * scale) ** 2 / 2)
    a, b = frequency, (frequency * scale) ** 2
    return tuple(value * c for c in (1, a, b, a**2, a * b, 2 * b + b**2))


def by_table(table, values, scale):
    """Every functional of the table for one coordinate's values."""
    return table.local @ values * scale ** -table.orders[:, -1].astype(float)


@pytest.mark.parametrize("num_nodes", [1, 2, 3, 8, 32, 128])
def test_weights_are_positive_and_sum_to_one(num_nodes):
    nodes, weights = gauss_hermite_rule(num_nodes)
    assert len(nodes) == num_nodes and (weights > 0).all()
    assert weights.sum() == pytest.approx(1, abs=1e-14)


@pytest.mark.parametrize("num_nodes", [1, 2, 3, 8])
def test_a_rule_is_exact_up_to_degree_two_j_minus_one_and_no_further(num_nodes):
    nodes, weights = gauss_hermite_rule(num_nodes)
    for power in range(2 * num_nodes):
        assert weights @ nodes**power == pytest.approx(normal_moment(power), rel=1e-11, abs=1e-9)
    assert abs(weights @ nodes ** (2 * num_nodes) - normal_moment(2 * num_nodes)) > 0.5


@pytest.mark.parametrize("dimension", [0, 1, 2, 3])
def test_a_tensor_rule_integrates_products_of_powers(dimension):
    nodes, weights = tensor_rule(3, dimension)
    assert nodes.shape == (3**dimension, dimension) and weights.sum() == pytest.approx(1, abs=1e-14)
    powers = np.array([4, 2, 1])[:dimension]
    expected = np.prod([normal_moment(p) for p in powers])
    assert weights @ np.prod(nodes**powers, axis=1) == pytest.approx(expected, abs=1e-12)


@given(st.integers(0, 8), locs, scales)
@settings(max_examples=40, deadline=None)
def test_stein_identities_hold_for_powers(power, loc, scale):
    table = stein_table(12, 3, 0)
    found = by_table(table, (loc + scale * table.local_nodes) ** power, scale)
    assert found == pytest.approx(np.array(power_derivatives(power, loc, scale)), rel=1e-9, abs=1e-8)


@given(st.floats(-1, 1), locs, scales)
@settings(max_examples=40, deadline=None)
def test_stein_identities_hold_for_exponentials_and_sines(rate, loc, scale):
    table = stein_table(32, 3, 0)
    z = loc + scale * table.local_nodes
    assert by_table(table, np.exp(rate * z), scale) == pytest.approx(
        np.array(wave_derivatives(rate, loc, scale)), rel=1e-9, abs=1e-9
    )
    assert by_table(table, np.sin(2 * z), scale) == pytest.approx(
        np.imag(wave_derivatives(2j, loc, scale)), rel=1e-8, abs=1e-8
    )


@pytest.mark.parametrize(("num_shared_nodes", "highest"), [(3, 2), (4, 3), (8, 5)])
@pytest.mark.parametrize("num_shared", [1, 2])
def test_stein_identities_hold_jointly_in_shared_and_local_coordinates(num_shared, num_shared_nodes, highest):
    """For products of powers the derivatives are products; few nodes reach only a low degree in theta."""
    table = stein_table(10, num_shared_nodes, num_shared)
    loc, scale = np.array([0.4, -0.7, 0.9])[-num_shared - 1 :], np.array([0.6, 1.1, 0.8])[-num_shared - 1 :]
    for powers in ((highest, 2, 3), (2, 1, 1), (0, 2, 4)):
        powers = powers[-num_shared - 1 :]
        theta = loc[:-1] + scale[:-1] * table.shared_nodes
        z = loc[-1] + scale[-1] * table.local_nodes
        values = np.prod(theta ** powers[:-1], axis=1)[:, None] * z ** powers[-1]
        found = np.einsum("fj,fk,jk->f", table.shared, table.local, values) / np.prod(scale**table.orders, axis=1)
        parts = [power_derivatives(p, m, s) for p, m, s in zip(powers, loc, scale, strict=True)]
        names = [(), *((i,) for i in range(2 * len(loc))), *table.pairs]
        for name, value in zip(names, found, strict=True):
            kinds = [tuple(i % 2 for i in name if i // 2 == c) for c in range(len(loc))]
            index = {(): 0, (0,): 1, (1,): 2, (0, 0): 3, (0, 1): 4, (1, 1): 5}
            expected = np.prod([parts[c][index[kind]] for c, kind in enumerate(kinds)])
            assert value == pytest.approx(expected, rel=1e-9, abs=1e-9), (powers, name)
