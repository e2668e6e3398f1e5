"""Figures of images: ELBO and error on the way, steps to an error, gaps (Figures 3 to 5 and 9)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from avigap.images.files import ImageFit
from avigap.plots import BLACK, GREY, MARKERS, PALETTE, Look, draw_at_top, log_axes, panels, size_axis, styled

SHORTEST, LONGEST, BELOW = 10.0, 30.0, 0.3
"""ELBO below the best, in nats per image, that a panel of paths shows at least and at most; part below the worst."""

SETTLED = 0.1
"""Part of the steps whose errors may lie above a panel of errors: they are many times those of the rest."""

THICKEST, THINNEST = 5.0, 1.0
"""Widths in points of the first and the last of lines that lie on each other."""

LINEAR_GAPS, LINEAR_REFINEMENT = 0.1, 0.01
"""Gaps in nats below which an axis is linear, between methods and on the way of a refinement."""

Fits = Mapping[tuple[str, str], Sequence[ImageFit]]
"""Fits by experiment and method, of all sizes and parts."""


def looks_of(methods: Sequence[str]) -> dict[str, Look]:
    """Return the look of each method, in the order of the methods."""
    own = [name for name in methods if name not in ("constant", "factorized")]
    looks = {name: Look(PALETTE[i % len(PALETTE)], MARKERS[i % len(MARKERS)]) for i, name in enumerate(own)}
    looks |= {"constant": Look(GREY, "s"), "factorized": Look(BLACK, "D")}
    return {name: looks[name] for name in methods}


def largest(fits: Fits, experiment: str) -> dict[str, list[ImageFit]]:
    """Return the fits of each method of an experiment at the largest number of images."""
    most = max(fit.num_obs for (name, _), own in fits.items() if name == experiment for fit in own)
    chosen = {
        method: [fit for fit in own if fit.num_obs == most]
        for (name, method), own in fits.items()
        if name == experiment
    }
    return {method: each for method, each in chosen.items() if each}


def broken_note(runs: pd.DataFrame) -> str:
    """Return which methods have runs whose ELBO is not finite, in words; empty if there is none."""
    broken = runs[runs.status == "nonfinite"]
    return f"\nruns that broke, left out ({_counts(broken, runs)})" if len(broken) else ""


def unconverged_note(runs: pd.DataFrame) -> str:
    """Return which methods have runs cut off before they converged; as published all last for a number of steps."""
    cut = runs[(runs.status == "max_steps") & (runs["mode"] != "as_coded")]
    return f"\nruns cut off before they converged ({_counts(cut, runs)})" if len(cut) else ""


def _counts(some: pd.DataFrame, runs: pd.DataFrame) -> str:
    return ", ".join(f"{name}: {len(own)} of {(runs.method == name).sum()}" for name, own in some.groupby("method"))


def _title(drawn: pd.DataFrame, what: str) -> str:
    """Return the experiment of the runs that are drawn, what is drawn of them, and which broke or were cut off."""
    name, mode = drawn.experiment.iloc[0], drawn["mode"].iloc[0].replace("_", " ")
    return f"{name} ({mode})\n{what}{broken_note(drawn)}{unconverged_note(drawn)}"


def _on_the_way(runs: pd.DataFrame, experiment: str) -> pd.DataFrame:
    """Return the runs at the largest number of images, but for those that go on from others, which had steps before."""
    own = runs[(runs.experiment == experiment) & ~runs.is_continued]
    return own[own.num_obs == own.num_obs.max()]


def _each_run(fits: Mapping[str, list[ImageFit]]) -> list[tuple[str, ImageFit, int]]:
    """Return method, fit and index of each run that stayed finite."""
    every = [(name, fit, run) for name, own in fits.items() for fit in own for run in range(len(fit.seeds))]
    return [(name, fit, run) for name, fit, run in every if fit.trained.status[run] != "nonfinite"]


@styled
def image_paths(runs: pd.DataFrame, fits: Fits) -> Figure:
    """Draw ELBO and squared error of every run against steps, and the error against seconds.

    Methods that start from the ends of others are left out (:func:`_on_the_way`).
    """
    experiments = list(runs.experiment.unique())
    fig, axes = panels(3 * len(experiments), 3, 2.9)
    for row, experiment in enumerate(experiments):
        own = {name: each for name, each in largest(fits, experiment).items() if not each[0].is_continued}
        looks, (elbo, steps, seconds) = looks_of(list(own)), axes[3 * row : 3 * row + 3]
        best, worst, highest = -np.inf, np.inf, 0.0
        for method, fit, run in _each_run(own):
            t, color = fit.trained, looks[method].color
            late = t.steps >= SETTLED * t.steps[-1]
            highest = max(highest, t.mse_train[run, late].max(), np.nan_to_num(t.mse_test[run, late]).max())
            best = max(best, t.elbo[run].max() / fit.num_obs)
            worst = min(worst, t.elbo[run, -1] / fit.num_obs)
            elbo.plot(t.steps, t.elbo[run] / fit.num_obs, color=color, alpha=0.8, linewidth=0.9)
            for ax, at in ((steps, t.steps), (seconds, t.seconds / len(fit.seeds))):
                ax.plot(at, t.mse_train[run], color=color, alpha=0.8, linewidth=0.9)
                ax.plot(at, t.mse_test[run], color=color, alpha=0.8, linewidth=0.9, linestyle=":")
        if np.isfinite(best):
            shown = np.clip((1 + BELOW) * (best - worst), SHORTEST, LONGEST)
            elbo.set_ylim(best - shown, best + 0.05 * shown)
        drawn = _on_the_way(runs, experiment)
        elbo.set(xlabel="step", ylabel="ELBO per image (nats)", title=_title(drawn, f"{drawn.num_obs.max():,} images"))
        for ax in (elbo, steps, seconds):
            log_axes(ax, "x")
        for ax, label in ((steps, "step"), (seconds, "seconds of one run")):
            ax.set(xlabel=label, ylabel="squared error per pixel", ylim=(0, 1.1 * highest if highest else None))
        lines = [Line2D([], [], color=looks[name].color, label=name) for name in own]
        styles = [Line2D([], [], linestyle="none", label=text) for text in ("solid: training", "dotted: unseen")]
        seconds.legend(handles=lines + styles, loc="center left", bbox_to_anchor=(1.0, 0.5))
    fig.suptitle("Images: ELBO and reconstruction error on the way (Figures 3, 5 and 9)")
    return fig


@styled
def image_convergence(runs: pd.DataFrame, tolerances: Mapping[str, float]) -> Figure:
    """Draw the share of runs that have not been at an error yet against steps and seconds.

    Methods are those of :func:`image_paths`; a run that broke never gets there.
    """
    experiments = list(runs.experiment.unique())
    fig, axes = panels(2 * len(experiments), 2, 2.8)
    for row, experiment in enumerate(experiments):
        own = _on_the_way(runs, experiment)
        looks = looks_of(list(own.method.unique()))
        for ax, column, end in (
            (axes[2 * row], "steps_to_mse", "steps"),
            (axes[2 * row + 1], "seconds_to_mse", "seconds"),
        ):
            at = own[column].to_numpy(float)
            first = np.min(at[np.isfinite(at)], initial=float(own[end].max())) / 3
            widths = iter(np.linspace(THICKEST, THINNEST, own.method.nunique()))
            for method, each in own.groupby("method", sort=False):
                times = np.where(each.status == "nonfinite", np.inf, each[column].fillna(np.inf))
                reached, last = np.sort(times[np.isfinite(times)]), float(own[end].max())
                share = 1 - np.arange(len(reached) + 1) / len(times)
                x, y = np.r_[first, reached, last], np.r_[share, share[-1]]
                ax.step(x, y, where="post", color=looks[str(method)].color, label=str(method), linewidth=next(widths))
            ax.set(ylim=(-0.03, 1.03), xlabel=end if end == "steps" else "seconds of one run")
            log_axes(ax, "x")
            ax.set_ylabel(f"share not yet at {tolerances[experiment]:g} per pixel")
        axes[2 * row].set_title(_title(own, f"{own.num_obs.max():,} images"))
        axes[2 * row + 1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    fig.suptitle("Images: how long it takes to a squared error (Figure 4)")
    return fig


@styled
def image_gaps(runs: pd.DataFrame, refinement: pd.DataFrame, fits: Fits) -> Figure:
    """Draw the gap against N, against width, on unseen images, and against steps of refinement by F-VI."""
    experiments = list(runs.experiment.unique())
    fig, axes = panels(4 * len(experiments), 2, 2.8)
    for row, experiment in enumerate(experiments):
        own = runs[(runs.experiment == experiment) & (runs.status != "nonfinite")]
        widths = {
            method: fit[0].method["width"]
            for method, fit in largest(fits, experiment).items()
            if "width" in fit[0].method
        }
        looks, place = looks_of(list(runs[runs.experiment == experiment].method.unique())), axes[4 * row : 4 * row + 4]
        _against_n(place[0], own, looks, "gap_per_obs", list(looks))
        place[0].set_title(_title(runs[runs.experiment == experiment], "to the best F-VI found"))
        _against_width(place[1], own, widths)
        _against_n(place[2], own, looks, "held_out_gap_per_obs", list(widths))
        place[2].set_title("unseen images, to F-VI that refits them")
        _against_steps(place[3], refinement[refinement.experiment == experiment], looks, list(widths))
        place[1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        shown = [Line2D([], [], color=looks[m].color, marker=looks[m].marker, label=m) for m in own.method.unique()]
        place[3].legend(handles=shown, loc="center left", bbox_to_anchor=(1.0, 0.5))
        for ax in place:
            linear = LINEAR_REFINEMENT if ax is place[3] else LINEAR_GAPS
            ax.set_ylabel(f"gap (nats per image)\nlinear below {linear:g}")
            ax.axhline(0, color=GREY, linewidth=0.6, zorder=0)
            curves = [line.get_ydata() for line in ax.lines if line.get_transform() == ax.transData]
            ends = [end for y in curves if np.size(y) for end in (np.min(y), np.max(y))]
            ax.set_ylim(min(-0.2 * linear, *ends), 1.5 * max(0.2 * linear, *ends))
    fig.suptitle("Images: ELBO below that of the best q found")
    return fig


def _spread(ax: Axes, table: pd.DataFrame, by: str, column: str, look: Look, **line: Any) -> None:
    """Draw the median over seeds against a column, and every seed."""
    middle = table.groupby(by)[column].median()
    ax.plot(middle.index, middle, color=look.color, marker=look.marker, markersize=4, **line)
    ax.plot(table[by], table[column], look.marker, color=look.color, markersize=2.5, alpha=0.5, linestyle="none")


def _against_n(ax: Axes, own: pd.DataFrame, looks: Mapping[str, Look], column: str, methods: Sequence[str]) -> None:
    for method in methods:
        each = own[(own.method == method) & own[column].notna()]
        if len(each):
            _spread(ax, each, "num_obs", column, looks[method])
        else:
            draw_at_top(ax, np.array([float(own.num_obs.min())]), looks[method].color)
    ax.set_xscale("log")
    size_axis(ax, sorted(own.num_obs.unique()))
    ax.set_yscale("symlog", linthresh=LINEAR_GAPS)
    ax.set_xlabel("number of images N")


def _against_width(ax: Axes, own: pd.DataFrame, widths: Mapping[str, int]) -> None:
    most = own[(own.num_obs == own.num_obs.max())]
    encoders = most[most.method.isin(list(widths))].assign(width=lambda table: table.method.map(widths))
    kinds: dict[str, tuple[str, Look]] = {
        "gap_per_obs": ("to the best F-VI", Look(PALETTE[0], "o")),
        "local_gap_per_obs": ("decoder held", Look(PALETTE[1], "^")),
        "held_out_gap_per_obs": ("decoder held,\nunseen images", Look(PALETTE[2], "v")),
    }
    for column, (label, look) in kinds.items():
        if len(encoders):
            _spread(ax, encoders, "width", column, look, label=label)
    fvi = most[most.method == "factorized"].gap_per_obs.median()
    ax.axhline(fvi, color=BLACK, linestyle="--", linewidth=0.8, label="F-VI's own runs")
    ax.set(xscale="log", xlabel="width of the encoder k", title="against width")
    ax.set_xticks(sorted(widths.values()), [str(k) for k in sorted(widths.values())])
    ax.minorticks_off()
    ax.set_yscale("symlog", linthresh=LINEAR_GAPS)


def _against_steps(ax: Axes, rows: pd.DataFrame, looks: Mapping[str, Look], methods: Sequence[str]) -> None:
    most = rows[rows.num_obs == rows.num_obs.max()]
    for method in methods:
        for split, style in (("train", "-"), ("held_out", ":")):
            each = most[(most.method == method) & (most.split == split)]
            middle = each.groupby("refine_steps").gap_per_obs.median()
            ax.plot(middle.index, middle, style, color=looks[method].color, linewidth=1.1)
    ax.set_xscale("symlog", base=2, linthresh=1)
    ax.set_yscale("symlog", linthresh=LINEAR_REFINEMENT)
    steps = sorted(most.refine_steps.unique())
    ax.set_xticks(steps, [str(step) for step in steps])
    ax.set(xlabel="steps K of F-VI from the encoder's factors", title="refinement, to its best (dotted: unseen)")
