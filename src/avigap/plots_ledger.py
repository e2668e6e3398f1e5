"""The ledger at a glance: how many published numbers stand, and how far each measurement is from what was published."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from avigap.ledger import VERDICTS
from avigap.plots import BLACK, GREY, PALETTE, panels, styled

COLORS = dict(zip(VERDICTS, (PALETTE[2], PALETTE[1], PALETTE[3], BLACK, PALETTE[0], "#cccccc"), strict=True))

SECTIONS = {
    "linear": "linear model",
    "nonlinear": "nonlinear model",
    "saw": "saw series",
    "hmm": "hidden Markov model",
    "figure-8": "hidden Markov model",
} | dict.fromkeys(("bnn", "vae", "images", "fashion", "digits", "long"), "Bayesian neural network")
"""Part of the paper that a row belongs to, by the start of its id; all others are theory."""

LIMIT = 4.0
"""Factor between measurement and publication beyond which a point is drawn at the edge."""


def section(name: str) -> str:
    """Return the part of the paper that a row of the ledger belongs to."""
    return next((title for start, title in SECTIONS.items() if name.startswith(start)), "theory and claims")


@styled
def ledger_glance(ledger: pd.DataFrame) -> Figure:
    """Draw the number of rows by part of the paper and verdict, and the ratio of measured to published by row."""
    table = ledger.assign(section=ledger.id.map(section))
    sections = list(dict.fromkeys([*SECTIONS.values(), "theory and claims"]))
    sections = [name for name in sections if name in set(table.section)]
    fig, axes = panels(2, 2, 3.6)
    _draw_counts(axes[0], table, sections)
    _draw_ratios(axes[1], table, sections)
    counts = table.verdict.value_counts()
    handles = [
        Line2D([], [], color=COLORS[v], marker="s", linestyle="none", label=f"{v} ({counts[v]})")
        for v in VERDICTS
        if v in counts
    ]
    fig.legend(handles=handles, loc="outside lower center", ncols=3)
    fig.suptitle(f"{len(table)} published numbers and claims: what stands")
    return fig


def _draw_counts(ax: Axes, table: pd.DataFrame, sections: Sequence[str]) -> None:
    for y, name in enumerate(sections):
        left = 0
        for verdict in VERDICTS:
            number = int(((table.section == name) & (table.verdict == verdict)).sum())
            if number:
                ax.barh(y, number, left=left, color=COLORS[verdict], height=0.7, linewidth=0)
                ax.text(left + number / 2, y, str(number), ha="center", va="center", color="white", fontsize=6)
            left += number
    ax.set_yticks(range(len(sections)), sections)
    ax.invert_yaxis()
    ax.set_xlabel("rows of the ledger")


def _draw_ratios(ax: Axes, table: pd.DataFrame, sections: Sequence[str]) -> None:
    """Draw one point for each row with a finite published number that is not zero."""
    published, measured = table.published.astype(float), table.measured.astype(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = (measured / published).where(np.isfinite(measured), LIMIT * 2)
    has_both = np.isfinite(published) & (published != 0) & measured.notna()
    for y, name in enumerate(sections):
        chosen = has_both & (table.section == name)
        values, verdicts = ratio[chosen].to_numpy(), table.verdict[chosen].to_numpy()
        places = y + (np.linspace(-0.32, 0.32, len(values)) if len(values) > 1 else np.zeros(len(values)))
        for value, verdict, place in zip(values, verdicts, places, strict=True):
            marker = ">" if value > LIMIT else "<" if value < 1 / LIMIT else "o"
            ax.plot(np.clip(value, 1 / LIMIT, LIMIT), place, marker, color=COLORS[verdict], markersize=3.5)
    ax.axvline(1.0, color=GREY, linewidth=0.8)
    ax.set(xscale="log", xlim=(1 / LIMIT / 1.1, LIMIT * 1.1))
    ax.set_xticks([0.25, 0.5, 1, 2, 4], ["1/4", "1/2", "1", "2", "4"])
    ax.set_yticks(range(len(sections)), [])
    ax.invert_yaxis()
    ax.set_xlabel("measured / published (triangle: beyond)")
