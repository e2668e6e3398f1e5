"""Draw iterations to convergence by the published rule and by one that counts NaN as failure."""

from pathlib import Path

from avigap import cli, plots
from avigap.plots_explain import nan_rule
from avigap.tables import read_table


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--replay", type=Path, required=True, help="replay.csv, written by summarise_replay.py")
    parser.add_argument("--output", type=Path, nargs="+", required=True, help="files to write, .pdf or .png")
    args = parser.parse_args()
    plots.save_figures(nan_rule(read_table(args.replay)), args.output)


if __name__ == "__main__":
    cli.run(main)
