"""Fits of data sets of anyone's program on file: factors of q by element, beside the identity of their data."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from avigap.amortized import Amortized
from avigap.errors import InputError
from avigap.factorized import Factorized
from avigap.files.netcdf import read_group, read_tree, reading, write_tree
from avigap.samples import Sample


def write_factorized(path: Path, samples: Sequence[Sample], fits: Sequence[Factorized], inputs: Sequence[Path]) -> None:
    """Write the F-VI optima of data sets."""
    groups = {}
    for each, fit in zip(samples, fits, strict=True):
        stats = fit._asdict()
        del stats["q"], stats["trace"]
        attrs = each.identity | stats | {"is_certified": int(fit.is_certified), "starts": json.dumps(fit.starts)}
        groups[f"/{each.name}/variational"] = _factors(fit.q).assign_attrs(attrs)
        groups[f"/{each.name}/sample_stats"] = xr.Dataset({"elbo": ("step", fit.trace)})
    write_tree(path, "factorized", groups, inputs)


def _factors(q: np.ndarray) -> xr.Dataset:
    return xr.Dataset({"loc": ("element", q[0]), "log_scale": ("element", q[1])})


def read_factorized(path: Path, samples: Sequence[Sample]) -> list[tuple[np.ndarray, dict[str, Any]]]:
    """Return q (2, L) and the scalars of the F-VI optimum of each data set.

    Raises
    ------
    InputError
        If the file is not one that :func:`write_factorized` wrote, or was fitted to other data.
    """
    tree = read_tree(path, "factorized")
    with reading(path, "factorized"):
        found = []
        for each in samples:
            if each.name not in tree.children:
                raise InputError(f"it has no fit of data set {each.name}")
            node = tree.children[each.name].children["variational"]
            if any(node.attrs[what] != value for what, value in each.identity.items()):
                raise InputError(f"the fit of data set {each.name} is to other data, or of another model")
            factors = node.to_dataset()
            q = np.stack([factors["loc"].values, factors["log_scale"].values])
            found.append((q, {str(name): value for name, value in node.attrs.items()}))
        return found


def write_ladder(
    path: Path,
    fits: Mapping[tuple[str, str], Amortized],
    families: Mapping[str, Mapping[str, Any]],
    tables: Mapping[str, pd.DataFrame],
    inputs: Sequence[Path],
) -> None:
    """Write the fits of a ladder of families by (data set, family), and tables: ``summary`` and ``decomposition``."""
    groups = {f"/{name}": xr.Dataset.from_dataframe(table.rename_axis("fit")) for name, table in tables.items()}
    for (sample, family), fit in fits.items():
        attrs = {"family": json.dumps(dict(families[family]), sort_keys=True), "start": fit.start, "status": fit.status}
        groups[f"/{sample}/{family}"] = _factors(fit.q).assign_attrs(attrs)
    write_tree(path, "ladder", groups, inputs)


def read_ladder(path: Path, table: str) -> pd.DataFrame:
    """Return a table of a ladder, ``"summary"`` or ``"decomposition"``.

    Raises
    ------
    InputError
        If the file is not one that :func:`write_ladder` wrote.
    """
    found = read_group(path, "ladder", table)
    with reading(path, "ladder"):
        rows = found.to_dataframe().reset_index(drop=True)
        return rows.astype({"seed": "Int64"}) if "seed" in rows else rows


def read_stats(path: Path, num_obs: int) -> dict[str, Any]:
    """Return the scalars of the first F-VI optimum of a file for a number of observations.

    Raises
    ------
    InputError
        If the file is not one that :func:`write_factorized` wrote, or has none.
    """
    tree = read_tree(path, "factorized")
    with reading(path, "factorized"):
        name = next((name for name in tree.children if str(name).startswith(f"n{num_obs}_")), None)
        if name is None:
            raise InputError(f"it has no fit of {num_obs} observations")
        attrs = tree.children[name].children["variational"].attrs
        return {str(key): value for key, value in attrs.items()}
