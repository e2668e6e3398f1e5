"""Reference posteriors: NUTS on anyone's program, every latent summarised on the unconstrained space.

NumPyro's own density, transforms and sampler are used throughout: nothing here is shared with the fits that a reference
is there to check.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from arviz_stats.base import array_stats
from jaxtyping import Array
from numpyro import handlers
from numpyro.distributions import TransformedDistribution
from numpyro.infer import MCMC, NUTS, init_to_uniform
from numpyro.infer.reparam import LocScaleReparam, Reparam, TransformReparam
from numpyro.infer.util import unconstrain_fn

from avigap.errors import InputError
from avigap.program.arguments import Program
from avigap.program.sites import sites_of
from avigap.program.tracing import Site, WholePlates

MAX_R_HAT, MIN_ESS = 1.01, 400.0
"""What a reference must reach: Vehtari, Gelman, Simpson, Carpenter and Buerkner (2021)."""

COLUMNS = ("site", "index", "mean", "sd", "r_hat", "ess_bulk", "mcse_mean")


class Effort(NamedTuple):
    """How NUTS runs.

    Attributes
    ----------
    warmup, draws, chains
        Steps of each chain that adapt it, draws of each chain, number of chains.
    target_accept
        Mean acceptance to which the step size is adapted.
    decentred
        Sites that are drawn as loc + scale * noise, or as a transform of noise where they are one: the way through the
        funnel of a scale that may be near 0.
    radius
        Chains start uniformly within it of 0, on the unconstrained space.
    """

    warmup: int = 1000
    draws: int = 1000
    chains: int = 4
    target_accept: float = 0.8
    decentred: tuple[str, ...] = ()
    radius: float = 2.0


class Reference(NamedTuple):
    """One row of :data:`COLUMNS` for each scalar of each latent, and what says whether they can be trusted."""

    rows: list[tuple[str, int, float, float, float, float, float]]
    max_r_hat: float
    min_ess_bulk: float
    divergences: int


def reference_posterior(program: Program, num_obs: int | None, effort: Effort, seed: int) -> Reference:
    """Return means and standard deviations of all latents of a program, given its data.

    Parameters
    ----------
    num_obs
        The first rows of the data that are used; None for all of them.

    Raises
    ------
    InputError
        If observations are missing, a latent is discrete, or the chains do not agree or have too few effective draws.
    """
    if missing := [name for name in program.observed if name not in program.columns]:
        raise InputError(f"the data lack the observations {', '.join(map(repr, missing))}")
    arguments = program.arguments(num_obs) | program.given(num_obs)
    latent = sites_of(program, arguments).latent
    if discrete := [name for name, site in latent.items() if site.discrete]:
        raise InputError(f"NUTS takes no discrete latents ({', '.join(discrete)}): sum them out")
    if unknown := [name for name in effort.decentred if name not in latent]:
        raise InputError(f"no latent {', '.join(map(repr, unknown))} to decentre; the latents are {', '.join(latent)}")
    draws, divergences = _draws(WholePlates(program.function), arguments, list(latent), effort, seed)
    rows = [row for name, values in draws.items() for row in _rows(name, values)]
    r_hat, ess = max(_worst(row[4]) for row in rows), min(row[5] for row in rows)
    if not (r_hat <= MAX_R_HAT and ess >= MIN_ESS):
        raise InputError(
            f"no reference: the largest R-hat is {r_hat:.4f} (at most {MAX_R_HAT}), the fewest effective draws are"
            f" {ess:.0f} (at least {MIN_ESS:.0f}), with {divergences} divergent steps; take more draws or a higher"
            " acceptance, or decentre what lies in a funnel"
        )
    return Reference(rows, r_hat, ess, divergences)


def _draws(
    function: Callable[..., Any], arguments: Mapping[str, Any], names: list[str], effort: Effort, seed: int
) -> tuple[dict[str, np.ndarray], int]:
    """Return draws of shape (chain, draw, ..) on the unconstrained space, and the number of divergent transitions."""

    def reparam(site: Site) -> Reparam | None:
        if site["name"].removesuffix("_base") not in effort.decentred:  # what TransformReparam leaves is decentred too
            return None
        return TransformReparam() if isinstance(site["fn"], TransformedDistribution) else LocScaleReparam(0.0)

    mcmc = MCMC(
        NUTS(
            handlers.reparam(function, config=reparam),
            target_accept_prob=effort.target_accept,
            init_strategy=init_to_uniform(radius=effort.radius),
        ),
        num_warmup=effort.warmup,
        num_samples=effort.draws,
        num_chains=effort.chains,
        chain_method="vectorized",
        progress_bar=False,
    )
    mcmc.run(jax.random.key(seed), extra_fields=("diverging",), **arguments)
    samples = mcmc.get_samples(group_by_chain=True)
    constrained = {name: samples[name] for name in names}

    def unconstrained(draw: dict[str, Array]) -> dict[str, Array]:
        values: dict[str, Array] = unconstrain_fn(function, (), arguments, draw)
        return values

    draws = jax.lax.map(jax.vmap(unconstrained), constrained)  # a chain at a time: programs may take memory
    return {name: np.asarray(draws[name]) for name in names}, int(mcmc.get_extra_fields()["diverging"].sum())


def _rows(name: str, values: np.ndarray) -> list[tuple[str, int, float, float, float, float, float]]:
    flat = values.reshape(*values.shape[:2], -1)
    with np.errstate(divide="ignore", invalid="ignore"):  # chains that do not move
        r_hat = array_stats.rhat(flat, chain_axis=0, draw_axis=1)
    ess = array_stats.ess(flat, chain_axis=0, draw_axis=1, method="bulk")
    mcse = array_stats.mcse(flat, chain_axis=0, draw_axis=1, method="mean")
    columns = (flat.mean(axis=(0, 1)), flat.std(axis=(0, 1), ddof=1), r_hat, ess, mcse)
    numbers = np.stack([np.atleast_1d(column) for column in columns], axis=1)
    return [(name, index, *map(_rounded, row)) for index, row in enumerate(numbers)]  # type: ignore[misc]


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")


def _worst(value: float) -> float:
    return value if np.isfinite(value) else float("inf")
