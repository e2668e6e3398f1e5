"""What follows from the study of a program: amortize or not, with which function of what, and what it costs."""

from collections.abc import Mapping
from math import floor
from typing import Any

import numpy as np
import pandas as pd

from avigap.condition.verdict import Verdict

ENOUGH = 0.01
"""Gap in nats per observation below which a function of few parameters is recommended."""

TOO_MUCH = 0.1
"""Gap in nats per observation above which none is."""

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


def pays_from(summary: pd.DataFrame, num_params: float) -> int | None:
    """Return the least N at which a function has fewer parameters than the local factors of F-VI.

    The factors are taken to grow with N as they do from the smallest N to the largest, or in proportion if there is but
    one size; None if they do not grow.
    """
    sizes = summary.groupby("num_obs").num_params_fvi.mean()
    largest = float(sizes.index.max())
    slope = sizes.iloc[-1] / largest
    if len(sizes) > 1:
        slope = (sizes.iloc[-1] - sizes.iloc[0]) / (largest - sizes.index.min())
    if slope <= 0:
        return None
    return max(1, floor(largest + (num_params - sizes.iloc[-1]) / slope) + 1)


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
    since = pays_from(summary, row.num_params)
    sentences = [f"{_advice(cost, row, since)}: {_graph(verdict)}."]
    sentences.append(
        f"The family {name!r}, {int(row.num_params)} parameters, on {_listed(row.inputs)} costs {_number(cost)} nats"
        f" per observation at N = {number:,} (numerical error {row.gap_error / number:.0e})."
    )
    others = at_largest(summary).drop(index=name)
    if len(others):
        losses = ", ".join(f"{other} {_number(max(loss, 0.0))}" for other, loss in others.gap_per_obs.items())
        sentences.append(f"Others: {losses}.")
    fewer = f"the function has fewer from N = {since:,} on" if since else "their number does not grow with N"
    sentences.append(f"F-VI has {int(row.num_params_fvi):,} parameters of local factors there; {fewer}.")
    how = "" if stats["is_certified"] else ", so a gap is to the best q known"
    sentences.append(f"F-VI's optimum: {stats['evidence']}{how}.")
    own = float(parts.pareto_k_fvi.iloc[0])
    stands = "stands in for the posterior" if own <= 0.7 else "does not stand in for the posterior"
    sentences.append(f"Pareto k is {own:.2f} for F-VI, which {stands}, and {k:.2f} for the function.")
    return " ".join(sentences)


def _advice(cost: float, row: Any, since: int | None) -> str:
    if cost > TOO_MUCH:
        return "Do not amortize with any function tried"
    if row.num_params >= row.num_params_fvi:
        return (
            f"Amortize from N = {since:,} on, not before" if since else "Do not amortize, F-VI has no more parameters"
        )
    return "Amortize" if cost <= ENOUGH else "Amortize only if the cost is worth it"


def _graph(verdict: Verdict) -> str:
    own = " and ".join(f"{name}_n" for name in verdict.observed or verdict.covariates)
    if verdict.attainable == "yes":
        covariates = ", with the n-th row of the covariates," if verdict.covariates and verdict.observed else ""
        return f"a function of {own}{covariates} can reach F-VI's optimum"
    if verdict.attainable == "wider_input":
        return f"{own} is not enough, but a function of more can reach F-VI's optimum"
    if verdict.attainable == "no" and verdict.attainable_here:
        return "by its symmetry, a function whose parameters depend on all data reaches F-VI's optimum"
    if verdict.attainable == "no":
        return "no function of a fixed number of rows reaches F-VI's optimum, and what is lost is below"
    return f"whether a function can reach F-VI's optimum is not known ({verdict.reason})"


def _listed(inputs: str) -> str:
    names = inputs.split(", ")
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(names[:MAX_NAMES]) + more


def _number(value: float) -> str:
    return f"{value:.2g}" if value >= 1e-9 else "less than 1e-9"
