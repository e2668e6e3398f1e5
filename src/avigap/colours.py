"""Colours of units: no two of one colour are coupled, so that all units of a colour may share the nodes of a rule.

Where a log joint is, given the shared latents, a sum of functions of one z_n each, E_q of it needs the joint
distribution of theta and one z_n only: the same node may go into all z_n at once. Coupled units need nodes of their
own. A colouring is proposed by position and tried on the log joint itself: the mixed difference

    l(A moved, B moved) - l(A moved) - l(B moved) + l(neither)

of two random halves A and B of a colour is zero if and only if no unit of A is coupled to one of B (almost surely: half
of the coupled pairs are split each time).
"""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from avigap.adam import ONCE
from avigap.program.tracing import log_probs
from avigap.significance import NONZERO, significance
from avigap.target import Kind, Target

MAX_PERIOD = 9
"""Colours of a series of units by position, at most; more, and every unit has one of its own."""

NUM_SPLITS = 6
"""Random halves on which each colour is tried: a coupled pair is missed with probability 2^-6, many by far less."""

SPREAD = (0.5, 2.0)
"""Standard deviations of the points at which it is tried."""


def colour_units(target: Target, seed: int = 0) -> list[np.ndarray]:
    """Return the colour of every unit of each kind, the first proposal that the log joint bears out."""
    tried = _Trial(target, seed)
    return [next(colours for colours in _proposals(target, kind) if tried(kind, colours)) for kind in target.kinds]


def _proposals(target: Target, kind: Kind) -> Iterator[np.ndarray]:
    """Yield colours by unit, few first; the last gives every unit one of its own."""
    number = len(kind.units)
    yield np.zeros(number, int)
    for which in range(len(kind.plates)):
        index = np.array([target.places.units[unit][which][1] for unit in kind.units])
        for period in range(2, min(MAX_PERIOD, number - 1) + 1):
            yield index % period
        if len(kind.plates) > 1:
            yield index
    yield np.arange(number)


class _Trial:
    """Tries whether units of one colour are coupled."""

    def __init__(self, target: Target, seed: int) -> None:
        self.target, self.random = target, np.random.default_rng(seed)

        def score(flat: jax.Array) -> tuple[jax.Array, jax.Array]:
            terms = log_probs(target.function, target.arguments, target.latents(flat))
            return sum(map(jnp.sum, terms), jnp.zeros(())), sum((jnp.abs(t).sum() for t in terms), jnp.zeros(()))

        self.score = jax.jit(jax.vmap(score), compiler_options=ONCE)

    def __call__(self, kind: Kind, colours: np.ndarray) -> bool:
        """Say whether no units of the same colour are coupled, at enough points at which that could be seen."""
        if len(np.unique(colours)) == len(colours):
            return True
        seen = 0
        for split in range(NUM_SPLITS):
            half = self.random.random(len(colours)) < 0.5
            start, move = (SPREAD[split % 2] * self.random.standard_normal(self.target.size) for _ in range(2))
            sides = [[kind.elements[:, (colours == c) & own].ravel() for own in (half, ~half)] for c in set(colours)]
            found = np.array([self._coupling(start, move, both) for both in sides])
            if (found > NONZERO).any():
                return False
            seen += bool(np.isfinite(found).all())
        return seen >= NUM_SPLITS // 2

    def _coupling(self, start: np.ndarray, move: np.ndarray, sides: list[np.ndarray]) -> float:
        points = np.tile(start, (4, 1))
        for row, moved in enumerate(([], [0], [1], [0, 1])):
            for side in moved:
                points[row, sides[side]] += move[sides[side]]
        values, sizes = self.score(points)
        return float(significance(np.array([1.0, -1.0, -1.0, 1.0]), np.asarray(values), np.asarray(sizes)))
