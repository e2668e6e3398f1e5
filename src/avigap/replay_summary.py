"""From the course of replayed runs to one row for each: final loss, convergence by the published and honest rules."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from avigap.convergence import SMALL_GAPS, first_below, iterations_to, window_mean
from avigap.errors import InputError
from avigap.models import published_loss
from avigap.replay_files import Recorded

TOLERANCES = {"it_50": 0.5, "it_10": 0.1, "it_1": 0.01}
"""Relative tolerances of the published rule, by column."""

FINAL = 500
"""Half the number of last iterations whose mean loss is the final one."""


def dropped_constants(record: Recorded, mode: str) -> float:
    """Return what the loss of a mode leaves out in nats: as coded, what the authors' code does; else nothing."""
    published = published_loss(record.model, record.settings, record.num_obs, 0.0)
    return -(published or 0.0) if mode == "as_coded" else 0.0


def coded_loss(record: Recorded, mode: str) -> np.ndarray:
    """Return the loss (R, steps) of a mode in nats."""
    return np.asarray(record.loss, float) - dropped_constants(record, mode)


def certified_loss(record: Recorded, mode: str) -> float:
    """Return the loss of a mode at the certified optimum of F-VI."""
    return -record.elbo_fvi - dropped_constants(record, mode)


def target_of(record: Recorded, mode: str, together: Sequence[Recorded]) -> np.ndarray:
    """Return the loss (R,) near which each run counts as converged.

    Parameters
    ----------
    together
        All runs of the replay; the published rule takes the loss of those of the method ``factorized``.

    Raises
    ------
    InputError
        If the rule needs a run of that method from each seed, and there is not exactly one.
    """
    how, number = record.protocol, len(record.seed)
    if how.target_loss is not None:
        return np.full(number, how.target_loss)
    if how.target == "certified":
        return np.full(number, certified_loss(record, mode))
    own = [each for each in together if each.method == "factorized" and each.num_obs == record.num_obs]
    seeds = [int(seed) for each in own for seed in each.seed]
    if any(seeds.count(seed) != 1 for seed in record.seed):
        raise InputError("the published rule needs one run of the method 'factorized' from each seed")
    half = min(10, how.target_at)
    reached = np.concatenate([window_mean(coded_loss(each, mode), how.target_at, half) for each in own])
    return reached[[seeds.index(seed) for seed in record.seed]]


def table_of(records: Sequence[Recorded], mode: str) -> pd.DataFrame:
    """Return one row for each run of a replay; infinity is for what never happened."""
    return pd.concat([_rows(record, mode, target_of(record, mode, records)) for record in records], ignore_index=True)


def _rows(record: Recorded, mode: str, target: np.ndarray) -> pd.DataFrame:
    names = {
        "method": record.method,
        "model": record.model,
        "num_obs": record.num_obs,
        "seed": record.seed,
        "learning_rate": record.learning_rate,
        "num_params": record.num_params,
        "steps": record.loss.shape[1],
        "draws": record.protocol.draws,
        "num_draws": record.protocol.num_draws,
    }
    columns: dict[str, Any] = names | _losses(record, mode) | {"target_loss": target} | _gaps(record)
    columns |= _iterations(record, coded_loss(record, mode), target) | {"dead": record.dead}
    columns["seconds_per_step"] = float(np.median(record.seconds)) / record.protocol.every
    columns["seconds_to_1"] = columns["it_1_honest"] * columns["seconds_per_step"]
    columns |= {"runs_together": len(record.seed), "compile_seconds": record.compile_seconds}
    return pd.DataFrame(columns | {"status": statuses(columns)})


def _losses(record: Recorded, mode: str) -> dict[str, np.ndarray]:
    """Return the loss before the first step and over the last ones, and by how much that exceeds the optimum's."""
    loss = coded_loss(record, mode)
    steps = loss.shape[1]
    half = min(FINAL, steps // 10)
    final = window_mean(loss, steps - half, half) if half else loss[:, -1]
    return {"initial_loss": loss[:, 0], "final_loss": final, "excess_loss": final - certified_loss(record, mode)}


def _gaps(record: Recorded) -> dict[str, np.ndarray]:
    """Return gaps to the certified optimum at the end and on the way, and the steps to small ones."""
    gap = record.elbo_fvi - record.elbo
    at = np.arange(1, gap.shape[1] + 1) * record.protocol.every
    return {
        "gap": gap[:, -1],
        "gap_per_obs": gap[:, -1] / record.num_obs,
        "gap_late": gap[:, gap.shape[1] // 2 :].mean(axis=1),
        "gap_averaged": record.elbo_fvi - record.elbo_averaged,
        "gap_lowest": np.fmin.reduce(gap, axis=1),
    } | {column: first_below(gap / record.num_obs, limit, at) for column, limit in SMALL_GAPS.items()}


def _iterations(record: Recorded, loss: np.ndarray, target: np.ndarray) -> dict[str, np.ndarray]:
    """Return iterations to the target by the published and the honest rule, and which runs deceive the first."""
    columns: dict[str, np.ndarray] = {}
    for column, tolerance in TOLERANCES.items():  # the last is the one that the paper's figures use
        found = iterations_to(loss, target, tolerance, record.protocol.cap)
        columns |= {column: found.published, f"{column}_honest": found.honest}
        columns |= {"nan_at": found.broken, "is_false_convergence": found.is_false}
    return columns


def statuses(columns: Mapping[str, Any]) -> list[str]:
    """Return in a word what became of each run: broken, dead, converged (by the honest 1 % rule) or not_converged."""
    return [
        "broken" if np.isfinite(broken) else "dead" if dead else "converged" if np.isfinite(it) else "not_converged"
        for broken, dead, it in zip(columns["nan_at"], columns["dead"], columns["it_1_honest"], strict=True)
    ]


def mark_best_rates(table: pd.DataFrame, steps: str = "steps_to_gap_2e2") -> pd.Series:
    """Return of each run whether its learning rate is its method's best in the replay.

    The best has the least median of the column ``steps``, the number of steps to a gap of 0.02 nats per observation
    unless another is named; runs that never get there count as infinite, and of equals the one whose median final gap
    is least is the best.
    """
    keys = ["replay", "method", "num_obs"]
    score = table.fillna({"gap": np.inf}).groupby([*keys, "learning_rate"])[[steps, "gap"]].median()
    best = score.sort_values([steps, "gap"]).reset_index().groupby(keys).learning_rate.first()
    wanted = best.loc[pd.MultiIndex.from_frame(table[keys])].to_numpy()
    return pd.Series(table.learning_rate.to_numpy() == wanted, index=table.index)
