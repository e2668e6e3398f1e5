"""Stack the parts of what each fitted q loses against the log evidence."""

from pathlib import Path

import pandas as pd

from avigap import cli, plots
from avigap.plots_explain import gap_decomposition
from avigap.tables import read_table


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--parts", type=Path, nargs="+", required=True, help="csv files written by decompose.py")
    parser.add_argument("--output", type=Path, nargs="+", required=True, help="files to write, .pdf or .png")
    args = parser.parse_args()
    plots.save_figures(gap_decomposition(pd.concat(map(read_table, args.parts), ignore_index=True)), args.output)


if __name__ == "__main__":
    cli.run(main)
