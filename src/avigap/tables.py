"""Tables of results: CSV files with a header and at least one row."""

from pathlib import Path

import pandas as pd

from avigap.errors import InputError
from avigap.paths import check_input


def read_table(path: Path) -> pd.DataFrame:
    """Return a table of results.

    Raises
    ------
    InputError
        If the file is missing, is not a CSV file, or has no row.
    """
    check_input(path)
    try:
        table = pd.read_csv(path)
    except (pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a CSV file") from error
    if table.empty:
        raise InputError(f"{path} has no row")
    return table
