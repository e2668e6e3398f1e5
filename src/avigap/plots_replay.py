"""Figures of replayed runs: what Figures 3, 4 and 6 of the paper show, as its code has them and on equal terms."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from avigap.convergence import median_of
from avigap.plots import BLACK, GREY, Look, draw_at_top, family_looks, log_axes, panels, styled
from avigap.replay_files import read_replay

SMOOTHED = 20
"""Iterations over which the loss of a path is averaged."""

MODES = {
    "as_coded": "as coded by the authors",
    "corrected": "density and simulator corrected",
    "fair": "fair: one start, each method at its best learning rate",
}


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


def method_looks(table: pd.DataFrame) -> dict[tuple[str, str], Look]:
    """Return the look of each (model, method)."""
    return family_looks(table.rename(columns={"method": "family"}))


def replay_title(table: pd.DataFrame) -> str:
    """Return what a panel shows: model, mode, and how far the runs go."""
    first, seeds = table.iloc[0], table.seed.nunique()
    size = f"{first.model}, N = {first.num_obs:,}: {seeds} seed{'s' * (seeds > 1)}, {first.steps:,} iterations"
    return f"{size}\n{MODES[first['mode']]}"


def shown(table: pd.DataFrame, mode: str) -> list[pd.DataFrame]:
    """Return the rows of each model's replay in a mode with all its methods, at the largest N and the best rates."""
    tables = []
    for model in table.model.unique():
        own = table[(table.model == model) & (table["mode"] == mode)]
        if own.empty:
            continue
        replay = own.groupby("replay", sort=False).method.nunique().idxmax()
        own = own[own.replay == replay]
        tables.append(own[(own.num_obs == own.num_obs.max()) & own.is_best_rate])
    return tables


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
    methods = list(dict.fromkeys(m for own in rows.values() if model in own for m in own[model].method))
    return [Line2D([], [], color=looks[model, method].color, label=method) for method in methods]


@styled
def convergence_boxes(table: pd.DataFrame, published: Mapping[tuple[str, str], float]) -> Figure:
    """Draw iterations and seconds to convergence as box plots (Figure 4), beside fair steps to a small gap.

    ``published`` has the medians of iterations to 1 % that the authors' arrays show, by replay and method.
    """
    coded = {own.model.iloc[0]: own for own in shown(table, "as_coded")}
    fair = {own.model.iloc[0]: own for own in shown(table, "fair")}
    names = list(dict.fromkeys([*coded, *fair]))
    looks = method_looks(table)
    fig, axes = panels(3 * len(names), 3, 2.9)
    for row, model in enumerate(names):
        columns: list[tuple[pd.DataFrame | None, Any, str]] = [
            (coded.get(model), lambda own: own.it_1_honest, "iterations to 1 % of F-VI's loss"),
            (coded.get(model), lambda own: own.it_1_honest * own.seconds_per_step, "seconds to 1 % of F-VI's loss"),
            (fair.get(model), lambda own: own.steps_to_gap_2e2, "steps to a gap of 0.02 nats per observation"),
        ]
        for column, (own, value, label) in enumerate(columns):
            ax = axes[3 * row + column]
            if own is None:
                ax.set_axis_off()
                continue
            _draw_boxes(ax, own.assign(value=value(own)), looks, published if column == 0 else {})
            ax.set_title(
                replay_title(own) if column != 1 else f"{model}: wall time of {len(own.seed.unique())} runs", fontsize=7
            )
            ax.set_ylabel(label)
    handles = [
        Line2D([], [], color=BLACK, marker="_", linestyle="none", label="median, censored runs counted as infinite"),
        Line2D([], [], color=GREY, marker="o", linestyle="none", markersize=3, label="one run"),
        Line2D([], [], color=BLACK, marker="D", markerfacecolor="white", linestyle="none", label="published median"),
        Line2D([], [], color=BLACK, marker="x", linestyle="none", label="runs that never get there (their number)"),
    ]
    fig.legend(handles=handles, loc="outside lower center", ncols=2)
    fig.suptitle("How long it takes: Figure 4 as coded, and on equal terms")
    return fig


def _draw_boxes(
    ax: Axes, own: pd.DataFrame, looks: Mapping[tuple[str, str], Look], published: Mapping[tuple[str, str], float]
) -> None:
    """Draw every run, the box of the middle half, the censored median, and how many runs never get there."""
    methods = list(own.method.unique())
    for x, method in enumerate(methods):
        values = own.value[own.method == method].to_numpy(float)
        values = np.where(np.isnan(values), np.inf, values)
        look, reached = looks[own.model.iloc[0], method], np.isfinite(values)
        spread = 0.25 * np.linspace(-1, 1, len(values)) if len(values) > 1 else np.zeros(1)
        ax.plot(x + spread[reached], values[reached], "o", color=look.color, markersize=2.5, alpha=0.7)
        if reached.sum() > 3:
            low, high = np.quantile(values, [0.25, 0.75], method="inverted_cdf")
            top = high if np.isfinite(high) else values[reached].max()
            ax.vlines(x, low, top, color=look.color, linewidth=8, alpha=0.25)
        middle = median_of(values).value
        if np.isfinite(middle):
            ax.plot(x, middle, "_", color=BLACK, markersize=11, markeredgewidth=1.6)
        if not reached.all():
            draw_at_top(ax, np.array([float(x)]), look.color)
            ax.text(x, 0.99, str(int((~reached).sum())), transform=ax.get_xaxis_transform(), ha="center", fontsize=6)
        if np.isfinite(known := published.get((own.replay.iloc[0], method), np.inf)):
            ax.plot(x, known, "D", color=BLACK, markerfacecolor="white", markersize=4.5)
    ax.set_xticks(range(len(methods)), methods, rotation=90)
    ax.set_xlim(-0.6, len(methods) - 0.4)
    log_axes(ax, "y")
    low, high = ax.get_ylim()
    ax.set_ylim(low / 1.3, high * (high / low) ** 0.25)


@styled
def convergence_survival(table: pd.DataFrame) -> Figure:
    """Draw the share of runs that have not converged against iterations; runs that never do stay at their share."""
    columns = {"as_coded": "it_1_honest", "fair": "steps_to_gap_2e2"}
    rows = {mode: {own.model.iloc[0]: own for own in shown(table, mode)} for mode in columns}
    names, looks = list(dict.fromkeys([*rows["as_coded"], *rows["fair"]])), method_looks(table)
    fig, axes = panels(2 * len(names), 2, 2.6)
    for row, model in enumerate(names):
        for column, mode in enumerate(columns):
            ax, own = axes[2 * row + column], rows[mode].get(model)
            if own is None:
                ax.set_axis_off()
                continue
            for method in own.method.unique():
                times = np.sort(own.loc[own.method == method, columns[mode]].fillna(np.inf).to_numpy())
                reached = times[np.isfinite(times)]
                x = np.r_[1.0, reached, own.steps.max()]
                y = np.r_[1.0, 1 - np.arange(1, len(reached) + 1) / len(times), 1 - len(reached) / len(times)]
                ax.step(x, y, where="post", color=looks[model, method].color, label=method, alpha=0.85)
            ax.set(xscale="log", xlim=(10, own.steps.max()), ylim=(-0.03, 1.03))
            ax.set_title(replay_title(own))
            ax.set_ylabel("share not converged")
        axes[2 * row + 1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    for ax, label in zip(axes[-2:], ("iteration, 1 % rule", "step, gap of 0.02 nats per observation"), strict=True):
        ax.set_xlabel(label)
    fig.suptitle("Runs that have not converged; NaN and caps count as failures")
    return fig


@styled
def learning_rates(table: pd.DataFrame) -> Figure:
    """Draw the median number of steps to a small gap against the learning rate, one start for all methods."""
    fair = table[(table["mode"] == "fair") & table.target_loss.notna()]
    tables = [own for own in (_every_rate(fair, model) for model in fair.model.unique()) if own is not None]
    looks = method_looks(table)
    fig, axes = panels(len(tables), 3, 3.0)
    for ax, own in zip(axes, tables, strict=True):
        for method, group in own.groupby("method", sort=False):
            times = group.groupby("learning_rate").steps_to_gap_2e2.apply(lambda t: median_of(t.to_numpy()).value)
            look, x, y = looks[own.model.iloc[0], str(method)], times.index.to_numpy(), times.to_numpy()
            ax.plot(x, np.where(np.isfinite(y), y, np.nan), "-" + look.marker, color=look.color, label=method)
        log_axes(ax)
        ax.set_title(replay_title(own).split("\n")[0])
        ax.set_xlabel("learning rate")
        ax.legend(fontsize=7)
    axes[0].set_ylabel("steps to a gap of 0.02 nats per observation")
    fig.suptitle("Learning-rate fairness: F-VI against A-VI from one start, at every rate")
    return fig


def _every_rate(fair: pd.DataFrame, model: str) -> pd.DataFrame | None:
    """Return the fair runs of a model at its largest N and all learning rates."""
    own = fair[fair.model == model]
    own = own[own.replay == own.groupby("replay", sort=False).method.nunique().idxmax()]
    own = own[own.num_obs == own.num_obs.max()]
    return own if own.learning_rate.nunique() > 1 else None
