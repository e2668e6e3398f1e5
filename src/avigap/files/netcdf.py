"""netCDF trees of labelled arrays, with what produced them."""

import hashlib
import json
import platform
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import h5netcdf
import jax
import xarray as xr

from avigap.errors import InputError
from avigap.paths import check_input, replacing, write_text

WRITERS = {
    "data": "simulate.py or import_data.py",
    "fvi": "fit_fvi.py",
    "avi": "fit_avi.py",
    "replay": "replay.py",
    "samples": "prepare_data.py",
    "factorized": "fit_program_fvi.py",
    "ladder": "fit_ladder.py",
    "images": "prepare_images.py",
    "image_fits": "fit_images.py",
}
"""Kinds of files, and the scripts that write them."""


def write_tree(path: Path, kind: str, groups: Mapping[str, xr.Dataset], inputs: Sequence[Path] = ()) -> None:
    """Write groups to a netCDF file, whole or not at all, with its kind and provenance at the root.

    The file is made in memory first: the HDF5 library itself may crash where the disk is full. So may Python 3.12 at
    its exit, if a view of that memory outlives an error, as it would in ``Path.write_bytes``.
    """
    tree = xr.DataTree.from_dict(dict(groups))
    tree.attrs = {"avigap_kind": kind, **provenance(inputs)}
    with tree.to_netcdf(engine="h5netcdf") as content, replacing(path) as partial, partial.open("wb") as file:
        file.write(content)


def read_tree(path: Path, kind: str, only: str | None = None) -> xr.DataTree:
    """Return the tree of a file that this package wrote, in memory; of several data sets ``only`` one, if it is named.

    Raises
    ------
    InputError
        If the file is missing, empty, not netCDF, truncated, or of another kind.
    """
    with _opened(path, kind) as root:
        return xr.DataTree.from_dict(dict(_datasets(root.groups.get(only or "", root))))


def _datasets(group: h5netcdf.Group, name: str = "/") -> Iterator[tuple[str, xr.Dataset]]:
    """Yield a group and all below it with their paths; :func:`xarray.open_datatree` takes several times as long."""
    arrays = {key: (value.dimensions, value[...]) for key, value in group.variables.items()}
    yield name, xr.Dataset(arrays, attrs=dict(group.attrs))
    for key, child in group.groups.items():
        yield from _datasets(child, f"{name.rstrip('/')}/{key}")


def read_group(path: Path, kind: str, group: str) -> xr.Dataset:
    """Return one group of a file that this package wrote, in memory, without reading the others.

    Raises
    ------
    InputError
        As :func:`read_tree`, or if there is no such group.
    """
    with _opened(path, kind):
        pass
    with reading(path, kind), xr.open_dataset(path, group=group, engine="h5netcdf") as opened:
        return opened.load()


def read_provenance(path: Path, kind: str) -> dict[str, str]:
    """Return what produced a file that this package wrote, see :func:`provenance`.

    Raises
    ------
    InputError
        As :func:`read_tree`.
    """
    with _opened(path, kind) as root:
        return {name: str(value) for name, value in root.attrs.items() if name != "avigap_kind"}


def write_provenance(path: Path, made: Sequence[Path], kind: str) -> None:
    """Write what produced files of a kind, as JSON: each set of versions, commit and device with its files."""
    sets: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for each in made:
        produced = read_provenance(each, kind)
        del produced["inputs_sha256"]
        sets.setdefault(tuple(produced.items()), []).append("/".join(each.resolve().parts[-3:]))
    listed = [{**dict(produced), "files": files} for produced, files in sets.items()]
    write_text(path, json.dumps(listed, indent=1) + "\n")


@contextmanager
def _opened(path: Path, kind: str) -> Iterator[h5netcdf.File]:
    """Open a file, which must be of this kind."""
    check_input(path)
    try:
        with h5netcdf.File(path, "r") as root:
            if (found := root.attrs.get("avigap_kind")) != kind:
                found = f"a file written by {WRITERS[found]}" if found in WRITERS else "not a file of this package"
                raise InputError(f"{path} is {found}; one written by {WRITERS[kind]} is needed")
            yield root
    except InputError:
        raise
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is not a readable netCDF file: truncated, or another format") from error


@contextmanager
def reading(path: Path, kind: str) -> Iterator[None]:
    """Turn what goes wrong with the contents of a tree into an :class:`InputError` that names the file."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (OSError, KeyError, ValueError, TypeError, IndexError, AttributeError) as error:
        raise InputError(f"{path} does not hold what {WRITERS[kind]} writes: edited, or of another version") from error


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
    """Return the commit of the package's checkout, with ``-dirty`` if files differ from it; ``none`` without one."""
    command = ["git", "-C", str(Path(__file__).resolve().parent)]
    command += ["describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=False).stdout.strip() or "none"
    except (OSError, subprocess.TimeoutExpired):
        return "none"
