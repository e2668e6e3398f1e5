"""Draw which starts, draws and networks find the mode that a local method misses."""

from pathlib import Path

import pandas as pd

from avigap import cli, plots
from avigap.plots_explain import missed_mode
from avigap.plots_rows import read_gap
from avigap.tables import read_table


def networks(rows: pd.DataFrame, experiment: str) -> pd.DataFrame:
    """Return the rows of an experiment's networks at its largest N."""
    own = rows[(rows.experiment == experiment) & rows.family.str.startswith("mlp")]
    return own[own.num_obs == own.num_obs.max()]


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--starts", type=Path, required=True, help="missed_mode.csv, written by missed_mode.py")
    parser.add_argument("--replay", type=Path, required=True, help="replay.csv, written by summarise_replay.py")
    parser.add_argument("--gap", type=Path, required=True, help="gap.csv, written by summarise_gap.py")
    parser.add_argument("--experiment", required=True, help="whose networks are shown")
    parser.add_argument("--output", type=Path, nargs="+", required=True, help="files to write, .pdf or .png")
    args = parser.parse_args()
    gap = networks(read_gap(args.gap), args.experiment)
    plots.save_figures(missed_mode(read_table(args.starts), read_table(args.replay), gap), args.output)


if __name__ == "__main__":
    cli.run(main)
