"""Where replayed runs start: as the authors' code draws it, alike for all methods, or at the optimum."""

from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from avigap.adam import ONCE
from avigap.amortization import Variational, initial
from avigap.core import Joint
from avigap.families import Family
from avigap.gap import fit_amortized
from avigap.starts import Problem

Start = Literal["published_normal", "published_uniform", "common", "optimum"]


def starts_of(how: Start, problem: Problem, family: Family, keys: PRNGKeyArray) -> Variational:
    """Return parameters with a leading axis: one start of a kind for each key.

    Parameters
    ----------
    how
        As the authors' code draws it, with free local factors standard normal or uniform on (0, 1), or one ``common``
        start at which q is standard normal in every family; or the ``optimum``, the best fit that
        :func:`avigap.gap.fit_amortized` finds.
    """
    joint, x = problem.joint, problem.x
    if how == "optimum":
        best = [fit_amortized(problem, family, key).params for key in keys]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *best)

    def start(key: PRNGKeyArray) -> Variational:
        if how == "common":
            return common_start(joint, family, x, key)
        return published_start(joint, family, x, key, "uniform" if how == "published_uniform" else "normal")

    return jax.jit(jax.vmap(start), compiler_options=ONCE)(keys)


def published_start(
    joint: Joint, family: Family, x: Array, key: PRNGKeyArray, free: Literal["normal", "uniform"] = "normal"
) -> Variational:
    """Return a start as the authors' code draws it.

    Loc and log scale of q(theta), and the coefficients of polynomials, are standard normal; those of the free local
    factors standard normal or uniform on (0, 1); weights and biases of a network's layer are uniform on
    (-1, 1) / sqrt(inputs of the layer), PyTorch's default.
    """
    params = initial(joint, family, x, key)
    keys = iter(jax.random.split(jax.random.fold_in(key, 1), 1000))

    def normal(leaf: Array) -> Array:
        return jax.random.normal(next(keys), jnp.shape(leaf))

    def layer(leaves: Mapping[str, Array]) -> dict[str, Array]:
        bound = len(leaves["weight"]) ** -0.5
        return {n: jax.random.uniform(next(keys), v.shape, minval=-bound, maxval=bound) for n, v in leaves.items()}

    def is_layer(tree: Any) -> bool:
        return isinstance(tree, dict) and set(tree) == {"weight", "bias"}

    draw = normal if free == "normal" else lambda leaf: jax.random.uniform(next(keys), jnp.shape(leaf))
    return {
        "shared": jax.tree.map(normal, params["shared"]),
        "edge": jax.tree.map(draw, params["edge"]),
        "function": jax.tree.map(
            lambda part: layer(part) if is_layer(part) else normal(part), params["function"], is_leaf=is_layer
        ),
    }


def common_start(joint: Joint, family: Family, x: Array, key: PRNGKeyArray) -> Variational:
    """Return a start at which every factor of q is standard normal, in every family; a network's head is zero."""
    params = initial(joint, family, x, key)

    def is_network(tree: Any) -> bool:
        return isinstance(tree, list)

    def without_head(part: Any) -> Any:
        if is_network(part):
            return [*part[:-1], jax.tree.map(jnp.zeros_like, part[-1])]
        return jnp.zeros_like(part)

    return params | {"function": jax.tree.map(without_head, params["function"], is_leaf=is_network)}
