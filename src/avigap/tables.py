"""Tables of results: CSV files with a header and at least one row."""

from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from avigap.errors import InputError
from avigap.files import check_input


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


def read_columns(path: Path) -> dict[str, np.ndarray]:
    """Return the columns of a CSV file, or the variables of a netCDF file, by name.

    Raises
    ------
    InputError
        If the file is missing or unreadable, has no row, or a column is not numeric or lacks a value.
    """
    check_input(path)
    if path.suffix == ".csv":
        table = read_table(path)
        columns = {str(name): table[name].to_numpy() for name in table}
    else:
        try:
            with xr.open_dataset(path) as file:
                columns = {str(name): variable.to_numpy() for name, variable in file.data_vars.items()}
        except (OSError, ValueError) as error:
            raise InputError(f"{path} is neither a CSV file nor a netCDF file") from error
    if not columns:
        raise InputError(f"{path} has no column")
    for name, column in columns.items():
        if column.dtype.kind not in "iufb":
            raise InputError(f"column {name!r} of {path} is not numeric; number its categories from 0")
        if column.dtype.kind == "f" and not np.isfinite(column).all():
            raise InputError(f"column {name!r} of {path} lacks a value, or has one that is not finite")
    return columns
