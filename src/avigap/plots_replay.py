"""Figures of replayed runs: what Figures 3, 4 and 6 of the paper show, as its code has them and on equal terms."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from avigap.convergence import median_of
from avigap.plots import BLACK, GREY, MARKERS, Look, draw_at_top, log_axes, panels, styled
from avigap.tables import read_table

MODES = {"as_coded": "as coded", "corrected": "corrected", "fair": "fair: one start, best rates", "probe": "probe"}


HUES = ("crest", "flare")
"""Palettes of the methods of a model by the first part of their names, from few parameters to many."""


def in_order(methods: Iterable[str]) -> list[str]:
    """Return names of methods: F-VI, the constant, then by first part and number, each once."""

    def place(name: str) -> tuple[int, str, int]:
        first = ["factorized", "constant"].index(name) if name in ("factorized", "constant") else 2
        stem, _, number = name.rpartition("_")
        return first, stem, int(number) if number.isdigit() else 0

    return sorted(set(methods), key=place)


def method_looks(table: pd.DataFrame) -> dict[tuple[str, str], Look]:
    """Return the look of each (model, method): one hue for each first part of the names, darker with the number."""
    looks: dict[tuple[str, str], Look] = {}
    for model, own in table.groupby("model", sort=False):
        named = [name for name in in_order(own.method) if name not in ("factorized", "constant")]
        stems = list(dict.fromkeys(name.rpartition("_")[0] for name in named))
        looks[str(model), "factorized"], looks[str(model), "constant"] = Look(BLACK, "D"), Look(GREY, "s")
        for stem, hue in zip(stems, itertools.cycle(HUES), strict=False):
            members = [name for name in named if name.rpartition("_")[0] == stem]
            colors = sns.color_palette(hue, len(members)).as_hex()
            for name, color, marker in zip(members, colors, itertools.cycle(MARKERS), strict=False):
                looks[str(model), name] = Look(color, marker)
    return looks


def replay_title(table: pd.DataFrame) -> str:
    """Return what a panel shows: model, mode, how far the runs go, and a note if the configuration has one."""
    first, seeds = table.iloc[0], table.seed.nunique()
    size = f"{first.model}, N = {first.num_obs:,}, {first.steps:,} iterations, {seeds} seed{'s' * (seeds > 1)}"
    note = f" ({first.note})" if isinstance(first.get("note"), str) else ""
    return f"{size}\n{MODES[first['mode']]}{note}"


def shown(table: pd.DataFrame, mode: str) -> list[pd.DataFrame]:
    """Return the rows of each model's replay in a mode with all its methods, at the largest N and the best rates."""
    tables = []
    for model in table.model.unique():
        own = table[(table.model == model) & (table["mode"] == mode)]
        if own.empty:
            continue
        own = own[own.replay == longest(own)]
        tables.append(own[(own.num_obs == own.num_obs.max()) & own.is_best_rate])
    return tables


def longest(rows: pd.DataFrame) -> str:
    """Return the replay of most methods, and of these the one of most iterations."""
    return str(
        rows.groupby("replay", sort=False).agg({"method": "nunique", "steps": "max"}).apply(tuple, axis=1).idxmax()
    )


def _named(own: pd.DataFrame) -> str:
    """Return the name of a replay, without that of its table."""
    return str(own.replay.iloc[0]).split(" ")[0]


def read_replays(paths: Sequence[Path]) -> pd.DataFrame:
    """Return the runs of several tables; a replay of the second or a later one is named by its table as well."""
    tables = [read_table(paths[0])]
    for path in paths[1:]:
        table = read_table(path)
        tables.append(table.assign(replay=table.replay + f" ({path.stem})"))
    return pd.concat(tables, ignore_index=True)


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
            (fair.get(model), lambda own: own.steps_to_gap_2e2, "steps to 0.02 nats per observation"),
        ]
        for column, (own, value, label) in enumerate(columns):
            ax = axes[3 * row + column]
            if own is None:
                ax.set_axis_off()
                continue
            _draw_boxes(ax, own.assign(value=value(own)), looks, published if column == 0 else {})
            together = own.runs_together.max()
            wall = f"{model}, as coded\n" + (f"{together} runs side by side" if together > 1 else "one run at a time")
            ax.set_title(wall if column == 1 else replay_title(own), fontsize=6)
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
    methods = in_order(own.method)
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
        if np.isfinite(known := published.get((_named(own), method), np.inf)):
            ax.plot(x, known, "D", color=BLACK, markerfacecolor="white", markersize=4.5)
    ax.set_xticks(range(len(methods)), methods, rotation=90)
    ax.set_xlim(-0.6, len(methods) - 0.4)
    log_axes(ax, "y")
    marks = [value for (replay, _), value in published.items() if replay == _named(own)]
    finite = np.array([value for value in (*own.value, *marks) if np.isfinite(value) and value > 0])
    low, high = (finite.min(), max(finite.max(), 10 * finite.min())) if len(finite) else (1.0, float(own.steps.max()))
    ax.set_ylim(low / 1.6, high * (high / low) ** 0.3)


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
            for method in in_order(own.method):
                times = np.sort(own.loc[own.method == method, columns[mode]].fillna(np.inf).to_numpy())
                reached = times[np.isfinite(times)]
                x = np.r_[1.0, reached, own.steps.max()]
                y = np.r_[1.0, 1 - np.arange(1, len(reached) + 1) / len(times), 1 - len(reached) / len(times)]
                ax.step(x, y, where="post", color=looks[model, method].color, label=method, alpha=0.85)
            ax.set(xscale="log", xlim=(10, own.steps.max()), ylim=(-0.03, 1.03))
            ax.set_title(replay_title(own))
            ax.set_ylabel("share not converged")
        lines = {str(line.get_label()): line for ax in axes[2 * row : 2 * row + 2] for line in ax.get_lines()}
        handles = [lines[method] for method in in_order(lines)]
        axes[2 * row + 1].legend(handles=handles, loc="center left", bbox_to_anchor=(1.0, 0.5))
    for ax, label in zip(axes[-2:], ("iteration, 1 % rule", "step, gap of 0.02 nats per observation"), strict=True):
        ax.set_xlabel(label)
    fig.suptitle("Runs that have not converged; NaN and caps count as failures")
    return fig
