"""Where the ELBO goes in replayed runs: Figures 3 and 6 of the paper, as its code has them and on equal terms."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from avigap.plots import Look, draw_at_top, log_axes, panels, styled
from avigap.plots_replay import in_order, method_looks, replay_title, shown
from avigap.replay_files import read_replay

SMOOTHED = 20
"""Iterations over which the loss of a path is averaged."""


class Course(NamedTuple):
    """One run: excess of its loss at every step, and its gap at every look, in nats."""

    replay: str
    method: str
    excess: Float[np.ndarray, " steps"]
    gap: Float[np.ndarray, " looks"]
    every: int


def read_paths(files: Sequence[Path], table: pd.DataFrame) -> list[Course]:
    """Return the course of the first seed of each method in ``<replay>/<part>.nc``, at the largest N and best rate."""
    best = table[table.is_best_rate].sort_values(["num_obs", "seed"], ascending=[False, True])
    best = best.drop_duplicates(["replay", "method"])
    wanted = {(row.replay, row.method): (row.num_obs, row.seed, row.learning_rate) for row in best.itertuples()}
    paths = []
    for path in files:
        for record in read_replay(path):
            num_obs, seed, rate = wanted[path.resolve().parent.name, record.method]
            is_run = (record.seed == seed) & (record.learning_rate == rate)
            if record.num_obs != num_obs or not is_run.any():
                continue
            run = int(is_run.argmax())
            excess = np.asarray(record.loss[run], float) + record.elbo_fvi
            gap = record.elbo_fvi - record.elbo[run]
            paths.append(Course(path.resolve().parent.name, record.method, excess, gap, record.protocol.every))
    return paths


@styled
def elbo_paths(table: pd.DataFrame, paths: Sequence[Course]) -> Figure:
    """Draw the ELBO of one run of each method against iterations: loss as coded, and gap to the certified optimum."""
    looks = method_looks(table)
    rows = {mode: {own.model.iloc[0]: own for own in shown(table, mode)} for mode in ("as_coded", "fair")}
    names = list(dict.fromkeys([*rows["as_coded"], *rows["fair"]]))
    fig, axes = panels(2 * len(names), 2, 2.7)
    for row, model in enumerate(names):
        for column, mode in enumerate(("as_coded", "fair")):
            ax = axes[2 * row + column]
            own = rows[mode].get(model)
            if own is None:
                ax.set_axis_off()
                continue
            for path in paths:
                if path.replay == own.replay.iloc[0]:
                    _draw_path(ax, path, mode, looks[model, path.method])
            log_axes(ax)
            ax.set_title(replay_title(own))
            what = "loss above the certified optimum's" if mode == "as_coded" else "gap to the certified optimum"
            ax.set_ylabel(f"{what} (nats)")
        axes[2 * row + 1].legend(
            handles=_method_key(looks, model, rows, names), loc="center left", bbox_to_anchor=(1.0, 0.5)
        )
    for ax in axes[-2:]:
        ax.set_xlabel("iteration")
    fig.suptitle("Where the ELBO goes: Figures 3 and 6 as coded, and the same methods on equal terms")
    return fig


def _draw_path(ax: Axes, path: Course, mode: str, look: Look) -> None:
    """Draw one run; the loss of as-coded runs is a noisy estimate and is averaged over some iterations."""
    if mode == "as_coded":
        length = len(path.excess) // SMOOTHED * SMOOTHED
        y = path.excess[:length].reshape(-1, SMOOTHED).mean(axis=1)
        x = (np.arange(len(y)) + 0.5) * SMOOTHED
    else:
        y, x = path.gap, (np.arange(len(path.gap)) + 1.0) * path.every
    ax.plot(x, np.where(y > 0, y, np.nan), color=look.color, linewidth=1.0)
    lost = x[~np.isfinite(y)][:1]
    draw_at_top(ax, lost, look.color)


def _method_key(
    looks: Mapping[tuple[str, str], Look],
    model: str,
    rows: Mapping[str, Mapping[str, pd.DataFrame]],
    names: Sequence[str],
) -> list[Line2D]:
    methods = in_order(method for own in rows.values() if model in own for method in own[model].method)
    return [Line2D([], [], color=looks[model, method].color, label=method) for method in methods]
