"""Draw the ELBO of one run of each method against iterations."""

from pathlib import Path

from avigap import cli, plots
from avigap.plots_paths import elbo_paths, read_paths
from avigap.tables import read_table


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--replay", type=Path, required=True, help="replay.csv, written by summarise_replay.py")
    parser.add_argument("--runs", type=Path, nargs="+", required=True, help="files <replay>/<method>/<part>.nc")
    parser.add_argument("--output", type=Path, nargs="+", required=True, help="files to write, .pdf or .png")
    args = parser.parse_args()
    table = read_table(args.replay)
    plots.save_figures(elbo_paths(table, read_paths(args.runs, table)), args.output)


if __name__ == "__main__":
    cli.run(main)
