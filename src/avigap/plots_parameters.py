"""Figure from the rows of ``gap.csv`` alone: the fewest parameters that reach a tolerance, against N."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FixedLocator

from avigap.plots import BLACK, GREY, draw_at_top, label_outer, log_axes, panels, size_axis, styled
from avigap.plots_gap import NUM_OBS_LABEL, experiment_title
from avigap.plots_rows import summarise


def smallest_families(rows: pd.DataFrame, tolerance: float) -> pd.DataFrame:
    """Return the family with the fewest parameters whose gap reaches a tolerance, for each experiment and N.

    A family reaches the tolerance if the mean over data seeds of its gap per observation is at most ``tolerance``
    nats and no seed is without a value. ``factorized`` is F-VI itself and does not compete.

    Returns
    -------
    DataFrame
        ``experiment``, ``num_obs``, ``family`` and ``num_params`` (median over seeds), with None and NaN where no
        family reaches the tolerance.
    """
    table = summarise(rows)
    found = []
    for (name, size), group in table.groupby(["experiment", "num_obs"], sort=False):
        reached = group[(group.family != "factorized") & group.is_finite & (group.gap <= tolerance)]
        best = None if reached.empty else reached.sort_values("num_params", kind="stable").iloc[0]
        found.append(
            {
                "experiment": name,
                "num_obs": size,
                "family": None if best is None else best.family,
                "num_params": float("nan") if best is None else best.num_params,
            }
        )
    return pd.DataFrame(found)


@styled
def parameters_versus_n(rows: pd.DataFrame, tolerances: Sequence[float]) -> Figure:
    """Draw the fewest parameters that reach each tolerance against N, beside F-VI's 2 N, a panel per experiment."""
    table = summarise(rows)
    names = list(table.experiment.unique())
    fig, axes = panels(len(names), 3, 2.4)
    colors = sns.color_palette("viridis", len(tolerances) + 1).as_hex()[:-1]
    found = [smallest_families(rows, tolerance) for tolerance in tolerances]
    for ax, name in zip(axes, names, strict=True):
        own = table[table.experiment == name]
        log_axes(ax)
        sizes = np.array([own.num_obs.min() / 2, own.num_obs.max() * 2])
        ax.plot(sizes, 2 * sizes, "--", color=BLACK, linewidth=1)
        for index, (smallest, color) in enumerate(zip(found, colors, strict=True)):
            _draw_smallest(ax, smallest[smallest.experiment == name].sort_values("num_obs"), index, color)
        size_axis(ax, sorted(own.num_obs.unique()))
        _label_families(ax, [each[each.experiment == name] for each in found], own.num_obs.max())
        top, missed = 4 * own.num_obs.max(), any(each[each.experiment == name].family.isna().any() for each in found)
        ax.set_ylim(1, top ** (1 / (0.9 - 0.07 * len(tolerances))) if missed else top)
        ax.set_title(experiment_title(name, own))
    label_outer(axes, 3, NUM_OBS_LABEL, "fewest parameters")
    fig.suptitle("Does the number of parameters of the inference function have to grow with N?")
    handles = [
        Line2D([], [], color=c, marker="o", label=f"gap ≤ {t:g} nat per obs.")
        for t, c in zip(tolerances, colors, strict=True)
    ]
    none = Line2D([], [], color=GREY, marker="x", linestyle="none", label="no family reaches it")
    line = Line2D([], [], color=BLACK, linestyle="--", linewidth=1, label="F-VI: 2 N")
    fig.legend(handles=[*handles, none, line], loc="outside lower center", ncols=3)
    return fig


def _draw_smallest(ax: Axes, smallest: pd.DataFrame, index: int, color: str) -> None:
    """Draw one tolerance; sizes at which no family reaches it are crosses in a row of their own at the top."""
    x, y = smallest.num_obs.to_numpy(float), smallest.num_params.to_numpy(float)
    ax.plot(x, y, "-o", color=color, markersize=7.5 - 1.8 * index, zorder=3 + index)
    draw_at_top(ax, x[np.isnan(y)], color, index)


def _label_families(ax: Axes, found: Sequence[pd.DataFrame], largest: int) -> None:
    """Name every smallest family once, at the largest N at which it is one: beside its point there, above it before."""
    every = pd.concat(found).dropna().sort_values("num_obs")
    last = every.drop_duplicates("family", keep="last")
    for family, x, y in zip(last.family, last.num_obs, last.num_params, strict=True):
        offset, ha, va = ((6, 0), "left", "center") if x == largest else ((5, 6), "right", "bottom")
        look: dict[str, Any] = {
            "fontsize": 8,
            "zorder": 20,
            "path_effects": [withStroke(linewidth=2.0, foreground="white")],
        }
        ax.annotate(family, (x, y), offset, textcoords="offset points", ha=ha, va=va, **look)
    if (last.num_obs == largest).any():
        left = ax.get_xlim()[0]
        ticks = [tick for tick in ax.get_xticks() if left <= tick <= largest]
        ax.xaxis.set_major_locator(FixedLocator(ticks if len(ticks) <= 4 else ticks[::-2]))
        ax.set_xlim(left, largest * (largest / left) ** 0.55)
