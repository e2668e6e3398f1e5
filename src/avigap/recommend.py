"""What follows from the study of a program: amortize or not, with which function of what, and what it costs."""

from collections.abc import Mapping
from math import ceil
from typing import Any

import numpy as np
import pandas as pd

from avigap.verdict import Verdict

ENOUGH = 0.01
"""Gap in nats per observation below which a function of few parameters is recommended."""

MAX_NAMES = 6
"""Inputs that are named, at most."""


def at_largest(summary: pd.DataFrame) -> pd.DataFrame:
    """Return the means over data sets of the largest N, by family in the order of the ladder."""
    own = summary[(summary.num_obs == summary.num_obs.max()) & (summary.family != "factorized")]
    columns = ["num_obs", "gap_per_obs", "gap_error", "num_params", "num_params_fvi", "seconds"]
    means = own.groupby("family", sort=False)[columns].mean()
    return means.join(own.groupby("family", sort=False).inputs.first())


def chosen(summary: pd.DataFrame) -> str:
    """Return the family with the fewest parameters whose gap is small, or else the one with the smallest gap."""
    means = at_largest(summary)
    small = means[means.gap_per_obs <= ENOUGH]
    return str(small.num_params.idxmin() if len(small) else means.gap_per_obs.idxmin())


def pays_from(row: Any) -> int:
    """Return the least N at which a function has fewer parameters than the local factors of F-VI."""
    return ceil((row.num_params + 1) / (row.num_params_fvi / row.num_obs))


def recommendation(verdict: Verdict, stats: Mapping[str, Any], summary: pd.DataFrame, parts: pd.DataFrame) -> str:
    """Return one paragraph.

    Parameters
    ----------
    stats
        Of F-VI's optimum on the largest data set: ``is_certified`` and ``evidence``.
    summary, parts
        Tables of a ladder.
    """
    name = chosen(summary)
    row: Any = at_largest(summary).loc[name]
    k = parts.set_index("family").pareto_k.get(name, np.nan)
    number, cost = int(row.num_obs), max(float(row.gap_per_obs), 0.0)
    sentences = [f"Amortize{'' if cost <= ENOUGH else ' only if the cost is worth it'}: {_graph(verdict)}."]
    sentences.append(
        f"The family {name!r}, {int(row.num_params)} parameters, on {_listed(row.inputs)} costs {_number(cost)} nats"
        f" per observation at N = {number:,} (numerical error {row.gap_error / number:.0e})."
    )
    others = at_largest(summary).drop(index=name)
    if len(others):
        losses = ", ".join(f"{other} {_number(max(loss, 0.0))}" for other, loss in others.gap_per_obs.items())
        sentences.append(f"Others: {losses}.")
    sentences.append(
        f"F-VI has {int(row.num_params_fvi):,} parameters of local factors there; the function has fewer from"
        f" N = {pays_from(row):,} on."
    )
    how = "" if stats["is_certified"] else ", so a gap is to the best q known"
    sentences.append(f"F-VI's optimum: {stats['evidence']}{how}.")
    own = float(parts.pareto_k_fvi.iloc[0])
    stands = "stands in for the posterior" if own <= 0.7 else "does not stand in for the posterior"
    sentences.append(f"Pareto k is {own:.2f} for F-VI, which {stands}, and {k:.2f} for the function.")
    return " ".join(sentences)


def _graph(verdict: Verdict) -> str:
    if verdict.attainable == "yes":
        return "a function of x_n, with the n-th row of the covariates, can reach F-VI's optimum"
    if verdict.attainable == "wider_input":
        return "x_n is not enough, but a function of more can reach F-VI's optimum"
    if verdict.attainable == "no" and verdict.attainable_here:
        return "no function reaches F-VI's optimum on all densities of this graph, but one does on this density"
    if verdict.attainable == "no":
        return "no function of a fixed number of rows reaches F-VI's optimum, and what is lost is below"
    return f"whether a function can reach F-VI's optimum is not known ({verdict.reason})"


def _listed(inputs: str) -> str:
    names = inputs.split(", ")
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(names[:MAX_NAMES]) + more


def _number(value: float) -> str:
    return f"{value:.2g}" if value >= 1e-9 else "less than 1e-9"
