"""Data sets of anyone's program: parts of the data that were given, or draws of the program, as columns by name."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import xarray as xr
from jaxtyping import PRNGKeyArray

from avigap.condition.verdict import Verdict
from avigap.data import node_name
from avigap.errors import InputError
from avigap.files.netcdf import read_tree, reading, write_tree
from avigap.loading import load_program
from avigap.nodes import Nodes
from avigap.program.arguments import bind_program, count_rows
from avigap.target import Target

GROUP = "columns"


class Sample(NamedTuple):
    """One data set of a program: its name as given to scripts, its settings, columns, and the seed of a draw."""

    model: str
    settings: dict[str, Any]
    columns: dict[str, np.ndarray]
    seed: int | None = None

    @property
    def num_obs(self) -> int:
        """Number of rows N.

        Raises
        ------
        InputError
            If no column has rows.
        """
        number = count_rows(self.columns)
        if number is None:
            raise InputError("the data have no column with rows")
        return number

    @property
    def name(self) -> str:
        """Name among the data sets of a file."""
        return node_name(self.num_obs, self.seed)

    @property
    def identity(self) -> dict[str, str]:
        """What a fit must share with its data: model, settings and the checksum of the columns."""
        digest = hashlib.sha256()
        for name, column in sorted(self.columns.items()):
            digest.update(name.encode() + np.ascontiguousarray(column, dtype="<f8").tobytes())
        settings = json.dumps(self.settings, sort_keys=True)
        return {"model": self.model, "settings": settings, "columns_sha256": digest.hexdigest()[:16]}

    def nodes(self, local: Sequence[str] = ()) -> Nodes:
        """Return the program with this data set, as an ELBO."""
        function, own = load_program(self.model)
        program = bind_program(function, self.settings, self.columns, None, own)
        return Nodes(Target(program, local))


def part_of(whole: Sample, num_obs: int, verdict: Verdict, key: PRNGKeyArray, seed: int) -> Sample:
    """Return N rows of a data set: any, where each z_n needs but its own row; else rows in succession.

    Series begin at a random row; rows of groups are the first N.

    Raises
    ------
    InputError
        If it has fewer rows.
    """
    total = whole.num_obs
    if num_obs > total:
        raise InputError(f"num_obs must be at most the {total} rows of the data, got {num_obs}")
    if num_obs == total:
        return whole
    if verdict.attainable == "yes":
        rows = np.sort(np.asarray(jax.random.permutation(key, total))[:num_obs])
    else:
        last = 1 if verdict.group else total - num_obs + 1
        rows = int(jax.random.randint(key, (), 0, last)) + np.arange(num_obs)
    columns = {
        name: column[np.r_[rows, rows[-1] + 1 : rows[-1] + 1 + len(column) - total]] if len(column) >= total else column
        for name, column in whole.columns.items()
    }
    return whole._replace(columns=columns, seed=seed)


def draw(model: str, settings: Mapping[str, Any], num_obs: int, key: PRNGKeyArray, seed: int) -> Sample:
    """Return a data set that a program draws, shared latents from their priors.

    Raises
    ------
    InputError
        If the program cannot draw all of its data for a number of observations.
    """
    function, local = load_program(model)
    program = bind_program(function, settings, {}, num_obs, local)
    if program.count_name is None:
        raise InputError(f"{model} takes no num_obs, and so always draws as many: give data as a file")
    _, data = program.simulate(program.arguments(num_obs), key)
    return Sample(model, dict(settings), {name: np.asarray(value) for name, value in data.items()}, seed)


def write_samples(path: Path, samples: Sequence[Sample], inputs: Sequence[Path] = ()) -> None:
    """Write data sets."""
    groups = {}
    for each in samples:
        arrays = {
            name: (tuple(f"{name}_{axis}" for axis in range(column.ndim)), column)
            for name, column in each.columns.items()
        }
        seed = {} if each.seed is None else {"seed": each.seed}
        truths = json.dumps([name for name, column in each.columns.items() if column.dtype == bool])
        groups[f"/{each.name}/{GROUP}"] = xr.Dataset(arrays, attrs=each.identity | seed | {"booleans": truths})
    write_tree(path, "samples", groups, inputs)


def read_samples(path: Path) -> list[Sample]:
    """Return the data sets of a file, in order.

    Raises
    ------
    InputError
        If the file is not one that :func:`write_samples` wrote.
    """
    tree = read_tree(path, "samples")
    with reading(path, "samples"):
        return [_read(node.children[GROUP]) for node in tree.children.values()]


def _read(node: xr.DataTree) -> Sample:
    columns = {str(name): np.asarray(variable) for name, variable in node.data_vars.items()}
    columns |= {name: columns[name].astype(bool) for name in json.loads(node.attrs.get("booleans", "[]"))}
    seed = int(node.attrs["seed"]) if "seed" in node.attrs else None
    return Sample(str(node.attrs["model"]), json.loads(node.attrs["settings"]), columns, seed)
