"""Runs of NumPyro programs as functions of arrays: a draw of all sites, and the log densities of all of them."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, PRNGKeyArray
from numpyro import handlers
from numpyro.distributions import biject_to
from numpyro.primitives import Messenger

Site = Mapping[str, Any]
Trace = Mapping[str, Site]

LOG_DET = "_log_det"
"""End of the name of a term of the log joint that is the log Jacobian of a site's transform."""

FLAT_SCALE = 2.0
"""Standard deviation, on the unconstrained space, of draws from a prior that has no density to draw from."""


class WholePlates(Messenger):
    """Runs a program with its subsampling plates at full size."""

    def process_message(self, msg: dict[str, Any]) -> None:
        """Make a plate return all of its indices."""
        if msg["type"] == "plate":
            size = msg["args"][0]
            with jax.ensure_compile_time_eval():  # indices that NumPy arrays take, whatever is traced
                msg["args"], msg["value"] = (size, size), jnp.arange(size)


def is_latent(site: Site) -> bool:
    """Say whether a site of a trace is a sample that is not observed."""
    return site["type"] == "sample" and not site["is_observed"]


def draw(function: Callable[..., Any], arguments: Mapping[str, Any], key: PRNGKeyArray) -> tuple[Trace, Any]:
    """Return the trace of a run of a program that draws what is not given, and what the program returned."""

    def from_flat_prior(site: Site) -> Array | None:
        if not is_latent(site):
            return None
        base = site["fn"]
        while isinstance(base, dist.ExpandedDistribution | dist.Independent | dist.MaskedDistribution):
            base = base.base_dist
        if not isinstance(base, dist.ImproperUniform):
            return None
        transform = biject_to(site["fn"].support)
        shape = transform.inverse_shape(site["fn"].shape())
        return transform(FLAT_SCALE * jax.random.normal(site["kwargs"]["rng_key"], shape))

    seeded = handlers.seed(WholePlates(function), key)
    recorder = handlers.trace(handlers.substitute(seeded, substitute_fn=from_flat_prior))
    returned = recorder(**arguments)
    return recorder.trace, returned


def log_probs(function: Callable[..., Any], arguments: Mapping[str, Any], latents: Mapping[str, Array]) -> list[Array]:
    """Return the unsummed log densities of all sites, the log Jacobians of the unconstraining transforms among them.

    Parameters
    ----------
    latents
        Values of the latent sites on the unconstrained space.
    """
    return [log_prob_of(site) for site in scored(function, arguments, latents).values()]


def scored(function: Callable[..., Any], arguments: Mapping[str, Any], latents: Mapping[str, Array]) -> dict[str, Site]:
    """Return the sites of a run with given latents, of which the log densities are those of the log joint.

    Log Jacobians of the unconstraining transforms are sites of their own, whose names end in :data:`LOG_DET`.
    """

    def constrain(site: Site) -> Array | None:
        if not is_latent(site):
            return None
        transform, value = biject_to(site["fn"].support), latents[site["name"]]
        step = site["infer"].get("_scan_current_index")  # inside NumPyro's scan
        if step is not None and jnp.ndim(value) > len(transform.inverse_shape(site["fn"].shape())):
            value = value[step]
        constrained = transform(value)
        if not isinstance(transform, dist.transforms.IdentityTransform):
            log_det = transform.log_abs_det_jacobian(value, constrained)
            outer = jnp.ndim(constrained) - len(site["fn"].event_shape)
            log_det = log_det.sum(tuple(range(outer, jnp.ndim(log_det))))
            numpyro.factor(f"{site['name']}{LOG_DET}", log_det)
        return constrained

    program = handlers.substitute(handlers.seed(function, 0), substitute_fn=constrain)
    trace = handlers.trace(program).get_trace(**arguments)
    return {name: site for name, site in trace.items() if site["type"] == "sample"}


def log_prob_of(site: Site) -> Array:
    """Return the unsummed log density of a site."""
    log_prob: Array = site["fn"].log_prob(site["value"])
    return log_prob if site["scale"] is None else site["scale"] * log_prob
