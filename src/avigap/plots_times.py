"""Figures of the time that a small gap takes: against the learning rate and against the number of observations."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from avigap.convergence import BEST_RATES, SMALL_GAPS, median_of
from avigap.plots import GREY, Look, log_axes, panels, styled, whole_decades
from avigap.plots_replay import in_order, longest, method_looks


@styled
def learning_rates(table: pd.DataFrame) -> Figure:
    """Draw the median number of steps to two small gaps against the learning rate, one start for all methods."""
    fair = table[(table["mode"] == "fair")]
    tables = [own for own in (_every_rate(fair, model) for model in fair.model.unique()) if own is not None]
    looks = method_looks(table)
    fig, axes = panels(2 * len(tables), len(tables), 2.8)
    for place, column in enumerate(BEST_RATES.values()):
        for ax, own in zip(axes[place * len(tables) :], tables, strict=False):
            medians = own.groupby(["method", "learning_rate"])[column].apply(lambda t: median_of(t.to_numpy()).value)
            for method in in_order(own.method):
                look, times = looks[own.model.iloc[0], method], medians[method]
                y = times.where(np.isfinite(times))
                ax.plot(times.index, y, "-" + look.marker, color=look.color, label=method, markersize=3.5)
            _log_axes_unless_empty(ax)
            ax.set_title(
                f"{own.model.iloc[0]}, N = {own.num_obs.max():,}\nto {SMALL_GAPS[column]:g} nats per observation"
            )
        axes[place * len(tables)].set_ylabel("steps")
    for ax in axes[len(tables) :]:
        ax.set_xlabel("learning rate")
        ax.legend(fontsize=6.5, loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=2)
    fig.suptitle(
        "Steps to a small gap from one start, at every learning rate\n(absent: half of the runs never get there)"
    )
    return fig


def _every_rate(fair: pd.DataFrame, model: str) -> pd.DataFrame | None:
    """Return the fair runs of a model at its largest N and all learning rates."""
    own = fair[fair.model == model]
    own = own[own.replay == longest(own)]
    own = own[own.num_obs == own.num_obs.max()]
    return own if own.learning_rate.nunique() > 1 else None


def break_even(seconds: pd.DataFrame) -> dict[str, float]:
    """Return the N from which on each method takes less time than F-VI; infinity if it does not at the largest N.

    Parameters
    ----------
    seconds
        Median time by N (rows) and method (columns, ``factorized`` among them); infinity where half never get there.
    """
    found = {}
    for method in seconds.columns.drop("factorized"):
        is_ahead = (seconds[method] < seconds.factorized).to_numpy()
        last_behind = np.flatnonzero(~is_ahead).max(initial=-1)
        found[str(method)] = float([*seconds.index, np.inf][last_behind + 1])
    return found


def times_to_gap(own: pd.DataFrame, best: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return median steps, and median seconds of one run, to a small gap by N (rows) and method (columns).

    Each method is taken at the rate that the column ``best`` marks; infinity where half of its runs never get there.
    """
    runs = own[own[best]].assign(steps_to=lambda each: each[BEST_RATES[best]])
    runs = runs.assign(seconds=runs.steps_to * runs.seconds_per_step / runs.runs_together)
    steps, seconds = (
        runs.pivot_table(value, "num_obs", "method", lambda t: median_of(t.to_numpy()).value, dropna=False)
        for value in ("steps_to", "seconds")
    )
    return steps, seconds


@styled
def time_to_gap(table: pd.DataFrame) -> Figure:
    """Draw steps and seconds to two small gaps against N, each method at its best rate for the gap.

    The legend says how long a method takes to compile, and from which N on its runs take fewer seconds than F-VI's.
    """
    fair = table[table["mode"] == "fair"]
    sizes = fair.groupby("replay", sort=False).num_obs.nunique()
    names = [name for name in sizes.index if sizes[name] > 1]
    looks = method_looks(table)
    fig, axes = panels(4 * len(names), 4, 2.3)
    for row, name in enumerate(names):
        own, ahead = fair[fair.replay == name], []
        for place, (best, column) in enumerate(BEST_RATES.items()):
            both = times_to_gap(own, best)
            ahead.append(break_even(both[1]))
            for ax, medians, label in zip(axes[4 * row + 2 * place :], both, ("steps", "seconds"), strict=False):
                _draw_times(ax, medians, {m: looks[own.model.iloc[0], m] for m in in_order(own.method)})
                ax.set_title(f"{own.model.iloc[0]}\n{label} to {SMALL_GAPS[column]:g}", fontsize=7.5)
                ax.tick_params(labelsize=7)
        compiling = own.groupby("method").compile_seconds.median()
        labels = [_told(m, compiling[m], [found.get(m, np.inf) for found in ahead]) for m in in_order(own.method)]
        axes[4 * row + 3].legend(
            axes[4 * row].lines, labels, loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=6, title=AHEAD
        )
    for ax in axes[-4:]:
        ax.set_xlabel("observations N", fontsize=7.5)
    fig.suptitle(
        "Steps and seconds of one run to a gap of 0.02 and 0.001 nats per observation\n"
        "(each method at its best rate; absent: half of its runs never get there)"
    )
    return fig


def _draw_times(ax: Axes, medians: pd.DataFrame, looks: Mapping[str, Look]) -> None:
    for method, look in looks.items():
        y = medians[method].where(np.isfinite(medians[method]))
        ax.plot(y.index, y, "-" + look.marker, color=look.color, label=method, markersize=3.5)
    _log_axes_unless_empty(ax)
    whole_decades(ax, medians.to_numpy(float))


def _log_axes_unless_empty(ax: Axes) -> None:
    """Make axes logarithmic; where no line has a value, say so instead of failing."""
    places = np.concatenate([np.asarray(line.get_xdata(), float) for line in ax.lines])
    if not any(np.isfinite(np.asarray(line.get_ydata(), float)).any() for line in ax.lines):
        ax.set(xlim=(places.min() / 2, places.max() * 2), ylim=(1, 10))
        ax.text(0.5, 0.5, "none gets there", transform=ax.transAxes, ha="center", color=GREY)
    log_axes(ax)


AHEAD = "compiling; N from which it is\nahead of F-VI, to 0.02 / 0.001"


def _told(method: str, seconds: float, ahead: Sequence[float]) -> str:
    """Return what the legend says of a method: time to compile, and the N from which it is ahead at each gap."""
    if method == "factorized":
        return f"{method}, compiles in {seconds:.1f} s"
    sizes = " / ".join(f"{size:,.0f}" if np.isfinite(size) else "none" for size in ahead)
    return f"{method}, {seconds:.1f} s; ahead from {sizes}"
