"""One table of programs: what the verdict predicts, what was measured, and how far F-VI is from the posterior."""

from typing import Any

import numpy as np
import pandas as pd

from avigap.condition.verdict import Verdict
from avigap.recommend import at_largest, chosen
from avigap.target import Target

HEAD = (
    *("program", "N", "verdict", "inputs", "F-VI", "constant", "linear", "best"),
    *("k of F-VI", "F-VI against NUTS: loc, scale"),
)


def row_of(
    name: str, verdict: Verdict, stats: dict[str, Any], summary: pd.DataFrame, parts: pd.DataFrame, distance: str
) -> list[str]:
    """Return the row of a program: gaps are in nats per observation at the largest N."""
    means = at_largest(summary)
    best = chosen(summary)
    smallest = str(means.gap_per_obs.idxmin())
    seen = [f"n{offset:+d}" if offset else "n" for offset in verdict.inputs] + verdict.covariates
    seen += [f"group {verdict.group}"] if verdict.group else []
    answer = verdict.attainable.replace("_", " ")
    answer += ", but here" if verdict.attainable == "no" and verdict.attainable_here else ""

    def gap(family: str) -> str:
        return _gap(means.loc[family]) if family in means.index else ""

    return [
        *(name, f"{summary.num_obs.max():,}", answer, ", ".join(seen) or "none"),
        *("certified" if stats["is_certified"] else "best found", gap("constant"), gap("linear")),
        f"{_gap(means.loc[smallest])} ({smallest})" + ("" if best == smallest else f"; {best} suffices"),
        *(f"{parts.pareto_k_fvi.iloc[0]:.2f}", distance),
    ]


def _gap(row: Any) -> str:
    """Return a gap per observation; its numerical error where it is below that."""
    error = row.gap_error / row.num_obs
    return f"{row.gap_per_obs:.2g}" if row.gap_per_obs > error else f"< {max(error, 1e-12):.0e}"


def markdown(rows: list[list[str]]) -> str:
    """Return rows as a table."""
    lines = [HEAD, ["---"] * len(HEAD), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def distance_to(target: Target, q: np.ndarray, reference: pd.DataFrame) -> str:
    """Return how far the factors of q (2, L) are from a reference posterior on the unconstrained space.

    The largest distance of a loc from the posterior mean, in its standard deviations, and the least and largest ratio
    of a scale to that; "" if the reference is of other data.
    """
    indexed = reference.set_index(["site", "index"])
    wanted = [(site, index) for site, shape in target.shapes.items() for index in range(int(np.prod(shape)))]
    if not set(wanted) <= set(indexed.index):
        return ""
    own = indexed.loc[wanted]
    shift = np.abs(q[0] - own["mean"].to_numpy()) / own.sd.to_numpy()
    ratio = np.exp(q[1]) / own.sd.to_numpy()
    return f"{shift.max():.2f} sd, {ratio.min():.2f} to {ratio.max():.2f}"
