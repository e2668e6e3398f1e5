"""The climb: exact on a quadratic, and honest about how it ended."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from avigap.levenberg import maximise

ROOT = np.random.default_rng(0).standard_normal((4, 4))
CURVATURE = jnp.asarray(ROOT @ ROOT.T + np.eye(4))
TOP = jnp.asarray([1.0, -2.0, 0.5, 3.0])


def quadratic(flat):
    return -(flat - TOP) @ CURVATURE @ (flat - TOP) / 2


def expand(flat):
    return quadratic(flat), jax.grad(quadratic)(flat), CURVATURE


def test_the_top_of_a_quadratic_is_found():
    seen = []
    climb = maximise(expand, quadratic, jnp.zeros(4), 50, lambda value: 1e-14, lambda *pair: seen.append(pair))
    assert climb.status == "converged" and (np.diff(climb.trace) > 0).all()
    assert np.asarray(climb.flat) == pytest.approx(np.asarray(TOP), abs=1e-6)
    assert seen == [(step, value) for step, value in enumerate(climb.trace) if step > 0]


def test_a_direction_without_curvature_is_climbed_too():
    def ridge(flat):
        return -(flat[0] ** 2) + jnp.tanh(flat[1])

    climb = maximise(
        lambda flat: (ridge(flat), jax.grad(ridge)(flat), jnp.diag(jnp.asarray([2.0, 0.0]))),
        ridge,
        jnp.asarray([1.0, 0.0]),
        200,
        lambda value: 1e-10,
    )
    assert climb.trace[-1] > 0.9


@pytest.mark.parametrize(
    ("slope", "enough", "status"), [(-1.0, 1e-6, "stalled"), (-1.0, 1e6, "converged"), (jnp.nan, 1e-6, "nonfinite")]
)
def test_a_climb_that_cannot_move_says_why(slope, enough, status):
    """A gradient of the wrong sign promises gains that no step brings."""
    start = jnp.zeros(4)

    def wrong(flat):
        value, gradient, matrix = expand(flat)
        return value * jnp.abs(slope), slope * gradient, matrix

    climb = maximise(wrong, lambda flat: quadratic(flat) * jnp.abs(slope), start, 10, lambda value: enough)
    assert climb.status == status and len(climb.trace) == 1 and (climb.flat == start).all()


def test_a_climb_cut_short_says_so():
    climb = maximise(expand, quadratic, jnp.zeros(4), 1, lambda value: 1e-14)
    assert climb.status == "max_steps" and len(climb.trace) == 2
