"""Tables of results: CSV files with a header and at least one row."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

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


def read_columns(path: Path) -> dict[str, np.ndarray]:
    """Return the columns of a CSV file, or the variables of a netCDF file, by name.

    Columns ``y[0]``, ``y[1]``, .. of a CSV file are those of a matrix ``y`` (N, K).

    Raises
    ------
    InputError
        If the file is missing or unreadable, has no row, or a column is not numeric or lacks a value.
    """
    check_input(path)
    if path.suffix == ".csv":
        table = read_table(path)
        columns = _with_matrices({str(name): table[name].to_numpy() for name in table}, path)
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


def _with_matrices(columns: dict[str, np.ndarray], path: Path) -> dict[str, np.ndarray]:
    """Join columns whose names end in numbers in brackets."""
    found: dict[str, np.ndarray] = {}
    parts: dict[str, dict[int, np.ndarray]] = {}
    for name, column in columns.items():
        if (match := re.fullmatch(r"(.+)\[(\d+)\]", name)) is None:
            found[name] = column
        else:
            parts.setdefault(match[1], {})[int(match[2])] = column
    for name, own in parts.items():
        if set(own) != set(range(len(own))) or name in found:
            raise InputError(f"{path} must have columns {name}[0], {name}[1], .. without a gap, and no other {name!r}")
        found[name] = np.stack([own[index] for index in range(len(own))], axis=1)
    return found
