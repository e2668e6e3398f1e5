"""Gauss-Hermite rules for normal factors, and the weights that turn values of a function into ELBO derivatives.

For z ~ N(loc, scale^2) and u = (z - loc) / scale, Stein's identities give every derivative of E[h(z)] in loc and
log scale as an expectation of h times a Hermite polynomial in u:

    d/dloc = He1 / scale            d/dlog_scale = He2
    d2/dloc2 = He2 / scale^2        d2/dloc dlog_scale = He3 / scale       d2/dlog_scale2 = 2 He2 + He4

so that one set of evaluations of h yields value, gradient and Hessian, with no derivative of h.
"""

from functools import lru_cache
from itertools import product
from typing import NamedTuple

import numpy as np
from scipy.special import eval_hermitenorm, roots_hermitenorm


@lru_cache(maxsize=64)
def gauss_hermite_rule(num_nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes and weights of the rule for a standard normal; exact for degree up to ``2 num_nodes - 1``."""
    nodes, weights = roots_hermitenorm(num_nodes)
    return nodes, weights / weights.sum()


def tensor_rule(num_nodes: int, dimension: int) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes (J^S, S) and weights (J^S,) of the tensor rule for S = ``dimension`` standard normals."""
    nodes, weights = gauss_hermite_rule(num_nodes)
    grid = np.array(list(product(nodes, repeat=dimension))).reshape(num_nodes**dimension, dimension)
    return grid, np.array([np.prod(w) for w in product(weights, repeat=dimension)])


class SteinTable(NamedTuple):
    """Weights of the value, gradient and upper Hessian of E[h] over D / 2 normal coordinates.

    The D variational parameters are ordered loc, log scale of the first coordinate, then of the next. Row f of
    ``shared`` (F, J) times row f of ``local`` (F, K) weighs h at shared node j and local node k; ``orders`` (F, D / 2)
    is the power of 1 / scale of each coordinate that the sum still has to be multiplied with.
    """

    shared_nodes: np.ndarray
    local_nodes: np.ndarray
    shared: np.ndarray
    local: np.ndarray
    orders: np.ndarray
    pairs: list[tuple[int, int]]


def _polynomial(u: np.ndarray, locs: int, logs: int, num_nodes: int) -> np.ndarray:
    """Return the polynomial of ``locs`` derivatives in loc and ``logs`` in log scale (at most two in all).

    A rule of J nodes weighs He4 rightly against degree 2 J - 5. With fewer than five nodes its term is left out, which
    is exact for an integrand of degree three at most, the only one that such a rule is meant for.
    """
    he = [eval_hermitenorm(order, u) for order in range(5)]
    he[4] = he[4] if num_nodes >= 5 else 0 * u
    table = {(0, 0): he[0], (1, 0): he[1], (0, 1): he[2], (2, 0): he[2], (1, 1): he[3], (0, 2): 2 * he[2] + he[4]}
    return np.asarray(table[locs, logs])


@lru_cache(maxsize=64)
def stein_table(num_nodes: int, num_shared_nodes: int, num_shared: int) -> SteinTable:
    """Return the table for ``num_shared`` shared coordinates (tensor rule) and one local coordinate."""
    u_shared, w_shared = tensor_rule(num_shared_nodes, num_shared)
    u_local, w_local = gauss_hermite_rule(num_nodes)
    dimension = 2 * (num_shared + 1)
    pairs = [(i, j) for i in range(dimension) for j in range(i, dimension)]
    functionals: list[tuple[int, ...]] = [(), *((i,) for i in range(dimension)), *pairs]
    shared, local, orders = [], [], []
    for parameters in functionals:
        counts = [(parameters.count(2 * c), parameters.count(2 * c + 1)) for c in range(num_shared + 1)]
        factors = [_polynomial(u_shared[:, c], *counts[c], num_shared_nodes) for c in range(num_shared)]
        shared.append(w_shared * np.prod(factors, axis=0) if factors else w_shared)
        local.append(w_local * _polynomial(u_local, *counts[-1], num_nodes))
        orders.append([locs for locs, _ in counts])
    return SteinTable(u_shared, u_local, np.array(shared), np.array(local), np.array(orders), pairs)
