"""Figures that explain published numbers: the noise floor, the missed mode, NaN, times to a gap, parts of the gap."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from avigap.convergence import median_of
from avigap.plots import BLACK, GREY, PALETTE, label_outer, log_axes, panels, styled


def noise_law(num_obs: np.ndarray, rate: float, num_draws: int, curvature: float) -> np.ndarray:
    """Return the excess loss in nats at which Adam with a constant rate holds F-VI of the linear model.

    Near an optimum Adam moves a parameter with curvature h by -rate (h offset + s xi) / s, where s is the standard
    deviation of its gradient's noise: a stationary variance of rate s / (2 h), hence an excess of rate s / 4 for each
    parameter. For loc of z_n s is (curvature / D)^1/2, for log scale (2 / D)^1/2, with D draws; q(theta), two
    parameters of 2 N + 2, is left out.
    """
    return num_obs * rate / 4 * ((curvature / num_draws) ** 0.5 + (2 / num_draws) ** 0.5)


@styled
def noise_floor(table: pd.DataFrame, curvature: float) -> Figure:
    """Draw the excess loss of constant, decaying and averaged Adam from the optimum, against N and learning rate."""
    constant, decay = (table[table.replay == name] for name in ("linear_noise", "linear_noise_decay"))
    fig, axes = panels(2, 2, 3.3)
    rates = sorted(constant.learning_rate.unique())
    for index, rate in enumerate(rates):
        for method, marker in (("factorized", "D"), ("degree_1", "o")):
            own = constant[(constant.learning_rate == rate) & (constant.method == method)].sort_values("num_obs")
            axes[0].plot(own.num_obs, own.gap_late, marker, color=PALETTE[index], linestyle="none")
        sizes = np.array(sorted(constant.num_obs.unique()), float)
        law = noise_law(sizes, rate, int(constant.num_draws.iloc[0]), curvature)
        axes[0].plot(sizes, law, color=PALETTE[index], linewidth=1.0)
    log_axes(axes[0])
    axes[0].set(xlabel="number of observations N", ylabel="excess over the optimum (nats)", title="constant rate")
    handles = [Line2D([], [], color=PALETTE[i], label=f"rate {rate:g}") for i, rate in enumerate(rates)]
    handles += [
        Line2D([], [], color=GREY, marker="D", linestyle="none", label="F-VI, 2 N + 2 parameters"),
        Line2D([], [], color=GREY, marker="o", linestyle="none", label="A-VI of degree 1, 5 parameters"),
        Line2D([], [], color=GREY, label="N rate/4 (noise of both gradients)"),
    ]
    largest = constant.num_obs.max()
    for method, marker in (("factorized", "D"), ("degree_1", "o")):
        for label, own, column, color in (
            ("constant", constant, "gap_late", PALETTE[1]),
            ("averaged over the second half", constant, "gap_averaged", PALETTE[0]),
            ("decayed to zero", decay, "gap", PALETTE[2]),
        ):
            line = own[(own.num_obs == largest) & (own.method == method)].sort_values("learning_rate")
            style = "-" if method == "factorized" else ":"
            axes[1].plot(line.learning_rate, line[column], style + marker, color=color, label=f"{label}, {method}")
    log_axes(axes[1])
    axes[1].set(xlabel="learning rate", title=f"N = {largest:,}: what removes it")
    axes[1].set_ylim(bottom=axes[1].get_ylim()[0] / 3e3)
    axes[1].legend(fontsize=6.5, loc="lower right")
    fig.legend(handles=handles, loc="outside lower center", ncols=3)
    fig.suptitle("Adam's noise floor grows with the number of parameters: F-VI pays for 2 N of them")
    return fig


@styled
def missed_mode(starts: pd.DataFrame, replay: pd.DataFrame, gap: pd.DataFrame) -> Figure:
    """Draw what F-VI reaches from many starts and with few draws, and what networks reach, against the optimum.

    ``gap`` has the rows of ``gap.csv`` of networks on the same data.
    """
    fig, axes = panels(3, 3, 4.0)
    missed = float(starts.gap[starts.start == "loc 0, scale 1"].min())
    names = list(starts.start.unique())
    for y, name in enumerate(names):
        own = starts[starts.start == name]
        axes[0].plot(np.maximum(own.gap, 1e-3), np.full(len(own), y), "o", color=PALETTE[0], markersize=4)
        axes[0].text(3e5, y, f"{own.found.mean():.0%}", va="center", fontsize=6.5)
    axes[0].set_yticks(range(len(names)), names, fontsize=6.5)
    axes[0].set(title="F-VI by Newton's method\n(right: far modes found)", xscale="log", xlim=(5e-4, 2e5))
    draws = replay[replay.replay.str.startswith("nonlinear_draws") & (replay.method == "factorized")]
    labels = []
    for y, (_, own) in enumerate(draws.groupby(["num_draws", "learning_rate"])):
        axes[1].plot(own.gap, np.full(len(own), y), "o", color=PALETTE[1], markersize=4)
        number, rate = int(own.num_draws.iloc[0]), own.learning_rate.iloc[0]
        labels.append(f"{number} draw{'s' * (number > 1)}, rate {rate:g}")
    axes[1].set_yticks(range(len(labels)), labels, fontsize=6.5)
    axes[1].set(title="F-VI by Adam", xscale="log", xlim=(50, 2e6))
    for y, (_, row) in enumerate(gap.iterrows()):
        plain = row.gap + row.optimization_gap_per_obs * row.num_obs
        axes[2].plot(row.gap, y, "o", color=PALETTE[2], markersize=5)
        axes[2].plot(plain, y, "o", color=PALETTE[2], markerfacecolor="white", markersize=5)
    axes[2].set_yticks(range(len(gap)), list(gap.family), fontsize=6.5)
    axes[2].set(title="A-VI, best start\n(hollow: plain)", xscale="log", xlim=(0.05, 2e5))
    for ax in axes:
        ax.axvline(missed, color=GREY, linewidth=0.8)
        ax.invert_yaxis()
    fig.supxlabel("gap to the certified optimum (nats)", fontsize=9)
    fig.suptitle(f"The missed mode: who finds what a local method loses ({missed:.0f} nats, grey line)")
    return fig


@styled
def nan_rule(table: pd.DataFrame) -> Figure:
    """Draw iterations to 1 % by the published rule, which takes NaN for convergence, and by the honest one.

    A group for each replay whose name starts with ``nonlinear_nan``: log q from the draws, and from squared scales.
    """
    fig, axes = panels(1, 1, 3.2)
    own = table[table.replay.str.startswith("nonlinear_nan")]
    ax, names, top = axes[0], list(own.replay.unique()), own.steps.max() * 1.25
    for place, name in enumerate(names):
        runs = own[own.replay == name]
        spread = np.linspace(-0.12, 0.12, len(runs))
        broken = np.isfinite(runs.nan_at.fillna(np.inf).to_numpy())
        for shift, column, color in ((-0.17, "it_1", PALETTE[1]), (0.17, "it_1_honest", PALETTE[0])):
            times = runs[column].fillna(np.inf).to_numpy()
            shown = np.where(np.isfinite(times), times, top)
            x = place + shift + spread
            ax.plot(x, shown, "o", color=color, markersize=4)
            ax.plot(x[broken], shown[broken], "x", color=BLACK, markersize=7)
            middle = min(median_of(times).value, top)
            ax.plot(place + shift, middle, "_", color=color, markersize=44, markeredgewidth=2)
    ax.axhline(top, color=GREY, linewidth=0.8, linestyle=":")
    ax.text(-0.48, top, "never", va="bottom", fontsize=7, color=GREY)
    labels = {"nonlinear_nan": "log q from the draws:", "nonlinear_nan_squares": "log q from squared scales, as coded:"}
    counts = {name: np.isfinite(own.nan_at[own.replay == name].fillna(np.inf)).sum() for name in names}
    ax.set_xticks(
        range(len(names)), [f"{labels.get(n, n)}\n{counts[n]} of {sum(own.replay == n)} break" for n in names]
    )
    ax.set(ylabel="iterations to 1 % of F-VI's loss", xlim=(-0.5, len(names) - 0.5), ylim=(0, top * 1.15))
    handles = [
        Line2D([], [], color=PALETTE[1], marker="o", label="published rule, bar: median"),
        Line2D([], [], color=PALETTE[0], marker="o", label="honest rule, bar: median"),
        Line2D([], [], color=BLACK, marker="x", linestyle="none", label="became NaN"),
    ]
    fig.legend(handles=handles, loc="outside lower center", ncols=3)
    fig.suptitle(f"NaN as convergence: nonlinear model, width 32, first {own.steps.max()} iterations in float32")
    return fig


PARTS = {
    "approximation_gap": ("approximation: log evidence - F-VI", PALETTE[0]),
    "amortization_gap": ("amortization: F-VI - best A-VI", PALETTE[1]),
    "optimization_gap": ("optimization: best - plain start", PALETTE[2]),
    "generalization_gap": ("generalization: held out - training", PALETTE[3]),
}


@styled
def gap_decomposition(table: pd.DataFrame) -> Figure:
    """Stack the parts of what each fit loses against the log evidence, by experiment and family; Pareto's k beside."""
    names = list(table.experiment.unique())
    fig, axes = panels(len(names), 2, 2.5)
    for ax, name in zip(axes, names, strict=True):
        own = table[table.experiment == name].reset_index(drop=True)
        _draw_parts(ax, own)
        first = own.iloc[0]
        ax.set_title(f"{name}, N = {first.num_obs:,}\nPareto k of F-VI {first.pareto_k_fvi:.2f}")
    label_outer(axes, 2, "nats per observation", "")
    handles: list[Patch | Line2D] = [Patch(color=color, label=label) for label, color in PARTS.values()]
    fig.legend(handles=handles, loc="outside lower center", ncols=2)
    fig.suptitle("What a fitted q loses against the log evidence, and where (number: its Pareto k)")
    return fig


def _draw_parts(ax: Axes, own: pd.DataFrame) -> None:
    left = np.zeros(len(own))
    for part, (_, color) in PARTS.items():
        size = np.clip(own[part].fillna(0.0).to_numpy(float), 0.0, None)
        ax.barh(np.arange(len(own)), size, left=left, color=color, height=0.7, linewidth=0)
        left += size
    for y, (end, k) in enumerate(zip(left, own.pareto_k, strict=True)):
        ax.text(end, y, f" {k:.2f}" if np.isfinite(k) else " inf", va="center", fontsize=7, color=BLACK)
    ax.set_yticks(np.arange(len(own)), own.family)
    ax.set_xlim(0, left.max() * 1.15)
    ax.invert_yaxis()
