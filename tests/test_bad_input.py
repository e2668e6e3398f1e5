"""Bad input to a script gives one sentence that names the culprit and what is allowed, and leaves no file behind."""

import ast
import contextlib
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from programs import ROOT, SCRIPTS, call, environment, succeed

from avigap.data import import_data
from avigap.files.netcdf import write_tree

CONSTANT = '{"kind": "constant"}'
NEEDED = {
    "simulate": {"--model": "linear", "--num-obs": "4"},
    "import_data": {"--model": "linear", "--input": "x.csv"},
    "fit_fvi": {"--data": "d.nc"},
    "fit_avi": {"--data": "d.nc", "--fvi": "fvi.nc", "--family": CONSTANT},
    "summarise_gap": {"--fits": "linear/avi/constant.nc"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with good files of every kind, and files that do not go together."""
    folder = tmp_path_factory.mktemp("good")
    (folder / "x.csv").write_text("x\n0.5\n-1.25\n2.0\n0.75\n")
    for name, settings in (("d", "{}"), ("steeper", '{"tau": 3}')):
        succeed(folder, "import_data", *flags("import_data", {"--settings": settings}), "--output", f"{name}.nc")
    succeed(folder, "simulate", *flags("simulate", {}), "--output", "other.nc")
    for name, data in (("fvi", "d"), ("steeper_fvi", "steeper"), ("other_fvi", "other")):
        succeed(folder, "fit_fvi", "--data", f"{data}.nc", "--output", f"{name}.nc")
    succeed(folder, "fit_avi", *flags("fit_avi", {}), "--output", "linear/avi/constant.nc")
    return folder


def flags(script, changes):
    """The flags that a script needs, with some of them changed; a value may be several words."""
    return [word for flag, value in (NEEDED[script] | changes).items() for word in (flag, *str(value).split("  "))]


def refuse(folder, script, changes, *fragments):
    """Assert that the script says one sentence with the fragments, and writes nothing."""
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    done = call(folder, script, *flags(script, {"--output": "new.nc"} | changes))
    assert done.code not in (0, None)
    assert done.out == ""
    (sentence,) = done.err.splitlines()
    assert sentence.startswith(f"{script}.py: ") and "Traceback" not in sentence and len(sentence) < 300
    for fragment in fragments:
        assert fragment in sentence, sentence
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


SETTINGS = [
    ('{"tua": 1}', "setting of model 'linear' 'tua'", "available: sigma, tau, theta_scale"),
    ('{"tau": 0}', "tau of model 'linear' must be greater than 0, got 0"),
    ('{"tau": -1.5}', "tau of model 'linear' must be greater than 0, got -1.5"),
    ('{"tau": NaN}', "tau of model 'linear' must be a finite number, got nan"),
    ('{"tau": Infinity}', "must be a finite number, got inf"),
    (f'{{"tau": {10**400}}}', "tau of model 'linear' must be a finite number, got 1000"),
    ('{"tau": true}', "tau of model 'linear' must be a finite number, got True"),
    ('{"tau": "1e-3"}', "must be a finite number, got '1e-3'", "a text: write 0.001"),
    ('{"tau": [1]}', "must be a finite number, got [1]"),
    ('{"tau": null}', "must be a finite number, got None"),
    ('{"tau": 1, "tau": 2}', "'tau' is given 2 times"),
    ("[1]", "a JSON object such as"),
    ('{"tau": 1', "not valid JSON"),
    ("tau=1", "not valid JSON"),
]


@pytest.mark.parametrize(("settings", "fragments"), [(case[0], case[1:]) for case in SETTINGS])
def test_bad_settings(folder, settings, fragments):
    refuse(folder, "simulate", {"--settings": settings}, *fragments)
    refuse(folder, "import_data", {"--settings": settings}, *fragments)


@pytest.mark.parametrize(
    ("changes", "fragments"),
    [
        ({"--model": "linaer"}, ["unknown model 'linaer'; available: bnn_images, hmm, linear, nonlinear, saw"]),
        ({"--model": "hmm", "--settings": '{"initial": "flta"}'}, ["must be one of 'normal', 'flat', got 'flta'"]),
        ({"--model": "nonlinear", "--settings": '{"normalised": 1}'}, ["must be true or false, got 1"]),
        ({"--num-obs": "0"}, ["--num-obs", "a whole number from 1", "got '0'"]),
        ({"--num-obs": "-5"}, ["--num-obs", "a whole number from 1"]),
        ({"--num-obs": "2.5"}, ["--num-obs", "a whole number", "got '2.5'"]),
        ({"--num-obs": "many"}, ["--num-obs", "a whole number", "got 'many'"]),
        ({"--num-obs": str(10**30)}, ["--num-obs", "2147483647"]),
        ({"--num-obs": "4  8  4"}, ["--num-obs must not repeat a value, got 4 2 times"]),
        ({"--seed": "-1"}, ["--seed", "a whole number from 0"]),
        ({"--seed": "1  1"}, ["--seed must not repeat a value"]),
        (
            {"--settings": '{"tau": 1e300}'},
            ["x of data set n4_s0 must be a vector of finite numbers of size 1e+15 at most"],
        ),
        ({"--sede": "1"}, ["--sede"]),
        ({"--set": "{}"}, ["--set"]),
    ],
)
def test_bad_arguments_of_simulate(folder, changes, fragments):
    refuse(folder, "simulate", changes, *fragments)


FAMILIES = [
    ('{"kind": "polynomal"}', "unknown family 'polynomal'; available: constant, factorized, mlp, polynomial"),
    ('{"degree": 1}', "a family needs a 'kind', one of constant, factorized, mlp, polynomial"),
    ('{"kind": ["mlp"]}', "unknown family ['mlp']"),
    ('{"kind": "mlp", "widht": 4}', "unknown setting of family 'mlp' 'widht'; available: activation, depth, heads"),
    ('{"kind": "polynomial", "degree": -1}', "degree of family 'polynomial' must be at least 0, got -1"),
    ('{"kind": "polynomial", "degree": 1.5}', "must be a whole number, got 1.5"),
    ('{"kind": "mlp", "width": 0}', "width of family 'mlp' must be at least 1, got 0"),
    ('{"kind": "mlp", "width": true}', "width of family 'mlp' must be a whole number, got True"),
    ('{"kind": "mlp", "width": "4"}', "must be a whole number, got '4', which is read as a text: write 4"),
    ('{"kind": "mlp", "activation": "rleu"}', "must be one of 'relu', 'leaky_relu', 'tanh', 'softplus', got 'rleu'"),
    ('{"kind": "constant", "inputs": []}', "inputs of family 'constant' must name at least one offset"),
    ('{"kind": "constant", "inputs": 0}', "inputs of family 'constant' must be a list, got 0"),
    ('{"kind": "constant", "inputs": [0, 0]}', "must not repeat an offset"),
    ('{"kind": "constant", "inputs": [0.5]}', "must be a whole number, got 0.5"),
    ('{"kind": "constant", "inputs": [-3, 3]}', "inputs [-3, 3] are wider than the data"),
    ("{}", "a family needs a 'kind'"),
]


@pytest.mark.parametrize(("family", "fragment"), FAMILIES)
def test_bad_family(folder, family, fragment):
    refuse(folder, "fit_avi", {"--family": family}, fragment)


@pytest.mark.parametrize(
    ("changes", "fragments"),
    [
        ({"--fit": '{"start": 3}'}, ["unknown setting of fit 'start'; available: max_steps, starts, tolerance"]),
        ({"--fit": '{"starts": 0}'}, ["starts of fit must be at least 1, got 0"]),
        ({"--fit": '{"tolerance": 0}'}, ["tolerance of fit must be greater than 0"]),
        ({"--seed": "one"}, ["--seed", "a whole number from 0", "got 'one'"]),
        ({"--fvi": "other_fvi.nc"}, ["other_fvi.nc: fitted to other data than in the data file given"]),
        ({"--fvi": "steeper_fvi.nc"}, ["steeper_fvi.nc: fitted to other settings than in the data file given"]),
    ],
)
def test_bad_arguments_of_fit_avi(folder, changes, fragments):
    refuse(folder, "fit_avi", changes, *fragments)


TABLES = {
    "empty": ("", "is empty"),
    "blank": ("\n\n", "one column 'x'", "none"),
    "no_rows": ("x\n", "has 0 rows of x; model 'linear' needs at least 1"),
    "wrong_column": ("y,z\n1,2\n", "one column 'x'", "'y', 'z'"),
    "no_header": ("0.5\n1.0\n", "one column 'x'", "'0.5'"),
    "two_columns_x": ("x,x\n1,2\n", "one column 'x'"),
    "near_name": ("X,y\n1,2\n", "one column 'x'", "'X', 'y'"),
    "short_row_between_semicolons": ("x;y\n1;2\n3\n", "line 3 has 1 fields where the first line has 2"),
    "short_row": ("x,y\n1,2\n3\n", "line 3 has 1 fields where the first line has 2"),
    "long_row": ("x\n1\n2,3\n", "line 3 has 2 fields where the first line has 1"),
    "long_first_row": ("x\n1,2\n3\n", "line 2 has 2 fields"),
    "gap_in_rows": ("x\n1\n\n2\n", "line 3 has 0 fields"),
    "nan": ("x\n1\nnan\n", "line 3", "'nan'", "not a finite number"),
    "missing": ("x,y\n1,1\n,2\n", "line 3", "''", "not a finite number"),
    "infinity": ("x\n-inf\n", "line 2", "'-inf'", "not a finite number"),
    "infinite": ("x\n1e999\n", "line 2", "'1e999'", "not a finite number"),
    "too_large": ("x\n1\n-2e15\n", "line 3", "'-2e15'", "not a finite number of size 1e+15 at most"),
    "text": ("x\n1\n2\nthree\n", "line 4", "'three'", "not a finite number"),
    "truth_values": ("x\nTRUE\nFALSE\n", "line 2", "'TRUE'", "not a finite number"),
    "categories": ("x\nb\na\n", "line 2", "'b'", "not a finite number"),
    "dates": ("x\n2024-03-01\n2024-03-02\n", "line 2", "'2024-03-01'", "not a finite number", "a date"),
    "thousands": ('x\n"1,500"\n', "line 2", "'1,500'", "not a finite number", "thousands mark"),
    "underscore": ("x\n1_000\n", "'1_000'", "not a finite number"),
    "comma": ('x\n"1,5"\n', "'1,5'", "not a finite number"),
    "open_quote": ('x\n"1\n', "not a CSV text file"),
}


@pytest.mark.parametrize("name", TABLES)
def test_bad_csv(folder, name):
    text, *fragments = TABLES[name]
    (folder / f"{name}.csv").write_text(text)
    refuse(folder, "import_data", {"--input": f"{name}.csv"}, f"{name}.csv", *fragments)


@pytest.mark.parametrize(
    ("content", "x"),
    [
        (b"x;y\n0,5;a\n-1,25;b\n2;\n", [0.5, -1.25, 2]),
        (b"\xef\xbb\xbfy\tx\r\n?\t0.5\r\nNA\t-1e3\r\n", [0.5, -1000]),
        ("x,größe\n0.5,1\n".encode("cp1252"), [0.5]),
        (b'"x"\n"1" 0.5\n"2" 7\n', [0.5, 7]),
    ],
)
def test_text_files_of_other_programs(tmp_path, content, x):
    (tmp_path / "x.txt").write_bytes(content)
    np.testing.assert_array_equal(
        import_data(tmp_path / "x.txt", "linear", {}).x, np.array(x, dtype=float), strict=True
    )


def test_csv_that_is_not_text(folder):
    (folder / "bytes.csv").write_bytes(b"x\n\xff\xfe\x00\n")
    refuse(folder, "import_data", {"--input": "bytes.csv"}, "bytes.csv is not a CSV text file")


def test_saw_needs_a_row_after_x_0(folder):
    (folder / "one.csv").write_text("x\n0\n")
    refuse(folder, "import_data", {"--model": "saw", "--input": "one.csv"}, "has 1 rows of x", "at least 2")


def test_import_of_more_rows_than_there_are(folder):
    refuse(folder, "import_data", {"--num-obs": "2  5"}, "num_obs must be at most the 4", "got 5")


ARRAYS = {
    "other_name": ({"y": ("row", np.ones(3))}, "has no variable 'x'; it has 'y'"),
    "no_variable": ({}, "has no variable 'x'; it has none"),
    "matrix": ({"x": (("row", "column"), np.ones((3, 2)))}, "must be a vector of numbers, got float64 of shape (3, 2)"),
    "scalar": ({"x": ((), 1.0)}, "must be a vector of numbers"),
    "words": ({"x": ("row", np.array(["a", "b"]))}, "must be a vector of numbers"),
    "dates": (
        {"x": ("row", np.array(["2024-03-01"], dtype="datetime64[ns]"))},
        "must be a vector of numbers, got datetime",
    ),
    "infinite": ({"x": ("row", np.array([1.0, np.inf]))}, "entry 1 of variable 'x' is inf, not a finite number"),
    "truth_values": ({"x": ("row", np.array([True]))}, "must be a vector of numbers, got bool"),
    "hole": ({"x": ("row", np.array([1.0, np.nan, 2.0]))}, "entry 1 of variable 'x' is nan, not a finite number"),
    "too_large": (
        {"x": ("row", np.array([1, 2 * 10**15]))},
        "entry 1 of variable 'x' is 2000000000000000, not a finite",
    ),
    "nothing": ({"x": ("row", np.ones(0))}, "has 0 rows of x"),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_bad_netcdf(folder, name):
    arrays, fragment = ARRAYS[name]
    xr.Dataset(arrays).to_netcdf(folder / f"{name}.nc", engine="h5netcdf")
    refuse(folder, "import_data", {"--input": f"{name}.nc"}, f"{name}.nc", fragment)


INPUTS = [
    ("import_data", "--input", None),
    ("fit_fvi", "--data", "d.nc"),
    ("fit_avi", "--data", "d.nc"),
    ("fit_avi", "--fvi", "fvi.nc"),
    ("summarise_gap", "--fits", "linear/avi/constant.nc"),
]


@pytest.mark.parametrize(("script", "flag", "good"), INPUTS)
def test_input_that_is_no_file_of_the_kind(folder, script, flag, good, tmp_path):
    place = tmp_path / "avi/bad.nc"
    place.parent.mkdir()

    def check(*fragments):
        refuse(folder, script, {flag: place}, str(place), *fragments)

    check("does not exist")
    place.write_bytes(b"")
    check("is empty")
    place.write_text("x\n1.0\n")
    check("is not a readable netCDF file")
    place.write_bytes(pickle.dumps({"x": 1.0}))
    check("is not a readable netCDF file")
    if good is None:
        return
    xr.Dataset({"x": ("row", np.ones(3))}).to_netcdf(place, engine="h5netcdf")
    check("not a file of this package", "one written by")
    for name in {"d.nc", "fvi.nc", "linear/avi/constant.nc"} - {good}:
        place.write_bytes((folder / name).read_bytes())
        check("a file written by", "is needed")
    whole = (folder / good).read_bytes()
    for share in (0.001, 0.1, 0.5, 0.9, 0.999):
        place.write_bytes(whole[: int(share * len(whole))])
        check("truncated")
    place.unlink()
    place.mkdir()
    check("is a folder; a file is needed")


@pytest.mark.parametrize(("script", "flag", "good"), INPUTS[1:])
def test_file_of_the_kind_with_a_part_missing(folder, script, flag, good, tmp_path):
    """A root that claims the kind is not enough: groups, variables and attributes are looked for."""
    whole = xr.open_datatree(folder / good, engine="h5netcdf").load()
    groups = {path: node.to_dataset() for path, node in whole.subtree_with_keys if path != "."}
    damaged = [{path: group.drop_attrs() for path, group in groups.items()}, {}]
    damaged += [{p: group.drop_vars(list(group.variables)) for p, group in groups.items()}]
    for index, content in enumerate(damaged):
        if script == "summarise_gap" and index == 0:
            continue  # a summary has no attributes
        tree = xr.DataTree.from_dict(content)
        tree.attrs = whole.attrs
        place = tmp_path / f"avi/damaged_{index}.nc"
        place.parent.mkdir(exist_ok=True)
        tree.to_netcdf(place, engine="h5netcdf")
        refuse(folder, script, {flag: place}, str(place))


def test_factors_of_another_size_are_refused(folder, tmp_path):
    whole = xr.open_datatree(folder / "fvi.nc", engine="h5netcdf").load()
    groups = {path: node.to_dataset() for path, node in whole.subtree_with_keys if path != "."}
    tree = xr.DataTree.from_dict(
        {path: group.isel(obs=slice(3), missing_dims="ignore") for path, group in groups.items()}
    )
    tree.attrs = whole.attrs
    tree.to_netcdf(tmp_path / "short.nc", engine="h5netcdf")
    refuse(
        folder, "fit_avi", {"--fvi": tmp_path / "short.nc"}, "short.nc: the factors of data set n4_simported must have"
    )


def test_data_file_edited_to_hold_nan(folder, tmp_path):
    tree = xr.open_datatree(folder / "d.nc", engine="h5netcdf").load()
    tree["observed_data"] = tree["observed_data"].to_dataset().map(lambda x: x * np.nan, keep_attrs=True)
    tree["observed_data"].attrs |= {"model": "linear", "settings": "{}"}
    tree.to_netcdf(tmp_path / "edited.nc", engine="h5netcdf")
    refuse(folder, "fit_fvi", {"--data": tmp_path / "edited.nc"}, "edited.nc", "a vector of finite numbers")


@pytest.mark.parametrize("script", NEEDED)
def test_output_that_cannot_be_written(folder, script, monkeypatch):
    """It is noticed before the work: nothing is printed on standard output."""
    refuse(folder, script, {"--output": "."}, "--output . is a folder; the name of a file is needed")
    refuse(folder, script, {"--output": "x.csv/new.nc"}, "--output x.csv/new.nc cannot be written", "is not a folder")
    for value in NEEDED[script].values():
        if (folder / value).is_file():
            refuse(folder, script, {"--output": value}, f"--output {value} is an input as well", "another name")
    monkeypatch.setattr("avigap.paths.os.access", lambda path, mode: False)  # root may write anywhere
    refuse(folder, script, {}, "no permission")


@pytest.mark.parametrize(("script", "flag"), [case[:2] for case in INPUTS])
def test_input_without_permission(folder, script, flag, monkeypatch):
    monkeypatch.setattr("avigap.paths.os.access", lambda path, mode: mode != os.R_OK)
    refuse(folder, script, {}, "cannot be read: no permission")


def test_fits_at_another_place_or_given_twice(folder, tmp_path):
    copy = tmp_path / "constant.nc"
    copy.write_bytes((folder / "linear/avi/constant.nc").read_bytes())
    refuse(folder, "summarise_gap", {"--fits": copy}, f"{copy} must lie at <experiment>/avi/<family>.nc")
    refuse(
        folder, "summarise_gap", {"--fits": "linear/avi/constant.nc  " * 2 + "x.nc"}, "--fits must not repeat a value"
    )


@pytest.mark.parametrize("script", NEEDED)
def test_arguments_that_are_missing_or_unknown(folder, script):
    refuse(folder, script, {"--colour": "red"}, "unrecognized arguments: --colour red")
    done = call(folder, script)
    assert done.code == 2 and len(done.err.splitlines()) == 1 and "--output" in done.err


class Trap:
    """Unpickling it makes a file."""

    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return Path.touch, (self.place,)


@pytest.mark.parametrize(("script", "flag"), [case[:2] for case in INPUTS])
@pytest.mark.parametrize("suffix", [".nc", ".csv", ".pkl"])
def test_nothing_is_unpickled(folder, script, flag, suffix, tmp_path):
    bait, trap = tmp_path / f"avi/bait{suffix}", tmp_path / "sprung"
    bait.parent.mkdir()
    bait.write_bytes(pickle.dumps(Trap(trap)))
    refuse(folder, script, {flag: bait}, str(bait))
    assert not trap.exists()


@pytest.mark.parametrize("path", [*(ROOT / "src").rglob("*.py"), *SCRIPTS.glob("*.py")], ids=lambda path: path.name)
def test_no_source_names_what_unpickles_or_evaluates(path):
    nodes = list(ast.walk(ast.parse(path.read_text())))
    words = {getattr(node, field, None) for node in nodes for field in ("id", "attr", "name", "arg", "module")}
    assert not words & {"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "read_pickle", "allow_pickle"}
    assert not words & {"eval", "exec", "unsafe_load", "full_load", "UnsafeLoader", "FullLoader"}


def test_a_full_disk_leaves_nothing(tmp_path):
    """A limit on the size of files stands for the full disk."""
    command = f"ulimit -f 8; exec '{sys.executable}' '{SCRIPTS / 'simulate.py'}' --model linear --num-obs 9999"
    variables = environment() | {"JAX_ENABLE_COMPILATION_CACHE": "false"}
    done = subprocess.run(
        ["bash", "-c", f"{command} --output d.nc"], cwd=tmp_path, env=variables, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.startswith("simulate.py: d.nc cannot be written") and done.stderr.count("\n") == 1, done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is full")
def test_an_error_of_a_full_disk_holds_no_view_of_what_was_to_be_written(monkeypatch):
    """Python 3.12 crashes at its exit if it does."""
    buffer = bytearray(b"content")
    monkeypatch.setattr("xarray.DataTree.to_netcdf", lambda *_, **__: memoryview(buffer))
    monkeypatch.setattr("avigap.files.netcdf.replacing", lambda path: contextlib.nullcontext(Path("/dev/full")))
    with pytest.raises(OSError, match="No space left") as error:
        write_tree(Path("d.nc"), "data", {})
    assert error.tb is not None
    buffer.extend(b"more")  # which a view forbids
