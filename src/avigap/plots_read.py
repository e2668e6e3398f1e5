"""Fits of experiments for the figures that show them: one data set each, with its F-VI optimum and functions."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Float

from avigap.amortization import Variational, mean_field
from avigap.core import MeanField
from avigap.data import node_name
from avigap.elbo import is_separable
from avigap.errors import InputError
from avigap.families import Family
from avigap.io import DataSet, read_avi, read_data, read_family, read_fvi


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


def nearest(num_obs: float) -> Callable[[pd.DataFrame], str]:
    """Return a chooser of the data set whose size is nearest to ``num_obs`` in ratio, the first seed of several."""

    def choose(rows: pd.DataFrame) -> str:
        nearest_first = rows.assign(distance=np.abs(np.log(rows.num_obs / num_obs))).sort_values(["distance", "seed"])
        first = nearest_first.iloc[0]
        return node_name(int(first.num_obs), None if pd.isna(first.seed) else int(first.seed))

    return choose


def largest(rows: pd.DataFrame) -> str:
    """Return the name of the data set with the most observations, the first seed of several."""
    return nearest(rows.num_obs.max())(rows)


def read_fits(
    files: Files,
    rows: pd.DataFrame,
    choose: Callable[[pd.DataFrame], str],
    families: Callable[[DataSet], Sequence[str]] | None = None,
) -> Fits:
    """Return one data set of an experiment with its fits, and read no other.

    Parameters
    ----------
    rows
        Those of ``gap.csv``.
    choose
        Names the data set, given the experiment's rows.
    families
        Names the families to read for it; all if None.

    Raises
    ------
    InputError
        If ``rows`` has none of the experiment, or its files do not belong together.
    """
    own = rows[rows.experiment == files.name]
    if own.empty:
        raise InputError(f"gap.csv has no row of the experiment {files.name!r}, the folder of {files.data}")
    name = choose(own)
    data = read_data(files.data, name)
    if [each.name for each in data] != [name]:
        raise InputError(f"{files.data} has no data set {name}, which gap.csv has rows of")
    (fvi,) = read_fvi(files.fvi, data, name)
    names = [path.stem for path in files.fits] if families is None else families(data[0])
    functions = {}
    for path in files.fits:
        if path.stem in names:
            family = read_family(path, name)
            functions[path.stem] = (family, read_avi(path, data, family, name)[0])
    return Fits(files.name, data[0], fvi.q, functions)


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
    loc, log_scale = family.infer(params["function"], jnp.asarray(x)[None])
    return np.asarray(loc), np.exp(np.asarray(log_scale))


def is_series(data: DataSet) -> bool:
    """Return whether the order of the observations matters: rows lead the series, or z_n is coupled to other z."""
    return data.joint.lead > 0 or not is_separable(data.joint, jnp.asarray(data.x))
