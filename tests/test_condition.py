"""The verdict on programs of many dependence structures."""

import json
from functools import cache

import graphs
import jsonschema
import numpy as np
import pytest
import yaml
from programs import ROOT, call, start
from renamed import other, renamed

from avigap.condition.check import check_condition
from avigap.condition.verdict import document
from avigap.condition.words import answer
from avigap.errors import InputError
from avigap.loading import load_program
from avigap.program.arguments import bind_program

VERDICT_SCHEMA = yaml.safe_load((ROOT / "workflow/schemas/verdict.schema.yaml").read_text())
T = np.array([0.3, -1.2, 0.8, 2.1, -0.4, 1.0, 0.2, -0.7, 1.4, -2.0, 0.6, 0.1])
TOTAL = np.array([5, 9, 3, 7, 4, 8, 6, 5, 3, 9, 7, 4])
DATA = {
    "trials": {"total": TOTAL},
    "schools": {"sigma": np.abs(T) + 1},
    "effects": {"t": T, "w": T[::-1].copy()},
    "intercepts": {"t": T, "group": np.repeat(np.arange(4), 3)},
    "long_responses": {"person": np.arange(12) % 4, "item": np.arange(12) % 3},
    "data_by_factor": {"x": T},
    "numbered": {"t": T},
    "panel_of_data": {"y": np.outer(T, [1.0, 0.5, -2.0]) + 0.1},
    "slopes": {"t": np.stack([T, T[::-1]], axis=1), "group": np.repeat(np.arange(4), 3)},
    "counties": {"floor": T, "county": np.repeat(np.arange(4), 3), "soil": T[:4]},
    "lagged": {"rain": T},
    "mean_covariate": {"t": T},
    "treated": {"treat": np.repeat([0, 1], 6)},
    "wide": {"table": np.outer(T, T[:6])[:6] + np.eye(6)},
}
YES = {"attainable": "yes", "attainable_here": True, "inputs": [0], "needs_index": False, "coupled": [], "twin": None}
NO = {"attainable": "no", "attainable_here": False, "rule": "coupling"}
EXPECTED = {
    "linear": YES,
    "nonlinear": YES,
    "saw": {"attainable": "wider_input", "attainable_here": True, "inputs": [-1, 0], "edges": []},
    "hmm": NO | {"inputs": [0]},
    "counts": YES,
    "coins": YES,
    "trials": YES | {"covariates": ["total"]},
    "categories": YES,
    "factors": YES,
    "two_sites": YES | {"local": ["loc", "scale"]},
    "simplices": YES,
    "bounded_by_theta": YES,
    "schools": YES | {"covariates": ["sigma"], "shared": ["mu", "tau"]},
    "effects": YES | {"covariates": ["t"], "unused": ["w"]},
    "intercepts": {
        "covariates": ["t", "group"],
        "attainable": "wider_input",
        "attainable_here": True,
        "group": "groups",
        "local": ["a"],
    },
    "nested": {"attainable": "wider_input", "attainable_here": True, "group": "groups", "local": ["g", "m"]},
    "members": YES | {"group": None},
    "item_response": {"attainable": "no", "attainable_here": True, "rule": "exchangeable"},
    "long_responses": {"attainable": "no", "attainable_here": True, "rule": "exchangeable"},
    "volatility": NO,
    "autoregression": NO,
    "local_scan": YES,
    "unrolled": NO,
    "saw_of_order_2": {"attainable": "wider_input", "inputs": [-2, 0], "edges": [0, 1], "needs_index": False},
    "future": {"attainable": "wider_input", "inputs": [0, 1], "edges": [5], "needs_index": False},
    "pairs": {"attainable": "wider_input", "inputs": [-1, 0, 1], "needs_index": True, "edges": [0, 5], "rule": "group"},
    "dense": NO,
    "by_index": {"attainable": "wider_input", "attainable_here": True, "inputs": [0], "needs_index": True},
    "by_index_and_mean": {"attainable": "wider_input", "inputs": [0], "needs_index": True},
    "mean_of_all": YES,
    "smoothed": {"attainable": "no", "attainable_here": False, "rule": "many_rows"},
    "sum_to_zero": {"attainable": "no", "attainable_here": True, "inputs": [0], "twin": None},
    "of_the_sum": {"attainable": "no", "attainable_here": True, "inputs": [], "twin": None},
    "mixture": {"attainable": "unknown", "attainable_here": None, "rule": "discrete_latent"},
    "summed_mixture": YES,
    "subsampled": YES,
    "dead_zone": {"attainable": "no", "rule": "coupling"},
    "ordered": NO | {"attainable_here": None},
    "steps": NO | {"attainable_here": None},
    "data_by_factor": YES | {"observed": [], "covariates": ["x"], "covariate_offsets": {"x": [0]}},
    "numbered": YES | {"covariates": ["t"], "local": ["z"]},
    "in_a_row": YES,
    "weekly": NO | {"attainable_here": False},
    "moving_mean": {"attainable": "wider_input", "inputs": [-2, -1, 0, 1, 2], "edges": [0, 1, 4, 5]},
    "panel": NO,
    "panel_of_data": {"attainable": "wider_input", "inputs": [-1, 0], "group": None},
    "short_chains": {"attainable": "wider_input", "group": "groups", "needs_index": True},
    "two_plates": YES | {"group": None},
    "counties": {"group": "counties", "covariates": ["floor", "soil", "county"], "needs_index": False},
    "slopes": {"attainable": "wider_input", "group": "groups", "local": ["a"], "shared": ["b"]},
    "lag_and_mean": {"attainable": "wider_input", "inputs": [-1], "edges": [0]},
    "mean_covariate": YES | {"covariates": []},
    "lagged": {
        "attainable": "wider_input",
        "covariates": ["rain"],
        "covariate_offsets": {"rain": [-1]},
        "needs_index": False,
        "edges": [0],
    },
    "treated": YES | {"covariates": ["treat"]},
    "wide": YES | {"local": ["z"]},
    "summed": {"attainable": "no", "attainable_here": True, "rule": "exchangeable"},
    "decorated": {"attainable": "wider_input", "needs_index": True, "local": ["z_decentered"]},
}


RENAMED = renamed(ROOT / "tests/graphs.py")


@cache
def check(name, num_obs=6, local=(), seed=0):
    packaged = not hasattr(graphs, name)
    function, own = load_program(name) if packaged else (getattr(graphs, name), ())
    program = bind_program(function, {}, DATA.get(name, {}), num_obs, own)
    return check_condition(program, num_obs, local, seed)


@pytest.mark.parametrize("name", EXPECTED)
def test_verdict(name):
    verdict = check(name)._asdict()
    assert {key: verdict[key] for key in EXPECTED[name]} == EXPECTED[name], verdict["reason"]
    jsonschema.validate(json.loads(document(check(name), None)), VERDICT_SCHEMA)
    if verdict["attainable_here"] is False:
        assert verdict["twin"]["difference"] > 10 * verdict["twin"]["error"]
    if verdict["attainable"] == "no" and verdict["rule"] != "many_rows":
        assert verdict["coupled"][0]["positions"][0] != verdict["coupled"][0]["positions"][1]


SAME = ("attainable", "attainable_here", "inputs", "needs_index", "rule")
NAMES = ("covariates", "local", "shared", "observed", "unused", "group_covariates")


@pytest.mark.parametrize("name", [name for name in EXPECTED if hasattr(graphs, name)])
def test_no_name_matters(name):
    """With other names of all arguments, sites and plates, in another alphabetical order, the answer is the same."""
    first, columns = check(name), {other(n): column for n, column in DATA.get(name, {}).items()}
    again = check_condition(bind_program(getattr(RENAMED, name), {}, columns, 6), 6)
    assert {key: getattr(first, key) for key in SAME} == {key: getattr(again, key) for key in SAME}
    suffix = "_decentered"  # which NumPyro appends
    for key in NAMES:
        own = [other(n.removesuffix(suffix)) + suffix * n.endswith(suffix) for n in getattr(first, key)]
        assert own == list(getattr(again, key)), key
    assert {other(n): [other(site) for site in own] for n, own in first.sites.items()} == again.sites
    assert again.group == (first.group and other(first.group))


def test_twin_of_a_chain_is_the_solution_of_its_linear_system():
    """Two routes to F-VI's optimum: sample averages, and Lambda loc = x with scale Lambda_nn^-1/2."""
    twin = check("hmm").twin
    precision = np.diag([3.0] * 5 + [2.0]) - np.eye(6, k=1) - np.eye(6, k=-1)
    loc = np.linalg.solve(precision, twin["data"]["x"])
    one, other = twin["positions"]
    assert twin["data"]["x"][one] == twin["data"]["x"][other] and {one, other} <= set(range(6))
    for position, factor in zip(twin["positions"], twin["factors"], strict=True):
        assert factor["z"]["loc"] == pytest.approx([loc[position]], abs=1e-4)
        assert factor["z"]["scale"] == pytest.approx([precision[position, position] ** -0.5], rel=1e-4)


def test_mixed_derivatives_are_those_of_the_log_joint():
    assert [pair["mixed_derivative"] for pair in check("hmm").coupled] == pytest.approx([1.0] * 3)
    assert {pair["mixed_derivative"] for pair in check("pairs").coupled} == {2.0}
    assert {pair["mixed_derivative"] for pair in check("steps").coupled} == {0.0}, "a step has no derivative to show"


def test_local_latents_can_be_named():
    """Given the items, persons are not coupled, nor are those whose answers come in long format."""
    persons = check("item_response", local=("ability",))
    assert (persons.attainable, persons.inputs, persons.shared) == ("yes", [0], ["difficulty", "slope"])
    written_out = check("long_responses", local=("ability",))
    assert (written_out.attainable, written_out.group) == ("wider_input", "persons")
    assert check("unrolled", local=("z_",)).attainable == "no"


@pytest.mark.parametrize("seed", [1])
@pytest.mark.parametrize("name", ["mean_of_all", "dead_zone", "effects"])
def test_other_random_points_give_the_same_verdict(name, seed):
    first, again = check(name), check(name, seed=seed)
    assert (
        first.attainable == again.attainable and first.inputs == again.inputs and first.covariates == again.covariates
    )


@pytest.mark.parametrize("num_obs", [4, 7])
def test_other_numbers_of_observations_give_the_same_verdict(num_obs):
    assert check("saw", num_obs).inputs == [-1, 0]
    assert check("by_index", num_obs).needs_index
    assert check("sum_to_zero", num_obs).attainable_here


def test_windows_that_share_rows_hide_differences():
    """With four observations every pair of windows [-1, 0, 1] does: nothing is concluded from them."""
    assert check("smoothed", 4).attainable == "no"


def test_a_covariate_that_jax_does_not_see():
    """Positions are compared where it is equal; where it never is, nothing is said."""
    columns = {"t": np.array([1.0, 2.0, 1.0, 2.0, 4.0, 4.0])}
    equal = check_condition(bind_program(graphs.outside, {}, columns, 6), 6)
    assert (equal.attainable, equal.covariates, equal.needs_index) == ("yes", ["t"], False)
    unlike = check_condition(bind_program(graphs.outside, {}, {"t": np.arange(1.0, 7.0)}, 6), 6)
    assert unlike.attainable == "unknown" and "no two positions have equal values of t" in unlike.reason


def test_the_first_position_may_differ_from_all_others():
    """Also among so many positions that not all pairs of them are compared."""
    assert [check("first", num_obs).needs_index for num_obs in (6, 14)] == [True, True]


def test_a_program_of_fixed_size():
    """Without a parameter for N and without data nothing can grow: all positions coupled is a no, some are a group."""

    def program(x=None):
        graphs.unrolled(x, num_obs=5)

    verdict = check_condition(bind_program(program, {}, {}, 6), 6)
    assert verdict.attainable == "no" and "all 5 positions" in verdict.reason


@pytest.mark.parametrize(
    ("name", "settings", "columns", "message"),
    [
        ("schools", {}, {}, "the program does not run: TypeError.*not given: 'y', 'sigma': columns of --data"),
        ("logarithm", {}, {}, r"none of the arguments \(y\) is observed at a site that draws it"),
        ("counts", {"spread": 2}, {}, "no setting 'spread'; its arguments are y, num_obs"),
    ],
)
def test_programs_that_cannot_run(name, settings, columns, message):
    with pytest.raises(InputError, match=message):
        bind_program(getattr(graphs, name), settings, columns, 6)


def test_local_latents_that_do_not_exist():
    with pytest.raises(InputError, match="no latent site 'w'; the program has theta, z"):
        check("coins", local=("w",))


def test_the_program_of_the_command_line(tmp_path):
    """One file, one command: the verdict as JSON, and in words."""
    rows = "y,sigma\n" + "\n".join(f"{y},{s}" for y, s in zip(range(12), DATA["schools"]["sigma"], strict=True))
    (tmp_path / "d.csv").write_text(rows + "\n")
    done = start(
        tmp_path,
        "check_condition",
        "--model",
        f"{ROOT}/tests/graphs.py:schools",
        "--data",
        "d.csv",
        "--output",
        "v.json",
    )
    assert done.code == 0, done.err
    verdict = json.loads((tmp_path / "v.json").read_text())
    assert (verdict["attainable"], verdict["covariates"]) == ("yes", ["sigma"])
    assert verdict["version"] == 2 and verdict["sites"] == {"y": ["y"]}
    assert verdict["read"]["columns"] == {"y": "y", "sigma": "sigma"}
    assert "The function must see: y and sigma of its own row." in done.out
    assert "Read d.csv: 12 rows; y, sigma from columns of the same names." in done.out
    assert "avigap.amortize(schools, " in done.out and len(done.out.splitlines()) <= 12


@pytest.mark.parametrize("name", ["hmm", "sum_to_zero", "mixture", "saw"])
def test_the_answer_in_words(name):
    text = answer(check(name))
    assert text.splitlines()[0].split()[0].rstrip(":") in {"No", "Unknown", "With"}
    assert len(text.splitlines()) <= 12 and text.count("factorized VI (F-VI)") == 1
    assert ("have equal inputs and other factors" in text) == (name == "hmm")
    assert ("by symmetry" in text) == (name == "sum_to_zero")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "line"], "unknown model 'line'; available: bnn_images, hmm, linear"),
        (["--model", "none.py:program"], "no file 'none.py'"),
        (["--model", f"{ROOT}/tests/graphs.py:none"], "has no function 'none'"),
        (["--model", "broken.py:program"], "broken.py cannot be run: ZeroDivisionError"),
        (["--model", "linear", "--data", "none.csv"], "none.csv does not exist"),
        (["--model", "linear", "--settings", '{"tua": 1}'], "no setting 'tua'"),
        (
            ["--model", f"{ROOT}/tests/graphs.py:effects", "--data", "mixed.csv"],
            "line 3: y is 'b', not a finite number",
        ),
        (
            ["--model", f"{ROOT}/tests/graphs.py:effects", "--data", "gap.csv"],
            "column 't' of gap.csv lacks 1 of 2 values",
        ),
    ],
)
def test_bad_input_is_one_sentence(tmp_path, arguments, message):
    (tmp_path / "broken.py").write_text("1 / 0\n")
    (tmp_path / "mixed.csv").write_text("y,t\n1,1\nb,2\n")
    (tmp_path / "gap.csv").write_text("y,t\n1,\n2,2\n")
    done = call(tmp_path, "check_condition", *arguments, "--output", "v.json")
    assert done.code == 1 and message in done.err and done.err.count("\n") == 1
    assert not (tmp_path / "v.json").exists()
