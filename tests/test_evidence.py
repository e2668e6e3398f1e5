"""Log evidence by two routes, and Pareto's k of posteriors that q does and does not stand in for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import FLAT_GAUSSIAN, bound, data, label, optimum
from scipy.stats import multivariate_normal, norm

from avigap.core import MeanField
from avigap.errors import InputError
from avigap.evidence import _trapezoid_evidence, log_evidence, pareto_k


@pytest.mark.parametrize(("theta_scale", "covariance"), [(2.0, 4.0)])
def test_the_evidence_of_the_linear_model_is_a_normal_density(theta_scale, covariance):
    settings = {"tau": 0.7, "sigma": 1.3, "theta_scale": theta_scale}
    x = data("linear", settings, 8)
    expected = multivariate_normal(cov=(0.7**2 + 1.3**2) * np.eye(8) + covariance).logpdf(x)
    q = optimum("linear", settings, 8).fit.q
    assert log_evidence(bound("linear", settings), jnp.asarray(x), q).value == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("model", "settings"), FLAT_GAUSSIAN, ids=label)
def test_the_approximation_gap_is_the_known_divergence(model, settings):
    """KL(q* || p) = half the log determinant of the precision over its diagonal's product."""
    x, q = jnp.asarray(data(model, settings, 12)), optimum(model, settings, 12)
    gap = log_evidence(bound(model, settings), x, q.fit.q).value - q.fit.elbo
    if model == "linear":
        assert gap == pytest.approx(np.log(1 + (1.155 / 2.43) ** 2) / 2, abs=1e-9)
    elif model == "saw":
        assert gap == pytest.approx(np.log(1 + 0.75**2) / 2, abs=1e-9)
    else:
        assert gap > 0.1


def test_the_rule_agrees_with_the_closed_form():
    x, q = jnp.asarray(data("saw", {}, 6)), optimum("saw", {}, 6).fit.q
    exact = log_evidence(bound("saw"), x, q).value
    assert _trapezoid_evidence(bound("saw"), x, q, 0.01, 6.0, 1.0) == pytest.approx(exact, abs=1e-8)


def test_the_evidence_of_the_nonlinear_model_agrees_with_a_plain_grid():
    settings = {"theta_scale": 0.5}
    x = data("nonlinear", settings, 2)
    q = optimum("nonlinear", settings, 2).fit.q
    theta, z = np.linspace(-4, 4, 801)[:, None, None], np.linspace(-9, 9, 3001)[:, None]
    joint = norm.pdf(z) * norm.pdf(x, theta + z * (1 + np.sin(z)), np.exp(np.cos(z)))  # (theta, z, n)
    inner = joint.sum(1) * (z[1, 0] - z[0, 0])
    total = (norm.pdf(theta[:, 0, 0], scale=0.5) * inner.prod(1)).sum() * 0.01
    found = log_evidence(bound("nonlinear", settings), jnp.asarray(x), q)
    assert found.value == pytest.approx(np.log(total), abs=1e-6) and found.error < 1e-6


def test_too_many_latents_are_refused():
    x = jnp.zeros(3000)
    q = MeanField({"theta": jnp.zeros(()), "z": x}, {"theta": jnp.ones(()), "z": x + 1})
    with pytest.raises(InputError, match="matrix of 3001 latents; at most 2000"):
        log_evidence(bound("linear"), x, q)


def test_pareto_k_tells_a_good_q_from_a_narrow_one():
    joint, x, q = bound("linear"), jnp.asarray(data("linear", {}, 5)), optimum("linear", {}, 5).fit.q
    narrow = MeanField(q.loc, jax.tree.map(lambda scale: 0.3 * scale, q.scale))
    assert pareto_k(joint, x, q, jax.random.key(0)) < 0.6
    assert pareto_k(joint, x, narrow, jax.random.key(0)) > 0.7
    broken = MeanField(q.loc, jax.tree.map(lambda scale: scale * jnp.nan, q.scale))
    assert pareto_k(joint, x, broken, jax.random.key(0)) == np.inf
