"""The programs that replay, summarise and merge: runs of several jobs, or of several tables, make one table."""

import json

import numpy as np
import pandas as pd
import pytest
from programs import call, succeed

METHODS = {"factorized": {"kind": "factorized"}, "degree_1": {"kind": "polynomial", "degree": 1}}
PROTOCOL = {"steps": 40, "every": 10, "learning_rates": [0.01], "draws": "moments"}
MODES = json.dumps({"linear": {"mode": "as_coded", "read_as": {"with_constants": "corrected"}}})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Runs of seeds 0 and 1 in a file each, and of both in one, with a table of each file."""
    folder = tmp_path_factory.mktemp("replays")
    succeed(folder, "simulate", "--model", "linear", "--num-obs", 12, "--seed", 0, "--output", "d.nc")
    succeed(folder, "fit_fvi", "--data", "d.nc", "--output", "f.nc")
    for name, seeds in {"first": [0], "second": [1], "both": [0, 1]}.items():
        (folder / name / "linear").mkdir(parents=True)
        files = ["--data", "d.nc", "--fvi", "f.nc", "--num-obs", 12, "--output", f"{name}/linear/part_0.nc"]
        given = ["--methods", json.dumps(METHODS), "--protocol", json.dumps(PROTOCOL), "--seed", *seeds]
        lines = succeed(folder, "replay", *files, *given).splitlines()
        assert [json.loads(line)["seed"] for line in lines] == seeds * len(METHODS)
        summarise(folder, name, f"{name}/linear/part_0.nc")
    return folder


def summarise(folder, name, *runs):
    made = ["--output", f"{name}.csv", "--provenance", f"{name}.json"]
    succeed(folder, "summarise_replay", "--runs", *runs, "--replays", MODES, *made)


def test_runs_are_read_in_a_further_mode(folder):
    """Linear: the authors' code drops log(2 pi) / 2 for every z_n, x_n and theta, and so does the loss as coded."""
    table = pd.read_csv(folder / "both.csv")
    coded, corrected = (table[table.replay == name].reset_index() for name in ("linear", "with_constants"))
    assert set(coded["mode"]) == {"as_coded"} and set(corrected["mode"]) == {"corrected"}
    assert np.ptp(corrected.final_loss - coded.final_loss) < 1e-9 < (corrected.final_loss - coded.final_loss).min()
    assert np.allclose(coded.excess_loss, corrected.excess_loss)


def results(path):
    """What a table says but for seconds, and how many runs shared them, in the order of methods and seeds."""
    table = pd.read_csv(path).sort_values(["replay", "method", "seed"], ignore_index=True)
    return table.drop(columns=[name for name in table if "seconds" in name or name == "runs_together"])


def merge(folder, *names, output="merged"):
    tables, made = ([f"{name}.{suffix}" for name in names] for suffix in ("csv", "json"))
    given = ["--tables", *tables, "--made", *made, "--output", f"{output}.csv", "--provenance", f"{output}.json"]
    return call(folder, "merge_replays", *given)


def test_tables_of_several_seeds_are_the_table_of_all(folder):
    assert merge(folder, "first", "second").code == 0
    pd.testing.assert_frame_equal(results(folder / "merged.csv"), results(folder / "both.csv"), rtol=1e-4)
    made = [json.loads((folder / f"{name}.json").read_text()) for name in ("first", "second", "merged")]
    assert made[0] + made[1] == made[2]


def test_a_run_in_two_tables_is_refused(folder):
    done = merge(folder, "first", "both", output="twice")
    assert done.code == 1 and "seed 0" in done.err and "two tables" in done.err
    assert not (folder / "twice.csv").exists()


def test_a_replay_without_a_mode_is_refused(folder):
    files = ["--runs", "first/linear/part_0.nc", "--output", "x.csv"]
    done = call(folder, "summarise_replay", *files, "--replays", '{"saw": {"mode": "as_coded"}}')
    assert done.code == 1 and "'linear'" in done.err and "saw" in done.err
