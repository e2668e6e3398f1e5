"""Figures from the rows of ``gap.csv`` alone: the gap against N and against width."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator, ScalarFormatter

from avigap.plots import (
    GREY,
    PALETTE,
    Look,
    draw_failures,
    draw_interval,
    family_looks,
    label_outer,
    log_axes,
    make_room_for_legends,
    panels,
    size_axis,
    styled,
    symbol_key,
    whole_decades,
)
from avigap.plots_rows import Families, check_families, summarise

GAP_LABEL = "gap per observation (nats)"
NUM_OBS_LABEL = "number of observations N"

MAX_INSIDE = 5
"""Families of an experiment that are named inside its panel; more are named beside it."""


def experiment_title(name: str, table: pd.DataFrame, size: str = "per N") -> str:
    """Return an experiment's name and what data it has of each size."""
    seeds = int(table.num_seeds.max())
    data = "one imported data set" if table.is_imported.all() else f"{seeds} simulated data set{'s' * (seeds > 1)}"
    return f"{name}\n{data} {size}"


def program_title(name: str, table: pd.DataFrame) -> str:
    """Return a program's name and how many data sets it has of each size, at most."""
    seeds = int(table.num_seeds.max())
    return f"{name}\n{seeds} data set{'s' * (seeds > 1)} per N{', at most' * (seeds > 1)}"


@styled
def gap_versus_n(rows: pd.DataFrame, of_programs: bool = False) -> Figure:
    """Draw the gap per observation against N, a panel for each experiment and a line for each family.

    The errors of programs of the user's own differ between families, so that no range is shaded for all of them.
    """
    table, looks = summarise(rows), family_looks(rows)
    names = list(table.experiment.unique())
    fig, axes = panels(len(names), 3, 2.9)
    for ax, name in zip(axes, names, strict=True):
        own = table[table.experiment == name]
        log_axes(ax)
        families = [family for family in own.family.unique() if family != "factorized"]
        for index, family in enumerate(families):
            line = own[own.family == family].sort_values("num_obs")
            look = looks[line.model.iloc[0], family]
            x = line.num_obs * 10 ** (0.05 * (index - (len(families) - 1) / 2))
            draw_interval(ax, x, line, look)
            draw_failures(ax, x, line)
            ax.plot([], [], look.marker, color=look.color, label=family)
        size_axis(ax, sorted(own.num_obs.unique()))
        if of_programs:
            least = own.gap_low[own.gap_low > 0].min()
            whole_decades(ax, np.r_[own.gap_low, own.gap_high, 0.1, 1e-3 * least])  # room for the names of families
        else:
            _shade_error(ax, own)
        ax.set_title(program_title(name, own) if of_programs else experiment_title(name, own))
        if families:
            beside = len(families) > MAX_INSIDE
            ax.legend(**({"loc": "center left", "bbox_to_anchor": (1.0, 0.5)} if beside else {"loc": "best"}))
    label_outer(axes, 3, NUM_OBS_LABEL, GAP_LABEL)
    fig.suptitle("What the best inference function of each family loses against F-VI's optimum")
    shade = [] if of_programs else [Patch(color=GREY, alpha=0.2, label="grey: below the numerical error of the gap")]
    fig.legend(handles=[*symbol_key(table), *shade], loc="outside lower center", ncols=2)
    make_room_for_legends(fig)
    return fig


def _shade_error(ax: Axes, table: pd.DataFrame) -> None:
    """Shade what lies below the largest numerical error of the gap at each N, over families and seeds."""
    error = table.groupby("num_obs").error.max()
    sizes = np.array([error.index.min() / 2, *error.index, error.index.max() * 2])
    values = np.array([error.iloc[0], *error, error.iloc[-1]])
    finite = np.isfinite(values) & (values > 0)
    whole_decades(ax, np.r_[table.gap_low, table.gap_high, values, 0.1])
    bottom = ax.get_ylim()[0] * 1e-10  # the axis may yet be lowered
    ax.fill_between(sizes[finite], bottom, values[finite], color=GREY, alpha=0.2, linewidth=0)


@styled
def gap_versus_width(rows: pd.DataFrame, families: Families) -> Figure:
    """Draw the gap per observation against the width of networks, from the best and from the plain start.

    A row for each experiment and a column for its largest N and a smaller one; ``families`` holds the networks only.

    Raises
    ------
    InputError
        If the rows lack one of the families.
    """
    check_families(rows, families)
    table = summarise(rows)
    sizes = {name: _two_sizes(table[table.experiment == name]) for name in families}
    columns = max(map(len, sizes.values()))
    fig, axes = panels(len(families) * columns, columns, 2.3)
    for row, (name, configs) in enumerate(families.items()):
        for column in range(columns):
            ax = axes[row * columns + column]
            if column >= len(sizes[name]):
                ax.set_axis_off()
                continue
            own = table[(table.experiment == name) & (table.num_obs == sizes[name][column])]
            _draw_widths(ax, own, configs)
            ax.set_title(experiment_title(name, own, f"of N = {sizes[name][column]:,}"))
    label_outer(axes, columns, "width of the hidden layers", GAP_LABEL)
    fig.suptitle("How wide a network must be, and what a plain start of its fit loses")
    networks = [(name, family) for name, own in families.items() for family in own]
    shown = table[table.set_index(["experiment", "family"]).index.isin(networks)]
    handles = [Line2D([], [], color=c, marker="o", label=f"{n} start") for c, n in zip(PALETTE, STARTS, strict=False)]
    fig.legend(handles=[*handles, *symbol_key(shown)], loc="outside lower center", ncols=2)
    make_room_for_legends(fig)
    return fig


STARTS = {"best": "gap", "plain": "plain"}
"""Columns of :func:`avigap.plots_rows.summarise` that the width figure compares, by the name of the start."""


def _two_sizes(table: pd.DataFrame) -> list[int]:
    """Return a smaller N, the largest that is at most a tenth of the largest one if there is one, and the largest N."""
    sizes = sorted(table.num_obs.unique())
    smaller = [n for n in sizes[:-1] if 10 * n <= sizes[-1]] or sizes[:-1]
    return [*smaller[-1:], sizes[-1]]


def _draw_widths(ax: Axes, table: pd.DataFrame, configs: Mapping[str, Mapping[str, Any]]) -> None:
    """Draw one experiment at one N; networks that differ in more than their width are lines of their own."""
    log_axes(ax)
    series: dict[str, dict[str, int]] = {}
    for family, config in configs.items():
        own = {k: v for k, v in config.items() if k not in ("kind", "width")}
        series.setdefault(json.dumps(own, sort_keys=True), {})[family] = config.get("width", 8)
    for index, (rest, widths) in enumerate(series.items()):
        line = table[table.family.isin(list(widths))]
        line = line.assign(width=line.family.map(widths)).sort_values("width")
        for offset, color, name in zip((-0.02, 0.02), PALETTE, STARTS.values(), strict=False):
            x = line.width * 10**offset
            draw_interval(ax, x, line, Look(color, "o^v"[index % 3]), name, linestyle=("-", "--", ":")[index % 3])
            if name == "gap":
                draw_failures(ax, x, line)
        if len(series) > 1:
            ax.plot([], [], "o^v"[index % 3], color=GREY, label=_settings(json.loads(rest)))
    widths_used = sorted({config.get("width", 8) for config in configs.values()})
    ax.xaxis.set_major_locator(FixedLocator(widths_used))
    ax.xaxis.set_major_formatter(ScalarFormatter())
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_xlim(widths_used[0] / 1.4, widths_used[-1] * 1.4)
    whole_decades(ax, table.loc[table.family.isin(list(configs)), ["gap_low", "plain_high"]].to_numpy().ravel())
    if len(series) > 1:
        ax.legend(loc="best")


def _settings(config: Mapping[str, Any]) -> str:
    """Return what tells a network from others of its experiment."""
    return ", ".join(f"{name} {value}" for name, value in config.items()) or "defaults"
