"""Data sets: drawn by a model or imported from a file, one node each in a netCDF tree.

A file holds one data set (groups at the root) or many (one child node each). Groups follow the ArviZ schema:
``observed_data`` (x by row) and ``prior`` (the latents that a simulation drew); ``held_out`` repeats the first for the
second data set of a simulation.
"""

import hashlib
import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from arviz_base import dict_to_dataset
from jaxtyping import Float

from avigap import models
from avigap.core import Joint, bind
from avigap.errors import InputError
from avigap.files.netcdf import read_tree, reading, write_tree
from avigap.files.table import Reading, Table, open_table
from avigap.files.text import listed, quoted
from avigap.settings import check_settings

LARGEST = 1e15
"""Sizes of x beyond it are refused: there float64 cannot tell numbers apart that differ by 1, the models' noise."""

NOT_A_NUMBER = f"not a finite number of size {LARGEST:.0e} at most"


class DataSet(NamedTuple):
    """One data set: rows of x, the model that scores them, and for a simulation its latents and a second draw."""

    model: str
    settings: dict[str, Any]
    x: Float[np.ndarray, " M"]
    seed: int | None = None
    latents: Mapping[str, np.ndarray] = {}
    held_out_x: Float[np.ndarray, " M"] | None = None

    @property
    def joint(self) -> Joint:
        """The model with this data set's settings."""
        return bind(models.load(self.model), self.settings)

    @property
    def num_obs(self) -> int:
        """Number of local latents."""
        return len(self.x) - models.load(self.model).lead

    @property
    def name(self) -> str:
        """Name of its node in a file."""
        return node_name(self.num_obs, self.seed)

    @property
    def identity(self) -> dict[str, str]:
        """What a fit must share with its data: model, settings and the checksum of x."""
        checksum = hashlib.sha256(np.ascontiguousarray(self.x, dtype="<f8").tobytes()).hexdigest()[:16]
        return {"model": self.model, "settings": json.dumps(self.settings, sort_keys=True), "x_sha256": checksum}

    def first(self, num_obs: int) -> "DataSet":
        """Return the data set cut to its first ``num_obs`` local latents; the saw series keeps x_0 as well.

        Raises
        ------
        InputError
            If it has fewer.
        """
        if num_obs > self.num_obs:
            raise InputError(f"num_obs must be at most the {self.num_obs} that the data have, got {num_obs}")
        return self._replace(x=self.x[: len(self.x) - self.num_obs + num_obs], latents={}, held_out_x=None)


def node_name(num_obs: int, seed: int | None) -> str:
    """Return the name of a data set's node in the file of several."""
    return f"n{num_obs}_s{seed if seed is not None else 'imported'}"


def node_of(data: DataSet, together: Sequence[DataSet]) -> str:
    """Return the path of a data set's node in the file of several: the root if it is alone."""
    return "" if len(together) == 1 else f"/{data.name}"


def nodes_with(tree: xr.DataTree, group: str) -> list[xr.DataTree]:
    """Return the nodes that hold a group, each the tree of one data set, in the order of the file."""
    nodes = (tree, *(child for name, child in tree.children.items() if name != "held_out"))
    return [node for node in nodes if group in node.children]


def _arviz_group(values: Mapping[str, np.ndarray], sample_dims: Sequence[str], dim: str) -> xr.Dataset:
    """Return an ArviZ group without its time of creation (files of equal content are equal) and without indices."""
    dims: dict[Hashable, Sequence[Hashable]] = {k: [dim] * (v.ndim - len(sample_dims)) for k, v in values.items()}
    group: xr.Dataset = dict_to_dataset(dict(values), dims=dims, sample_dims=list(sample_dims))
    del group.attrs["created_at"]
    return group.drop_vars(dim, errors="ignore")


def write_data(path: Path, data: Sequence[DataSet], inputs: Sequence[Path] = ()) -> None:
    """Write data sets; a single one puts its groups at the root of the file.

    Raises
    ------
    InputError
        If a value is not a finite number, or too large, as a simulation with a huge scale draws.
    """
    groups: dict[str, xr.Dataset] = {}
    for each in data:
        _check_rows(each)
        node = node_of(each, data)
        seed = {} if each.seed is None else {"seed": each.seed}
        groups[f"{node}/observed_data"] = _arviz_group({"x": each.x}, (), "row").assign_attrs(each.identity | seed)
        if each.latents:
            draws = {name: value[None, None] for name, value in each.latents.items()}
            groups[f"{node}/prior"] = _arviz_group(draws, ("chain", "draw"), "obs")
        if each.held_out_x is not None:
            groups[f"{node}/held_out/observed_data"] = _arviz_group({"x": each.held_out_x}, (), "row")
    write_tree(path, "data", groups, inputs)


def read_data(path: Path, only: str | None = None) -> list[DataSet]:
    """Return the data sets of a file, or ``only`` that of this name.

    Raises
    ------
    InputError
        If the file is not one that :func:`write_data` wrote, or holds values that its model does not take.
    """
    tree = read_tree(path, "data", only)
    with reading(path, "data"):
        data = [_read_node(node) for node in nodes_with(tree, "observed_data")]
        if not data:
            raise InputError("no data set in it, no group observed_data")
    return data


def _read_node(node: xr.DataTree) -> DataSet:
    observed = node.children["observed_data"].to_dataset()
    model, settings = str(observed.attrs["model"]), json.loads(observed.attrs["settings"])
    settings = check_settings(f"model {model!r}", models.load(model).program, settings)
    prior = node.children.get("prior")
    latents = {} if prior is None else {str(k): v.values[0, 0] for k, v in prior.data_vars.items()}
    second = node.children.get("held_out")
    held_out = None if second is None else second.children["observed_data"].to_dataset()["x"].values
    seed = observed.attrs.get("seed")
    data = DataSet(model, settings, observed["x"].values, None if seed is None else int(seed), latents, held_out)
    _check_rows(data)
    return data


def _check_rows(data: DataSet) -> None:
    """Raise unless x, and the held-out x, are vectors of usable numbers with at least one latent."""
    for x in (data.x, data.x if data.held_out_x is None else data.held_out_x):
        if x.ndim != 1 or x.dtype.kind != "f" or data.num_obs < 1 or not (np.abs(x) <= LARGEST).all():
            raise InputError(
                f"x of data set {data.name} must be a vector of finite numbers of size {LARGEST:.0e} at most"
            )


def import_data(
    path: Path, model: str, settings: dict[str, Any], report: Callable[[Reading], None] = lambda reading: None
) -> DataSet:
    """Return the data set in a file with a column, or a variable, ``x``: a text file with separated columns, or netCDF.

    Parameters
    ----------
    report
        Is told what was read.

    Raises
    ------
    InputError
        If the file is missing, empty, ragged, lacks the column, or has values that are not finite numbers.
    """
    table, lead = open_table(path), models.load(model).lead
    x = _read_netcdf(table, "x") if table.lines is None else _read_csv(table, "x")
    if len(x) <= lead:
        raise InputError(f"{path} has {len(x)} rows of x; model {model!r} needs at least {lead + 1}")
    unused = [heading for name, heading in zip(table.names, table.headings, strict=True) if name != "x"]
    report(Reading(str(path), len(x), {"x": "x"}, {}, unused, table.notes))
    return DataSet(model, settings, x)


def _read_netcdf(table: Table, name: str) -> Float[np.ndarray, " M"]:
    places = table.find(name)
    if not places:
        raise InputError(f"{table.path} has no variable {name!r}; it has {listed(table.names)}")
    values = np.asarray(table.columns[places[0]])
    if values.ndim != 1 or values.dtype.kind not in "iuf":
        found = f"{values.dtype} of shape {values.shape}"
        raise InputError(f"{table.path}: variable {name!r} must be a vector of numbers, got {found}")
    bad = np.flatnonzero(~(np.abs(values.astype(float)) <= LARGEST))
    if len(bad):
        raise InputError(f"{table.path}: entry {bad[0]} of variable {name!r} is {values[bad[0]]}, {NOT_A_NUMBER}")
    return values.astype(float)


def _read_csv(table: Table, name: str) -> Float[np.ndarray, " M"]:
    places = table.find(name)
    if len(places) != 1:
        found = listed(table.names)
        raise InputError(f"{table.path} needs one column {name!r}; the columns of its first line are {found}")
    column, read = table.column(places[0]), table.values(places[0])
    numeric = read.categories is None and read.array.dtype != bool
    x = read.array.astype(float) if numeric else np.full(len(read.array), np.nan)
    bad = np.flatnonzero(read.missing | ~(np.abs(x) <= LARGEST))
    if len(bad):
        cell = quoted(column.cells[bad[0]])
        raise InputError(f"{table.path}: {column.where(bad[0])}: {name} is {cell}, {NOT_A_NUMBER}")
    return x
