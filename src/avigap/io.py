"""Files of the workflow: labelled arrays in netCDF, one ArviZ-style tree of groups per data set, with provenance.

A file holds one data set (groups at the root) or many (one child node each). Groups follow the ArviZ schema:
``observed_data`` (x by row), ``prior`` (the latents that a simulation drew), ``variational`` (what a fit found) and
``sample_stats`` (its ELBO by step); ``held_out`` repeats them for the second data set of a simulation.
"""

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import xarray as xr
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from avigap import models
from avigap.amortize import Variational, initial
from avigap.core import Joint, MeanField, bind
from avigap.errors import InputError
from avigap.families import Family
from avigap.gap import AmortizedFit
from avigap.optimum import Optimum
from avigap.settings import check_settings

ENGINE = "h5netcdf"


class DataSet(NamedTuple):
    """One data set: rows of x, the model that scores them, and for a simulation its latents and a second draw."""

    model: str
    settings: dict[str, Any]
    x: Float[np.ndarray, " M"]
    seed: int | None = None
    latents: dict[str, np.ndarray] = {}  # noqa: RUF012  (never mutated)
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
        return f"n{self.num_obs}_s{self.seed if self.seed is not None else 'imported'}"


# Writing and reading trees


def write_tree(path: Path, kind: str, groups: Mapping[str, xr.Dataset], inputs: Sequence[Path] = ()) -> None:
    """Write groups to a netCDF file under a temporary name and rename it, with provenance at the root."""
    tree = xr.DataTree.from_dict(dict(groups))
    tree.attrs = {"avigap_kind": kind, **provenance(inputs)}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        tree.to_netcdf(partial, engine=ENGINE)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file under a temporary name and rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        partial.write_text(text)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def read_tree(path: Path, kind: str) -> xr.DataTree:
    """Return the tree of a file that this package wrote.

    Raises
    ------
    InputError
        If the file is missing, empty, not netCDF, truncated, or of another kind.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty; a {kind} file of this package is needed")
    try:
        tree = xr.open_datatree(path, engine=ENGINE)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise InputError(f"{path} is not a readable netCDF file: truncated, or another format") from error
    found = tree.attrs.get("avigap_kind")
    if found != kind:
        raise InputError(f"{path} holds {found or 'unknown'} results; a {kind} file is needed here")
    return tree


def provenance(inputs: Sequence[Path] = ()) -> dict[str, str]:
    """Return what produced a file: versions, git commit, device and the checksums of its inputs."""
    sums = {path.name: hashlib.sha256(path.read_bytes()).hexdigest()[:16] for path in inputs}
    return {
        "avigap_version": version("avigap"),
        "git_commit": _git_commit(),
        "jax_version": version("jax"),
        "numpyro_version": version("numpyro"),
        "numpy_version": version("numpy"),
        "python_version": platform.python_version(),
        "device": f"{jax.devices()[0].platform}:{jax.devices()[0].device_kind}",
        "inputs_sha256": json.dumps(sums, sort_keys=True),
    }


def _git_commit() -> str:
    here = Path(__file__).resolve().parent
    command = ["git", "-C", str(here), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=False).stdout.strip() or "none"
    except (OSError, subprocess.TimeoutExpired):
        return "none"


# Data


def write_data(path: Path, data: Sequence[DataSet], inputs: Sequence[Path] = ()) -> None:
    """Write data sets; a single one puts its groups at the root of the file."""
    groups: dict[str, xr.Dataset] = {}
    for each in data:
        node = _node(each, data)
        groups[f"{node}/observed_data"] = xr.Dataset({"x": ("row", each.x)}, attrs=_identity(each))
        if each.latents:
            draws = {k: (("chain", "draw", *(["obs"] * v.ndim)), v[None, None]) for k, v in each.latents.items()}
            groups[f"{node}/prior"] = xr.Dataset(draws)
        if each.held_out_x is not None:
            groups[f"{node}/held_out/observed_data"] = xr.Dataset({"x": ("row", each.held_out_x)})
    write_tree(path, "data", groups, inputs)


def _node(data: DataSet, together: Sequence[DataSet]) -> str:
    return "" if len(together) == 1 else f"/{data.name}"


def _identity(data: DataSet) -> dict[str, Any]:
    attrs = {"model": data.model, "settings": json.dumps(data.settings, sort_keys=True), "x_sha256": _checksum(data.x)}
    return attrs if data.seed is None else attrs | {"seed": data.seed}


def _checksum(x: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(x, dtype="<f8").tobytes()).hexdigest()[:16]


def _nodes(tree: xr.DataTree, group: str) -> list[xr.DataTree]:
    """Return the nodes that hold a group, each the tree of one data set, in the order of the file."""
    nodes = (tree, *(child for name, child in tree.children.items() if name != "held_out"))
    return [node for node in nodes if group in node.children]


def read_data(path: Path) -> list[DataSet]:
    """Return the data sets of a file.

    Raises
    ------
    InputError
        If the file is not one that :func:`write_data` wrote, or holds values that its model does not take.
    """
    data = []
    for node in _nodes(read_tree(path, "data"), "observed_data"):
        observed = node["observed_data"]
        model, settings = str(observed.attrs["model"]), json.loads(observed.attrs["settings"])
        prior = node.children.get("prior")
        latents = {} if prior is None else {str(k): v.values[0, 0] for k, v in prior.data_vars.items()}
        held_out = node["held_out/observed_data"]["x"].values if "held_out" in node.children else None
        seed = observed.attrs.get("seed")
        settings = check_settings(f"model {model!r}", models.load(model).program, settings)
        data.append(
            DataSet(model, settings, observed["x"].values, None if seed is None else int(seed), latents, held_out)
        )
    if not data:
        raise InputError(f"{path} holds no data set: no group observed_data")
    return data


def import_data(path: Path, model: str, settings: dict[str, Any], num_obs: int | None = None) -> DataSet:
    """Return the data set in a CSV file with a column ``x``, or in a netCDF file with a variable ``x``.

    Parameters
    ----------
    num_obs
        Keep the first ``num_obs`` local latents; all if None. The saw series' first row is x_0.

    Raises
    ------
    InputError
        If the file is missing, empty, ragged, lacks the column, or has values that are not finite numbers.
    """
    lead = models.load(model).lead
    x = _read_column(path, "x")
    bad = np.nonzero(~np.isfinite(x))[0]
    if len(bad):
        raise InputError(f"{path}: row {bad[0] + 1} of column 'x' is {x[bad[0]]}; every value must be a finite number")
    available = len(x) - lead
    if available < 1:
        raise InputError(f"{path} has {len(x)} rows; model {model!r} needs at least {lead + 1}")
    if num_obs is not None and not 1 <= num_obs <= available:
        raise InputError(f"num_obs must be between 1 and the {available} that {path} has, got {num_obs}")
    return DataSet(model, settings, x[: lead + (num_obs or available)])


def _read_column(path: Path, column: str) -> np.ndarray:
    if not path.is_file():
        raise InputError(f"{path} does not exist")
    if path.suffix in (".nc", ".netcdf", ".h5"):
        try:
            with xr.open_dataset(path, engine=ENGINE) as data:
                if column not in data:
                    raise InputError(f"{path} has no variable {column!r}; it has {', '.join(map(str, data)) or 'none'}")
                values = data[column].values
        except (OSError, RuntimeError) as error:
            raise InputError(f"{path} is not a readable netCDF file") from error
        if values.ndim != 1 or not np.issubdtype(values.dtype, np.number):
            raise InputError(f"{path}: variable {column!r} must be a vector of numbers, got shape {values.shape}")
        return np.asarray(values, dtype=float)
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, index_col=False)
    except pd.errors.EmptyDataError as error:
        raise InputError(f"{path} is empty; a CSV file with a column {column!r} is needed") from error
    except (pd.errors.ParserError, pd.errors.ParserWarning, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a rectangular CSV file: {str(error).strip()}") from error
    if column not in table:
        raise InputError(f"{path} has no column {column!r}; it has {', '.join(map(repr, table.columns))}")
    values = pd.to_numeric(table[column], errors="coerce").to_numpy(float)
    for row, text in enumerate(table[column]):
        if np.isnan(values[row]) and text.strip().lower() not in ("nan", "na"):
            raise InputError(f"{path}: row {row + 1} of column {column!r} is {text!r}, not a number")
    return values


# Fits


class FactorizedResult(NamedTuple):
    """What a file keeps of the F-VI fit of one data set; arrays by site, scalars in ``stats``."""

    x_sha256: str
    q: MeanField
    local_q: MeanField | None
    held_out_q: MeanField | None
    stats: dict[str, Any]


def _mean_field_group(q: MeanField, attrs: Mapping[str, Any]) -> xr.Dataset:
    arrays = {f"loc_{site}": np.asarray(value) for site, value in q.loc.items()}
    arrays |= {f"scale_{site}": np.asarray(value) for site, value in q.scale.items()}
    return xr.Dataset({name: (("obs",) * value.ndim, value) for name, value in arrays.items()}, attrs=dict(attrs))


def _read_mean_field(group: xr.DataTree) -> MeanField:
    arrays = {str(name): jnp.asarray(value.values) for name, value in group.data_vars.items()}
    locs = {name.removeprefix("loc_"): v for name, v in arrays.items() if name.startswith("loc_")}
    return MeanField(locs, {site: arrays[f"scale_{site}"] for site in locs})


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
        node = _node(each, data)
        groups[f"{node}/variational"] = _mean_field_group(optimum.fit.q, _identity(each) | dict(numbers))
        groups[f"{node}/sample_stats"] = xr.Dataset({"elbo": ("step", optimum.fit.trace)})
        if optimum.other_basin > 0:
            groups[f"{node}/variational_local"] = _mean_field_group(optimum.local_q, {})
        if held_out is not None:
            attrs = {"elbo": held_out.fit.elbo, "residual": held_out.fit.residual, "status": held_out.fit.status}
            groups[f"{node}/held_out/variational"] = _mean_field_group(held_out.fit.q, attrs)
    write_tree(path, "fvi", groups, inputs)


def read_fvi(path: Path, data: Sequence[DataSet]) -> list[FactorizedResult]:
    """Return the F-VI fits of a file, which must be those of ``data``, in order.

    Raises
    ------
    InputError
        If the file is not one that :func:`write_fvi` wrote, or was fitted to other data.
    """
    results = []
    for node in _nodes(read_tree(path, "fvi"), "variational"):
        local = node.children.get("variational_local")
        held_out = node["held_out/variational"] if "held_out" in node.children else None
        results.append(
            FactorizedResult(
                str(node["variational"].attrs["x_sha256"]),
                _read_mean_field(node["variational"]),
                None if local is None else _read_mean_field(local),
                None if held_out is None else _read_mean_field(held_out),
                dict(node["variational"].attrs),
            )
        )
    if [result.x_sha256 for result in results] != [_checksum(each.x) for each in data]:
        raise InputError(f"{path} was fitted to other data than the data file given")
    return results


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
        node = _node(each, data)
        flat = {f"shared_{s}": np.array([f["loc"], f["log_scale"]]) for s, f in fit.params["shared"].items()}
        variables = {name: ("loc_log_scale", value) for name, value in flat.items()} | {
            "edge": (("loc_log_scale", "edge"), np.stack([fit.params["edge"]["loc"], fit.params["edge"]["log_scale"]])),
            "function": ("parameter", np.asarray(ravel_pytree(fit.params["function"])[0])),
        }
        attrs = _identity(each) | {"family": json.dumps(dict(config), sort_keys=True), "start": fit.start}
        groups[f"{node}/variational"] = xr.Dataset(variables, attrs=attrs | {"status": fit.status})
        groups[f"{node}/sample_stats"] = xr.Dataset({"elbo": ("step", fit.trace)})
    write_tree(path, "avi", groups, inputs)


def read_summary(path: Path) -> pd.DataFrame:
    """Return the rows of ``gap.csv`` that a file of A-VI fits holds."""
    return read_tree(path, "avi")["summary"].to_dataset().to_dataframe().reset_index(drop=True)


def read_avi(path: Path, data: Sequence[DataSet], family: Family) -> list[Variational]:
    """Return the parameters of a family's fits to ``data``, in order.

    Raises
    ------
    InputError
        If the file is not one that :func:`write_avi` wrote, or was fitted to other data.
    """
    nodes = _nodes(read_tree(path, "avi"), "variational")
    if [str(node["variational"].attrs["x_sha256"]) for node in nodes] != [_checksum(each.x) for each in data]:
        raise InputError(f"{path} was fitted to other data than the data file given")
    return [_restore(each, family, node["variational"]) for each, node in zip(data, nodes, strict=True)]


def _restore(data: DataSet, family: Family, group: xr.DataTree) -> Variational:
    template = initial(data.joint, family, jnp.asarray(data.x), jax.random.key(0))
    shared = {site: group[f"shared_{site}"].values for site in template["shared"]}
    function: Array = jnp.asarray(group["function"].values)
    return {
        "shared": {s: {"loc": jnp.asarray(v[0]), "log_scale": jnp.asarray(v[1])} for s, v in shared.items()},
        "edge": {name: jnp.asarray(group["edge"].values[i]) for i, name in enumerate(("loc", "log_scale"))},
        "function": ravel_pytree(template["function"])[1](function),
    }
