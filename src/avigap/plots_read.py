"""Fits of experiments for the figures that show them: one data set each, with its F-VI optimum and functions."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Float

from avigap.amortize import Variational, mean_field
from avigap.core import MeanField
from avigap.elbo import is_separable
from avigap.errors import InputError
from avigap.families import Family, build
from avigap.io import DataSet, read_avi, read_data, read_fvi, read_tree


class Files(NamedTuple):
    """Files of one experiment; its name is that of their folder."""

    name: str
    data: Path
    fvi: Path
    fits: list[Path]


class Fits(NamedTuple):
    """One data set with its F-VI optimum and fitted inference functions by the name of their family."""

    experiment: str
    data: DataSet
    fvi: MeanField
    functions: dict[str, tuple[Family, Variational]]

    @property
    def q(self) -> dict[str, MeanField]:
        """The fitted q of each family."""
        joint, x = self.data.joint, jnp.asarray(self.data.x)
        return {name: mean_field(joint, family, params, x) for name, (family, params) in self.functions.items()}

    @property
    def site(self) -> str:
        """Name of the local latent."""
        return self.data.joint.local[0]


def match_files(data: Sequence[Path], fvi: Sequence[Path], fits: Sequence[Path]) -> list[Files]:
    """Group files ``<experiment>/data.nc``, ``<experiment>/fvi.nc`` and ``<experiment>/avi/<family>.nc``.

    Raises
    ------
    InputError
        If a file lacks its partner in the same folder.
    """
    optima = {path.resolve().parent: path for path in fvi}
    folders = {path.resolve().parent: path for path in data}
    for path in (*fvi, *fits):
        folder = path.resolve().parent if path in fvi else path.resolve().parents[1]
        if folder not in folders:
            raise InputError(f"{path} needs the data file of its experiment, {folder / 'data.nc'}, under --data")
    for folder, path in folders.items():
        if folder not in optima:
            raise InputError(f"{path} needs the F-VI file of its experiment, {folder / 'fvi.nc'}, under --fvi")
    return [
        Files(folder.name, path, optima[folder], [fit for fit in fits if fit.resolve().parents[1] == folder])
        for folder, path in folders.items()
    ]


def largest(data: Sequence[DataSet]) -> int:
    """Return the index of the data set with the most observations, the first seed of several."""
    return max(range(len(data)), key=lambda i: (data[i].num_obs, -(data[i].seed or 0)))


def nearest(num_obs: int) -> Callable[[Sequence[DataSet]], int]:
    """Return a chooser of the data set whose size is nearest to ``num_obs`` in ratio, the first seed of several."""

    def choose(data: Sequence[DataSet]) -> int:
        return min(range(len(data)), key=lambda i: (abs(np.log(data[i].num_obs / num_obs)), data[i].seed or 0))

    return choose


def read_fits(
    files: Files, choose: Callable[[Sequence[DataSet]], int], families: Callable[[DataSet], Sequence[str]] | None = None
) -> Fits:
    """Return one data set of an experiment with its fits; ``families`` names those to read, all if None."""
    data = read_data(files.data)
    index = choose(data)
    fvi = read_fvi(files.fvi, data)[index].q
    names = [path.stem for path in files.fits] if families is None else families(data[index])
    functions = {}
    for path in files.fits:
        if path.stem in names:
            family = read_family(path)
            functions[path.stem] = (family, read_avi(path, data, family)[index])
    return Fits(files.name, data[index], fvi, functions)


def read_family(path: Path) -> Family:
    """Return the family whose fits a file holds."""
    attrs = [node.attrs["family"] for node in read_tree(path, "avi").subtree if "family" in node.attrs]
    return build(json.loads(attrs[0]))


def best_family(rows: pd.DataFrame, experiment: str, data: DataSet) -> list[str]:
    """Return the family with the smallest gap for a data set; of equal ones, that with the fewest parameters.

    Gaps are equal if they differ by no more than their numerical errors. Empty if there is no inference function.
    """
    own = rows[(rows.experiment == experiment) & (rows.num_obs == data.num_obs) & (rows.family != "factorized")]
    own = own[own.seed.isna() if data.seed is None else own.seed == data.seed].dropna(subset=["gap_per_obs"])
    if own.empty:
        return []
    gap = own.gap_per_obs * data.num_obs
    lowest = int(gap.to_numpy().argmin())
    best = own[gap <= gap.iloc[lowest] + own.gap_error.iloc[lowest] + own.gap_error]
    return [str(best.sort_values("num_params", kind="stable").family.iloc[0])]


def evaluate(family: Family, params: Variational, x: Float[np.ndarray, " n"]) -> tuple[np.ndarray, np.ndarray]:
    """Return loc and scale of an inference function of one input at each x, both (n,).

    Raises
    ------
    InputError
        If the family is no function of one input.
    """
    if family.infer is None or len(family.inputs) != 1:
        raise InputError(f"a function of one input is needed, got a family with inputs {list(family.inputs)}")
    loc, log_scale = jax.vmap(family.infer, (None, 0))(params["function"], jnp.asarray(x)[:, None])
    return np.asarray(loc), np.exp(np.asarray(log_scale))


def is_series(data: DataSet) -> bool:
    """Return whether the order of the observations matters: rows lead the series, or z_n is coupled to other z."""
    return data.joint.lead > 0 or not is_separable(data.joint, jnp.asarray(data.x))
