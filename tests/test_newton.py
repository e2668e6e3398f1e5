"""Block algebra of the second-order methods against dense linear algebra."""

import jax.numpy as jnp
import numpy as np
import pytest

from avigap.newton import ascent_direction, clipped_blocks, solve_blocks

RANDOM = np.random.default_rng(0)
NUM = 40
HALF = RANDOM.standard_normal((2, 2, NUM))
SYMMETRIC = HALF + HALF.swapaxes(0, 1)
SCALE = np.exp(RANDOM.standard_normal(NUM))


@pytest.mark.parametrize("floor", [1e-3, 0.7])
def test_clipped_blocks_have_minus_the_absolute_eigenvalues_in_units_of_scale(floor):
    clipped = np.asarray(clipped_blocks(jnp.asarray(SYMMETRIC), jnp.asarray(SCALE), floor))
    for n in range(NUM):
        unit = np.diag([SCALE[n], 1.0])
        values, vectors = np.linalg.eigh(unit @ SYMMETRIC[:, :, n] @ unit)
        expected = vectors @ np.diag(-np.maximum(np.abs(values), floor)) @ vectors.T
        assert unit @ clipped[:, :, n] @ unit == pytest.approx(expected, abs=1e-11)


def test_a_block_that_is_negative_definite_beyond_the_floor_is_kept():
    blocks = -np.einsum("ikn,jkn->ijn", HALF, HALF) - 0.5 * np.eye(2)[:, :, None]
    kept = clipped_blocks(jnp.asarray(blocks), jnp.ones(NUM), 1e-2)
    assert np.asarray(kept) == pytest.approx(blocks, abs=1e-12)


@pytest.mark.parametrize("value", [-2.0, 0.0, 3.0])
def test_a_multiple_of_the_identity_has_no_preferred_direction_and_no_nan(value):
    blocks = jnp.asarray(value * np.eye(2)[:, :, None])
    expected = -max(abs(value), 1e-2) * np.eye(2)[:, :, None]
    assert np.asarray(clipped_blocks(blocks, jnp.ones(1))) == pytest.approx(expected, abs=1e-14)


def test_solved_blocks_satisfy_their_equations():
    right = RANDOM.standard_normal((2, 3, NUM))
    found = np.asarray(solve_blocks(jnp.asarray(SYMMETRIC), jnp.asarray(right)))
    assert np.einsum("ijn,jkn->ikn", SYMMETRIC, found) == pytest.approx(right, abs=1e-10)


def test_ascent_of_a_concave_quadratic_is_the_newton_step():
    root = RANDOM.standard_normal((4, 4))
    hess, grad = -root @ root.T - np.eye(4), RANDOM.standard_normal(4)
    step = np.asarray(ascent_direction(jnp.asarray(hess), jnp.asarray(grad)))
    assert step == pytest.approx(np.linalg.solve(-hess, grad), rel=1e-9)


def test_the_direction_climbs_where_the_function_is_not_concave():
    for seed in range(10):
        random = np.random.default_rng(seed)
        hess, grad = random.standard_normal((4, 4)), random.standard_normal(4)
        assert grad @ np.asarray(ascent_direction(jnp.asarray(hess + hess.T), jnp.asarray(grad))) > 0


def test_the_direction_does_not_depend_on_the_units_of_the_parameters():
    root, grad, unit = RANDOM.standard_normal((3, 3)), RANDOM.standard_normal(3), np.array([1e-4, 1.0, 1e5])
    hess = root + root.T
    plain = np.asarray(ascent_direction(jnp.asarray(hess), jnp.asarray(grad)))
    scaled = np.asarray(ascent_direction(jnp.asarray(hess * unit * unit[:, None]), jnp.asarray(grad * unit)))
    assert scaled * unit == pytest.approx(plain, rel=1e-8)


def test_no_parameters_give_an_empty_direction():
    assert ascent_direction(jnp.zeros((0, 0)), jnp.zeros(0)).shape == (0,)
