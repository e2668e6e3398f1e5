"""Draw what each fitted q of programs of the user's own loses against the log evidence, and where."""

from pathlib import Path

from avigap import cli, plots
from avigap.plots_explain import gap_decomposition
from avigap.tables import read_table


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--parts", type=Path, required=True, help="csv file written by summarise_programs.py")
    parser.add_argument("--output", type=Path, nargs="+", required=True, help="files to write, .pdf or .png")
    args = parser.parse_args()
    plots.save_figures(gap_decomposition(read_table(args.parts)), args.output)


if __name__ == "__main__":
    cli.run(main)
