"""Shapes of the sites of a program: plates, unconstrained values, and what is observed."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import numpyro
from numpyro.distributions import biject_to

from avigap.errors import InputError
from avigap.program.arguments import Program, run_program
from avigap.program.tracing import Site, is_latent


class SiteShape(NamedTuple):
    """What is known of a site: plates (name, size, axis), shape on the unconstrained space, whether it is discrete."""

    plates: tuple[tuple[str, int, int], ...]
    shape: tuple[int, ...]
    discrete: bool


class Sites(NamedTuple):
    """Latents and observed sites of a program for one number of observations, by name."""

    latent: Mapping[str, SiteShape]
    observed: Mapping[str, SiteShape]


def sites_of(program: Program, arguments: Mapping[str, Any]) -> Sites:
    """Return the sites of a program that is given all of its arguments; runs shapes alone, if it can be traced."""
    arguments = {name: _known(value) for name, value in arguments.items()}
    latent: dict[str, SiteShape] = {}
    observed: dict[str, SiteShape] = {}

    def visit() -> None:
        for name, site in run_program(program.function, arguments, jax.random.key(0))[0].items():
            if site["type"] == "sample":
                (latent if is_latent(site) else observed)[name] = _shape(site)

    with numpyro.validation_enabled(False):
        try:
            jax.eval_shape(visit)
        except InputError:  # it may compute with the values that it draws
            visit()
    return Sites(latent, observed)


def _known(value: Any) -> Any:
    """Return an array as one of NumPy, whose values a program may look at while it is traced."""
    return np.asarray(value) if isinstance(value, jax.Array) and not isinstance(value, jax.core.Tracer) else value


def _shape(site: Site) -> SiteShape:
    discrete = bool(site["fn"].is_discrete)
    value = site["value"]
    shape = value.shape if discrete else biject_to(site["fn"].support).inv(value).shape
    batch = len(site["fn"].batch_shape)
    frames = tuple((f.name, f.size, batch + f.dim) for f in site["cond_indep_stack"])
    return SiteShape(frames, tuple(shape), discrete)


def sites_at(program: Program, num_obs: int | None) -> Sites:
    """Return the sites of a program that has its observations; draws nothing but shapes, if it can be traced.

    Raises
    ------
    InputError
        If the program does not run.
    """
    found: list[Sites] = []

    def visit() -> None:
        arguments, data = program.arguments(num_obs), program.given(num_obs)
        if program.simulates and any(name not in data for name in program.observed):
            _, data = program.simulate({**arguments, **data}, jax.random.key(0))
        found.append(sites_of(program, {**arguments, **data}))

    with numpyro.validation_enabled(False):
        try:
            jax.eval_shape(visit)
        except InputError:  # it may compute with the values that it draws
            visit()
    return found[-1]
