"""Polynomial inference functions: loc is a polynomial of the window's inputs, all positions share one scale.

Degree 1 with inputs [0] is the function of Proposition 3.6, with three parameters for any N.
"""

from functools import partial
from itertools import combinations_with_replacement

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from avigap.families import AtLeastZero, Family, Offsets, Params


def monomials(inputs: Float[Array, "... C"], degree: int) -> Float[Array, "... P"]:
    """Return all monomials of total degree up to ``degree`` in the last axis, the constant first."""
    size = inputs.shape[-1]
    terms = [term for d in range(degree + 1) for term in combinations_with_replacement(range(size), d)]
    return jnp.stack([jnp.prod(inputs[..., term], axis=-1) for term in map(list, terms)], axis=-1)


def build(*, degree: AtLeastZero = 1, inputs: Offsets = (0,)) -> Family:
    """Return the family with one coefficient for each monomial of total degree up to ``degree``, and one scale."""
    design = partial(monomials, degree=degree)

    def init(key: PRNGKeyArray, inputs: Float[Array, "n C"]) -> Params:
        return {"loc": jnp.zeros(design(inputs[:1]).shape[-1]), "log_scale": jnp.zeros(())}

    def infer(params: Params, inputs: Float[Array, "C *n"]) -> tuple[Array, Array]:
        loc = design(jnp.moveaxis(inputs, 0, -1)) @ params["loc"]
        return loc, jnp.broadcast_to(params["log_scale"], loc.shape)

    return Family(inputs, init, infer, design)
