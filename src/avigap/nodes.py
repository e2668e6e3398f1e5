"""Expectations of any log joint under a mean-field q, by a rule whose nodes all units of a colour share.

The rule has D dimensions: one for each element of the shared latents, and one for each element of a unit of each colour
(:mod:`avigap.colours`). Which rule, is chosen by :func:`supports`:

- ``quadratic``: 2 D points of degree 3 (Stroud 1971, U3), exact where the log joint is a quadratic function;
- ``gauss_hermite``: a tensor rule where D is 3 at most; its error is the distance to a finer one;
- ``monte_carlo``: antithetic Sobol points, scrambled, whitened to mean 0 and covariance 1; several scrambles that no
  fit has seen give the error.
"""

from collections.abc import Callable
from functools import cached_property, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.special import ndtri
from scipy.stats import qmc

from avigap.colours import colour_units
from avigap.core import ENTROPY_OF_STANDARD_NORMAL
from avigap.elbo import ANYWHERE, ESTIMATORS, Support, check_estimator
from avigap.quadrature import tensor_rule
from avigap.target import Target

MAX_TENSOR = 3
"""Dimensions of a tensor rule, at most."""

NUM_NODES = {1: 32, 2: 20, 3: 10}
"""Nodes of a tensor rule for each dimension."""

FINER = 2
"""Nodes of the rule that tells the error, as a multiple."""

NUM_POINTS = 512
"""Sobol points of a fit, or four for each dimension if that is more."""

MAX_WHITENED = 1024
"""Dimensions up to which Sobol points are whitened."""

NUM_SCRAMBLES = 8
"""Fresh sets of points by which a Monte Carlo value is judged."""

TOO_LARGE = 1e100

BLOCK = 400_000
"""Elements of the latents, over points, that are held at once."""


class Rule(NamedTuple):
    """Points (M, D) and weights (M,) of a rule for D standard normals."""

    points: np.ndarray
    weights: np.ndarray


def cubature(dimension: int) -> Rule:
    """Return the rule of degree 3: 2 D points on the axes."""
    points = dimension**0.5 * np.concatenate([np.eye(dimension), -np.eye(dimension)])
    return Rule(points, np.full(2 * dimension, 1 / (2 * dimension)))


def sobol(dimension: int, seed: int, number: int = NUM_POINTS) -> Rule:
    """Return antithetic scrambled Sobol points, of mean 0, and of covariance 1 exactly where D is not too large."""
    number = 1 << int(np.ceil(np.log2(max(number, 4 * min(dimension, MAX_WHITENED)))))
    half = ndtri(qmc.Sobol(dimension, seed=seed).random(number // 2).clip(1e-9, 1 - 1e-9))
    points = np.concatenate([half, -half])
    if dimension <= MAX_WHITENED:
        factor = np.linalg.cholesky(points.T @ points / number)
        points = np.linalg.solve(factor, points.T).T
    return Rule(points, np.full(number, 1 / number))


class Nodes:
    """The ELBO of a target under flat parameters of q, (loc, log scale) of every element, by rules of shared nodes."""

    def __init__(self, target: Target, seed: int = 0) -> None:
        self.target, self.seed = target, seed
        self.axis = np.zeros(target.size, int)
        self.axis[target.shared] = np.arange(len(target.shared))
        dimension = len(target.shared)
        for kind, colours in zip(target.kinds, colour_units(target, seed), strict=True):
            depth = len(kind.elements)
            self.axis[kind.elements] = dimension + depth * colours + np.arange(depth)[:, None]
            dimension += depth * (int(colours.max()) + 1)
        self.dimension = dimension

    @cached_property
    def estimator(self) -> str:
        """The first estimator that applies."""
        return next(name for name in ESTIMATORS if supports(name, self).ok)

    @cached_property
    def rule(self) -> Rule:
        """The rule that fits use."""
        return self.fresh_rules()[0] if self.estimator != "monte_carlo" else sobol(self.dimension, self.seed)

    def fresh_rules(self) -> list[Rule]:
        """Return the rules by which a fit is judged: a finer one first, or several that no fit has seen."""
        if self.estimator == "quadratic":
            return [cubature(self.dimension)]
        if self.estimator == "gauss_hermite":
            sizes = NUM_NODES[self.dimension], FINER * NUM_NODES[self.dimension]
            return [Rule(*tensor_rule(size, self.dimension)) for size in sizes]
        return [sobol(self.dimension, 1000 + self.seed + scramble) for scramble in range(NUM_SCRAMBLES)]

    def blocks(self, rule: Rule) -> tuple[Float[Array, "B m D"], Float[Array, "B m"]]:
        """Return points and weights of a rule in B blocks, of which one is held in memory at a time."""
        size = max(1, BLOCK // max(1, self.target.size))
        number = -(-len(rule.weights) // size)
        own = -(-len(rule.weights) // number)
        padding = number * own - len(rule.weights)
        points = np.pad(rule.points, ((0, padding), (0, 0))).reshape(number, own, -1)
        return jnp.asarray(points), jnp.asarray(np.pad(rule.weights, (0, padding)).reshape(number, own))

    def value(self, q: Float[Array, "2 L"], points: Array, weights: Array) -> Float[Array, ""]:
        """Return the part of the ELBO in nats that a block of points (M, D) gives, without the entropy."""
        scale = jnp.exp(q[1])
        values = jax.vmap(lambda e: self.target.log_joint(q[0] + scale * e[self.axis]))(points)
        return jnp.sum(jnp.where(weights > 0, weights * values, 0.0))

    def elbo(self, q: Float[np.ndarray, "2 L"], rule: Rule | None = None) -> float:
        """Return the ELBO in nats by a rule, that of the fits by default."""
        return float(self._elbo(jnp.asarray(q), *self.blocks(rule or self.rule)))

    def fresh_elbo(self, q: Float[np.ndarray, "2 L"]) -> float:
        """Return the ELBO in nats by rules that no fit has seen: the finest, or the mean over scrambles."""
        values = [self.elbo(q, rule) for rule in self.fresh_rules()]
        return float(np.mean(values)) if self.estimator == "monte_carlo" else values[-1]

    def excess(self, q: Float[np.ndarray, "2 L"]) -> float:
        """Return about how many nats q is below the optimum of the rules that no fit has seen.

        Half of the squared gradient in q's own metric, in which a local factor's curvature is 1 in loc / scale and 2 in
        log scale; zero for an optimum of all rules alike.
        """
        gradients = [self._gradient(jnp.asarray(q), *self.blocks(rule)) for rule in self.fresh_rules()]
        slope = np.asarray(sum(gradients[1:], gradients[0])) / len(gradients)
        return float(np.sum((slope[0] * np.exp(q[1])) ** 2) + np.sum(slope[1] ** 2) / 2) / 2

    @cached_property
    def _gradient(self) -> Callable[..., Array]:
        return jax.jit(jax.grad(self._elbo))

    @cached_property
    def _elbo(self) -> Callable[..., Array]:
        @jax.jit
        def elbo(q: Array, points: Array, weights: Array) -> Array:
            parts = jax.lax.map(lambda block: self.value(q, *block), (points, weights))
            return parts.sum() + jnp.sum(q[1] + ENTROPY_OF_STANDARD_NORMAL)

        return elbo

    def ascent(self, q_of: Callable[[Array], Float[Array, "2 L"]]) -> "Ascent":
        """Return the ELBO of q as a function of other flat parameters, with its derivatives."""
        return Ascent(self, q_of)


class Ascent:
    """Minus the ELBO as a function of flat parameters, for minimisers: value with gradient, and Hessian products."""

    def __init__(self, nodes: Nodes, q_of: Callable[[Array], Float[Array, "2 L"]]) -> None:
        blocks = nodes.blocks(nodes.rule)

        def part(params: Array, points: Array, weights: Array) -> Array:
            return -nodes.value(q_of(params), points, weights)

        def rest(params: Array) -> Array:
            return -jnp.sum(q_of(params)[1] + ENTROPY_OF_STANDARD_NORMAL)

        def summed(function: Callable[..., Any], params: Array, points: Array, weights: Array) -> Any:
            """Add up what blocks give, so that the derivatives of one block are held at a time."""
            first = jax.tree.map(jnp.zeros_like, jax.eval_shape(function, params, points[0], weights[0]))
            add = partial(jax.tree.map, jnp.add)
            return jax.lax.scan(lambda t, block: (add(t, function(params, *block)), None), first, (points, weights))[0]

        @jax.jit
        def both(params: Array, points: Array, weights: Array) -> tuple[Array, Array]:
            value, gradient = summed(jax.value_and_grad(part), params, points, weights)
            own, slope = jax.value_and_grad(rest)(params)
            return value + own, gradient + slope

        @jax.jit
        def product(params: Array, direction: Array, points: Array, weights: Array) -> Array:
            def along(params: Array, points: Array, weights: Array) -> Array:
                gradient = partial(jax.grad(part), points=points, weights=weights)
                return jax.jvp(gradient, (params,), (direction,))[1]

            return summed(along, params, points, weights) + jax.jvp(jax.grad(rest), (params,), (direction,))[1]

        self._both, self._product, self._rule = both, product, blocks

    def __call__(self, params: np.ndarray) -> tuple[float, np.ndarray]:
        """Return minus the ELBO in nats and its gradient; :data:`TOO_LARGE` and 0 where they are not finite."""
        value, gradient = jax.device_get(self._both(jnp.asarray(params), *self._rule))
        if not np.isfinite(value) or not np.isfinite(gradient).all():
            return TOO_LARGE, np.zeros(gradient.shape)
        return float(value), np.asarray(gradient, float)

    def hessian_product(self, params: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """Return the Hessian of minus the ELBO times a direction."""
        return np.asarray(self._product(jnp.asarray(params), jnp.asarray(direction), *self._rule), float)


def supports(estimator: str, nodes: Nodes) -> Support:
    """Say whether an estimator applies to a target, and why.

    Raises
    ------
    InputError
        If there is no such estimator.
    """
    check_estimator(estimator)
    if estimator == "quadratic":
        if is_quadratic(nodes.target):
            return Support(True, "the log joint is a quadratic function of all latents")
        return Support(False, "the log joint is not a quadratic function of the latents")
    if estimator == "gauss_hermite":
        small = nodes.dimension <= MAX_TENSOR
        reason = f"the rule has {nodes.dimension} dimension{'s' * (nodes.dimension > 1)}: shared latents, and one unit"
        return Support(small, reason + ("" if small else f" of each colour; a tensor rule takes {MAX_TENSOR} at most"))
    return ANYWHERE


def is_quadratic(target: Target) -> bool:
    """Return whether the gradient of the log joint is affine in the latents, tried along two random directions."""
    gradient = jax.jit(jax.vmap(jax.grad(target.log_joint)))
    random = np.random.default_rng(0)
    for _ in range(2):
        step = random.standard_normal(target.size)
        low, centre, high = np.asarray(gradient(np.outer([0.0, 1.0, 2.0], step)))
        bend = np.abs(low - 2 * centre + high)
        if not (bend <= 1e-8 * (1 + np.abs([low, centre, high]).max(axis=0))).all():
            return False
    return True
