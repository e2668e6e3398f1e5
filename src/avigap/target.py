"""A program with one of its data sets: its log joint as a function of one flat vector of latents, and who is local.

The flat vector holds the unconstrained values of all latent sites, site by site in the order of their names. Elements
of local latents belong to a *unit*, such as one z_n; units of one kind, which lie in the same plates, share an
inference function for each of their elements.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float
from numpyro.distributions import biject_to

from avigap.core import MeanField
from avigap.errors import InputError
from avigap.program.arguments import Program, run_program
from avigap.program.plates import Places, places_of
from avigap.program.sites import sites_of
from avigap.program.tracing import WholePlates, is_latent, log_probs


class Kind(NamedTuple):
    """Units that share their inference functions: the plates they lie in, who they are, and where their elements are.

    Attributes
    ----------
    plates : names of the plates of their positions
    units : (n,) numbers of the units among all
    elements : (d, n) places in the flat vector
    """

    plates: tuple[str, ...]
    units: np.ndarray
    elements: np.ndarray


class Target:
    """The log joint of a program for one data set.

    Parameters
    ----------
    program
        With all of its data in ``columns``.
    local
        Names of the local latents, or stems of a series of them; by default those in a plate of the observations.

    Raises
    ------
    InputError
        If the program does not run, observations are not given or outside their support, or a latent is discrete.
    """

    def __init__(self, program: Program, local: Sequence[str] = ()) -> None:
        rows = program.num_rows
        self.program = program
        self.arguments: dict[str, Any] = {**program.arguments(rows), **program.given(rows)}
        if missing := [name for name in program.observed if self.arguments.get(name) is None]:
            raise InputError(f"the data lack the observations {', '.join(map(repr, missing))}")
        sites = sites_of(program, self.arguments)
        if discrete := [name for name, site in sites.latent.items() if site.discrete]:
            raise InputError(f"discrete latents ({', '.join(discrete)}): sum them out, as with MixtureSameFamily")
        check_support(program, self.arguments)
        self.places: Places = places_of(program, self.arguments, sites, None, sites, local or program.local)
        self.shapes = {name: sites.latent[name].shape for name in sorted(sites.latent)}
        sizes = [int(np.prod(shape)) for shape in self.shapes.values()]
        self.starts = dict(zip(self.shapes, np.cumsum([0, *sizes[:-1]]), strict=True))
        self.size = sum(sizes)
        self._restore = ravel_pytree({name: jnp.zeros(shape) for name, shape in self.shapes.items()})[1]
        self.function = WholePlates(program.function)

    @cached_property
    def kinds(self) -> list[Kind]:
        """The units by plates and sites."""
        members: dict[Any, list[tuple[int, list[int]]]] = {}
        elements: list[list[tuple[str, str, int]]] = [[] for _ in self.places.units]
        for name in self.places.local:
            for index, unit in enumerate(self.places.unit_of[name].ravel()):
                elements[unit].append((self.places.label_of[name], name, index))
        for unit, position in enumerate(self.places.units):
            own = sorted(elements[unit])
            like = tuple(name for name, _ in position), tuple(label for label, *_ in own)
            members.setdefault(like, []).append((unit, [self.starts[site] + index for _, site, index in own]))
        return [
            Kind(plates, np.array([unit for unit, _ in own]), np.array([places for _, places in own]).T)
            for (plates, _), own in members.items()
        ]

    @cached_property
    def shared(self) -> np.ndarray:
        """Places of the elements of shared latents in the flat vector."""
        local = {int(place) for kind in self.kinds for place in kind.elements.ravel()}
        return np.array([place for place in range(self.size) if place not in local], int)

    @property
    def num_units(self) -> int:
        """Number of local latents N, each of which may have several elements."""
        return len(self.places.units)

    @property
    def num_local(self) -> int:
        """Number of elements of local latents, each of which has a loc and a scale in F-VI."""
        return self.size - len(self.shared)

    def latents(self, flat: Float[Array, " L"]) -> dict[str, Array]:
        """Return the values of the latent sites."""
        return dict(self._restore(flat))

    def mean_field(self, loc: Array, scale: Array) -> MeanField:
        """Return q by site from the loc and scale of all elements."""
        return MeanField(self.latents(jnp.asarray(loc)), self.latents(jnp.asarray(scale)))

    def log_joint(self, flat: Float[Array, " L"], data: Mapping[str, Any] | None = None) -> Float[Array, ""]:
        """Return log p(theta, z, x) in nats, Jacobians included; ``data`` replaces some of the arguments."""
        terms = log_probs(self.function, {**self.arguments, **(data or {})}, self.latents(flat))
        return sum(map(jnp.sum, terms), jnp.zeros(()))

    def draw_prior(self, seed: int) -> np.ndarray:
        """Return latents (L,) that the program draws, whatever the data are."""
        trace, _ = run_program(self.program.function, self.arguments, jax.random.key(seed))
        values = {name: biject_to(trace[name]["fn"].support).inv(trace[name]["value"]) for name in self.shapes}
        return np.asarray(ravel_pytree(values)[0])


def check_support(program: Program, arguments: Mapping[str, Any]) -> None:
    """Raise if an observed value lies outside the support of its distribution, whatever the latents are.

    Raises
    ------
    InputError
        With the site, and the number of the value.
    """
    runs = [run_program(program.function, arguments, jax.random.key(seed))[0] for seed in range(2)]
    for name, site in runs[0].items():
        if site["type"] == "sample" and not is_latent(site):
            inside = np.asarray(site["fn"].support(site["value"])) | np.asarray(
                runs[1][name]["fn"].support(site["value"])
            )
            if not inside.all():
                number = int(np.flatnonzero(~inside.ravel())[0])
                kind = type(site["fn"]).__name__
                raise InputError(f"value {number} (from 0) observed at site {name!r} is outside the support of {kind}")
