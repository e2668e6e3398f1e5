"""A NumPyro guide for anyone's program: factors of the local latents as a function of the data, in the user's own SVI.

Every row of the plate that the local latents share gets its factors from an inference function of the rows of the data,
one function for each scalar of a row. Under a subsampling plate the guide computes the factors of the batch alone, of
whatever size; the program may be given whole data, which it indexes itself, or the rows of the batch.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from inspect import Parameter, signature
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float, Int, PRNGKeyArray

from avigap.errors import InputError, unknown
from avigap.families import Family, build
from avigap.guide import Guide
from avigap.program.arguments import MAX_LEAD
from avigap.program_shape import Latent, Positions, Shape, dims_of, positions_in, shape_of

PARAMETERS = "amortized"
"""Start of the names of the guide's parameter sites, such as ``amortized.function.0.weight``."""

PARTS = ("loc", "log_scale")


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
        arguments = _by_name(program, args, kwargs)
        try:
            shape = shape_of(program, args, kwargs)
            main = positions_in(shape, arguments, local)
        except InputError as error:
            if absent := [name for name, value in arguments.items() if value is None]:
                raise InputError(f"without {', '.join(map(repr, absent))}: {error}") from error
            raise
        frames = {name: numpyro.plate(name, *shape.plates[name], dim=dim) for name, dim in dims_of(shape).items()}
        index = jnp.arange(main.size)
        if main.plate is not None:
            with frames[main.plate] as index:
                pass
        places = _places(_rows_of(arguments, shape, main, columns), offsets if family.infer else None, main.size, index)
        numbers = [prod(shape.latents[name].shape) // main.batch for name in main.axes]
        params = _parameters(lambda key: _start(family, key, shape, main, sum(numbers), places))
        loc, log_scale = _factors(family, params, places)
        ends = np.cumsum([0, *numbers])
        for (name, axis), start, stop in zip(main.axes.items(), ends[:-1], ends[1:], strict=True):
            parts = [_arranged(part[start:stop], shape.latents[name].shape, axis) for part in (loc, log_scale)]
            _sample(name, shape.latents[name], frames, *parts)
        for name, latent in shape.latents.items():
            if name not in main.axes:
                _sample(name, latent, frames, *(params["shared"][name][part] for part in PARTS))

    return guide


def _by_name(program: Callable[..., Any], args: Any, kwargs: Any) -> dict[str, Any]:
    """Return all arguments of a call by name, None where they are left out; those that ``**features`` takes too."""
    own = signature(program)
    bound = own.bind(*args, **kwargs).arguments
    found = {name: p.default for name, p in own.parameters.items() if p.default is None}
    for name, value in bound.items():
        found |= value if own.parameters[name].kind is Parameter.VAR_KEYWORD else {name: value}
    return found


def _rows_of(arguments: Mapping[str, Any], shape: Shape, main: Positions, columns: Sequence[str] | None) -> _Rows:
    """Return the rows of the data as one matrix."""
    parts, leads = [], set()
    for name in arguments if columns is None else columns:
        if name not in arguments:
            raise unknown("argument", name, arguments)
        value = arguments[name]
        if not np.ndim(value) or isinstance(value, str | list | tuple):
            continue
        like = (frames.get(main.plate or "") for seen, frames in shape.observed if seen == np.shape(value))
        axis = next(like, None) or 0
        length = np.shape(value)[axis]
        if length == main.batch or main.size <= length <= main.size + MAX_LEAD:
            leads.add((max(length - main.size, 0), length < main.size))
            parts.append(jnp.moveaxis(jnp.asarray(value, float), axis, 0).reshape(length, -1))
        elif columns is not None:
            raise InputError(f"argument {name!r} has {length} rows, not {main.size}, or {main.batch} of a batch")
    if not leads and (tables := [n for n, v in arguments.items() if isinstance(v, Mapping) or hasattr(v, "columns")]):
        raise InputError(f"argument {tables[0]!r} is a table: the program must take each of its columns by itself")
    if len(leads) != 1:
        raise InputError(f"{'no argument has' if not leads else 'arguments differ in'} rows for {main.size} positions")
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


def _parameters(start: Callable[[PRNGKeyArray], Any]) -> Any:
    """Return a tree of parameters, a site for each array, all of which start from the key of the first."""
    started: list[list[Array]] = []

    def leaf_of(index: int, key: PRNGKeyArray) -> Array:
        if not started:
            started.append(jax.tree.leaves(jax.jit(start)(key)))
        return started[0][index]

    paths, tree = jax.tree_util.tree_flatten_with_path(jax.eval_shape(start, jax.random.key(0)))
    names = [jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in paths]
    sites = [numpyro.param(f"{PARAMETERS}.{name}", partial(leaf_of, index)) for index, name in enumerate(names)]
    return jax.tree.unflatten(tree, sites)


def _start(
    family: Family, key: PRNGKeyArray, shape: Shape, main: Positions, number: int, places: _Places
) -> dict[str, Any]:
    """Return start parameters: the family's own for each of the functions, loc 0 and scale 1 for free factors."""

    def free(*size: int) -> dict[str, Array]:
        return {part: jnp.zeros(size) for part in PARTS}

    init = family.init
    keys = jax.random.split(key, number)
    function = {} if init is None else jax.vmap(lambda own: init(own, places.inputs))(keys)
    shared = {name: free(*latent.shape) for name, latent in shape.latents.items() if name not in main.axes}
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


def _arranged(values: Float[Array, "m B"], shape: tuple[int, ...], axis: int) -> Array:
    """Return the values of a site in its own shape, from its scalars by row."""
    rest = (*shape[:axis], *shape[axis + 1 :])
    return jnp.moveaxis(values.reshape(*rest, values.shape[-1]), -1, axis)


def _sample(name: str, latent: Latent, frames: Mapping[str, Any], loc: Array, log_scale: Array) -> None:
    """Sample a site from normal factors on the unconstrained space, inside its plates and on its own support."""
    inner = latent.transform.domain.event_dim
    base = dist.Normal(loc, jnp.exp(log_scale)).to_event(latent.event_dim - latent.transform.codomain.event_dim + inner)
    identity = isinstance(latent.transform, dist.transforms.IdentityTransform)
    with ExitStack() as plates:
        for plate, _ in sorted(latent.plates, key=lambda own: own[1]):
            plates.enter_context(frames[plate])
        numpyro.sample(name, base if identity else dist.TransformedDistribution(base, latent.transform))
