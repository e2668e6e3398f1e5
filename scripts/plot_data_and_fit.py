"""Draw the data of experiments with the factors of F-VI and of the best inference function."""

from functools import partial
from pathlib import Path

from avigap import cli, plots
from avigap.plots_fits import data_and_fit
from avigap.plots_read import best_family, match_files, nearest, read_fits
from avigap.plots_rows import read_gap


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--gap", type=Path, required=True, help="gap.csv: which function is best, and colours")
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="files <experiment>/data.nc")
    parser.add_argument("--fvi", type=Path, nargs="+", required=True, help="files <experiment>/fvi.nc")
    parser.add_argument("--fits", type=Path, nargs="+", required=True, help="files <experiment>/avi/<family>.nc")
    parser.add_argument("--num-obs", type=int, default=1000, help="the data set of the nearest size is drawn")
    parser.add_argument("--output", type=Path, nargs="+", required=True, help="files to write, .pdf or .png")
    args = parser.parse_args()
    rows, choose = read_gap(args.gap), nearest(args.num_obs)
    experiments = [
        read_fits(files, rows, choose, partial(best_family, rows, files.name))
        for files in match_files(args.data, args.fvi, args.fits)
    ]
    plots.save_figures(data_and_fit(experiments, rows), args.output)


if __name__ == "__main__":
    cli.run(main)
