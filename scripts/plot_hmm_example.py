"""Draw the hidden Markov example of the paper, as printed and corrected, and a valid one."""

from pathlib import Path

from avigap import cli, plots
from avigap.plots_hmm_example import hmm_example
from avigap.tables import read_table


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--example", type=Path, required=True, help="hmm_example.csv, written by hmm_example.py")
    parser.add_argument("--output", type=Path, nargs="+", required=True, help="files to write, .pdf or .png")
    args = parser.parse_args()
    plots.save_figures(hmm_example(read_table(args.example)), args.output)


if __name__ == "__main__":
    cli.run(main)
