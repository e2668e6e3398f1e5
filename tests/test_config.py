"""A wrong configuration is refused before any job runs, in one sentence that names the culprit and what is allowed."""

import copy

import pytest
import yaml
from programs import ROOT

from avigap.amortization import layout
from avigap.config import check_config, check_repeated_keys
from avigap.core import bind
from avigap.errors import InputError
from avigap.families import build
from avigap.models import load

SCHEMA = ROOT / "workflow/schemas/config.schema.yaml"
GOOD = """
experiments:
  linear:
    model: linear
    settings: {tau: 1.5}
    data: {simulate: {num_obs: [10, 30], seeds: 2}}
    families:
      affine: {kind: polynomial, degree: 1}
  published:
    model: saw
    data: {file: x.csv, num_obs: [5]}
    families:
      pair: {kind: mlp, width: 2, inputs: [-1, 0]}
  again:
    model: linear
    data: {simulate: {num_obs: [10, 30]}}
    families:
      affine: {kind: polynomial}
replays:
  coded:
    of: {experiment: again, num_obs: [30]}
    mode: as_coded
    protocol: {steps: 200, learning_rates: [0.01], draws: moments}
    overrides: {factorized: {learning_rates: [0.001]}}
    methods: {factorized: {kind: factorized}, affine: {kind: polynomial}}
"""


@pytest.fixture
def check(tmp_path):
    """Check the good configuration with one place of it changed; return what comes out."""
    (tmp_path / "x.csv").write_text("x\n0\n")

    def run(place="", value=None):
        config = yaml.safe_load(GOOD)
        *way, last = place.split(".")
        if place:
            block = config
            for step in way:
                block = block[step]
            block[last] = copy.deepcopy(value)
        check_config(config, SCHEMA, tmp_path)
        return config

    return run


def test_a_good_configuration_gets_its_defaults(check):
    config = check()
    assert config["root"] == "."
    assert config["experiments"]["published"]["settings"] == {} == config["experiments"]["published"]["fit"]
    assert check("experiments.linear.data", {"simulate": {"num_obs": [10]}})["experiments"]["linear"]["data"] == {
        "simulate": {"num_obs": [10], "seeds": 5}
    }


def test_whole_numbers_written_with_a_point_become_whole(check):
    data = check("experiments.linear.data", {"simulate": {"num_obs": [1.0e1], "seeds": 2.0}})["experiments"]["linear"][
        "data"
    ]
    assert repr(data) == "{'simulate': {'num_obs': [10], 'seeds': 2}}"


def test_a_replay_gets_its_defaults(check):
    assert check("replays", {})["replays"] == {}
    coded = check("replays.coded.seeds", 3.0)["replays"]["coded"]
    assert (coded["seeds"], coded["seeds_per_job"], coded["methods_per_job"]) == (3, 3, 2)
    assert check()["replays"]["coded"]["seeds"] == 10
    alone = check("replays.coded.protocol", {"steps": 200, "learning_rates": [0.1], "target": "certified"})
    assert alone["replays"]["coded"]["overrides"] == {"factorized": {"learning_rates": [0.001]}}


CODED = "replays.coded"
LINEAR = "experiments.linear"
BAD = [
    ("experiment", {}, "the top level: unknown key 'experiment'; allowed: experiments, images, replays, root"),
    (f"{CODED}.of", {"experiment": "linaer", "num_obs": [30]}, "replay 'coded': unknown experiment 'linaer'"),
    (f"{CODED}.of", {"experiment": "again", "num_obs": [20]}, "num_obs must be among 10, 30 of 'again', got 20"),
    (f"{CODED}.read_as", {"coded": "fair"}, "replay 'coded': read_as: the name 'coded' is that of another replay"),
    (
        f"{CODED}.read_as",
        {"again": "fare"},
        "read_as.again must be one of as_coded, corrected, fair, probe, got 'fare'",
    ),
    (f"{CODED}.of", {"experiment": "linear"}, "replays.coded.of lacks 'num_obs'"),
    (f"{CODED}.mode", "coded", "replays.coded.mode must be one of as_coded, corrected, fair, probe, got 'coded'"),
    (f"{CODED}.seeds", 0, "replays.coded.seeds must be at least 1, got 0"),
    (f"{CODED}.methods", {}, "replays.coded.methods: at least one entry is needed"),
    (f"{CODED}.methods", {"affine": {"kind": "polynomial"}}, "unknown method in overrides 'factorized'"),
    (f"{CODED}.methods.affine", {"kind": "polynomal"}, "replay 'coded': method 'affine': unknown family 'polynomal'"),
    (f"{CODED}.methods.affine", {"kind": "polynomial", "inputs": [0, 99]}, "method 'affine': inputs [0, 99] are wider"),
    (f"{CODED}.protocol.steps", 150, "method 'factorized': steps must be a multiple of every = 100, got 150"),
    (f"{CODED}.protocol.rates", [1.0], "unknown setting of protocol 'rates'"),
    (f"{CODED}.protocol.start", "far", "start of protocol must be one of 'published_normal'"),
    (f"{CODED}.protocol.learning_rates", ["1e-3"], "must be a finite number, got '1e-3', which is read as a text"),
    (f"{CODED}.overrides", {"affine": {"target_at": 201}}, "method 'affine': target_at and cap must be at most steps"),
    ("experiments", {}, "experiments: at least one entry is needed"),
    ("experiments", [], "experiments must be a mapping of names to values, got []"),
    ("experiments", None, "experiments must be a mapping of names to values, got None"),
    ("experiments.linear", "x", "experiments.linear must be a mapping of names to values, got 'x'"),
    ("experiments.linear", {"model": "linear"}, "experiments.linear lacks 'data'"),
    (f"{LINEAR}.family", {}, "unknown key 'family'; allowed: data, families, fit, local, model, reference, settings"),
    (
        f"{LINEAR}.model",
        "linaer",
        "experiment 'linear': unknown model 'linaer'; available: bnn_images, hmm, linear, nonlinear, saw",
    ),
    (f"{LINEAR}.model", 5, "experiments.linear.model must be a text, got 5"),
    (
        f"{LINEAR}.settings",
        {"tua": 1},
        "experiment 'linear': unknown setting of model 'linear' 'tua'; available: sigma",
    ),
    (f"{LINEAR}.settings", {1: 1}, "experiment 'linear': unknown setting of model 'linear' 1"),
    (f"{LINEAR}.settings", {"tau": 0}, "experiment 'linear': tau of model 'linear' must be greater than 0, got 0"),
    (f"{LINEAR}.settings", {"tau": "1e-3"}, "a finite number, got '1e-3', which is read as a text: write 0.001"),
    (f"{LINEAR}.settings", {"tau": True}, "tau of model 'linear' must be a finite number, got True"),
    (f"{LINEAR}.settings", {"tau": float("nan")}, "tau of model 'linear' must be a finite number, got nan"),
    (f"{LINEAR}.settings", [1], "experiments.linear.settings must be a mapping of names to values, got [1]"),
    (
        f"{LINEAR}.fit",
        {"start": 2},
        "experiment 'linear': unknown setting of fit 'start'; available: max_steps, starts",
    ),
    (f"{LINEAR}.fit", {"tolerance": "1e-7"}, "tolerance of fit must be a finite number, got '1e-7', which is read as"),
    (f"{LINEAR}.data", {}, "experiment 'linear': data needs either 'simulate' or 'file'"),
    (f"{LINEAR}.data", {"simulate": {"num_obs": [9]}, "file": "x.csv"}, "data needs either 'simulate' or 'file'"),
    (f"{LINEAR}.data", {"simulate": {"num_obs": [9]}, "num_obs": [9]}, "num_obs of simulated data belongs under"),
    (f"{LINEAR}.data.simulate", {}, "experiments.linear.data.simulate lacks 'num_obs'"),
    (f"{LINEAR}.data.simulate.num_obs", [], "experiments.linear.data.simulate.num_obs: at least one entry is needed"),
    (f"{LINEAR}.data.simulate.num_obs", [10, 0], "simulate.num_obs.1 must be at least 1, got 0"),
    (f"{LINEAR}.data.simulate.num_obs", [10, -3], "simulate.num_obs.1 must be at least 1, got -3"),
    (f"{LINEAR}.data.simulate.num_obs", 10, "simulate.num_obs must be a list, got 10"),
    (f"{LINEAR}.data.simulate.num_obs", [10, 10.0], "num_obs must be a list that repeats no value, got [10, 10.0]"),
    (f"{LINEAR}.data.simulate.num_obs", [1.5], "simulate.num_obs.0 must be a whole number, got 1.5"),
    (f"{LINEAR}.data.simulate.num_obs", [True], "simulate.num_obs.0 must be a whole number, got True"),
    (f"{LINEAR}.data.simulate.num_obs", ["1e4"], "a whole number, got '1e4', which is read as a text: write 10000"),
    (f"{LINEAR}.data.simulate.seeds", 0, "simulate.seeds must be at least 1, got 0"),
    (f"{LINEAR}.data.simulate.seeds", 10**9, "simulate.seeds must be at most 1000"),
    (f"{LINEAR}.data.simulate.seeds", [0, 1], "simulate.seeds must be a whole number, got [0, 1]"),
    ("experiments.published.data.file", "y.csv", "experiment 'published': data file 'y.csv' does not exist"),
    ("experiments.published.data.file", ".", "experiment 'published': data file '.' does not exist, or is not a file"),
    (
        "experiments.published.data.file",
        "",
        "experiments.published.data.file must be the path of a file, without braces or control",
    ),
    ("experiments.published.data.file", "{x}.csv", "must be the path of a file, without braces or control characters"),
    ("experiments.published.data.file", "x.csv\n", "must be the path of a file, without braces or control characters"),
    ("experiments.published.data.num_obs", [0], "published.data.num_obs.0 must be at least 1, got 0"),
    (f"{LINEAR}.families", {}, "experiments.linear.families: at least one entry is needed"),
    (f"{LINEAR}.families.affine", "mlp", "experiments.linear.families.affine must be a mapping of names to values"),
    (f"{LINEAR}.families.affine", {}, "experiment 'linear': family 'affine': a family needs a 'kind', one of constant"),
    (
        f"{LINEAR}.families.affine",
        {"kind": "polynomal"},
        "family 'affine': unknown family 'polynomal'; available: const",
    ),
    (f"{LINEAR}.families.affine", {"kind": "constant", "degree": 1}, "unknown setting of family 'constant' 'degree'"),
    (
        f"{LINEAR}.families.affine",
        {"kind": "polynomial", "degree": -1},
        "degree of family 'polynomial' must be at least 0",
    ),
    (f"{LINEAR}.families.affine", {"kind": "mlp", "width": 0}, "width of family 'mlp' must be at least 1, got 0"),
    (
        f"{LINEAR}.families.affine",
        {"kind": "mlp", "width": 2.5},
        "width of family 'mlp' must be a whole number, got 2.5",
    ),
    (
        f"{LINEAR}.families.affine",
        {"kind": "constant", "inputs": []},
        "must name at least one offset, got an empty list",
    ),
    (
        f"{LINEAR}.families.affine",
        {"kind": "constant", "inputs": [-5, 5]},
        "wider than the data: num_obs 10 is too small",
    ),
    ("root", "../elsewhere", "root must be a relative path of letters, digits, _ and - inside the project folder"),
    ("root", "/tmp", "root must be a relative path"),
    ("root", "a b", "root must be a relative path"),
    ("root", "$(touch x)", "root must be a relative path"),
    ("root", "smoke\n", "root must be a relative path"),
    ("root", 5, "root must be a text, got 5"),
]


@pytest.mark.parametrize(("place", "value", "fragment"), BAD)
def test_a_wrong_place_is_named(check, place, value, fragment):
    with pytest.raises(InputError) as caught:
        check(place, value)
    assert fragment in str(caught.value)
    assert len(str(caught.value)) < 250 and "\n" not in str(caught.value)


NAMES = [
    "a b",
    "a;touch x",
    "$(id)",
    "../up",
    "a/b",
    "a\n",
    "A",
    "1a",
    "_a",
    "-a",
    "a-b",
    "a.b",
    "{a}",
    "é",
    "",
    "a" * 65,
]


@pytest.mark.parametrize("name", [*NAMES, 1, True, None], ids=repr)
@pytest.mark.parametrize("place", ["experiments", "experiments.linear.families"])
def test_a_name_with_shell_or_path_characters_is_refused(check, place, name):
    block = yaml.safe_load(GOOD)["experiments"]
    block = block["linear"]["families"] if place.endswith("families") else block
    with pytest.raises(InputError, match="must consist of lower-case letters, digits and _") as caught:
        check(place, {name: next(iter(block.values()))})
    assert f"{place}: the name {name!r}" in str(caught.value)


@pytest.mark.parametrize("inputs", [[0], [-1], [1], [2, 3], [-2, -1], [-1, 0, 1], [-3, 2]])
@pytest.mark.parametrize("model", ["linear", "saw"])
def test_a_window_fits_the_configuration_where_it_fits_the_data(check, model, inputs):
    """The check beforehand agrees with the layout of the positions at every size."""
    family = {"kind": "constant", "inputs": inputs}
    for num_obs in range(1, 8):
        experiment = {"model": model, "data": {"simulate": {"num_obs": [num_obs]}}, "families": {"one": family}}
        try:
            layout(bind(load(model), {"theta_scale": None}), build(family), num_obs)
        except InputError:
            with pytest.raises(InputError, match="wider than the data"):
                check("experiments.linear", experiment)
        else:
            check("experiments.linear", experiment)


def test_factors_of_their_own_need_no_window(check):
    experiment = {"kind": "factorized", "inputs": [-50, 50]}
    check("experiments.linear.families.affine", experiment)


REPEATED = [
    ("a: 1\nb: 2\na: 3\n", "line 1: 'a' is given 2 times"),
    ("experiments:\n  saw: {}\n  hmm: {}\n  saw: {}\n", "line 2: 'saw' is given 2 times"),
    ("experiments: {saw: {families: {f: {kind: mlp, width: 2, width: 4}}}}", "line 1: 'width' is given 2 times"),
    ("list:\n- {b: 1}\n- {b: 1, b: 2}\n", "line 3: 'b' is given 2 times"),
    ('{"a": 1, "a": 2}', "line 1: 'a' is given 2 times"),
]


@pytest.mark.parametrize(("text", "sentence"), REPEATED)
def test_a_repeated_key_is_refused(tmp_path, text, sentence):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(InputError, match=f"^config.yaml {sentence}$"):
        check_repeated_keys([tmp_path / "config.yaml"])


@pytest.mark.parametrize(
    "text", [GOOD, "", "a: &x {b: 1}\nc: *x\nd: {<<: *x}\n", "a: [", "&a {x: *a}", "1: a\n'1': b\n"]
)
def test_keys_that_differ_are_no_repetition(tmp_path, text):
    (tmp_path / "config.yaml").write_text(text)
    check_repeated_keys([tmp_path / "config.yaml", tmp_path / "missing.yaml"])


@pytest.mark.parametrize(
    "path",
    [
        ROOT / "config.yaml",
        *(path for path in (ROOT / "config").glob("*.yaml") if path.stem not in ("replays", "images")),
    ],
    ids=lambda path: path.name,
)
def test_the_configurations_of_the_project_are_good(path):
    check_repeated_keys([path])
    check_config(yaml.safe_load(path.read_text()), SCHEMA, ROOT)


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        (None, "the file of replays 'more.yaml' does not exist, or is not a file"),
        ("a: [", "the file of replays 'more.yaml' is not YAML"),
        ("a: {}\na: {}", "'a' is given 2 times"),
        ("coded: {mode: fair}", "replays.coded lacks 'of', 'protocol', 'methods'"),
        ("[1]", "replays must be a mapping of names to values"),
    ],
)
def test_a_file_of_replays_is_read_or_refused(check, tmp_path, text, fragment):
    if text is not None:
        (tmp_path / "more.yaml").write_text(text)
    with pytest.raises(InputError) as caught:
        check("replays", "more.yaml")
    assert fragment in str(caught.value)
    (tmp_path / "more.yaml").write_text(yaml.safe_dump(yaml.safe_load(GOOD)["replays"]))
    assert check("replays", "more.yaml") == check()


def test_the_published_rule_needs_fvi_among_the_methods(check):
    only = {"affine": {"kind": "polynomial"}}
    config = yaml.safe_load(GOOD)["replays"]["coded"] | {"methods": only, "overrides": {}}
    with pytest.raises(InputError, match="a method named 'factorized' is needed"):
        check(CODED, config)
    for rest in ({"target": "certified"}, {"target_loss": 3.0}):
        assert check(CODED, config | {"protocol": config["protocol"] | rest})["replays"]["coded"]["methods"] == only
