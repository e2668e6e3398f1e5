"""Draw steps and seconds to a small gap against the number of observations."""

from pathlib import Path

from avigap import cli, plots
from avigap.plots_explain import time_to_gap
from avigap.tables import read_table


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--replay", type=Path, required=True, help="replay.csv, written by summarise_replay.py")
    parser.add_argument("--output", type=Path, nargs="+", required=True, help="files to write, .pdf or .png")
    args = parser.parse_args()
    plots.save_figures(time_to_gap(read_table(args.replay)), args.output)


if __name__ == "__main__":
    cli.run(main)
