"""Draw the ledger at a glance."""

from pathlib import Path

from avigap import cli, plots
from avigap.plots_ledger import ledger_glance
from avigap.tables import read_table


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--ledger", type=Path, required=True, help="ledger.csv, written by ledger.py")
    parser.add_argument("--output", type=Path, nargs="+", required=True, help="files to write, .pdf or .png")
    args = parser.parse_args()
    plots.save_figures(ledger_glance(read_table(args.ledger)), args.output)


if __name__ == "__main__":
    cli.run(main)
