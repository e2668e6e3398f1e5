"""Programs of the user's own: their data, the ladder, what is recommended, and what a configuration may say."""

import copy
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from programs import ROOT, call

from avigap import ladder
from avigap.condition.verdict import Verdict
from avigap.config import check_config
from avigap.errors import InputError
from avigap.evidence import importance
from avigap.files.table import read_columns
from avigap.ladder import ladder_of
from avigap.programs_table import distance_to, markdown
from avigap.recommend import chosen, pays_from, recommendation
from avigap.samples import Sample, draw, part_of, read_samples, write_samples
from avigap.starts import DEFAULTS

SCHEMA = ROOT / "workflow/schemas/config.schema.yaml"
EXAMPLE = {"model": "examples/rats.py:program", "data": {"file": "examples/rats.csv"}}
YES = Verdict(
    *("yes", True, [0], [], {}, False, None, [], [], "simple_hierarchical", "", None, ["z"], ["theta"], ["x"]),
    *(256, 1e-6),
)


def checked(**experiment):
    config = {"experiments": {"own": copy.deepcopy(EXAMPLE) | experiment}}
    check_config(config, SCHEMA, ROOT)
    return config["experiments"]["own"]


def test_a_program_needs_no_families():
    own = checked(data={"file": "examples/rats.csv", "num_obs": [10.0, 30]})
    assert own["data"] == {"file": "examples/rats.csv", "num_obs": [10, 30], "seeds": 3}
    assert "families" not in own
    assert checked(data={"simulate": {"num_obs": [5]}})["data"]["simulate"]["seeds"] == 5


@pytest.mark.parametrize(
    ("experiment", "message"),
    [
        ({"model": "examples/none.py:program"}, "the file must exist"),
        ({"model": "examples/rats.py:not a name"}, "the file must exist"),
        ({"model": "linear"}, "lacks 'families'"),
        ({"model": "linear", "families": {"a": {"kind": "constant"}}, "local": ["z"]}, "'local' belongs to programs"),
        ({"families": {"a": {"kind": "polynomal"}}}, "unknown family 'polynomal'"),
        ({"reference": "reference/none.csv"}, "does not exist"),
        ({"data": {"file": "examples/rats.csv", "simulate": {"num_obs": [3]}}}, "either 'simulate' or 'file'"),
        ({"fit": {"start": 2}}, "start"),
    ],
)
def test_what_a_configuration_may_not_say(experiment, message):
    with pytest.raises(InputError, match=message):
        checked(**experiment)


def test_replays_are_of_models_of_the_package():
    replay = {"of": {"experiment": "own", "num_obs": [10]}, "mode": "fair", "protocol": {"steps": 10, "every": 10}}
    replay["methods"] = {"constant": {"kind": "constant"}}
    config = {"experiments": {"own": copy.deepcopy(EXAMPLE)}, "replays": {"again": replay}}
    with pytest.raises(InputError, match="has a program of your own; replays are of models of this package"):
        check_config(config, SCHEMA, ROOT)


def test_columns_with_numbers_in_brackets_are_a_matrix(tmp_path):
    path = tmp_path / "d.csv"
    path.write_text("y[1],a,y[0]\n1,2,3\n4,5,6\n")
    columns, _ = read_columns(path, None)
    np.testing.assert_array_equal(columns["y"], [[3, 1], [6, 4]])
    np.testing.assert_array_equal(columns["a"], [2, 5])
    for text in ("y[0],y[2]\n1,2\n", "y,y[0]\n1,2\n"):
        path.write_text(text)
        with pytest.raises(InputError, match="without a gap"):
            read_columns(path, None)


def test_parts_of_data():
    """Any rows where each stands alone, a block of a series, the first rows of groups; x_0 of a series stays."""
    whole = Sample("m.py:f", {}, {"y": np.arange(20.0), "x": np.arange(21.0), "t": np.arange(40.0).reshape(20, 2)})
    key = jax.random.key(3)
    assert part_of(whole, 20, YES, key, 0) is whole
    some = part_of(whole, 6, YES, key, 7)
    assert (some.num_obs, some.seed, some.name) == (6, 7, "n6_s7")
    assert (np.diff(some.columns["y"]) > 0).all()
    assert np.ptp(some.columns["y"]) > 5
    np.testing.assert_array_equal(some.columns["t"][:, 0], 2 * some.columns["y"])
    series = part_of(whole, 6, YES._replace(attainable="no"), key, 0).columns
    np.testing.assert_array_equal(np.diff(series["y"]), 1)
    np.testing.assert_array_equal(series["x"], [*series["y"], series["y"][-1] + 1])
    groups = part_of(whole, 6, YES._replace(attainable="wider_input", group="g"), key, 0)
    np.testing.assert_array_equal(groups.columns["y"], np.arange(6))
    with pytest.raises(InputError, match="at most the 20 rows"):
        part_of(whole, 21, YES, key, 0)


def test_data_sets_survive_a_file(tmp_path):
    drawn = [draw(f"{ROOT}/tests/graphs.py:counts", {}, 5, jax.random.key(seed), seed) for seed in range(2)]
    assert not np.array_equal(drawn[0].columns["y"], drawn[1].columns["y"])
    write_samples(tmp_path / "d.nc", drawn)
    again = read_samples(tmp_path / "d.nc")
    assert [each.identity for each in again] == [each.identity for each in drawn]
    assert [each.name for each in again] == ["n5_s0", "n5_s1"]
    assert again[0].columns["y"].dtype == drawn[0].columns["y"].dtype
    with pytest.raises(InputError, match="'sigma'"):
        draw(f"{ROOT}/examples/eight_schools.py:program", {}, 5, jax.random.key(0), 0)


def test_the_ladder_follows_the_verdict():
    assert list(ladder_of(YES)) == ["constant", "linear", "mlp_4", "mlp_16"]
    assert all("inputs" not in family for family in ladder_of(YES).values())
    never = YES._replace(attainable="no", attainable_here=False, rule="coupling")
    windows = ladder_of(never)
    assert windows["linear_window_2"]["inputs"] == [-2, -1, 0, 1, 2]
    assert list(ladder_of(never._replace(attainable_here=True, rule="exchangeable"))) == list(ladder_of(YES))


def test_windows_wider_than_the_data_are_left_out_of_a_ladder(monkeypatch):
    def inputs_of(target, verdict, offsets):
        if offsets == [-9]:
            raise InputError("wider than the data")

    monkeypatch.setattr(ladder, "inputs_of", inputs_of)
    monkeypatch.setattr(ladder, "fit_functions", lambda *args: "fit")
    families = {"wide": {"kind": "constant", "inputs": [-9]}, "own": {"kind": "constant"}}
    nodes = SimpleNamespace(target=None)
    assert ladder.fit_ladder(nodes, None, YES, families, str, DEFAULTS) == {"own": "fit"}
    del families["own"]
    with pytest.raises(InputError, match="wider than the data"):
        ladder.fit_ladder(nodes, None, YES, families, str, DEFAULTS)


def test_importance_sampling_from_the_posterior_itself_is_exact():
    """A normal density times e^3: its integral is e^3, and all weights are equal; a narrow q has heavy weights."""
    shift = jnp.array([1.0, -2.0])

    def log_density(z):
        return 3.0 + jax.scipy.stats.norm.logpdf(z, shift, 2.0).sum()

    exact = importance(log_density, np.stack([shift, np.log([2.0, 2.0])]), jax.random.key(0))
    assert exact.log_evidence == pytest.approx(3.0, abs=1e-9)
    assert exact.pareto_k == 0
    narrow = importance(log_density, np.stack([shift, np.log([1.7, 1.7])]), jax.random.key(0))
    assert abs(narrow.log_evidence - 3.0) < 4 * narrow.error
    assert importance(log_density, np.stack([shift, np.log([0.4, 0.4])]), jax.random.key(0)).pareto_k > 0.7


def summary(**gaps):
    rows = [
        {"num_obs": n, "family": name, "gap_per_obs": gap * (1 if n == 50 else 2), "gap_error": 1e-9 * n}
        | {"num_params": 10 ** (index + 1), "num_params_fvi": 4 * n, "seconds": 1.0, "inputs": "y_n, t_n"}
        for n in (20, 50)
        for index, (name, gap) in enumerate(gaps.items())
    ]
    return pd.DataFrame(rows)


def test_recommendation():
    """The fewest parameters whose gap is small; 2 parameters per factor and two factors a row: from N = 26 on."""
    table = summary(constant=0.5, linear=0.002, mlp=1e-6)
    parts = pd.DataFrame({"family": ["constant", "linear", "mlp"], "pareto_k": [2.0, 0.5, 0.4], "pareto_k_fvi": 0.3})
    assert chosen(table) == "linear"
    stats = {"is_certified": 0, "evidence": "best found: 4 of 4 climbs"}
    text = recommendation(YES, stats, table, parts)
    assert text.startswith("Amortize: a function of x_n can reach")
    assert "'linear', 100 parameters, on y_n, t_n costs 0.002 nats per observation at N = 50" in text
    assert "fewer from N = 26 on" in text
    assert "so a gap is to the best q known" in text
    assert "0.30 for F-VI, which stands in for the posterior, and 0.50" in text
    assert "\n" not in text
    costly = recommendation(YES._replace(attainable="no", attainable_here=False), stats, summary(a=0.5, b=0.3), parts)
    assert costly.startswith("Do not amortize with any function tried: no function of a fixed number of rows")
    assert "'b'" in costly
    assert recommendation(YES, stats, summary(a=0.05), parts).startswith("Amortize only if the cost is worth it")
    many = summary(a=0.5, b=0.3, c=0.001)
    assert recommendation(YES, stats, many, parts).startswith("Amortize from N = 251 on, not before")
    fixed = many.assign(num_params_fvi=8)
    assert pays_from(fixed, 100) is None
    assert "their number does not grow with N" in recommendation(YES, stats, fixed, parts)
    assert pays_from(many[many.num_obs == 50], 8) == 3
    assert pays_from(many, 8) == 3


def test_distance_to_a_reference():
    target = SimpleNamespace(shapes={"a": (), "z": (2,)})
    reference = pd.DataFrame(
        {"site": ["z", "a", "z"], "index": [1, 0, 0], "mean": [1.0, 5.0, 0.0], "sd": [2.0, 1.0, 1.0]}
    )
    q = np.array([[5.0, 0.5, 1.0], np.log([0.5, 1.0, 2.2])])
    assert distance_to(target, q, reference) == "0.50 sd, 0.50 to 1.10"
    assert distance_to(target, q, reference.iloc[1:]) == ""
    assert markdown([["a"] * 10]).count("|") == 33


def test_scripts_refuse_fits_of_other_data(tmp_path):
    """From a verdict to F-VI, and a ladder that is given the optimum of other data."""
    model = f"{ROOT}/tests/graphs.py:by_index"
    done = call(tmp_path, "check_condition", "--model", model, "--output", "v.json")
    assert done.code == 0, done.err
    for seed in (0, 1):
        names = ("--verdict", "v.json", "--num-obs", 4, "--seed", seed, "--output", f"d{seed}.nc")
        assert call(tmp_path, "prepare_data", "--model", model, *names).code == 0
    assert call(tmp_path, "fit_program_fvi", "--data", "d0.nc", "--verdict", "v.json", "--output", "f.nc").code == 0
    names = ("--data", "d1.nc", "--fvi", "f.nc", "--verdict", "v.json", "--output", "l.nc")
    refused = call(tmp_path, "fit_ladder", *names)
    assert refused.code == 1
    assert "no fit of data set n4_s1" in refused.err
