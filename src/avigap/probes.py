"""Random points of a program's latents and data, and its log joint at many of them at once.

A dependence is sought by values, not by derivatives: the mixed difference

    l(a', b') - l(a', b) - l(a, b') + l(a, b)

of the log joint in two blocks of arguments is zero at all points if and only if it is a sum of a function without a and
one without b. It needs no derivative, so it sees discrete data, steps and flat regions. Half of the points are the
program's own draws, half are spread over several scales.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.distributions import biject_to

from avigap.adam import ONCE
from avigap.program.arguments import Program, run_program
from avigap.program.marks import plain, run_marked
from avigap.program.tracing import WholePlates, is_latent, log_probs

Arrays = Mapping[str, np.ndarray]

SCALES = (0.5, 2.0, 8.0)
"""Of the points that are not draws of the program, on the unconstrained space."""

CHUNK = 2048
"""Points that are scored at once."""

ZERO, NONZERO = 1e-12, 1e-9
"""Parts of the sum of absolute terms: a difference below the first is rounding, one above the second is not."""


class Points(NamedTuple):
    """M points.

    Attributes
    ----------
    latents : site to values (M, *shape) on the unconstrained space
    data : argument to values (M, *shape)
    """

    latents: Arrays
    data: Arrays

    @property
    def number(self) -> int:
        """Number of points M."""
        return len(jax.tree.leaves(self)[0])

    def take(self, index: np.ndarray) -> "Points":
        """Return some of the points."""
        return jax.tree.map(lambda leaf: leaf[index], self)


def draw_points(program: Program, arguments: Mapping[str, Any], given: Arrays, number: int, seed: int) -> Points:
    """Return points of which half have latents from the program's draws.

    Data are its draws too, or the rows of those given, in random orders, if it cannot simulate.
    """
    keys = jax.random.split(jax.random.key(seed), number)

    def one(key: jax.Array) -> tuple[dict[str, Any], dict[str, Any]]:
        trace, data = (
            program.simulate(arguments, key)
            if program.simulates
            else (run_program(program.function, {**arguments, **given}, key)[0], {})
        )
        return {n: biject_to(s["fn"].support).inv(s["value"]) for n, s in trace.items() if _is_continuous(s)}, data

    try:
        latents, data = jax.jit(jax.vmap(one), compiler_options=ONCE)(keys)
    except (jax.errors.ConcretizationTypeError, jax.errors.TracerArrayConversionError, TypeError):
        few = [one(key) for key in keys[:8]]
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *few)
        latents, data = jax.tree.map(lambda leaf: jnp.resize(leaf, (number, *leaf.shape[1:])), stacked)
    rng = np.random.default_rng(seed)
    spread = np.where(np.arange(number) % 2, 1.0, 0.0) * np.resize(np.repeat(SCALES, 2), number)
    mixed = {}
    for name, leaf in latents.items():
        scale = spread.reshape(-1, *[1] * (leaf.ndim - 1))
        mixed[name] = np.where(scale > 0, scale * rng.standard_normal(leaf.shape), np.asarray(leaf))
    if not program.simulates:
        orders = [rng.permutation(len(next(iter(given.values())))) for _ in range(number)]
        data = {name: np.stack([column[order] for order in orders]) for name, column in given.items()}
    return Points(mixed, {name: np.asarray(leaf) for name, leaf in data.items()})


def _is_continuous(site: Any) -> bool:
    return is_latent(site) and not site["fn"].is_discrete


class Scorer:
    """The log joint of a program as a function of many points.

    Parameters
    ----------
    arguments
        All of the program, with the observations; points hold all latents, and the arguments that they change.
    checked
        Whether the program looks at values of its data, as to refuse bad ones: it then sees those of ``arguments``.
    """

    def __init__(self, program: Program, arguments: Mapping[str, Any], checked: bool = False) -> None:
        function = WholePlates(program.function)

        def terms_of(latents: Any, data: Any) -> list[jax.Array]:
            if not checked:
                return log_probs(function, {**arguments, **data}, latents)

            def marked(**own: Any) -> list[jax.Array]:
                return log_probs(function, own, latents)

            reference = {name: np.asarray(arguments[name]) for name in data}
            found: list[jax.Array] = plain(run_marked(marked, {**arguments, **data}, reference)[0])
            return found

        def score(latents: Any, data: Any) -> tuple[jax.Array, jax.Array]:
            terms = terms_of(latents, data)
            return sum(map(jnp.sum, terms), jnp.zeros(())), sum((jnp.abs(t).sum() for t in terms), jnp.zeros(()))

        self.terms, self.log_joint, self.checked = terms_of, score, checked
        self.compiled = jax.jit(jax.vmap(score), compiler_options=ONCE)

    def __call__(self, points: Points) -> tuple[np.ndarray, np.ndarray]:
        """Return the log joint in nats at M points, and the sum of its absolute terms."""
        number, values = points.number, []
        for first in range(0, number, CHUNK):
            index = np.minimum(np.arange(first, first + CHUNK), number - 1)
            values.append(jax.tree.map(np.asarray, self.compiled(*points.take(index))))
        value, size = (np.concatenate(part)[:number] for part in zip(*values, strict=True))
        return value, size


def significance(signs: np.ndarray, values: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return a signed sum of log joints (C, ..) as part of the terms that it comes from; NaN if one is not finite."""
    finite = np.isfinite(values).all(0)
    difference = np.tensordot(signs, np.where(finite, values, 0.0), axes=1)
    return np.where(finite, np.abs(difference) / (1 + np.where(finite, sizes, 0.0).max(0)), np.nan)
