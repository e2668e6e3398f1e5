"""What arrays and the columns of data frames hold: numbers by their type, texts as those of a text file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from avigap.errors import InputError
from avigap.files.text import A_DATE, Column, Values, quoted, values_of

NUMERIC = ("boolean", "integer", "floating", "mixed-integer-float", "decimal")
TEXTS = ("string", "bytes", "empty", "mixed-integer")
TIMES = ("datetime64", "datetime", "date", "time", "timedelta64", "timedelta", "period")


def values_of_array(path: Path, heading: str, values: Any, known: Sequence[str] | None) -> Values:
    """Return what an array of any shape or a series holds, row by row."""
    if not isinstance(values, np.ndarray) or values.ndim == 1:
        return _values_of_series(Column(path, heading, ()), pd.Series(values).reset_index(drop=True), known)
    width = values.size // len(values) if values.ndim and len(values) else 1
    flat = _values_of_series(Column(path, heading, (), width=width), pd.Series(values.ravel()), known)
    lacks = np.array(flat.missing.reshape(-1, width).any(axis=1))
    return flat._replace(array=flat.array.reshape(values.shape), missing=lacks)


def _values_of_series(column: Column, series: "pd.Series[Any]", known: Sequence[str] | None) -> Values:
    """Return what a series holds, by its type; texts are read as those of a text file."""
    lacks = series.isna().to_numpy(dtype=bool)
    kind = pd.api.types.infer_dtype(series, skipna=True)
    if kind == "mixed" and all(isinstance(each, list | tuple | np.ndarray) for each in series[~lacks]):
        return _values_of_lists(column, series, lacks, known)
    if kind in NUMERIC and known is None:
        return _numbers_of_series(column, series, lacks, kind)
    if kind == "categorical" and known is None:
        return Values(series.cat.codes.to_numpy(np.int64), lacks, [str(each) for each in series.cat.categories])
    texts = [each.decode("utf-8", "replace") if isinstance(each, bytes) else str(each) for each in series]
    texts = ["" if lack else text.strip() for text, lack in zip(texts, lacks, strict=True)]
    column = column._replace(cells=texts)
    if known is None and kind not in TEXTS:
        raise column.refused(int(np.argmin(lacks)), A_DATE if kind in TIMES else "")
    return values_of(column, known)


def _numbers_of_series(column: Column, series: "pd.Series[Any]", lacks: np.ndarray, kind: str) -> Values:
    """Return the numbers of a series, in its own type; 0 for those that are missing from whole numbers."""
    if series.dtype == object:
        own: Any = {"boolean": "boolean", "integer": "Int64"}.get(kind, "float64")
        try:
            series = series.astype(own)
        except OverflowError:
            series = series.astype("float64")
    dtype: Any = series.dtype
    array = series.to_numpy(dtype=getattr(dtype, "numpy_dtype", dtype), na_value=0)
    if array.dtype.kind == "f":
        lacks = lacks | np.isnan(array)
        if not (usable := lacks | np.isfinite(array)).all():
            raise column._replace(cells=[str(each) for each in array]).refused(int(np.argmin(usable)))
    return Values(array, lacks)


def _values_of_lists(
    column: Column, series: "pd.Series[Any]", lacks: np.ndarray, known: Sequence[str] | None
) -> Values:
    """Return the matrix whose rows are the lists of a series."""
    first = int(np.argmin(lacks))
    rows = [np.array(list(series[first if lack else row])) for row, lack in enumerate(lacks)]
    for row, each in enumerate(rows):
        if each.shape != rows[first].shape:
            sizes = f"{rows[first].shape[0]} values in row {first + 1}, {each.shape[0]} in row {row + 1}"
            raise InputError(
                f"column {quoted(column.heading)} of {column.path} holds lists of different lengths: {sizes}"
            )
    values = values_of_array(column.path, column.heading, np.stack(rows), known)
    return values._replace(missing=values.missing | lacks)
