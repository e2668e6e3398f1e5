"""Draw the gap per observation against the width of networks, from the best start and from the plain one."""

from pathlib import Path

from avigap import cli, plots
from avigap.plots_gap import gap_versus_width
from avigap.plots_rows import read_gap


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--gap", type=Path, required=True, help="gap.csv, written by summarise_gap.py")
    parser.add_argument(
        "--families",
        type=cli.json_object,
        required=True,
        help='networks by experiment, such as {"nonlinear": {"mlp_4": {"kind": "mlp", "width": 4}}}',
    )
    parser.add_argument("--output", type=Path, nargs="+", required=True, help="files to write, .pdf or .png")
    args = parser.parse_args()
    plots.save_figures(gap_versus_width(read_gap(args.gap), args.families), args.output)


if __name__ == "__main__":
    cli.run(main)
