"""Programs that draw one figure from one table of results."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from avigap import cli, plots
from avigap.tables import read_table


def figure_program(
    description: str | None,
    draw: Callable[[pd.DataFrame], Figure],
    flag: str,
    text: str,
    read: Callable[[Path], pd.DataFrame] = read_table,
) -> Callable[[], None]:
    """Return the main function of a script that reads the table after ``flag``, draws it and saves the figure.

    Parameters
    ----------
    description
        What ``--help`` says of the script.
    text
        What it says of the table.
    """

    def main() -> None:
        parser = cli.parser(description)
        parser.add_argument(flag, type=Path, required=True, dest="table", help=text)
        parser.add_argument("--output", type=Path, nargs="+", required=True, help="files to write, .pdf or .png")
        args = parser.parse_args()
        plots.save_figures(draw(read(args.table)), args.output)

    return main
