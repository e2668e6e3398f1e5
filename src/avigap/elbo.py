"""Estimators of the ELBO of a mean-field q, in nats, always to be maximised.

Each takes a joint, a data set and a :class:`~avigap.core.MeanField` and never knows the family behind it:

- :func:`quadratic` is exact where the log joint is a quadratic function of all latents;
- :func:`gauss_hermite` is deterministic where z_n is scalar and, given the shared latents, the log joint is a sum over
  n of functions of z_n; its error falls geometrically in the number of nodes;
- :func:`monte_carlo` is NumPyro's own ``Trace_ELBO`` and applies everywhere, with a standard error.

:func:`supports` says whether one applies, and if not why, in a sentence.
"""

from typing import NamedTuple

import jax
from jaxtyping import Array, Float, PRNGKeyArray
from numpyro.infer import Trace_ELBO

from avigap.core import Joint, MeanField, latent_shapes
from avigap.errors import InputError, unknown
from avigap.guide import mean_field_guide
from avigap.quadratic import bandwidth, hessian_diagonal, is_quadratic, quadratic_value
from avigap.separable import NUM_NODES, NUM_SHARED_NODES, gauss_hermite_rows, is_separable

ESTIMATORS = ("quadratic", "gauss_hermite", "monte_carlo")
MAX_SHARED = 2
"""Shared latents that the outer tensor rule takes."""


def quadratic(joint: Joint, x: Array, q: MeanField) -> Float[Array, ""]:
    """Return the exact ELBO in nats where the log joint is quadratic in all latents.

    Raises
    ------
    InputError
        If the coupling of the local latents is not banded.
    """
    width = bandwidth(joint)
    if width is None:
        raise InputError("the coupling of the local latents grows with N: no banded Hessian to probe")
    return quadratic_value(joint, x, q, hessian_diagonal(joint, x, width))


def gauss_hermite(
    joint: Joint, x: Array, q: MeanField, num_nodes: int = NUM_NODES, num_shared_nodes: int = NUM_SHARED_NODES
) -> Float[Array, ""]:
    """Return the ELBO in nats by a tensor Gauss-Hermite rule over the shared latents and one local latent."""
    rows, rest = gauss_hermite_rows(joint, x, q, num_nodes, num_shared_nodes)
    return rows.sum() + rest


def monte_carlo(
    joint: Joint, x: Array, q: MeanField, key: PRNGKeyArray, num_particles: int = 100, num_batches: int = 10
) -> tuple[float, float]:
    """Return NumPyro's ``Trace_ELBO`` in nats, averaged over batches of particles, and its standard error."""
    settings = {"num_obs": joint.num_obs(x), **dict(joint.settings)}
    guide = mean_field_guide(joint, q)
    loss = Trace_ELBO(num_particles=num_particles)
    keys = jax.random.split(key, num_batches)
    values = -jax.lax.map(lambda k: loss.loss(k, {}, joint.program, guide, x, **settings), keys)
    return float(values.mean()), float(values.std(ddof=1) / num_batches**0.5)


class Support(NamedTuple):
    """Whether an estimator applies, with the reason in a sentence."""

    ok: bool
    reason: str


ANYWHERE = Support(True, "Monte Carlo applies to every program that NumPyro can score")


def check_estimator(estimator: str) -> None:
    """Raise :class:`InputError` if there is no such estimator."""
    if estimator not in ESTIMATORS:
        raise unknown("estimator", estimator, ESTIMATORS)


def supports(estimator: str, joint: Joint, x: Array) -> Support:
    """Say whether ``estimator`` applies to a joint and its data, and why.

    Raises
    ------
    InputError
        If there is no such estimator.
    """
    check_estimator(estimator)
    if estimator == "monte_carlo":
        return ANYWHERE
    if len(joint.local) != 1 or len(latent_shapes(joint, joint.num_obs(x))[joint.local[0]]) != 1:
        return Support(False, f"{estimator} needs one scalar local latent per observation")
    if estimator == "quadratic":
        if not is_quadratic(joint, x):
            return Support(False, "the log joint is not a quadratic function of the latents")
        if bandwidth(joint) is None:
            return Support(False, "the coupling of the local latents grows with N")
        return Support(True, "the log joint is a quadratic function of the latents with a banded Hessian")
    if len(joint.shared) > MAX_SHARED:
        return Support(False, f"{len(joint.shared)} shared latents; the outer rule takes at most {MAX_SHARED}")
    if not is_separable(joint, x):
        return Support(False, "given the shared latents the log joint is not a sum over observations")
    return Support(True, "given the shared latents the log joint is a sum of functions of one scalar z_n each")
