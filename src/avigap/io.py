"""Fits on file: labelled arrays in netCDF, with the nodes and identities of the data sets that they were fitted to.

Groups: ``variational`` (what a fit found) and ``sample_stats`` (its ELBO by step); ``held_out`` repeats the first for
the second data set of a simulation, and ``summary`` has the rows of ``gap.csv``. Data sets are in :mod:`avigap.data`.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import xarray as xr
from jax.flatten_util import ravel_pytree

from avigap.amortization import Variational, initial
from avigap.core import MeanField, latent_shapes
from avigap.data import DataSet, node_of, nodes_with, read_data, write_data
from avigap.errors import InputError
from avigap.families import Family, build
from avigap.files.netcdf import read_group, read_provenance, read_tree, reading, write_tree
from avigap.optimum import Optimum
from avigap.paths import write_text
from avigap.result import AmortizedFit

__all__ = [
    "DataSet",
    "FactorizedResult",
    "read_avi",
    "read_data",
    "read_family",
    "read_fvi",
    "read_provenance",
    "read_summary",
    "read_tree",
    "write_avi",
    "write_data",
    "write_fvi",
    "write_text",
]


class FactorizedResult(NamedTuple):
    """What a file keeps of the F-VI fit of one data set; scalars in ``stats``."""

    q: MeanField
    local_q: MeanField | None
    held_out_q: MeanField | None
    stats: dict[str, Any]


def _mean_field_group(q: MeanField, attrs: Mapping[str, Any]) -> xr.Dataset:
    arrays = {f"loc_{site}": np.asarray(value) for site, value in q.loc.items()}
    arrays |= {f"scale_{site}": np.asarray(value) for site, value in q.scale.items()}
    return xr.Dataset({name: (("obs",) * value.ndim, value) for name, value in arrays.items()}, attrs=dict(attrs))


def _read_mean_field(node: xr.DataTree, data: DataSet) -> MeanField:
    shapes = latent_shapes(data.joint, data.num_obs)
    loc, scale = ({site: jnp.asarray(node[f"{part}_{site}"].values) for site in shapes} for part in ("loc", "scale"))
    if any(factors[site].shape != shape for site, shape in shapes.items() for factors in (loc, scale)):
        raise InputError(f"the factors of data set {data.name} must have the shapes {shapes}")
    return MeanField(loc, scale)


def _fitted_to(tree: xr.DataTree, data: Sequence[DataSet]) -> list[xr.DataTree]:
    """Return the nodes of the fits to ``data``, in order.

    Raises
    ------
    InputError
        If they were fitted to other data, or under another model or other settings.
    """
    nodes = nodes_with(tree, "variational")
    for what in ("x_sha256", "model", "settings"):
        if [node.children["variational"].attrs[what] for node in nodes] != [each.identity[what] for each in data]:
            name = {"x_sha256": "data"}.get(what, what)
            raise InputError(f"fitted to other {name} than in the data file given")
    return nodes


def write_fvi(
    path: Path,
    data: Sequence[DataSet],
    optima: Sequence[tuple[Optimum, Optimum | None]],
    stats: Sequence[Mapping[str, Any]],
    inputs: Sequence[Path],
) -> None:
    """Write the F-VI optima of data sets and, where there is one, of their held-out draws."""
    groups: dict[str, xr.Dataset] = {}
    for each, (optimum, held_out), numbers in zip(data, optima, stats, strict=True):
        node = node_of(each, data)
        groups[f"{node}/variational"] = _mean_field_group(optimum.fit.q, each.identity | dict(numbers))
        groups[f"{node}/sample_stats"] = xr.Dataset({"elbo": ("step", optimum.fit.trace)})
        if optimum.other_basin > 0:
            groups[f"{node}/variational_local"] = _mean_field_group(optimum.local_q, {})
        if held_out is not None:
            attrs = {"elbo": held_out.fit.elbo, "residual": held_out.fit.residual, "status": held_out.fit.status}
            groups[f"{node}/held_out/variational"] = _mean_field_group(held_out.fit.q, attrs)
    write_tree(path, "fvi", groups, inputs)


def read_fvi(path: Path, data: Sequence[DataSet], only: str | None = None) -> list[FactorizedResult]:
    """Return the F-VI fits of a file, or ``only`` that of this name; they must be those of ``data``, in order.

    Raises
    ------
    InputError
        If the file is not one that :func:`write_fvi` wrote, or was fitted to other data or settings.
    """
    tree = read_tree(path, "fvi", only)
    with reading(path, "fvi"):
        return [_read_fvi_node(node, each) for node, each in zip(_fitted_to(tree, data), data, strict=True)]


def _read_fvi_node(node: xr.DataTree, data: DataSet) -> FactorizedResult:
    local, held_out = node.children.get("variational_local"), node.children.get("held_out")
    stats = {str(name): value for name, value in node.children["variational"].attrs.items()}
    return FactorizedResult(
        _read_mean_field(node.children["variational"], data),
        None if local is None else _read_mean_field(local, data),
        None if held_out is None else _read_mean_field(held_out.children["variational"], data),
        stats | {"residual": float(stats["residual"])},
    )


def write_avi(
    path: Path,
    data: Sequence[DataSet],
    config: Mapping[str, Any],
    fits: Sequence[AmortizedFit],
    table: pd.DataFrame,
    inputs: Sequence[Path],
) -> None:
    """Write the fits of one family to data sets, and their rows of ``gap.csv`` as the group ``summary``."""
    groups: dict[str, xr.Dataset] = {"/summary": xr.Dataset.from_dataframe(table.rename_axis("fit"))}
    for each, fit in zip(data, fits, strict=True):
        node = node_of(each, data)
        flat = {f"shared_{s}": np.array([f["loc"], f["log_scale"]]) for s, f in fit.params["shared"].items()}
        edge = np.stack([fit.params["edge"]["loc"], fit.params["edge"]["log_scale"]])
        variables = {name: ("loc_log_scale", value) for name, value in flat.items()} | {
            "edge": (("loc_log_scale", "position"), edge),
            "function": ("parameter", np.asarray(ravel_pytree(fit.params["function"])[0])),
        }
        attrs = each.identity | {"family": json.dumps(dict(config), sort_keys=True), "start": fit.start}
        groups[f"{node}/variational"] = xr.Dataset(variables, attrs=attrs | {"status": fit.status})
        groups[f"{node}/sample_stats"] = xr.Dataset({"elbo": ("step", fit.trace)})
    write_tree(path, "avi", groups, inputs)


def read_summary(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Return the rows of ``gap.csv`` that a file of A-VI fits holds.

    Raises
    ------
    InputError
        If the file is not one that :func:`write_avi` wrote.
    """
    summary = read_group(path, "avi", "summary")
    with reading(path, "avi"):
        table = summary.to_dataframe().reset_index(drop=True)[list(columns)]
        return table.astype({"seed": "Int64"})


def read_avi(path: Path, data: Sequence[DataSet], family: Family, only: str | None = None) -> list[Variational]:
    """Return the parameters of a family's fits to ``data``, in order; ``only`` as for :func:`read_fvi`.

    Raises
    ------
    InputError
        If the file is not one that :func:`write_avi` wrote, or was fitted to other data or settings.
    """
    tree = read_tree(path, "avi", only)
    with reading(path, "avi"):
        nodes = _fitted_to(tree, data)
        groups = [node.children["variational"].to_dataset() for node in nodes]
        return [_restore(each, family, group) for each, group in zip(data, groups, strict=True)]


def read_family(path: Path, only: str) -> Family:
    """Return the family whose fit to the data set of this name a file holds."""
    attrs = [node.attrs["family"] for node in read_tree(path, "avi", only).subtree if "family" in node.attrs]
    return build(json.loads(attrs[0]))


def _restore(data: DataSet, family: Family, group: xr.Dataset) -> Variational:
    shapes = jax.eval_shape(lambda: initial(data.joint, family, jnp.asarray(data.x), jax.random.key(0)))
    template = jax.tree.map(lambda leaf: np.zeros(leaf.shape), shapes)
    function, restore = ravel_pytree(template["function"])
    shared = {site: group[f"shared_{site}"].values for site in template["shared"]}
    if group["function"].shape != function.shape or group["edge"].shape[1:] != template["edge"]["loc"].shape:
        raise InputError(f"the fit to data set {data.name} is of another family than the one given")
    return {
        "shared": {s: {"loc": jnp.asarray(v[0]), "log_scale": jnp.asarray(v[1])} for s, v in shared.items()},
        "edge": {name: jnp.asarray(group["edge"].values[i]) for i, name in enumerate(("loc", "log_scale"))},
        "function": restore(jnp.asarray(group["function"].values)),
    }
