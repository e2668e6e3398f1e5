"""Files are labelled, say where they come from, are written whole or not at all, and come back as they went in."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import arviz_base
import jax
import numpy as np
import pytest
import xarray as xr
from cases import SETTINGS
from programs import environment

from avigap import data, models, paths
from avigap.cli import named_key
from avigap.core import simulate
from avigap.errors import InputError
from avigap.files import netcdf
from avigap.settings import check_settings

RNG = np.random.default_rng(7)


def drawn(model, num_obs, seed):
    settings = check_settings(model, models.load(model).program, {})
    x, latents = simulate(models.load(model), settings, num_obs, named_key(seed, "data"))
    values = {site: np.asarray(value) for site, value in latents.items()}
    return data.DataSet(model, settings, np.asarray(x), seed, values, np.asarray(x) + 1)


@pytest.mark.parametrize("model", SETTINGS)
@pytest.mark.parametrize("sizes", [[3], [3, 4]])
def test_data_sets_come_back_as_they_went_in(tmp_path, model, sizes):
    written = [drawn(model, num_obs, seed) for num_obs in sizes for seed in range(len(sizes))]
    data.write_data(tmp_path / "d.nc", written)
    read = data.read_data(tmp_path / "d.nc")
    assert [each.num_obs for each in read] == [each.num_obs for each in written]
    for ours, theirs in zip(written, read, strict=True):
        assert (ours.model, ours.settings, ours.seed) == (theirs.model, theirs.settings, theirs.seed)
        for a, b in [(ours.x, theirs.x), (ours.held_out_x, theirs.held_out_x), (ours.latents, theirs.latents)]:
            jax.tree.map(np.testing.assert_array_equal, a, b)


def test_one_of_several_data_sets_is_read_alone(tmp_path):
    written = [drawn("saw", num_obs, seed) for num_obs in (3, 4) for seed in (0, 1)]
    data.write_data(tmp_path / "d.nc", written)
    (read,) = data.read_data(tmp_path / "d.nc", "n4_s0")
    assert (read.num_obs, read.seed) == (4, 0)
    np.testing.assert_array_equal(read.x, written[2].x)
    np.testing.assert_array_equal(read.held_out_x, written[2].held_out_x)


def test_equal_data_make_equal_files(tmp_path):
    """No time of day is written: a job that runs again and finds the same does not make others run again."""
    data.write_data(tmp_path / "a.nc", [drawn("linear", 4, 0)])
    time.sleep(1.1)  # the resolution of times in HDF5
    data.write_data(tmp_path / "b.nc", [drawn("linear", 4, 0)])
    assert (tmp_path / "a.nc").read_bytes() == (tmp_path / "b.nc").read_bytes()


def test_xarray_and_arviz_read_the_groups(tmp_path):
    source = tmp_path / "x.csv"
    source.write_text("x\n0\n1\n")
    one = drawn("linear", 5, 3)
    data.write_data(tmp_path / "d.nc", [one], [source])
    with xr.open_datatree(tmp_path / "d.nc", engine="h5netcdf") as tree:
        assert set(tree.children) == {"observed_data", "prior", "held_out"}
        assert tree["observed_data/x"].dims == ("row",)
        assert tree["prior/z"].dims == ("chain", "draw", "obs") and tree["prior/theta"].dims == ("chain", "draw")
        assert json.loads(tree["observed_data"].attrs["settings"]) == one.settings
        assert tree["observed_data"].attrs["model"] == "linear" and tree["observed_data"].attrs["seed"] == 3
        assert tree["observed_data"].attrs["creation_library"] == "ArviZ"
        attrs = tree.attrs
        draws = arviz_base.extract(tree, group="prior", var_names="z")
        np.testing.assert_array_equal(draws.values[:, 0], one.latents["z"])
    assert attrs["avigap_version"] and attrs["jax_version"] == jax.__version__
    assert attrs["numpyro_version"] and attrs["device"].startswith("cpu:")
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?|none", attrs["git_commit"])
    assert json.loads(attrs["inputs_sha256"]) == {"x.csv": hashlib.sha256(source.read_bytes()).hexdigest()[:16]}


def test_the_commit_is_that_of_the_checkout():
    folder = str(Path(netcdf.__file__).parent)
    head = subprocess.run(["git", "-C", folder, "rev-parse", "HEAD"], capture_output=True, text=True)
    expected = head.stdout.strip() if head.returncode == 0 else "none"
    assert netcdf.provenance()["git_commit"].removesuffix("-dirty") == expected


def test_a_cut_data_set_keeps_its_first_rows():
    whole = data.DataSet("saw", {}, np.arange(6.0))
    assert whole.num_obs == 5 and list(whole.first(2).x) == [0, 1, 2]
    with pytest.raises(InputError, match="at most the 5 that the data have, got 6"):
        whole.first(6)


@pytest.mark.parametrize("writer", ["to_csv", "to_csv_with_bom", "to_csv_of_two", "h5netcdf", "scipy"])
def test_import_reads_every_number(tmp_path, writer):
    x = np.concatenate([RNG.normal(size=20) * 10.0 ** RNG.integers(-12, 12, 20), [0.0, -3.0, 1e-300]])
    text = "\n".join(map(repr, x.tolist()))
    path = tmp_path / ("x.csv" if "csv" in writer else "x.data")
    if writer == "to_csv":
        path.write_text(f"x\n{text}\n\n")
    elif writer == "to_csv_with_bom":
        path.write_bytes(f'\ufeff"x"\r\n{text}\r\n'.replace("\n", "\r\n").replace("\r\r", "\r").encode())
    elif writer == "to_csv_of_two":
        path.write_text("time,x\n" + "\n".join(f"t{i}, {value!r}" for i, value in enumerate(x.tolist())))
    else:
        xr.Dataset({"x": ("row", x)}).to_netcdf(path, engine=writer)
    np.testing.assert_array_equal(data.import_data(path, "linear", {}).x, x)


def test_import_of_whole_numbers_from_netcdf(tmp_path):
    xr.Dataset({"x": ("row", np.array([3, 1, 2], "i4"))}).to_netcdf(tmp_path / "x.nc", engine="h5netcdf")
    x = data.import_data(tmp_path / "x.nc", "linear", {}).x
    assert x.dtype == float and list(x) == [3.0, 1.0, 2.0]


def left_overs(folder):
    return sorted(path.name for path in folder.iterdir() if path.name.endswith(".tmp"))


def test_an_error_while_writing_keeps_the_old_file(tmp_path):
    (tmp_path / "a").write_text("old")
    with pytest.raises(ZeroDivisionError), paths.replacing(tmp_path / "a") as partial:
        partial.write_text("half")
        assert partial.parent == tmp_path and partial.name.startswith(".a.")
        raise ZeroDivisionError
    assert (tmp_path / "a").read_text() == "old" and not left_overs(tmp_path)


def test_a_tree_that_cannot_be_written_leaves_nothing(tmp_path):
    group = xr.Dataset({"x": ("row", np.array([object()], dtype=object))})
    with pytest.raises((TypeError, ValueError)):
        netcdf.write_tree(tmp_path / "d.nc", "data", {"/observed_data": group})
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, pathlib, signal, sys, time
from avigap import cli, paths
def main():
    with paths.replacing(pathlib.Path("out.nc")) as partial:
        partial.write_text("half")
        os.kill(os.getpid(), signal.{signal})
        time.sleep(30)
cli.run(main)
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL"])
def test_a_process_stopped_while_writing(tmp_path, name):
    """It leaves no output; after a kill -9 a hidden file, which the next writer of the same output removes."""
    (tmp_path / "out.nc").write_text("old")
    command = [sys.executable, "-c", KILLED.format(signal=name)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, env=environment())
    assert (tmp_path / "out.nc").read_text() == "old"
    if name == "SIGKILL":
        assert done.returncode == -signal.SIGKILL and len(left_overs(tmp_path)) == 1
        paths.write_text(tmp_path / "out.nc", "whole")
        assert (tmp_path / "out.nc").read_text() == "whole"
    else:
        assert done.returncode == 128 + getattr(signal, name)
        assert len(done.stderr.splitlines()) == 1 and "Traceback" not in done.stderr
    assert left_overs(tmp_path) == []


def test_a_living_writer_is_not_disturbed(tmp_path):
    """An orphan of a killed Snakemake may still write what its successor writes."""
    theirs = tmp_path / f".out.nc.{os.getppid()}.tmp"
    others = tmp_path / ".other.nc.999999999.tmp"
    for path in (theirs, others):
        path.write_text("half")
    paths.write_text(tmp_path / "out.nc", "whole")
    assert left_overs(tmp_path) == sorted([theirs.name, others.name])
