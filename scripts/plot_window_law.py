"""Draw the hidden Markov model's gap against the width of the window, beside its asymptotic law."""

from pathlib import Path

from avigap import cli, plots
from avigap.plots_rows import read_gap
from avigap.plots_window import window_law


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--gap", type=Path, required=True, help="gap.csv, written by summarise_gap.py")
    parser.add_argument(
        "--families",
        type=cli.json_object,
        required=True,
        help='linear functions of windows by experiment, such as {"hmm": {"window_1": {"inputs": [-1, 0, 1]}}}',
    )
    parser.add_argument("--output", type=Path, nargs="+", required=True, help="files to write, .pdf or .png")
    args = parser.parse_args()
    plots.save_figures(window_law(read_gap(args.gap), args.families), args.output)


if __name__ == "__main__":
    cli.run(main)
