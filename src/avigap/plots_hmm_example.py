"""The hidden Markov example of the paper (Figure 8): as printed, corrected, and one that is valid."""

import pandas as pd
from matplotlib.figure import Figure

from avigap.plots import GREY, PALETTE, log_axes, panels, styled

PRINTED, CORRECT, SINGLE = PALETTE[1], PALETTE[0], PALETTE[2]


@styled
def hmm_example(table: pd.DataFrame) -> Figure:
    """Draw posterior means by both matrices (Figure 8), their eigenvalues, and a counter-example that is one."""
    fig, axes = panels(4, 2, 2.6)
    means, eigenvalues = (table[table.quantity == quantity] for quantity in ("mean", "eigenvalue"))
    for case, color, label in (("printed", PRINTED, "matrix as printed"), ("correct", CORRECT, "matrix of the model")):
        own = means[(means.case == case) & (means["index"] > 0)]
        axes[0].plot(own["index"], own.value, "o-", color=color, markersize=2.5, linewidth=0.8, label=label)
        own = eigenvalues[eigenvalues.case == case]
        below = int((own.value < 0).sum())
        axes[1].plot(own["index"] + 1, own.value, color=color, label=f"{label}: {below} negative")
    axes[0].set(xlabel="n", ylabel="posterior mean of z_n", title="Figure 8: data x_1 = .. = x_N = 1")
    axes[0].set_ylim(-0.5, 5.9)
    axes[0].legend(loc="upper right")
    axes[1].axhline(0, color=GREY, linewidth=0.8)
    axes[1].set(xlabel="rank", ylabel="eigenvalue", title="a precision matrix has no negative eigenvalue")
    axes[1].legend(loc="upper left")
    own = means[(means.case == "one_datum") & (means["index"] > 0)]
    middle = int(own["index"].iloc[own.value.argmax()])
    near = own[(own["index"] - middle).abs() <= 8]
    axes[2].plot(near["index"], near.value, "o-", color=SINGLE, markersize=3, linewidth=0.8)
    axes[2].set(xlabel="n", ylabel="posterior mean of z_n", title=f"a valid example: x_{middle} = 1, all others 0")
    gaps = table[table.quantity == "gap"]
    own = gaps[gaps.case == "one_datum"]
    axes[3].plot(own["index"], own.value, "o-", color=SINGLE, label="one datum")
    log_axes(axes[3], "y")
    axes[3].set(xlabel="half-width h of the window", ylabel="gap (nats)", title="what any function of the window loses")
    fig.suptitle("The hidden Markov example: the printed one is none, and one that is")
    return fig
