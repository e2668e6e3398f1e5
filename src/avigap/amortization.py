"""From a family's inference function to a mean-field q over all latents: windows, edge factors and q(theta).

A position n whose window leaves the data is an edge (Remark 3.7): it has a free loc and scale of its own in every
family, and is never padded. Every shared latent has a free normal factor, optimised jointly with the function.
"""

from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from jaxtyping import Array, Float, PRNGKeyArray

from avigap.core import Joint, MeanField
from avigap.errors import InputError
from avigap.families import Family, Params
from avigap.guide import Guide, sample_mean_field

Variational = dict[str, Any]
"""``{"shared": {site: {"loc", "log_scale"}}, "edge": {"loc", "log_scale"} of (E,), "function": params}``"""


START_ROWS = 1000
"""Positions that a start of an inference function sees."""


class Layout(NamedTuple):
    """Which positions (0-based) an inference function serves, and which rows of x each of them sees.

    Attributes
    ----------
    start, stop : the interior positions are ``start <= n < stop``
    num_obs : number of positions N
    offsets : position n sees the rows n + offset of x
    """

    start: int
    stop: int
    num_obs: int
    offsets: tuple[int, ...]

    @property
    def interior(self) -> slice:
        """The I positions whose whole window lies in the data."""
        return slice(self.start, self.stop)

    @property
    def edge(self) -> np.ndarray:
        """The other E = N - I positions, in order."""
        return np.r_[: self.start, self.stop : self.num_obs]

    def join(self, inner: Float[Array, "*K I"], edge: Float[Array, "*K E"]) -> Float[Array, "*K N"]:
        """Return values by position from those of the interior positions and those of the edges."""
        return jnp.concatenate([edge[..., : self.start], inner, edge[..., self.start :]], axis=-1)


@lru_cache(maxsize=64)
def layout(joint: Joint, family: Family, num_obs: int) -> Layout:
    """Return the layout of a family for ``num_obs`` local latents.

    Raises
    ------
    InputError
        If no position has its whole window inside the data.
    """
    offsets = tuple(joint.lead + offset for offset in family.inputs)
    if family.infer is None:
        return Layout(0, 0, num_obs, offsets)
    start, stop = max(0, -min(offsets)), min(num_obs, joint.lead + num_obs - max(offsets))
    if start >= stop:
        raise InputError(
            f"inputs {list(family.inputs)} are wider than the data: no position of {num_obs} has its whole window"
        )
    return Layout(start, stop, num_obs, offsets)


def window_inputs(x: Array, places: Layout) -> Float[Array, "I C"]:
    """Return the inputs of every interior position; a row of x with several entries gives several inputs."""
    columns = [jnp.asarray(x)[places.start + offset : places.stop + offset] for offset in places.offsets]
    return jnp.stack(columns, axis=1).reshape(places.stop - places.start, -1)


def initial(joint: Joint, family: Family, x: Array, key: PRNGKeyArray) -> Variational:
    """Return start parameters: loc 0 and scale 1 for free factors, the family's own start for its function.

    The function sees ``START_ROWS`` of the positions, evenly spaced, whatever N is: one program for all.
    """
    places = layout(joint, family, joint.num_obs(x))
    free = {"loc": jnp.zeros(()), "log_scale": jnp.zeros(())}
    params: Variational = {"shared": {site: dict(free) for site in joint.shared}}
    params["edge"] = {name: jnp.zeros(places.num_obs - (places.stop - places.start)) for name in free}
    if family.init is None:
        return params | {"function": {}}
    rows = np.linspace(places.start, places.stop - 1, START_ROWS).round().astype(int)
    some = jnp.stack([jnp.asarray(x)[rows + offset] for offset in places.offsets], axis=1)
    return params | {"function": _start_function(family, key, some.reshape(START_ROWS, -1))}


@partial(jax.jit, static_argnums=0)
def _start_function(family: Family, key: PRNGKeyArray, inputs: Array) -> Params:
    assert family.init is not None
    return family.init(key, inputs)


@partial(jax.jit, static_argnums=(0, 1))
def mean_field(joint: Joint, family: Family, params: Variational, x: Array) -> MeanField:
    """Return q over all latents: the family's function on every interior position, free factors elsewhere."""
    places = layout(joint, family, joint.num_obs(x))
    loc, log_scale = params["edge"]["loc"], params["edge"]["log_scale"]
    if family.infer is not None:
        inner = family.infer(params["function"], window_inputs(x, places).T)
        loc, log_scale = places.join(inner[0], loc), places.join(inner[1], log_scale)
    shared = params["shared"].items()
    site = joint.local[0]
    return MeanField(
        {**{name: factor["loc"] for name, factor in shared}, site: loc},
        {**{name: jnp.exp(factor["log_scale"]) for name, factor in shared}, site: jnp.exp(log_scale)},
    )


def num_params(joint: Joint, params: Variational) -> tuple[int, int]:
    """Return the number of parameters of the function with its edge factors, and that of q(theta).

    A latent of ``joint.edge``, such as z_0 of a Markov chain, counts as an edge factor.
    """

    def size(tree: Any) -> int:
        return sum(int(np.size(leaf)) for leaf in jax.tree.leaves(tree))

    edge = sum(size(params["shared"][site]) for site in joint.edge)
    return size(params["function"]) + size(params["edge"]) + edge, size(params["shared"]) - edge


def amortized_guide(joint: Joint, family: Family) -> Guide:
    """Return a NumPyro guide whose parameters (site ``"variational"``) are those of the family.

    For ``numpyro.infer.SVI(joint.program, guide, ...)``, called with the program's arguments.
    """

    def guide(x: Array, *, num_obs: int, **settings: Any) -> None:
        params = numpyro.param("variational", lambda key: initial(joint, family, x, key))
        sample_mean_field(joint, num_obs, mean_field(joint, family, params, x))

    return guide
