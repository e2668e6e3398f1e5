"""Programs with one scalar z_n in a plate and few scalar shared latents, as the joints of :mod:`avigap.core`."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from avigap.core import Joint
from avigap.elbo import MAX_SHARED
from avigap.target import Target


def as_joint(target: Target) -> tuple[Joint, Array] | None:
    """Return a target as a joint with a matrix of its data, a column for each argument; None if it is not of that kind.

    It is where one scalar latent lies in a plate of its own, all shared latents are scalars, two at most, and all
    arguments of as many rows as the plate are vectors.
    """
    local, shapes = target.places.local, target.shapes
    shared = sorted(name for name in shapes if name not in local)
    if len(local) != 1 or len(shapes[local[0]]) != 1 or len(target.kinds) != 1 or len(target.kinds[0].plates) != 1:
        return None
    if any(shapes[name] for name in shared) or len(shared) > MAX_SHARED:
        return None
    rows = {name: np.asarray(value) for name, value in target.arguments.items() if np.ndim(value)}
    if not rows or any(value.shape != (target.num_units,) for value in rows.values()):
        return None
    x = jnp.stack([jnp.asarray(value, float) for value in rows.values()], axis=1)
    fixed = {
        name: value
        for name, value in target.arguments.items()
        if name not in rows and name != target.program.count_name
    }
    program = _of_rows(
        target.function, fixed, {name: value.dtype for name, value in rows.items()}, target.program.count_name
    )
    return Joint(program, (), tuple(shared), local, row_shape=(len(rows),)), x


def _of_rows(
    function: Callable[..., Any], fixed: dict[str, Any], columns: dict[str, np.dtype], count: str | None
) -> Callable[..., Any]:
    def program(x: Array, *, num_obs: int) -> Any:
        own = {name: x[:, index].astype(dtype) for index, (name, dtype) in enumerate(columns.items())}
        return function(**fixed, **own, **({count: num_obs} if count else {}))

    return program
