"""Draw the number of parameters with which an inference function reaches a gap, against the number of observations."""

from pathlib import Path

from avigap import cli, plots
from avigap.plots_parameters import parameters_versus_n
from avigap.plots_rows import read_gap


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--gap", type=Path, required=True, help="gap.csv, written by summarise_gap.py")
    parser.add_argument(
        "--tolerances", type=float, nargs="+", default=[1e-2, 1e-3, 1e-4], help="gaps to reach, nats per observation"
    )
    parser.add_argument("--output", type=Path, nargs="+", required=True, help="files to write, .pdf or .png")
    args = parser.parse_args()
    plots.save_figures(parameters_versus_n(read_gap(args.gap), args.tolerances), args.output)


if __name__ == "__main__":
    cli.run(main)
