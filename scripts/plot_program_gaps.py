"""Draw the gap per observation against N for programs of the user's own."""

from pathlib import Path

from avigap import cli, plots
from avigap.plots_gap import gap_versus_n
from avigap.plots_rows import read_gap


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--gap", type=Path, required=True, help="programs.csv, written by summarise_programs.py")
    parser.add_argument("--output", type=Path, nargs="+", required=True, help="files to write, .pdf or .png")
    args = parser.parse_args()
    plots.save_figures(gap_versus_n(read_gap(args.gap), of_programs=True), args.output)


if __name__ == "__main__":
    cli.run(main)
