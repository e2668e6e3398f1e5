"""The ladder of families that a study of anyone's program climbs, as its verdict says, and what each step loses."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import PRNGKeyArray

from avigap.amortized import Amortized, fit_functions
from avigap.condition.verdict import Verdict
from avigap.errors import InputError
from avigap.evidence import importance
from avigap.families import build
from avigap.inputs import inputs_of
from avigap.nodes import Nodes
from avigap.starts import FitSettings

GOOD_K = 0.7
"""Pareto k up to which importance sampling gives the log evidence (Vehtari et al. 2024)."""

Families = Mapping[str, Mapping[str, Any]]


def ladder_of(verdict: Verdict) -> dict[str, dict[str, Any]]:
    """Return families by name: degree 0, degree 1 and networks on the inputs of the verdict.

    Where no fixed number of rows suffices, and rows have an order, windows of growing size take the place of one input.
    """
    steps: dict[str, dict[str, Any]] = {"constant": {"kind": "constant"}, "linear": {"kind": "polynomial", "degree": 1}}
    if verdict.attainable == "no" and verdict.attainable_here is not True and verdict.rule in ("coupling", "many_rows"):
        for half in (1, 2):
            steps[f"linear_window_{half}"] = {"kind": "polynomial", "inputs": list(range(-half, half + 1))}
        return steps | {"mlp_8_window_2": {"kind": "mlp", "width": 8, "inputs": [-2, -1, 0, 1, 2]}}
    return steps | {f"mlp_{width}": {"kind": "mlp", "width": width} for width in (4, 16)}


def fit_ladder(
    nodes: Nodes,
    optimum: np.ndarray,
    verdict: Verdict,
    families: Families,
    key_of: Callable[[str], PRNGKeyArray],
    fit: FitSettings,
    report: Callable[[str, Amortized], None] = lambda name, fit: None,
) -> dict[str, Amortized]:
    """Return the best fit of each family, by name; families without ``inputs`` see those of the verdict.

    Windows wider than the data are left out, unless none remains.

    Raises
    ------
    InputError
        If all windows are wider than the data.
    """
    fits, refused = {}, []
    for name, config in families.items():
        try:
            seen = inputs_of(nodes.target, verdict, config.get("inputs"))
        except InputError as error:
            refused.append(error)
            continue
        fits[name] = fit_functions(nodes, optimum, build(config), seen, key_of(name), fit)
        report(name, fits[name])
    if not fits:
        raise refused[0]
    return fits


def decompose(
    nodes: Nodes, optimum: np.ndarray, elbo: float, num_obs: int, fits: Mapping[str, Amortized], key: PRNGKeyArray
) -> pd.DataFrame:
    """Return the parts of what each fit loses against the log evidence, in nats per observation, with Pareto's k.

    The log evidence is that of importance sampling from F-VI's optimum, missing where its Pareto k is above 0.7.
    """
    own = importance(nodes.target.log_joint, optimum, key)
    is_good = own.pareto_k <= GOOD_K
    common = {
        "num_obs": num_obs,
        "log_evidence": own.log_evidence if is_good else np.nan,
        "log_evidence_error": 2 * own.error if is_good else np.nan,
        "elbo_fvi": elbo,
        "pareto_k_fvi": own.pareto_k,
        "approximation_gap": (own.log_evidence - elbo) / num_obs if is_good else np.nan,
        "generalization_gap": np.nan,
    }
    rows = []
    for name, fit in fits.items():
        parts = {"family": name, "amortization_gap": fit.best.gap / num_obs}
        parts["optimization_gap"] = max(fit.plain.gap - fit.best.gap, 0.0) / num_obs
        rows.append(common | parts | {"pareto_k": importance(nodes.target.log_joint, fit.q, key).pareto_k})
    return pd.DataFrame(rows)
