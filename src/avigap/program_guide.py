"""A NumPyro guide for anyone's program: factors of the local latents as a function of the data, in the user's own SVI.

Every row of the plate that the local latents share gets its factors from an inference function of the rows of the data,
one function for each scalar of a row. Under a subsampling plate the guide computes the factors of the batch alone, of
whatever size; the program may be given whole data, which it indexes itself, or the rows of the batch.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from inspect import signature
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float, Int, PRNGKeyArray
from numpyro import handlers
from numpyro.distributions import biject_to

from avigap.errors import InputError, unknown
from avigap.families import Family, build
from avigap.guide import Guide
from avigap.program import MAX_LEAD
from avigap.tracing import Trace, is_latent

PARAMETERS = "amortized"
"""Name of the guide's one parameter site."""

PARTS = ("loc", "log_scale")


class _Latent(NamedTuple):
    """How a program samples a latent: plates (name, dim), event dimensions, transform, unconstrained shape."""

    plates: tuple[tuple[str, int], ...]
    event_dim: int
    transform: Any
    shape: tuple[int, ...]

    def axis(self, plate: str) -> int:
        """Return the axis of a plate in the unconstrained value."""
        ((_, dim),) = [own for own in self.plates if own[0] == plate]
        return len(self.shape) - self._unconstrained_event_dim + dim

    @property
    def _unconstrained_event_dim(self) -> int:
        return self.event_dim - self.transform.codomain.event_dim + self.transform.domain.event_dim


class _Shape(NamedTuple):
    """What a program is for given arguments: latents, plates (full size, batch), and shapes of observed sites."""

    latents: Mapping[str, _Latent]
    plates: Mapping[str, tuple[int, int]]
    observed: Sequence[tuple[tuple[int, ...], Mapping[str, int]]]


class _Rows(NamedTuple):
    """Rows of the data (R, C), how many come before position 0, and whether they are those of the batch only."""

    values: Float[Array, "R C"]
    lead: int
    of_batch: bool


def amortize(
    program: Callable[..., Any],
    family: Mapping[str, Any] | Family,
    inputs: Sequence[int] | None = None,
    columns: Sequence[str] | None = None,
    local: Sequence[str] = (),
) -> Guide:
    """Return a guide for a program, for ``numpyro.infer.SVI(program, guide, ..)``, called with the program's arguments.

    Parameters
    ----------
    family
        Such as ``{"kind": "mlp", "width": 8}`` (:mod:`avigap.families`): one function for each scalar of a row of the
        local latents, on the unconstrained space. All other latents have free normal factors.
    inputs
        Offsets of the rows that the function sees; those of the family if absent. Rows whose window leaves the data
        have free factors (Remark 3.7).
    columns
        Arguments whose rows the function sees; by default all arrays with one row for each position.
    local
        Sites to amortize; by default all latents in a plate of the observations.

    Raises
    ------
    InputError
        When the guide is called: if a latent is discrete, in no plate, or has a support that depends on others, if
        local latents share no plate, or no argument has rows. The message names the site.
    """
    if not isinstance(family, Family):
        family = build({**family, "inputs": list(inputs)} if inputs is not None else family)
    offsets = family.inputs if inputs is None else tuple(inputs)

    def guide(*args: Any, **kwargs: Any) -> None:
        arguments = signature(program).bind(*args, **kwargs).arguments
        shape = _shape_of(program, args, kwargs)
        names = _local(shape, local)
        main = _main_plate(shape, names)
        frames = {name: numpyro.plate(name, *shape.plates[name], dim=dim) for name, dim in _dims(shape).items()}
        with frames[main] as index:
            pass
        rows = _rows_of(arguments, shape, main, columns)
        places = _places(rows, offsets if family.infer else None, shape.plates[main][0], index)
        numbers = [prod(shape.latents[name].shape) // shape.plates[main][1] for name in names]
        params = numpyro.param(PARAMETERS, lambda key: _start(family, key, shape, names, sum(numbers), places))
        loc, log_scale = _factors(family, params, places)
        ends = np.cumsum([0, *numbers])
        for name, start, stop in zip(names, ends[:-1], ends[1:], strict=True):
            parts = [_arranged(part[start:stop], shape.latents[name], main) for part in (loc, log_scale)]
            _sample(name, shape.latents[name], frames, *parts)
        for name, latent in shape.latents.items():
            if name not in names:
                _sample(name, latent, frames, *(params["shared"][name][part] for part in PARTS))

    return guide


def _shape_of(program: Callable[..., Any], args: Any, kwargs: Any) -> _Shape:
    """Run a program for its shapes alone."""
    found: dict[str, _Latent] = {}
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
    return _Shape(found, plates, observed)


def _latent(name: str, site: Mapping[str, Any]) -> _Latent:
    if site["fn"].is_discrete:
        raise InputError(f"site {name!r} is discrete: sum it out, for instance with MixtureSameFamily")
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(site["fn"].support)):
        raise InputError(f"site {name!r} has a support that depends on other latents: scale a latent of fixed support")
    transform = biject_to(site["fn"].support)
    plates = tuple((frame.name, frame.dim) for frame in site["cond_indep_stack"])
    return _Latent(plates, site["fn"].event_dim, transform, transform.inverse_shape(np.shape(site["value"])))


def _local(shape: _Shape, local: Sequence[str]) -> list[str]:
    """Return the sites to amortize."""
    for name in local:
        if name not in shape.latents:
            raise unknown("latent site", name, shape.latents)
        if not shape.latents[name].plates:
            raise InputError(f"site {name!r} is in no plate: only latents with a row for each position are amortized")
    plates = {plate for _, frames in shape.observed for plate in frames}
    names = list(local) or [n for n, own in shape.latents.items() if plates & {plate for plate, _ in own.plates}]
    if not names:
        every = ", ".join(map(repr, shape.latents)) or "none"
        raise InputError(f"no latent lies in a plate of the observations (latents: {every}): name sites with local")
    return names


def _main_plate(shape: _Shape, names: Sequence[str]) -> str:
    """Return the plate that all local latents share, a subsampled or the largest one."""
    common = set.intersection(*({plate for plate, _ in shape.latents[name].plates} for name in names))
    if not common:
        raise InputError(f"sites {', '.join(map(repr, names))} share no plate: name those of one plate with local")
    return max(common, key=lambda plate: (shape.plates[plate][0] > shape.plates[plate][1], shape.plates[plate]))


def _dims(shape: _Shape) -> dict[str, int]:
    return {plate: dim for latent in shape.latents.values() for plate, dim in latent.plates}


def _rows_of(arguments: Mapping[str, Any], shape: _Shape, main: str, columns: Sequence[str] | None) -> _Rows:
    """Return the rows of the data as one matrix."""
    size, batch = shape.plates[main]
    parts, leads = [], set()
    for name in arguments if columns is None else columns:
        if name not in arguments:
            raise unknown("argument", name, arguments)
        value = arguments[name]
        if not np.ndim(value) or isinstance(value, str | list | tuple):
            continue
        axis = next((frames[main] for seen, frames in shape.observed if seen == np.shape(value) and main in frames), 0)
        length = np.shape(value)[axis]
        if length == batch or size <= length <= size + MAX_LEAD:
            leads.add((max(length - size, 0), length < size))
            parts.append(jnp.moveaxis(jnp.asarray(value, float), axis, 0).reshape(length, -1))
        elif columns is not None:
            raise InputError(
                f"argument {name!r} has {length} rows, and plate {main!r} has {size} (a batch has {batch})"
            )
    if len(leads) != 1:
        raise InputError(f"{'no argument has' if not leads else 'arguments differ in'} rows for the plate {main!r}")
    ((lead, of_batch),) = leads
    return _Rows(jnp.concatenate(parts, axis=1), lead, of_batch)


class _Places(NamedTuple):
    """Positions of a batch of B: inputs (B, C) of the function, which of them are edges, and their slot of E."""

    inputs: Float[Array, "B C"]
    is_edge: Array
    slot: Int[Array, " B"]
    num_edges: int


def _places(rows: _Rows, offsets: Sequence[int] | None, size: int, index: Int[Array, " B"]) -> _Places:
    if offsets is None:
        return _Places(jnp.zeros((len(index), 1)), jnp.ones(len(index), bool), index, size)
    if rows.of_batch:
        if tuple(offsets) != (0,):
            raise InputError(f"inputs {list(offsets)} need whole data, but the program was given the rows of a batch")
        return _Places(rows.values, jnp.zeros(len(index), bool), jnp.zeros(len(index), int), 0)
    last = len(rows.values) - 1
    start = min(max(0, -rows.lead - min(offsets)), size)
    stop = max(start, min(size, last + 1 - rows.lead - max(offsets)))
    window = [rows.values[jnp.clip(index + rows.lead + offset, 0, last)] for offset in offsets]
    slot = jnp.where(index < start, index, jnp.maximum(index - stop + start, 0))
    return _Places(jnp.concatenate(window, axis=1), (index < start) | (index >= stop), slot, start + size - stop)


def _start(
    family: Family, key: PRNGKeyArray, shape: _Shape, names: Sequence[str], number: int, places: _Places
) -> dict[str, Any]:
    """Return start parameters: the family's own for each of the functions, loc 0 and scale 1 for free factors."""

    def free(*size: int) -> dict[str, Array]:
        return {part: jnp.zeros(size) for part in PARTS}

    init = family.init
    keys = jax.random.split(key, number)
    function = {} if init is None else jax.vmap(lambda own: init(own, places.inputs))(keys)
    shared = {name: free(*latent.shape) for name, latent in shape.latents.items() if name not in names}
    return {"function": function, "edge": free(number, places.num_edges), "shared": shared}


def _factors(family: Family, params: Any, places: _Places) -> tuple[Float[Array, "M B"], Float[Array, "M B"]]:
    """Return loc and log scale of every scalar of the rows of a batch."""
    if family.infer is None:
        return tuple(params["edge"][part][:, places.slot] for part in PARTS)
    infer, inputs = family.infer, places.inputs.T
    inner = jax.vmap(lambda own: infer(own, inputs))(params["function"])
    if not places.num_edges:
        return inner
    slot = jnp.minimum(places.slot, places.num_edges - 1)
    edge = [params["edge"][part][:, slot] for part in PARTS]
    loc, log_scale = (jnp.where(places.is_edge, own, other) for own, other in zip(edge, inner, strict=True))
    return loc, log_scale


def _arranged(values: Float[Array, "m B"], latent: _Latent, main: str) -> Array:
    """Return the values of a site in its own shape, from its scalars by row."""
    axis = latent.axis(main)
    rest = (*latent.shape[:axis], *latent.shape[axis + 1 :])
    return jnp.moveaxis(values.reshape(*rest, values.shape[-1]), -1, axis)


def _sample(name: str, latent: _Latent, frames: Mapping[str, Any], loc: Array, log_scale: Array) -> None:
    """Sample a site from normal factors on the unconstrained space, inside its plates and on its own support."""
    inner = latent.transform.domain.event_dim
    base = dist.Normal(loc, jnp.exp(log_scale)).to_event(latent.event_dim - latent.transform.codomain.event_dim + inner)
    identity = isinstance(latent.transform, dist.transforms.IdentityTransform)
    with ExitStack() as plates:
        for plate, _ in sorted(latent.plates, key=lambda own: own[1]):
            plates.enter_context(frames[plate])
        numpyro.sample(name, base if identity else dist.TransformedDistribution(base, latent.transform))
