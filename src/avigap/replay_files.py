"""Replays on file: what the runs of one method went through, with the optimum that they are measured against."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from avigap.data import DataSet, nodes_with
from avigap.files.netcdf import read_tree, reading, write_tree
from avigap.io import FactorizedResult
from avigap.replay import Protocol, Replay, protocol
from avigap.settings import check_settings


class Recorded(NamedTuple):
    """The runs of one method on one data set, as a file holds them.

    Attributes
    ----------
    method : its name
    loss, elbo, seconds, compile_seconds : as of :class:`avigap.stochastic.Runs`
    seed, learning_rate, dead : (R,) of each run
    elbo_averaged : (R,) ELBO of the averaged params in nats
    q : loc and scale of every latent at the end, (R, *shape)
    model, settings, num_obs : of the data
    family, protocol : of the method
    elbo_fvi, elbo_local : certified optimum of F-VI, and what a local method reaches, in nats
    num_params : of the inference function with its edge factors
    """

    method: str
    loss: np.ndarray
    elbo: np.ndarray
    seconds: np.ndarray
    compile_seconds: float
    seed: np.ndarray
    learning_rate: np.ndarray
    dead: np.ndarray
    elbo_averaged: np.ndarray
    q: xr.Dataset
    model: str
    settings: dict[str, Any]
    num_obs: int
    family: dict[str, Any]
    protocol: Protocol
    elbo_fvi: float
    elbo_local: float
    num_params: int


def group_of(
    data: DataSet, fvi: FactorizedResult, family: Mapping[str, Any], how: Protocol, seeds: Sequence[int], played: Replay
) -> dict[str, xr.Dataset]:
    """Return what a file keeps of one method's runs on a data set: ``runs`` (their course), ``variational`` (ends)."""
    course = {
        "loss": (("run", "step"), played.runs.loss),
        "elbo": (("run", "look"), played.runs.elbo),
        "seconds": ("look", played.runs.seconds),
        "seed": ("run", np.asarray(seeds)[played.seed]),
        "learning_rate": ("run", played.learning_rate),
        "elbo_averaged": ("run", played.runs.elbo_averaged),
        "dead": ("run", played.dead.astype(np.int8)),
    }
    attrs = {
        **data.identity,
        "num_obs": data.num_obs,
        "family": json.dumps(dict(family), sort_keys=True),
        "protocol": json.dumps(how._asdict(), sort_keys=True),
        "compile_seconds": played.runs.compile_seconds,
        "num_params": played.num_params[0],
        **{name: float(fvi.stats[name]) for name in ("elbo", "elbo_local")},
    }
    return {"runs": xr.Dataset(course, attrs=attrs), "variational": _ends(played)}


def write_replay(
    path: Path, groups: Mapping[tuple[str, str], Mapping[str, xr.Dataset]], inputs: Sequence[Path]
) -> None:
    """Write the groups of :func:`group_of` by method and name of the data set."""
    flat = {f"/{m}/{data}/{name}": group for (m, data), own in groups.items() for name, group in own.items()}
    write_tree(path, "replay", flat, inputs)


def _ends(played: Replay) -> xr.Dataset:
    """Return loc and scale of every latent at the end of each run."""
    return xr.Dataset(
        {
            f"{part}_{site}": (("run", "obs")[: value.ndim], value)
            for part, factors in zip(("loc", "scale"), played.runs.q, strict=True)
            for site, value in factors.items()
        }
    )


def read_replay(path: Path) -> list[Recorded]:
    """Return the runs of a file, by method and data set.

    Raises
    ------
    InputError
        If the file is not one that :func:`write_replay` wrote.
    """
    tree = read_tree(path, "replay")
    with reading(path, "replay"):
        return [
            _read_node(str(method), node) for method, own in tree.children.items() for node in nodes_with(own, "runs")
        ]


def _read_node(method: str, node: xr.DataTree) -> Recorded:
    runs, attrs = node["runs"].to_dataset(), node["runs"].attrs
    how = check_settings("protocol", protocol, json.loads(attrs["protocol"]))
    return Recorded(
        method=method,
        loss=runs["loss"].values,
        elbo=runs["elbo"].values,
        seconds=runs["seconds"].values,
        compile_seconds=float(attrs["compile_seconds"]),
        seed=runs["seed"].values,
        learning_rate=runs["learning_rate"].values,
        dead=runs["dead"].values.astype(bool),
        elbo_averaged=runs["elbo_averaged"].values,
        q=node["variational"].to_dataset(),
        model=str(attrs["model"]),
        settings=json.loads(attrs["settings"]),
        num_obs=int(attrs["num_obs"]),
        family=json.loads(attrs["family"]),
        protocol=protocol(**how),
        elbo_fvi=float(attrs["elbo"]),
        elbo_local=float(attrs["elbo_local"]),
        num_params=int(attrs["num_params"]),
    )
