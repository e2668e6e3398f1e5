"""Figures of fits: the ideal inference function beside fitted ones, and each model's data with what the fits say."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from avigap.plots import BLACK, GREY, PALETTE, Look, family_looks, panels, styled
from avigap.plots_read import Fits, evaluate, is_series

STRETCH = 60
"""Steps of a series that are drawn."""


# The ideal inference function


@styled
def ideal_function(experiments: Sequence[Fits], rows: pd.DataFrame) -> Figure:
    """Draw loc and scale of the F-VI factors against x with the fitted functions of x, a row for each experiment."""
    looks = family_looks(rows)
    fig, axes = panels(2 * len(experiments), 2, 3.0)
    for index, each in enumerate(experiments):
        pair = axes[2 * index : 2 * index + 2]
        _draw_functions(pair, each, looks)
        title = f"{each.experiment}: N = {each.data.num_obs:,}"
        for ax, name in zip(pair, ("loc", "scale"), strict=True):
            ax.set_title(title)
            ax.set_xlabel("observation x")
            ax.set_ylabel(f"{name} of q(z)")
        pair[0].legend(loc="upper left")
    fig.suptitle("The ideal inference function (points) and fitted networks (lines)")
    return fig


def _draw_functions(axes: Sequence[Axes], fits: Fits, looks: Mapping[tuple[str, str], Look]) -> None:
    x = np.asarray(fits.data.x)
    grid = np.linspace(x.min(), x.max(), 2001)
    for ax, factor in zip(axes, (fits.fvi.loc, fits.fvi.scale), strict=True):
        values, many = np.asarray(factor[fits.site]), len(x) > 2000
        ax.plot(x, values, ".", color=BLACK, markersize=3, rasterized=many, label="F-VI's optimum")
    for name, (family, params) in fits.functions.items():
        loc, scale = evaluate(family, params, grid)
        for ax, values in zip(axes, (loc, scale), strict=True):
            ax.plot(grid, values, color=looks[fits.data.model, name].color, label=name, linewidth=1.3)


# Data and fit


@styled
def data_and_fit(experiments: Sequence[Fits], rows: pd.DataFrame) -> Figure:
    """Draw each experiment's data with the F-VI factors and those of its inference function; see :func:`is_series`."""
    looks = family_looks(rows)
    fig, axes = panels(len(experiments), 2, 3.1)
    for ax, fits in zip(axes, experiments, strict=True):
        draw = _draw_series if is_series(fits.data) else _draw_against_x
        draw(ax, fits, looks)
        ax.set_title(_caption(fits, rows))
        ax.legend(loc="best", ncols=2, columnspacing=1.0)
    fig.suptitle("Data, and the factors q(z) that F-VI and the best inference function give")
    band = Line2D([], [], color=GREY, linewidth=7, alpha=0.3, label="band: loc ± scale of q(z), F-VI")
    edges = Line2D([], [], color=GREY, linestyle="--", linewidth=1, label="dashed: the same, A-VI")
    fig.legend(handles=[band, edges], loc="outside lower center", ncols=2)
    return fig


def _caption(fits: Fits, rows: pd.DataFrame) -> str:
    head = f"{fits.experiment}: N = {fits.data.num_obs:,}"
    if not fits.functions:
        return head
    own = rows[(rows.experiment == fits.experiment) & (rows.num_obs == fits.data.num_obs)]
    own = own[(own.family == next(iter(fits.functions))) & (own.seed.isna() | (own.seed == fits.data.seed))]
    gap = max(float(own.gap_per_obs.iloc[0]), float(own.gap_error.iloc[0]) / fits.data.num_obs)
    sign = "<" if own.gap_per_obs.iloc[0] <= gap and gap < 1e-12 else "="
    return f"{head}, gap {sign} {gap:.2g} nats per obs."


def _draw_against_x(ax: Axes, fits: Fits, looks: Mapping[tuple[str, str], Look]) -> None:
    """Draw z against x: the true z of a simulation, and the factors sorted by x."""
    x = np.asarray(fits.data.x)
    order = np.argsort(x)
    if fits.site in fits.data.latents:
        z = fits.data.latents[fits.site]
        ax.plot(x, z, ".", color=GREY, markersize=2.5, alpha=0.6, rasterized=len(x) > 2000, label="true z", zorder=1)
    _draw_factors(ax, x[order], order, fits, looks)
    ax.set_xlabel("observation x")
    ax.set_ylabel("local latent z")


def _draw_series(ax: Axes, fits: Fits, looks: Mapping[tuple[str, str], Look]) -> None:
    """Draw x and z against n for a stretch in the middle of the series."""
    lead, size = fits.data.joint.lead, fits.data.num_obs
    first = max(0, (size - STRETCH) // 2)
    stretch = np.arange(first, min(size, first + STRETCH))
    n = stretch + 1
    ax.plot(n, np.asarray(fits.data.x)[lead + stretch], "+", color=PALETTE[3], markersize=4, label="data x")
    if fits.site in fits.data.latents:
        ax.plot(n, fits.data.latents[fits.site][stretch], ".", color=GREY, markersize=4, label="true z")
    _draw_factors(ax, n, stretch, fits, looks)
    ax.set_xlabel("step n")
    ax.set_ylabel("x and local latent z")


def _draw_factors(
    ax: Axes, at: np.ndarray, chosen: np.ndarray, fits: Fits, looks: Mapping[tuple[str, str], Look]
) -> None:
    """Draw loc and loc ± scale of the chosen factors: F-VI's as a line and a band, those of functions dashed on top."""
    loc, scale = (np.asarray(value[fits.site])[chosen] for value in (fits.fvi.loc, fits.fvi.scale))
    ax.fill_between(at, loc - scale, loc + scale, color=GREY, alpha=0.3, linewidth=0, zorder=2)
    ax.plot(at, loc, color=BLACK, linewidth=1.6, label="F-VI", zorder=3)
    for name, q in fits.q.items():
        loc, scale = (np.asarray(value[fits.site])[chosen] for value in (q.loc, q.scale))
        color = looks[fits.data.model, name].color
        ax.plot(at, loc, "--", color=color, linewidth=1.6, label=f"A-VI: {name}", zorder=4)
        for edge in (loc - scale, loc + scale):
            ax.plot(at, edge, "--", color=color, linewidth=0.8, zorder=4)
