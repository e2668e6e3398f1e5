"""What all figures share: style, colours, symbols, saving.

Figures are built without pyplot, so that no display and no global state is needed. The functions of
:mod:`avigap.plots_gap`, :mod:`avigap.plots_parameters`, :mod:`avigap.plots_window` and :mod:`avigap.plots_fits` take
rows or arrays and return a ``matplotlib.figure.Figure``.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, LogLocator, NullLocator

from avigap.errors import InputError
from avigap.plots_rows import PROB

WIDTH = 7.5
"""Width of a figure in inches."""

STYLE: dict[str, Any] = {
    **sns.axes_style("ticks"),
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "figure.titlesize": 10.5,
    "figure.titleweight": "bold",
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "xtick.minor.bottom": False,
    "ytick.minor.left": False,
    "lines.linewidth": 1.2,
    "lines.markersize": 4.5,
    "pdf.fonttype": 42,
    "savefig.dpi": 150,
}
styled = matplotlib.rc_context(STYLE)
"""Decorator of a function that draws: in the house style, which does not leak."""

METADATA: dict[str, dict[str, Any]] = {".pdf": {"CreationDate": None}, ".png": {"Software": None}}
GREY, BLACK = "#767676", "#000000"
PALETTE = [sns.color_palette("colorblind").as_hex()[i] for i in (0, 1, 2, 4, 9, 3, 5)]
MARKERS = "o^vDPX<>"


class Look(NamedTuple):
    """Colour and marker of a family."""

    color: str
    marker: str


def family_looks(rows: pd.DataFrame) -> dict[tuple[str, str], Look]:
    """Return the look of each (model, family), the same in every figure that is drawn from the same ``gap.csv``."""
    looks: dict[tuple[str, str], Look] = {}
    for model, group in rows.groupby("model", sort=False):
        own = [name for name in group.family.unique() if name not in ("constant", "factorized")]
        looks[str(model), "constant"] = Look(GREY, "s")
        looks[str(model), "factorized"] = Look(BLACK, "D")
        for index, name in enumerate(own):
            looks[str(model), name] = Look(PALETTE[index % len(PALETTE)], MARKERS[index % len(MARKERS)])
    return looks


def panels(
    number: int, columns: int, height: float, ratios: Sequence[float] | None = None
) -> tuple[Figure, list[Axes]]:
    """Return a figure with ``number`` axes, ``columns`` in a row, each ``height`` inches high, by ratios on average."""
    columns = min(columns, number)
    rows = -(-number // columns)
    fig = Figure(figsize=(WIDTH, height * rows + 0.7), layout="constrained")
    FigureCanvasAgg(fig)
    grid = fig.add_gridspec(rows, columns, height_ratios=ratios)
    axes = [fig.add_subplot(grid[divmod(index, columns)]) for index in range(number)]
    return fig, axes


def label_outer(axes: Sequence[Axes], columns: int, x: str, y: str) -> None:
    """Label the left axes of each row, and those with none below them."""
    columns = min(columns, len(axes))
    for index, ax in enumerate(axes):
        if index % columns == 0:
            ax.set_ylabel(y)
        if index + columns >= len(axes):
            ax.set_xlabel(x)


def log_axes(ax: Axes, which: str = "xy") -> None:
    """Make axes logarithmic, with ticks at powers of ten that are not crowded."""
    for name in which:
        ax.set(**{f"{name}scale": "log"})
        getattr(ax, f"{name}axis").set_major_locator(LogLocator(numticks=6))


def size_axis(ax: Axes, sizes: Sequence[int]) -> None:
    """Give a logarithmic N axis room at both ends; few sizes are its ticks."""
    ax.set_xlim(min(sizes) / 2, max(sizes) * 2)
    if len(sizes) <= 3:
        ax.xaxis.set_major_locator(FixedLocator(list(sizes)))
        ax.xaxis.set_major_formatter("{x:,.0f}")
        ax.xaxis.set_minor_locator(NullLocator())


def whole_decades(ax: Axes, values: np.ndarray) -> None:
    """Let the y axis end at the powers of ten around the positive finite values."""
    ends = np.log10(values[np.isfinite(values) & (values > 0)])
    if len(ends):
        ax.set_ylim(10.0 ** np.floor(ends.min() - 0.15), 10.0 ** np.ceil(ends.max() + 0.15))


def make_room_for_legends(fig: Figure, most: int = 12) -> None:
    """Lower logarithmic y axes by powers of ten, ``most`` times at most, until no legend lies on a line or a bar."""
    for _ in range(most):
        fig.draw_without_rendering()
        covered = [ax for ax in fig.axes if _is_covered(ax)]
        for ax in covered:
            low, high = np.log10(ax.get_ylim())
            ax.set_ylim(bottom=10 ** (low - np.ceil((high - low) / 8)))
        if not covered:
            return


def _is_covered(ax: Axes) -> bool:
    """Return whether the legend of axes, if any, lies on a line or a bar; the figure must have been laid out."""
    legend = ax.get_legend()
    if legend is None:
        return False
    place = legend.get_window_extent()
    bars = [(bar, path) for bar in ax.collections if isinstance(bar, LineCollection) for path in bar.get_paths()]
    drawn = [(line, line.get_path()) for line in ax.lines] + bars
    paths = [artist.get_transform().transform_path(path).cleaned(remove_nans=True) for artist, path in drawn]
    return any(path.intersects_bbox(place, filled=False) or place.count_contains(path.vertices) for path in paths)


def draw_interval(ax: Axes, x: Any, table: pd.DataFrame, look: Look, name: str = "gap", **line: Any) -> None:
    """Draw the mean over seeds against x with its interval; hollow where the gap is zero within its numerical error.

    ``name`` is a column of :func:`avigap.plots_rows.summarise`; its interval is drawn where there are several seeds.
    """
    x, y = np.asarray(x, dtype=float), table[name].to_numpy()
    ax.plot(x, y, color=look.color, **{"linestyle": "-", "linewidth": 1.0, **line})
    ax.vlines(
        x,
        table[f"{name}_low"].to_numpy(),
        table[f"{name}_high"].to_numpy(),
        color=look.color,
        linewidth=2.2,
        alpha=0.45,
    )
    hollow = table[f"{name}_is_zero"].to_numpy()
    for chosen, face in ((~hollow, look.color), (hollow, "white")):
        ax.plot(x[chosen], y[chosen], look.marker, color=look.color, markerfacecolor=face, linestyle="none", zorder=3)


def draw_failures(ax: Axes, x: Any, table: pd.DataFrame) -> None:
    """Cross out points whose best start failed, at the top if there is no value; a plus marks other failed starts."""
    x, y = np.asarray(x, dtype=float), table.gap.to_numpy()
    failed, lost = table.failed.to_numpy(), ~np.isfinite(y)
    for chosen, marker, size in ((failed & ~lost, "x", 8), (table.start_failed.to_numpy() & ~failed & ~lost, "+", 9)):
        ax.plot(x[chosen], y[chosen], marker, color=BLACK, markersize=size, markeredgewidth=1.1, zorder=4)
    draw_at_top(ax, x[lost], BLACK)


def draw_at_top(ax: Axes, x: np.ndarray, color: str, row: int = 0) -> None:
    """Mark x without a value by crosses in a row at the top of the axes."""
    if len(x):
        height = np.full(len(x), 0.96 - 0.075 * row)
        ax.plot(x, height, "x", color=color, markersize=6, markeredgewidth=1.5, transform=ax.get_xaxis_transform())


def symbol_key(table: pd.DataFrame) -> list[Line2D | Patch]:
    """Return legend entries for the symbols of :func:`draw_interval` and :func:`draw_failures` that a table needs."""
    entries: list[Line2D | Patch] = []
    if (table.num_seeds > 1).any():
        entries.append(Patch(color=GREY, alpha=0.45, label=f"bar: {PROB:.0%} interval over data seeds"))
    if table.gap_is_zero.any():
        hollow = Line2D([], [], color=GREY, marker="o", markerfacecolor="white", linestyle="none")
        hollow.set_label("hollow: zero within its numerical error, drawn at the error")
        entries.append(hollow)
    for chosen, marker, label in (
        (table.failed, "x", "best start not converged"),
        (table.start_failed & ~table.failed, "+", "another start not converged"),
    ):
        if chosen.any():
            entries.append(Line2D([], [], color=BLACK, marker=marker, linestyle="none", label=label))
    return entries


def save_figure(fig: Figure, path: Path) -> None:
    """Write a figure as PDF or PNG under a temporary name and rename it; equal figures give equal bytes.

    Raises
    ------
    InputError
        If the suffix is neither .pdf nor .png.
    """
    if path.suffix not in METADATA:
        raise InputError(f"figures are written as {' or '.join(METADATA)}, got {str(path)!r}")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with matplotlib.rc_context(STYLE):
            fig.savefig(partial, format=path.suffix[1:], metadata=METADATA[path.suffix])
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def save_figures(fig: Figure, paths: Sequence[Path]) -> None:
    """Write a figure to several files."""
    for path in paths:
        save_figure(fig, path)
