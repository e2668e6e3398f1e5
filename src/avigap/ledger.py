"""The ledger: each published number or claim, what a run of this project measures of it, and the verdict.

The reference file holds what was published and where the measurement lies in the tables of results; the verdict is
computed, never written:

- *reproduced*: the measurement agrees with the published value within the stated tolerance;
- *differs*: it does not;
- *artefact*: it does with a named defect switched on, and does not with the defect off;
- *cannot be*: nothing can be measured, for the reason that the reference file declares;
- *untested in the paper, now measured*: the paper claims it without a number;
- *not run*: the configuration at hand has no such run.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pandas as pd
import yaml

from avigap.convergence import Median, median_of
from avigap.errors import InputError, unknown

COLUMNS = [
    *("id", "source", "claim", "published", "spread", "mode", "measured", "tolerance", "verdict", "cause", "command"),
    *("without_defect", "interval", "runs"),
]
VERDICTS = [
    *("reproduced", "differs", "artefact", "cannot be", "untested in the paper, now measured", "not run"),
]
TABLES = (
    "gap",
    "fvi",
    "coefficients",
    "replay",
    "hmm_example",
    "images",
    "authors",
    "full_replay",
    "full_images",
    "long_images",
)
"""Tables of results that a measure may name, by the stems of their files."""

WIDEST = 4.0
"""Ratio of the ends of a median's interval beyond which it tells too little for a published number to lie in it."""

MERGED = ("measure", "where", "without")
"""Mappings of a row that are laid over those of its group; one that names a table of its own replaces them."""


def _median(values: np.ndarray) -> float:
    return median_of(np.where(np.isnan(values), np.inf, values)).value


STATISTICS: dict[str, Callable[[np.ndarray], float]] = {
    "value": lambda values: float(values[0]) if len(values) == 1 else math.nan,
    "median": _median,
    "min": lambda values: float(np.min(values)),
    "max": lambda values: float(np.max(values)),
    "mean": lambda values: float(np.mean(values)),
    "range": lambda values: float(np.max(values) - np.min(values)),
    "count_true": lambda values: float(np.sum(values > 0)),
    "count_negative": lambda values: float(np.sum(values < 0)),
}
"""What is made of the values of a column in the rows that a measure selects."""


COMBINED = {"over": np.divide, "minus": np.subtract, "times": np.multiply}
"""What a measure does with another one, by the name under which it has it."""


def _laid_over(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``base`` with the entries of ``top``, those in ``MERGED`` laid over each other in turn."""
    merged = {**base, **top}
    for name in MERGED:
        both = base.get(name), top.get(name)
        if isinstance(both[0], Mapping) and isinstance(both[1], Mapping) and "table" not in both[1]:
            merged[name] = _laid_over(both[0], both[1])
    return merged


def read_reference(path: Path, schema_path: Path) -> list[dict[str, Any]]:
    """Return the rows of a reference file, each complete.

    Raises
    ------
    InputError
        If the file does not fit its schema, an id is used twice, or a row names a tolerance that is not defined.
    """
    content, schema = (yaml.safe_load(each.read_text(encoding="utf-8")) for each in (path, schema_path))
    if error := next(jsonschema.Draft202012Validator(schema).iter_errors(content), None):
        raise InputError(f"{path}: {'.'.join(map(str, error.absolute_path))}: {error.message[:300]}")
    rows = [_laid_over(group["common"], row) for group in content["groups"] for row in group["rows"]]
    names = [row["id"] for row in rows]
    for row in rows:
        if names.count(row["id"]) > 1:
            raise InputError(f"{path}: the id {row['id']!r} is given {names.count(row['id'])} times")
        if lacking := {"source", "claim", "mode", "command"} - set(row):
            raise InputError(f"{path}: row {row['id']!r} lacks {', '.join(sorted(lacking))}")
        if "unavailable" not in row and "measure" not in row:
            raise InputError(f"{path}: row {row['id']!r} needs a measure, or a reason why it is unavailable")
        if isinstance(row.get("tolerance"), str):
            if row["tolerance"] not in content["tolerances"]:
                raise unknown(f"tolerance of row {row['id']!r}", row["tolerance"], content["tolerances"])
            row["tolerance"] = content["tolerances"][row["tolerance"]]
        if row.get("published") is not None and "measure" in row and "tolerance" not in row:
            raise InputError(f"{path}: row {row['id']!r} needs a tolerance")
    return rows


def published_medians(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], float]:
    """Return the published medians of iterations to 1 %, by replay and method."""
    found = {}
    for row in rows:
        measure = row.get("measure", {})
        where = measure.get("where", {})
        is_median = (measure.get("statistic"), measure.get("column")) == ("median", "it_1_honest")
        if is_median and {"replay", "method"} <= set(where) and not set(COMBINED) & set(measure):
            found[where["replay"], where["method"]] = float(row["published"])
    return found


def select(measure: Mapping[str, Any], tables: Mapping[str, pd.DataFrame]) -> np.ndarray:
    """Return the values that a measure asks for, empty if the table is absent or has no such row.

    Raises
    ------
    InputError
        If no table or column is called so.
    """
    if measure["table"] not in TABLES:
        raise unknown("table of results", measure["table"], TABLES)
    if measure["table"] not in tables:
        return np.empty(0)
    table = tables[measure["table"]]
    for column in (*measure.get("where", {}), measure["column"]):
        if column not in table:
            raise unknown(f"column of table {measure['table']!r}", column, table.columns)
    chosen = np.ones(len(table), bool)
    for column, wanted in measure.get("where", {}).items():
        chosen &= table[column].isin(wanted if isinstance(wanted, list) else [wanted]).to_numpy()
    return table.loc[chosen, measure["column"]].to_numpy(float)


def measure_of(measure: Mapping[str, Any], tables: Mapping[str, pd.DataFrame]) -> float | None:
    """Return the number that a measure stands for, or None if there is no row for it.

    With ``over`` the number is a ratio, with ``minus`` a difference, with ``times`` a product: with the number of the
    measure under that name, which is laid over the measure itself.
    """
    values = select(measure, tables)
    if not len(values):
        return None
    number = STATISTICS[measure["statistic"]](values)
    for name, combine in COMBINED.items():
        if name in measure:
            rest = {key: value for key, value in measure.items() if key not in COMBINED}
            other = measure_of(_laid_over(rest, measure[name]), tables)
            if other is None:
                return None
            with np.errstate(invalid="ignore", divide="ignore"):
                number = float(combine(number, other))
    return number


def agrees(row: Mapping[str, Any], measured: float, interval: tuple[float, float] | None = None) -> bool:
    """Return whether a measured number agrees with the published one; NaN never does, infinity with infinity.

    ``interval`` is that of a measured median, in which the published number may lie where the tolerance says so.
    """
    published, rule = row["published"], row["tolerance"]
    if math.isnan(measured):
        return False
    room = rule.get("absolute", 0.0) + (rule["relative"] * abs(published) if "relative" in rule else 0.0)
    if "relation" in rule:
        return bool(measured >= published - room if rule["relation"] == "at_least" else measured <= published + room)
    if "factor" in rule:
        return bool(published / rule["factor"] - room <= measured <= published * rule["factor"] + room)
    is_narrow = interval is not None and math.isfinite(measured) and interval[1] <= WIDEST * interval[0]
    if rule.get("interval") and interval is not None and is_narrow and interval[0] <= published <= interval[1]:
        return True
    if "spread" in rule:  # so many lengths of the published range to both sides of it
        low, high = row["spread"]
        room += rule["spread"] * (high - low) if math.isfinite(high) else 0.0
        return bool(low - room <= measured <= high + room)
    if math.isinf(published) or math.isinf(measured):
        return bool(measured == published)
    return bool(abs(measured - published) <= room)


def judge(row: Mapping[str, Any], tables: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    """Return the row of the ledger for a row of the reference file."""
    found: dict[str, Any] = {name: row.get(name) for name in COLUMNS}
    found["tolerance"] = _in_words(row.get("tolerance"))
    if "unavailable" in row:
        return found | {"verdict": "cannot be", "cause": row["unavailable"]}
    found["measured"] = measured = measure_of(row["measure"], tables)
    if measured is None:
        return found | {"verdict": "not run", "cause": "the configuration has no such run"}
    values = select(row["measure"], tables)
    found["runs"], middle = len(values), _middle(row["measure"], values)
    if middle is not None:
        found["interval"] = f"[{middle.low:.6g}, {middle.high:.6g}] {middle.coverage:.0%}"
    if row.get("published") is None:
        return found | {"verdict": "untested in the paper, now measured"}
    verdict = "reproduced" if agrees(row, measured, middle and (middle.low, middle.high)) else "differs"
    if "without" in row:
        found["without_defect"] = other = measure_of(_laid_over(row["measure"], row["without"]), tables)
        if other is None or math.isnan(other):
            return found | {"verdict": verdict, "cause": f"not tested without {row['defect']}"}
        if verdict == "reproduced" and not agrees(row, other):
            verdict = "artefact"
    return found | {"verdict": verdict, "cause": None if verdict == "reproduced" else row.get("cause")}


def _middle(measure: Mapping[str, Any], values: np.ndarray) -> Median | None:
    """Return the median of several runs with its interval, whose coverage is below 95 % for fewer than six runs."""
    if measure["statistic"] != "median" or set(COMBINED) & set(measure) or len(values) < 2:
        return None
    return median_of(np.where(np.isnan(values), np.inf, values))


def _in_words(rule: Mapping[str, Any] | None) -> str | None:
    if rule is None:
        return None
    names = {
        "absolute": "within {}",
        "factor": "within a factor of {}",
        "relative": "within {:.2%}",
        "spread": "in the published range + {} of it",
    }
    parts = [text.format(rule[name]) for name, text in names.items() if name in rule]
    parts += ["or in the interval of the measured median"] if rule.get("interval") else []
    parts += [str(rule["relation"]).replace("_", " ")] if "relation" in rule else []
    return f"{', '.join(parts)}: {rule['why']}"


def judge_all(rows: Sequence[Mapping[str, Any]], tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the ledger: one row for each of the reference file, in its order."""
    return pd.DataFrame([judge(row, tables) for row in rows], columns=COLUMNS)
