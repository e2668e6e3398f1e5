"""The ledger: verdicts follow from results, and change with them; the reference file is complete and well-formed."""

import csv
import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from avigap.errors import InputError
from avigap.ledger import (
    COLUMNS,
    STATISTICS,
    TABLES,
    VERDICTS,
    agrees,
    judge,
    judge_all,
    measure_of,
    published_medians,
    read_reference,
)

ROOT = Path(__file__).resolve().parents[1]
REFERENCE, SCHEMA = ROOT / "reference/ledger.yaml", ROOT / "workflow/schemas/ledger.schema.yaml"
ROWS = read_reference(REFERENCE, SCHEMA)
TABLE = pd.DataFrame(
    {
        "replay": ["coded"] * 3 + ["fair"] * 3,
        "method": ["a"] * 2 + ["b"] + ["a"] * 2 + ["b"],
        "it": [10.0, 30.0, 5.0, 6.0, 8.0, 7.0],
        "loss": [1.0, 3.0, np.inf, np.nan, -2.0, -np.inf],
    }
)
TABLES_HERE = {"replay": TABLE}


def measure(column="it", statistic="median", where=None, **rest):
    return {"table": "replay", "where": where or {"replay": "coded"}, "column": column, "statistic": statistic, **rest}


def row(published, tolerance, **rest):
    base = {"id": "x", "source": "s", "claim": "c", "mode": "as_coded", "command": "none", "published": published}
    return base | {"tolerance": tolerance | {"why": "w"}, "measure": measure()} | rest


@pytest.mark.parametrize(
    ("asked", "number"),
    [
        (measure(), 10.0),
        (measure(where={"replay": ["coded", "fair"], "method": "a"}), 9.0),
        (measure("loss", "count_true", {"method": ["a", "b"]}), 3.0),
        (measure("loss", "count_negative", {"method": ["a", "b"]}), 2.0),
        (measure("it", "range"), 25.0),
        (measure("it", "value", {"replay": "coded", "method": "b"}), 5.0),
        (measure("it", "min", {"method": "a"}, over={"where": {"method": "b"}}), 6 / 5),
        (measure("it", "max", {"method": "a"}, minus={"where": {"method": "b"}, "statistic": "min"}), 25.0),
        (
            measure(
                where={"replay": "coded", "method": "a"},
                over={"where": {"method": "b"}},
                times={"where": {"replay": "fair"}, "column": "it", "statistic": "max", "minus": {"statistic": "min"}},
            ),
            20 / 5 * (8 - 6),
        ),
        (measure(where={"replay": "absent"}), None),
        (measure(over={"where": {"replay": "absent"}}), None),
    ],
)
def test_a_measure_selects_and_summarises(asked, number):
    assert measure_of(asked, TABLES_HERE) == number


def test_a_ratio_has_no_interval_of_a_median():
    own = measure(where={"method": "a"})
    assert judge(row(9.0, {"absolute": 1.0}, measure=own), TABLES_HERE)["interval"].startswith("[6, 30]")
    for name in ("over", "minus", "times"):
        combined = own | {name: {"where": {"method": "b"}}}
        assert judge(row(9.0, {"absolute": 1.0}, measure=combined), TABLES_HERE)["interval"] is None


def test_a_median_counts_nan_and_infinity_as_never():
    assert measure_of(measure("loss"), TABLES_HERE) == 3.0
    assert measure_of(measure("loss", where={"replay": "fair"}), TABLES_HERE) == -2.0
    assert measure_of(measure("loss", where={"method": "b", "replay": "coded"}), TABLES_HERE) == np.inf
    assert np.isnan(measure_of(measure("it", "value"), TABLES_HERE))  # three rows are no single value


@pytest.mark.parametrize(
    ("published", "tolerance", "measured", "stands"),
    [
        (10.0, {"absolute": 1.0}, 11.0, True),
        (10.0, {"absolute": 1.0}, 11.1, False),
        (10.0, {"relative": 0.2}, 8.0, True),
        (10.0, {"relative": 0.2}, 7.9, False),
        (10.0, {"spread": 0.5}, 14.2, True),
        (10.0, {"spread": 0.5}, 14.3, False),
        (10.0, {"relation": "at_least"}, 10.0, True),
        (10.0, {"relation": "at_least"}, 9.9, False),
        (10.0, {"relation": "at_least", "absolute": 0.2}, 9.9, True),
        (10.0, {"relation": "at_most"}, 10.1, False),
        (np.inf, {"relative": 0.5}, np.inf, True),
        (np.inf, {"relative": 0.5}, 1e300, False),
        (10.0, {"relative": 0.5}, np.inf, False),
        (10.0, {"absolute": np.inf}, np.nan, False),
        (10.0, {"interval": True}, 18.0, True),  # the published number lies in the measured interval, 8 to 20
        (10.0, {"interval": True}, np.inf, False),
        (10.0, {"factor": 2.0}, 20.0, True),
        (10.0, {"factor": 2.0}, 4.9, False),
        (10.0, {"factor": 2.0, "absolute": 0.2}, 4.9, True),
        (10.0, {"factor": 2.0}, np.inf, False),
        (np.inf, {"factor": 2.0}, np.inf, True),
        (7.0, {"interval": True}, 18.0, False),
        (7.0, {"interval": True, "absolute": 11.0}, 18.0, True),
    ],
)
def test_agreement_is_within_the_tolerance(published, tolerance, measured, stands):
    assert agrees({"published": published, "tolerance": tolerance, "spread": [9.0, 12.5]}, measured, (8, 20)) is stands


def test_a_wide_interval_tells_too_little():
    row = {"published": 10.0, "tolerance": {"interval": True}}
    assert agrees(row, 18.0, (8, 20)) and not agrees(row, 18.0, (4, 20)) and not agrees(row, 18.0, None)


def test_a_published_range_without_end_takes_what_never_happened():
    row = {"published": 50.0, "spread": [9.0, np.inf], "tolerance": {"spread": 0.5, "absolute": 1.0}}
    assert agrees(row, np.inf) and agrees(row, 8.5) and not agrees(row, 7.5)


@pytest.mark.parametrize(
    ("asked", "verdict"),
    [
        (row(10.0, {"absolute": 0.1}), "reproduced"),
        (row(11.0, {"absolute": 0.1}, cause="why"), "differs"),
        (row(10.0, {"absolute": 0.1}, unavailable="lost"), "cannot be"),
        (row(None, {"absolute": 0.1}), "untested in the paper, now measured"),
        (row(10.0, {"absolute": 0.1}, measure=measure(where={"replay": "absent"})), "not run"),
        (row(10.0, {"absolute": 0.1}, without={"where": {"replay": "fair"}}, defect="d", cause="why"), "artefact"),
        (row(7.0, {"absolute": 0.1}, without={"where": {"replay": "fair"}}, defect="d", cause="why"), "differs"),
        (row(10.0, {"absolute": 9.0}, without={"where": {"replay": "fair"}}, defect="d", cause="why"), "reproduced"),
        (row(10.0, {"absolute": 0.1}, without={"where": {"replay": "gone"}}, defect="d", cause="why"), "reproduced"),
    ],
)
def test_the_verdict_follows_from_the_results(asked, verdict):
    found = judge(asked, TABLES_HERE)
    assert found["verdict"] == verdict and set(found) >= set(COLUMNS[:11])
    is_tested = asked.get("without", {}) != {"where": {"replay": "gone"}}
    assert (found["cause"] is None) == (is_tested and verdict in ("reproduced", "untested in the paper, now measured"))


def test_an_absent_table_is_not_run_and_an_unknown_one_refused():
    absent = row(1.0, {"absolute": 1.0}, measure=measure() | {"table": "gap"})
    assert judge(absent, TABLES_HERE)["verdict"] == "not run"
    with pytest.raises(InputError, match="unknown table of results 'gaps'"):
        judge(row(1.0, {}, measure=measure() | {"table": "gaps"}), TABLES_HERE)
    with pytest.raises(InputError, match="unknown column of table 'replay' 'its'"):
        judge(row(1.0, {}, measure=measure("its")), TABLES_HERE)


def test_changing_a_result_file_changes_the_verdict(tmp_path, monkeypatch):
    """Through the program, on the reference file itself: each row of one table is moved away and back."""
    names = ["authors"]
    paths = {name: tmp_path / f"{name}.csv" for name in names}
    source = list(csv.reader((ROOT / "reference/authors.csv").read_text(encoding="utf-8").splitlines()))

    def verdicts(table):
        with paths["authors"].open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows(table)
        output = tmp_path / "ledger.csv"
        arguments = ["--reference", REFERENCE, "--schema", SCHEMA, "--tables", paths["authors"], "--output", output]
        monkeypatch.setattr(sys, "argv", ["ledger.py", *map(str, arguments)])
        runpy.run_path(str(ROOT / "scripts/ledger.py"), run_name="__main__")
        return pd.read_csv(output).set_index("id").verdict

    before = verdicts(source)
    assert before["bnn-wall"] == "reproduced" and before["bnn-ratio-64"] == "differs"
    column = source[0].index("value")
    moved = [list(line) for line in source]
    for line in moved[1:]:
        line[column] = {"bnn_wall_saving": "0.1", "bnn_epochs": line[column]}.get(line[0], line[column])
        if line[:2] == ["bnn_epochs", "factorized"]:
            line[column] = "5000"
    after = verdicts(moved)
    assert after["bnn-wall"] == "differs" and after["bnn-ratio-64"] == "reproduced"
    assert (before.drop(["bnn-wall"]) == after.drop(["bnn-wall"])).sum() == len(before) - 4


def test_the_reference_file_names_only_what_exists():
    assert len(ROWS) >= 60 and len({each["id"] for each in ROWS}) == len(ROWS)
    config = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    replays = yaml.safe_load((ROOT / config["replays"]).read_text(encoding="utf-8"))
    methods = {name: set(entry["methods"]) for name, entry in replays.items()}
    families = {name: set(entry["families"]) for name, entry in config["experiments"].items()}
    images = yaml.safe_load((ROOT / config["images"]).read_text(encoding="utf-8"))
    for own in ("fashion_mnist_cpu", "images_long"):
        images |= yaml.safe_load((ROOT / f"config/{own}.yaml").read_text(encoding="utf-8"))["images"]
    for each in ROWS:
        measures = [each[key] for key in ("measure",) if key in each]
        for asked in measures:
            assert asked["table"] in TABLES and asked["statistic"] in STATISTICS, each["id"]
            where = asked.get("where", {})
            if asked["table"] in ("replay", "full_replay"):
                wanted = where["method"] if isinstance(where["method"], list) else [where["method"]]
                assert set(wanted) <= methods[where["replay"]], each["id"]
            if asked["table"] in ("images", "full_images", "long_images"):
                entry = images[where["experiment"]]
                assert where["method"] in entry["methods"] and where["num_obs"] in entry["num_obs"], each["id"]
            if asked["table"] == "gap" and "family" in where:
                assert where["family"] in families[where["experiment"]], each["id"]


def test_every_claim_that_must_be_judged_is_there():
    claims = " ".join(each["claim"] for each in ROWS)
    for words in ("order of magnitude", "2 to 3 times less", "does not grow with N", "not enough", "Figure 8", "NaN"):
        assert words in claims


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": "linear-slope", "claim": "twice"}, "the id 'linear-slope' is given 2 times"),
        ({"id": "new", "claim": "c", "tolerance": "loose", "published": 1.0}, "unknown tolerance of row 'new' 'loose'"),
        ({"id": "new", "claim": "c", "verdict": "reproduced"}, "verdict"),
        ({"id": "new", "claim": "c", "defect": "d"}, "cause"),
    ],
)
def test_a_reference_file_that_does_not_fit_is_refused(tmp_path, change, message):
    content = yaml.safe_load(REFERENCE.read_text(encoding="utf-8"))
    content["groups"][0]["rows"].append(change)
    path = tmp_path / "ledger.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_reference(path, SCHEMA)


def test_the_table_has_the_promised_columns_and_verdicts():
    ledger = judge_all(ROWS, {"authors": pd.read_csv(ROOT / "reference/authors.csv")})
    assert list(ledger.columns[:11]) == COLUMNS[:11] and len(ledger) == len(ROWS)
    assert set(ledger.verdict) <= set(VERDICTS)


NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:e-?\d+)?")


def is_rounded(number, word):
    """Return whether a word is a number, rounded to the word's digits."""
    mantissa, _, exponent = word.replace(",", "").partition("e")
    unit = 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))
    return abs(float(word.replace(",", "")) - number) <= 0.501 * unit


def test_numbers_are_told_from_others_by_their_digits():
    words = NUMBER.findall("at most 2e-29 nats, -37.5 or 32,398.99 for N = 10 to 10^6")
    assert words == ["2e-29", "-37.5", "32,398.99", "10", "10", "6"]
    assert is_rounded(1.9e-29, "2e-29") and not is_rounded(1.4e-29, "2e-29")
    assert is_rounded(32398.987, "32,398.99") and not is_rounded(32398.98, "32,398.99")


def test_the_readme_says_what_the_runs_on_fashion_mnist_came_to():
    text = (ROOT / "README.md").read_text(encoding="utf-8").partition("### Fashion-MNIST, as published")[2]
    runs = pd.read_csv(ROOT / "reference/full_images.csv").query("experiment == 'fashion_as_coded'").set_index("method")
    published = {each["id"]: each.get("published") for each in ROWS}
    lines = re.findall(r"^\| (F-VI|constant|width \d+) \|(.+)\|$", text, re.MULTILINE)
    assert len(lines) == len(runs)
    for label, cells in lines:
        name = {"F-VI": "fvi"}.get(label, label.replace(" ", "-"))
        own = runs.loc[{"F-VI": "factorized"}.get(label, label.replace(" ", "_"))]
        theirs = [published[f"images-{column}-{name}"] for column in ("loss", "error", "steps")]
        ours = [own.loss, own.mse_train, own.steps_to_mse, own.elbo / own.num_obs]
        numbers = [theirs[0], ours[0], theirs[1], ours[1], theirs[2], ours[2], ours[3]]
        for number, word in zip(numbers, cells.split("|"), strict=True):
            assert word.strip() == "never" if number == np.inf else is_rounded(number, word.strip()), (label, word)


@pytest.mark.parametrize("table", ["full_images", "long_images"])
def test_no_kept_run_is_nearer_to_the_best_q_than_to_the_best_factors_of_its_decoder(table):
    runs = pd.read_csv(ROOT / f"reference/{table}.csv")
    assert (runs.gap_per_obs >= runs.local_gap_per_obs - 4 * runs.local_gap_error - 1e-9).all() and len(runs) >= 6


def test_the_readme_says_what_the_ledger_said_last():
    """Each line of its first table: a row that exists, with rounded number, verdict and command of the kept one."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    part = text.split("## What of the paper stands")[1].split("\n## ")[0]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in part.splitlines() if line[:1] == "|"][2:]
    kept = pd.read_csv(ROOT / "docs/ledger.csv").set_index("id")
    counts = kept.verdict.value_counts()
    assert len(lines) >= 10 and list(kept.index) == [each["id"] for each in ROWS]
    assert f"{len(ROWS)} published numbers and claims" in part and all(f"{n} {v}" in part for v, n in counts.items())
    for _, measured, verdict, name, command in lines:
        number = kept.measured[name.strip("`")]
        assert np.isnan(number) or any(is_rounded(number, word) for word in NUMBER.findall(measured)), name
        assert verdict == kept.verdict[name.strip("`")], name
        assert command.strip("`") in kept.command[name.strip("`")], name


def test_every_named_tolerance_is_used():
    text = REFERENCE.read_text(encoding="utf-8")
    assert all(f"tolerance: {name}" in text for name in yaml.safe_load(text)["tolerances"])


def test_published_medians_are_those_of_honest_iterations():
    """One row each: no printed median of a rule that takes NaN for convergence stands in for another."""
    medians = published_medians(ROWS)
    assert medians["linear_as_coded", "factorized"] == 2135 and medians["nonlinear_as_coded", "width_32"] == 11915
    assert medians["saw_as_coded", "pair_2"] == 9085 and medians["linear_as_coded", "constant"] == np.inf


def test_a_row_shares_the_measure_of_its_group_unless_it_names_a_table(tmp_path):
    common = {"source": "s", "mode": "fair", "command": "none"}
    common |= {"measure": {"table": "replay", "where": {"replay": "r"}, "column": "it", "statistic": "min"}}
    rows = [
        {"id": "a", "claim": "c", "measure": {"where": {"method": "m"}, "statistic": "max"}},
        {"id": "b", "claim": "c", "measure": {"table": "gap", "column": "gap", "statistic": "min"}},
    ]
    path = tmp_path / "ledger.yaml"
    path.write_text(yaml.safe_dump({"tolerances": {}, "groups": [{"common": common, "rows": rows}]}))
    first, second = read_reference(path, SCHEMA)
    assert first["measure"] == {
        **{"table": "replay", "where": {"replay": "r", "method": "m"}},
        **{"column": "it", "statistic": "max"},
    }
    assert second["measure"] == rows[1]["measure"]
