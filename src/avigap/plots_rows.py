"""Rows of ``gap.csv`` for figures: reading them, and statistics over data seeds."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from arviz_stats import eti

from avigap.errors import InputError, unknown
from avigap.tables import read_table

Families = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Configurations of families by experiment and name."""

PROB = 0.9
"""Probability of the equal-tailed interval over data seeds."""

COLUMNS = (
    *("experiment", "model", "num_obs", "family", "seed", "gap_per_obs", "gap_error", "optimization_gap_per_obs"),
    *("num_params", "num_failed", "status"),
)


def read_gap(path: Path) -> pd.DataFrame:
    """Return the rows of ``gap.csv``, one per experiment, family, number of observations and data seed.

    Raises
    ------
    InputError
        If the file is not a table with the columns that figures need, or has no row.
    """
    rows = read_table(path)
    missing = [name for name in COLUMNS if name not in rows]
    if missing:
        raise InputError(f"{path} has no column {', '.join(map(repr, missing))}; a gap.csv of this package is needed")
    return rows


def check_families(rows: pd.DataFrame, families: Families) -> None:
    """Raise unless there is a family, and rows of each.

    Raises
    ------
    InputError
        That names the experiment or family without rows, and those with some.
    """
    if not any(families.values()):
        raise InputError("a figure of families needs at least one, by experiment and name")
    for experiment, own in families.items():
        if experiment not in rows.experiment.to_numpy():
            raise unknown("experiment", experiment, rows.experiment.unique())
        present = rows.family[rows.experiment == experiment].unique()
        for family in set(own) - set(present):
            raise unknown(f"family of experiment {experiment!r}", family, present)


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """Return statistics over data seeds of each experiment, family and number of observations, in the rows' order.

    A gap below its numerical error is shown as that error. All values but ``num_params`` are in nats per observation.

    Returns
    -------
    DataFrame
        ``gap`` and ``plain``: mean of what the best and the plain start reach, each with its interval ``.._low`` and
        ``.._high`` and with ``.._is_zero``: no seed is above its numerical error; ``error``: the largest of those;
        ``num_params``: median; ``num_seeds``; ``is_imported``: data without a seed; ``is_finite``: every seed has a
        gap; ``failed``: the best start of a seed did not converge, has no finite gap, or one below zero by more than
        its error; ``start_failed``: another start did not converge.
    """
    error, plain = rows.gap_error / rows.num_obs, rows.gap_per_obs + rows.optimization_gap_per_obs
    values = rows.assign(
        error=error,
        gap=np.maximum(rows.gap_per_obs, error),
        plain=np.maximum(plain, error),
        failed=(rows.status != "converged") | ~np.isfinite(rows.gap_per_obs) | (rows.gap_per_obs < -error),
        gap_is_zero=rows.gap_per_obs.abs() <= error,
        plain_is_zero=plain.abs() <= error,
    )
    groups = values.groupby(["experiment", "model", "family", "num_obs"], sort=False)
    table = [dict(zip(groups.keys, key, strict=True)) | _statistics(group) for key, group in groups]
    return pd.DataFrame(table)


def _statistics(group: pd.DataFrame) -> dict[str, Any]:
    low, high = interval(group.gap.to_numpy())
    plain_low, plain_high = interval(group.plain.to_numpy())
    return {
        "gap": group.gap.mean(),
        "gap_low": low,
        "gap_high": high,
        "plain": group.plain.mean(),
        "plain_low": plain_low,
        "plain_high": plain_high,
        "error": group.error.max(),
        "num_params": group.num_params.median(),
        "num_seeds": len(group),
        "is_imported": bool(group.seed.isna().all()),
        "gap_is_zero": bool(group.gap_is_zero.all()),
        "plain_is_zero": bool(group.plain_is_zero.all()),
        "is_finite": bool(np.isfinite(group.gap_per_obs).all()),
        "failed": bool(group.failed.any()),
        "start_failed": bool((group.num_failed > 0).any()),
    }


def interval(values: np.ndarray) -> tuple[float, float]:
    """Return the equal-tailed interval of the finite values, which are at least one; else NaN."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return float("nan"), float("nan")
    low, high = eti(finite, prob=PROB)
    return float(low), float(high)
