"""What people write gets the right answer in words, or one sentence that names the fault."""

import json
import re
from types import SimpleNamespace

import fields
import jax
import numpy as np
import numpyro
import pytest
from numpyro import handlers
from programs import ROOT, call

import avigap
from avigap.condition.check import check_condition
from avigap.condition.words import answer
from avigap.config import check_config
from avigap.errors import InputError
from avigap.loading import load_program
from avigap.program.arguments import bind_program

FIELDS = f"{ROOT}/tests/fields.py"
SCHEMA = ROOT / "workflow/schemas/config.schema.yaml"
N = 12
RANDOM = np.random.default_rng(7)
X, T, SEEN = RANDOM.standard_normal(N).round(3), RANDOM.gamma(2.0, size=N).round(3), np.arange(N) % 3 > 0
GROUP, TOTAL = np.array([2, 0, 1, 3] * 3), np.arange(N) % 5 + 4


def asked(name, columns, settings=None, local=()):
    function, _ = load_program(f"{FIELDS}:{name}")
    program = bind_program(function, settings or {}, columns, 6)
    return program, check_condition(program, 6, local)


TUTORIALS = {
    "eight_schools": ({"y": X, "sigma": T}, {"J": N}, "yes", {"y": ["obs"]}, ["sigma"]),
    "baseball": ({"hits": TOTAL - 2, "at_bats": TOTAL}, {}, "yes", {"hits": ["obs"]}, ["at_bats"]),
    "lungs": (
        {"fvc_obs": X, "patient_code": GROUP, "weeks": T},
        *({}, "wider_input", {"fvc_obs": ["obs"]}, ["patient_code", "weeks"]),
    ),
    "mixture": ({"data": X}, {}, "unknown", {"data": ["obs"]}, []),
    "annotated": ({"annotations": RANDOM.integers(0, 2, (N, 3))}, {}, "no", {"annotations": ["y"]}, []),
    "prices": ({"returns": X}, {}, "no", {"returns": ["r"]}, []),
}


@pytest.mark.parametrize("name", TUTORIALS)
def test_idioms_of_tutorials(name):
    """Sites have names of their own, and data are given by place or must be given."""
    columns, settings, attainable, sites, covariates = TUTORIALS[name]
    _, verdict = asked(name, columns, settings)
    assert (verdict.attainable, verdict.sites, sorted(verdict.covariates)) == (attainable, sites, covariates)
    assert verdict.observed == list(sites)


OBSERVED = {
    "logarithm": ({"amount": T, "rate": X}, {"amount": ["log"]}, ["rate"]),
    "two_parts": ({"both": np.stack([X, T], axis=1)}, {"both": ["one", "two"]}, []),
    "halves": ({"y": np.concatenate([X, T])}, {"y": ["before", "after"]}, []),
    "backwards": ({"y": X, "t": T}, {"y": ["y"]}, ["t"]),
    "less_an_offset": ({"y": X, "offset": T}, {"y": ["change"]}, ["offset"]),
    "shows_latents": ({"x": X, "y": T}, {"y": ["y"]}, ["x"]),
    "selected": ({"y": X, "seen": SEEN}, {"y": ["k"]}, ["seen"]),
    "exchanged": ({"x": X, "y": T}, {"x": ["y"], "y": ["x"]}, []),
    "checked": ({"y": TOTAL - 3, "total": TOTAL}, {"y": ["y"]}, ["total"]),
    "counted": ({"found": TOTAL % 4}, {}, ["found"]),
    "any_features": ({"y": X, "age": T, "dose": X[::-1]}, {"y": ["out"]}, ["age", "dose"]),
}


@pytest.mark.parametrize("name", OBSERVED)
def test_what_is_observed(name):
    """All of these need their own row; the positions of rows are those of the sites that take them."""
    columns, sites, covariates = OBSERVED[name]
    _, verdict = asked(name, columns)
    assert (verdict.attainable, verdict.sites, sorted(verdict.covariates)) == ("yes", sites, covariates)
    assert verdict.observed == list(sites) and verdict.inputs == [0] and not verdict.unused


@pytest.mark.parametrize("name", ["two_parts", "exchanged", "smooth_counts"])
def test_a_program_without_data_draws_them(name):
    """What it draws for an argument is what it then observes."""
    program, _ = load_program(f"{FIELDS}:{name}")
    bound = bind_program(program, {}, {}, 5)
    trace, data = bound.simulate(bound.arguments(5), jax.random.key(3))
    again = handlers.trace(handlers.seed(program, 0)).get_trace(**data, num_obs=5)
    for own in bound.sites.values():
        for site in own:
            np.testing.assert_array_equal(again[site]["value"], trace[site]["value"])


def test_a_latent_that_is_returned_is_not_the_datum():
    program = bind_program(fields.shows_latents, {}, {"x": X}, 6)
    trace, data = program.simulate(program.arguments(6), jax.random.key(0))
    np.testing.assert_array_equal(data["y"], trace["y"]["value"])


def test_latents_that_happen_to_equal_the_data_are_not_the_data():
    program = bind_program(fields.echoed, {}, {}, 6)
    trace, _ = program.simulate(program.arguments(6), jax.random.key(0))
    np.testing.assert_array_equal(trace["k"]["value"], trace["y"]["value"])
    assert program.observed["y"].sites == ("y",)


def write(path, **columns):
    """Write a CSV file."""
    rows = zip(*(np.asarray(column).tolist() for column in columns.values()), strict=True)
    path.write_text("\n".join(",".join(map(str, row)) for row in [list(columns), *rows]) + "\n")


def run(folder, name, *more, script="check_condition"):
    return call(folder, script, "--model", f"{FIELDS}:{name}", *more, "--output", "v.json")


@pytest.fixture
def folder(tmp_path):
    """Data files for the programs."""
    write(tmp_path / "xt.csv", x=X, y=T)
    write(tmp_path / "map.csv", cases=TOTAL[:6], expected=T[:6])
    write(tmp_path / "grouped.csv", y=X, group=GROUP)
    write(tmp_path / "table.csv", **{"target": X, "table[0]": T, "table[1]": X[::-1]})
    write(tmp_path / "Dose.csv", y=X, base=T, Dose=X[::-1])
    return tmp_path


REFUSED = {
    "clusters": ([], ["no latent has a row of its own", "at is shared by all rows", "nothing to amortize"]),
    "shrunk": (
        ["--data", "table.csv"],
        ["no latent has a row of its own", "own and b are shared", "nothing to amortize"],
    ),
    "regression": (
        ["--data", "divorce.csv"],
        ["no latent has a row", "a, bM and bA are shared", "nothing to amortize"],
    ),
    "counted": ([], ["not given: 'found'", "in line", "len(found)"]),
    "prices": ([], ["not given: 'returns'", "in line", "returns.shape[0]"]),
    "whole_table": (
        ["--data", "xt.csv"],
        ["frame, observed", "'x', 'y'", "a whole table must take its columns instead"],
    ),
    "on_a_map": (["--data", "map.csv"], ["index 6 is beyond an axis of length 6", "phi[BORDERS[0]]"]),
    "looked_at": (["--data", "yt.csv"], ["no function of the observations", "1.0 if y is not None and y[n] > 0"]),
    "dosed ": (["--data", "unit.csv"], ["'base (mg)'", "near to 'base'", "--rename 'base (mg)=base'"]),
    "five_rows ": (["--data", "word.csv"], ["line 3: y is 'b', not a finite number"]),
    "exact": (["--data", "big.csv"], ["value 11 (from 0) observed at site 'n' is outside the support of Poisson"]),
    "branching": ([], ["outside of JAX", "spread = 1.0 if z > 0 else 2.0"]),
    "in_groups": (["--data", "grouped.csv"], ["not given: 'num_groups'", "--settings"]),
    "five_rows": (["--data", "grouped.csv"], ["site 'y' have 12 rows, but its plate 'rows' has 5"]),
    "Study.program": (["--data", "grouped.csv"], ["is a method of a class: name an object of it"]),
    "dosed": (["--data", "Dose.csv"], ["column 'Dose'", "near to 'dose'", "--rename Dose=dose, or --ignore Dose"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_one_sentence_and_no_verdict(folder, name):
    write(folder / "divorce.csv", marriage=X, age=T, divorce=X[::-1])
    flags, fragments = REFUSED[name]
    write(folder / "yt.csv", y=X, t=T)
    write(folder / "unit.csv", y=X, **{"base (mg)": T})
    write(folder / "word.csv", y=[1, "b"])
    write(folder / "big.csv", n=[*range(11), -1])
    done = run(folder, name.strip(), *flags)
    assert done.code == 1 and done.out == "" and done.err.count("\n") == 1, done
    for fragment in fragments:
        assert fragment in done.err
    assert not (folder / "v.json").exists()


def test_nothing_is_lost_in_rounding(folder):
    """The terms of the log joint are of size 1e14; what depends on what is read off its structure and its entries."""
    write(folder / "large.csv", y=X, x=10**7 + np.arange(N))
    done = run(folder, "shifted", "--data", "large.csv")
    assert done.out.startswith("Yes") and "y and x of its own row" in done.out


def test_an_index_beyond_the_rows_that_are_looked_at(folder):
    write(folder / "late.csv", y=X, group=[*GROUP[:-1] % 4, 4])
    done = run(folder, "four_groups", "--data", "late.csv")
    assert done.code == 1 and "index 4 is beyond an axis of length 4" in done.err


def test_data_that_no_column_fills_are_said_to_be_drawn(folder):
    write(folder / "only.csv", base=T)
    done = run(folder, "dosed", "--data", "only.csv")
    assert done.code == 0 and "no column fills y, drawn by the program" in done.out.lower()


def test_an_index_beyond_the_groups(folder):
    """Groups that count from 1, where JAX takes the last group for the one beyond."""
    write(folder / "from_one.csv", y=X, group=GROUP + 1)
    done = run(folder, "four_groups", "--data", "from_one.csv")
    assert done.code == 1 and "index 4 is beyond an axis of length 4" in done.err and "a[group]" in done.err
    assert "not given" not in done.err


@pytest.mark.parametrize("name", ["four_groups", "study.program"])
def test_partials_and_methods(folder, name):
    done = run(folder, name, "--data", "grouped.csv")
    assert done.code == 0, done.err
    assert json.loads((folder / "v.json").read_text())["group"] == "groups"


def test_a_partial_may_hold_data():
    from functools import partial

    program = bind_program(partial(fields.logarithm, amount=T), {}, {"rate": X}, 6)
    assert program.sites == {"amount": ("log",)}


@pytest.mark.parametrize(
    ("flags", "covariates", "unused"),
    [(["--rename", "Dose=dose"], ["base", "dose"], []), (["--ignore", "Dose"], ["base"], ["Dose"])],
)
def test_a_near_miss_is_settled(folder, flags, covariates, unused):
    """By flags, and by the same words in a configuration, whose study reads the same columns."""
    done = run(folder, "dosed", "--data", "Dose.csv", *flags)
    verdict = json.loads((folder / "v.json").read_text())
    assert (verdict["covariates"], verdict["read"]["unused"]) == (covariates, unused)
    assert ("Columns that no argument takes: Dose." in done.out) == bool(unused)
    assert ("not given: dose" in done.out) == bool(unused)
    flag, value = flags
    said = {"rename": dict([value.split("=")])} if flag == "--rename" else {"ignore": [value]}
    entry = {"model": f"{FIELDS}:dosed", "data": {"file": "Dose.csv"} | said}
    check_config({"experiments": {"own": entry}}, SCHEMA, folder)
    done = call(
        folder,
        "prepare_data",
        *("--model", f"{FIELDS}:dosed", "--data", "Dose.csv", *flags, "--verdict", "v.json", "--output", "d.nc"),
    )
    assert done.code == 0 and done.out.startswith("Read Dose.csv: 12 rows; ")


@pytest.mark.parametrize(
    ("data", "settings", "message"),
    [
        ({"file": "Dose.csv"}, {}, "experiment 'own': .*rename: {Dose: dose} under data, or ignore: .Dose. under data"),
        ({"file": "log.csv"}, {}, "no column of .*log.csv fills 'base', which the program needs.*: Log of it"),
        ({"file": "gap.csv"}, {}, "lacks 1 of 2 values .line 3: empty.*drop_missing: true under data"),
        ({"file": "gap.csv", "drop_missing": "yes"}, {}, "drop_missing must be true or false, got 'yes'"),
        (
            {"file": "Dose.csv", "rename": {"dose": "dose"}},
            {},
            "has no column 'dose' to rename; it has 'y', 'base', 'Dose'",
        ),
        (
            {"simulate": {"num_obs": [4]}, "ignore": ["Dose"]},
            {},
            "ignore is said of a file, and simulated data have none",
        ),
    ],
)
def test_a_configuration_is_checked_against_its_file(folder, data, settings, message):
    (folder / "gap.csv").write_text("y,base\n1,2\n1,\n")
    (folder / "log.csv").write_text("y,Log of it\n1,2\n")
    config = {"experiments": {"own": {"model": f"{FIELDS}:dosed", "settings": settings, "data": data}}}
    with pytest.raises(InputError, match=message):
        check_config(config, SCHEMA, folder)


def test_codes_are_the_same_for_new_data(folder):
    """Also where the new data lack some of the categories; one that was not there is a sentence."""
    names = np.array(["north", "east", "south", "west"])
    write(folder / "first.csv", y=X, group=names[GROUP])
    write(folder / "second.csv", y=X[:4], group=["west", "south", "west", "south"])
    write(folder / "third.csv", y=X[:2], group=["west", "centre"])
    done = run(folder, "four_groups", "--data", "first.csv")
    assert "Codes: group east = 0, north = 1, south = 2, west = 3." in done.out
    codes = ("--codes", "v.json")
    again = run(folder, "four_groups", "--data", "second.csv", *codes)  # v.json is an input as well
    assert again.code == 1 and "--output v.json is an input as well" in again.err
    new = ("--model", f"{FIELDS}:four_groups", *codes, "--output", "w.json", "--data")
    assert "west = 3" in call(folder, "check_condition", *new, "second.csv").out
    assert json.loads((folder / "w.json").read_text())["read"]["codes"]["group"] == ["east", "north", "south", "west"]
    assert "'centre', none of the categories known" in call(folder, "check_condition", *new, "third.csv").err


def test_decimals_that_are_whole_can_be_an_index(folder):
    write(folder / "decimal.csv", y=X, group=GROUP.astype(float))
    done = run(folder, "four_groups", "--data", "decimal.csv")
    assert done.code == 0 and "group taken as whole numbers" in done.out


def test_rows_that_lack_a_value_are_left_out(folder):
    (folder / "gaps.csv").write_text("y,base\n" + "".join(f"{x},{'NA' if x > 1 else 2}\n" for x in X))
    done = run(folder, "dosed", "--data", "gaps.csv", "--drop-missing")
    lacking = int((X > 1).sum())
    assert lacking and f"Read gaps.csv: {N - lacking} rows ({lacking} row" in done.out


def test_latents_without_a_density_are_refused_by_the_study(folder):
    """Where the mask says seen, the drawn part has no density: its factor has no best scale."""
    write(folder / "seen.csv", y=X, seen=SEEN)
    assert run(folder, "partly_seen", "--data", "seen.csv").code == 0
    model = ("--model", f"{FIELDS}:partly_seen")
    assert not call(folder, "prepare_data", *model, "--data", "seen.csv", "--verdict", "v.json", "--output", "d.nc").err
    done = call(folder, "fit_program_fvi", "--data", "d.nc", "--verdict", "v.json", "--output", "f.nc")
    assert done.code == 1 and not (folder / "f.nc").exists()
    assert "8 of the 12 elements of 'y_unobserved' have no density" in done.err and "no upper bound" in done.err


@pytest.mark.parametrize(
    ("name", "columns", "words"),
    [
        (
            "lungs",
            TUTORIALS["lungs"][0],
            "the rows of its own patient_code, however many: fvc_obs, weeks, and their number",
        ),
        ("logarithm", OBSERVED["logarithm"][0], "amount and rate of its own row"),
        ("counted", OBSERVED["counted"][0], "Nothing is observed at a site; covariates: found"),
        ("two_parts", {}, "both is observed at 'one' and 'two'"),
    ],
)
def test_answers_in_the_programs_own_words(name, columns, words):
    _, verdict = asked(name, columns)
    text = answer(verdict)
    assert words in text and "z_n" not in text and "_(n" not in text
    assert len(text.splitlines()) <= 12 and text.count("F-VI") == 1


def test_the_way_out_of_crossed_effects():
    """Items and annotators are coupled; with the annotators shared, the items can be amortized, as the answer says."""
    columns = TUTORIALS["annotated"][0]
    _, verdict = asked("annotated", columns)
    assert (verdict.attainable, verdict.attainable_here, verdict.way_out) == ("no", True, ["difficulty"])
    text = answer(verdict)
    assert "take skill for shared, and difficulty can be amortized" in text and "--local difficulty" in text
    assert "parameters depend on the whole data set" in text
    _, named = asked("annotated", columns, local=("difficulty",))
    assert named.attainable == "yes"


CALLS = ["eight_schools", "baseball", "logarithm", "counted", "any_features", "selected"]


@pytest.mark.parametrize("name", CALLS)
def test_the_call_that_is_printed_can_be_made(name):
    """As it stands: the guide samples all latents of the program, and SVI can begin."""
    columns, settings = TUTORIALS[name][:2] if name in TUTORIALS else (OBSERVED[name][0], {})
    _, verdict = asked(name, columns, settings)
    text = re.search(r"guide = (avigap\.amortize\(program, .*\)), for numpyro\.infer\.SVI", answer(verdict))[1]
    program = getattr(fields, name)
    guide = eval(text, {"avigap": avigap, "program": program})
    svi = numpyro.infer.SVI(program, guide, numpyro.optim.Adam(0.01), numpyro.infer.Trace_ELBO())
    state = svi.init(jax.random.key(0), **columns, **settings)
    assert np.isfinite(svi.evaluate(state, **columns, **settings))


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("whole_table", {"frame": {"x": X, "y": T}}, "argument 'frame' is a table: the program must take each"),
        ("baseball", {"at_bats": TOTAL}, "without 'hits': site 'obs' is discrete"),
        ("mixture", {"data": X}, "site 'assignment' is discrete"),
    ],
)
def test_what_a_guide_refuses(name, arguments, message):
    guide = avigap.amortize(getattr(fields, name), {"kind": "constant"})
    with pytest.raises(InputError, match=message):
        handlers.seed(guide, 0)(**arguments)


def test_the_readme_shows_what_the_command_says(folder):
    write(folder / "schools.csv", y=X[:8], sigma=T[:8])
    done = run(folder, "eight_schools", "--data", "schools.csv", "--settings", '{"J": 8}')
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for line in done.out.splitlines():
        assert f"    {line}\n" in readme, line


def test_a_reader_that_has_seen_enough_is_no_error(monkeypatch, capsys):
    from avigap import cli

    def flush():
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(cli.sys, "stdout", SimpleNamespace(flush=flush, fileno=lambda: 1))
    monkeypatch.setattr(cli.os, "dup2", lambda one, other: None)
    monkeypatch.setattr(cli.signal, "signal", lambda number, handler: None)
    cli.run(lambda: None)
    assert capsys.readouterr().err == ""
