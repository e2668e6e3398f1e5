"""What a NumPyro program is for given arguments, as a guide needs to know it: latents, plates, and their rows."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from numpyro import handlers
from numpyro.distributions import biject_to

from avigap.errors import InputError, unknown
from avigap.program.tracing import Trace, is_latent


class Latent(NamedTuple):
    """How a program samples a latent: plates (name, dim), event dimensions, transform, unconstrained shape."""

    plates: tuple[tuple[str, int], ...]
    event_dim: int
    transform: Any
    shape: tuple[int, ...]

    def axis(self, plate: str | None, size: int) -> int | None:
        """Return the axis of a plate in the unconstrained value, or of the same length if it lies in no plate."""
        for name, dim in self.plates:
            if name == plate:
                return len(self.shape) - self._unconstrained_event_dim + dim
        return self.shape.index(size) if not self.plates and size in self.shape else None

    @property
    def _unconstrained_event_dim(self) -> int:
        return self.event_dim - self.transform.codomain.event_dim + self.transform.domain.event_dim


class Shape(NamedTuple):
    """What a program is for given arguments: latents, plates (full size, batch), and shapes of observed sites."""

    latents: Mapping[str, Latent]
    plates: Mapping[str, tuple[int, int]]
    observed: Sequence[tuple[tuple[int, ...], Mapping[str, int]]]


class Positions(NamedTuple):
    """Where local latents have their rows: plate (None without one), its size and batch, and the axis of each site."""

    plate: str | None
    size: int
    batch: int
    axes: Mapping[str, int]


def shape_of(program: Callable[..., Any], args: Any, kwargs: Any) -> Shape:
    """Run a program for its shapes alone.

    Raises
    ------
    InputError
        If a latent is discrete or has a support that depends on others; the message names it.
    """
    found: dict[str, Latent] = {}
    traces: list[Trace] = []

    def visit() -> None:
        with handlers.block():
            trace = handlers.trace(handlers.seed(program, 0)).get_trace(*args, **kwargs)
        traces.append(trace)
        for name, site in trace.items():
            if is_latent(site):
                found[name] = _latent(name, site)

    jax.eval_shape(visit)
    trace = traces[0]
    plates = {name: (s["args"][0], s["args"][1] or s["args"][0]) for name, s in trace.items() if s["type"] == "plate"}
    observed = [
        (np.shape(s["value"]), {f.name: len(s["fn"].batch_shape) + f.dim for f in s["cond_indep_stack"]})
        for s in trace.values()
        if s["type"] == "sample" and s["is_observed"]
    ]
    return Shape(found, plates, observed)


def _latent(name: str, site: Mapping[str, Any]) -> Latent:
    if site["fn"].is_discrete:
        raise InputError(f"site {name!r} is discrete: sum it out, for instance with MixtureSameFamily")
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(site["fn"].support)):
        raise InputError(f"site {name!r} has a support that depends on other latents: scale a latent of fixed support")
    transform = biject_to(site["fn"].support)
    plates = tuple((frame.name, frame.dim) for frame in site["cond_indep_stack"])
    return Latent(plates, site["fn"].event_dim, transform, transform.inverse_shape(np.shape(site["value"])))


def positions_in(shape: Shape, arguments: Mapping[str, Any], local: Sequence[str]) -> Positions:
    """Return the plate whose rows the local latents have, and which axis of each it is.

    Parameters
    ----------
    local
        Names of the local latents; by default those in a plate of the observations, or else as long as it.

    Raises
    ------
    InputError
        If a name is no latent site, or a latent has no rows, or they share no plate.
    """
    for name in local:
        if name not in shape.latents:
            raise unknown("latent site", name, shape.latents)
    of_data = {plate for _, frames in shape.observed for plate in frames}
    names = list(local) or [n for n, own in shape.latents.items() if of_data & {plate for plate, _ in own.plates}]
    inside = [{plate for plate, _ in shape.latents[name].plates} for name in names]
    common = set.intersection(*(plates for plates in inside if plates)) if any(inside) else of_data
    if any(inside) and not common:
        raise InputError(f"sites {', '.join(map(repr, names))} share no plate: name those of one plate with local")
    plate = max(common, key=lambda own: (shape.plates[own][0] > shape.plates[own][1], shape.plates[own]), default=None)
    lengths = [len(value) for value in arguments.values() if np.ndim(value)]
    size, batch = shape.plates[plate] if plate else (min(lengths, default=0),) * 2
    plate = plate if any(inside) else None
    axes = {name: shape.latents[name].axis(plate, size) for name in names or shape.latents}
    found = {name: axis for name, axis in axes.items() if axis is not None}
    if not found or (names and len(found) < len(names)):
        lacking = ", ".join(repr(name) for name in axes if name not in found) or "none"
        raise InputError(
            f"latent sites without a row for each of {size} observations: {lacking}; name others with local"
        )
    return Positions(plate, size, batch, found)


def dims_of(shape: Shape) -> dict[str, int]:
    """Return the dimension of each plate that has a latent."""
    return {plate: dim for latent in shape.latents.values() for plate, dim in latent.plates}
