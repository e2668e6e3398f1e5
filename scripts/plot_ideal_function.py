"""Draw the certified F-VI factors against x beside fitted functions of x, at the largest N of each experiment."""

from pathlib import Path

from avigap import cli, plots
from avigap.plots_fits import ideal_function
from avigap.plots_read import largest, match_files, read_fits
from avigap.plots_rows import read_gap


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--gap", type=Path, required=True, help="gap.csv, for the colours of families")
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="files <experiment>/data.nc")
    parser.add_argument("--fvi", type=Path, nargs="+", required=True, help="files <experiment>/fvi.nc")
    parser.add_argument("--fits", type=Path, nargs="+", required=True, help="files <experiment>/avi/<family>.nc")
    parser.add_argument("--output", type=Path, nargs="+", required=True, help="files to write, .pdf or .png")
    args = parser.parse_args()
    rows = read_gap(args.gap)
    experiments = [read_fits(files, rows, largest) for files in match_files(args.data, args.fvi, args.fits)]
    plots.save_figures(ideal_function(experiments, rows), args.output)


if __name__ == "__main__":
    cli.run(main)
