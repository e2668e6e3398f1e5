"""The hidden Markov model's gap against the width of the window that an inference function sees, beside its law."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from avigap.plots import (
    BLACK,
    Look,
    draw_failures,
    draw_interval,
    family_looks,
    log_axes,
    panels,
    size_axis,
    styled,
    symbol_key,
)
from avigap.plots_rows import Families, check_families, summarise

PRECISION = np.array([-1.0, 3.0, -1.0])
"""An inner row of the posterior precision of z: Fourier transform 3 - 2 cos w."""


def hmm_window_law(half_width: int) -> float:
    """Return the gap per latent in nats of the best shared linear function of x_{n-h}, .., x_{n+h} as N grows.

    With weights W and P(w) = 3 - 2 cos w the gap is the least over symmetric W of

        1/2 ∫ P(w)^2 / (2 - 2 cos w) |W(w) - 1 / P(w)|^2 dw / (2 pi),

    which is finite only if W(0) = 1: the weights sum to one. Then the residual P W - 1 is a finite sequence that sums
    to zero, its running sum is finite as well, and by Parseval the integral is half the sum of squares of that running
    sum: least squares in the h weights that are free.
    """
    size = 2 * half_width + 3
    offset = np.zeros((2 * half_width + 1, half_width + 1))
    offset[half_width, 0] = 1.0
    for k in range(1, half_width + 1):
        offset[half_width + np.array([-k, 0, k]), k] = 1.0, -2.0, 1.0
    residual = np.stack([np.convolve(PRECISION, column) for column in offset.T], axis=1)
    residual[size // 2, 0] -= 1.0
    sums = np.cumsum(residual, axis=0)
    weights = np.linalg.lstsq(sums[:, 1:], -sums[:, 0], rcond=None)[0]
    return float(np.sum((sums[:, 0] + sums[:, 1:] @ weights) ** 2) / 2)


def _with_window(table: pd.DataFrame, families: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Return the rows of window families, with the half-width and the law of each."""
    half_widths = {name: max(config.get("inputs", [0])) for name, config in families.items()}
    own = table[table.family.isin(list(half_widths))]
    half_width = own.family.map(half_widths)
    return own.assign(half_width=half_width, law=half_width.map(hmm_window_law)).sort_values(["half_width", "num_obs"])


def _few(sizes: list[int], number: int = 5) -> list[int]:
    """Return at most ``number`` sizes, spread evenly, the smallest and the largest among them."""
    return [sizes[i] for i in np.unique(np.linspace(0, len(sizes) - 1, number).round().astype(int))]


@styled
def window_law(rows: pd.DataFrame, families: Families) -> Figure:
    """Draw the gap per latent against the half-width with its law, and their ratio against N, a row per experiment.

    ``families`` holds, by experiment, the configurations of functions that are linear in a symmetric window.

    Raises
    ------
    InputError
        If the rows lack one of the families.
    """
    check_families(rows, families)
    table, looks = summarise(rows), family_looks(rows)
    fig, axes = panels(2 * len(families), 2, 3.4)
    shown = []
    for index, (name, configs) in enumerate(families.items()):
        own = _with_window(table[table.experiment == name], configs)
        _draw_law(axes[2 * index], own)
        _draw_ratio(axes[2 * index + 1], own, looks)
        axes[2 * index].set_title(f"{name}: measured gap and its law")
        axes[2 * index + 1].set_title(f"{name}: measured gap over its law")
        shown.append(own)
    fig.suptitle("Hidden Markov model: a wider window of x shrinks the gap geometrically")
    fig.legend(handles=symbol_key(pd.concat(shown)), loc="outside lower center", ncols=2)
    return fig


def _draw_law(ax: Axes, table: pd.DataFrame) -> None:
    """Draw a few N, of those without a gap of zero: a window that spans most of the data has nothing to miss."""
    log_axes(ax, "y")
    half_widths = np.arange(table.half_width.min(), table.half_width.max() + 1)
    laws = [hmm_window_law(int(h)) for h in half_widths]
    ax.plot(half_widths, laws, "_", color=BLACK, markersize=26, markeredgewidth=1.5, zorder=1)
    ax.plot([], [], "-", color=BLACK, linewidth=1.5, label="law, N → ∞")
    zero = table.groupby("num_obs").gap_is_zero.any()
    sizes = _few(sorted(zero.index[~zero]) or sorted(zero.index))
    colors = sns.color_palette("viridis", len(sizes) + 1).as_hex()[:-1]
    for index, (size, color) in enumerate(zip(sizes, colors, strict=True)):
        line = table[table.num_obs == size]
        x = line.half_width + 0.09 * (index - (len(sizes) - 1) / 2)
        draw_interval(ax, x, line, Look(color, "o"), linestyle="none")
        draw_failures(ax, x, line)
        ax.plot([], [], "o", color=color, label=f"N = {size:,}")
    ax.set_xticks(half_widths)
    ax.set_xlim(half_widths[0] - 0.5, half_widths[-1] + 0.5)
    ax.set_xlabel("window half-width h (inputs x at n-h .. n+h)")
    ax.set_ylabel("gap per latent (nats)")
    ax.legend(loc="lower left")


def _draw_ratio(ax: Axes, table: pd.DataFrame, looks: Mapping[tuple[str, str], Look]) -> None:
    log_axes(ax, "x")
    ax.axhline(1.0, color=BLACK, linewidth=1)
    families = list(table.family.unique())
    for index, family in enumerate(families):
        line = table[table.family == family]
        ratio = line.assign(**{column: line[column] / line.law for column in ("gap", "gap_low", "gap_high")})
        look = looks[line.model.iloc[0], family]
        x = line.num_obs * 10 ** (0.06 * (index - (len(families) - 1) / 2))
        draw_interval(ax, x, ratio, look)
        ax.plot([], [], look.marker, color=look.color, label=f"h = {line.half_width.iloc[0]}")
    size_axis(ax, sorted(table.num_obs.unique()))
    ax.set_ylim(bottom=-0.03)
    ax.set_xlabel("number of observations N")
    ax.set_ylabel("gap / law")
    ax.legend(loc="best", ncols=2)
