"""A verdict in plain words: what can be reached and why, what a function must see, and what to do next."""

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from avigap.condition.verdict import Verdict
from avigap.files.table import Reading, describe
from avigap.names import rows_in_words

FVI = "factorized VI (F-VI), which fits a mean and a scale to each"
"""F-VI, spelt out where it is first named."""

MOST = 6
"""Names of sites that are listed."""


class Question(NamedTuple):
    """What was asked: the program as the command line names it, and the options that name it again.

    Attributes
    ----------
    model, settings, data
        As given; ``data`` with the options that say how it is read.
    without
        Arguments that may be given and are not.
    """

    model: str
    settings: Mapping[str, object] = {}
    data: tuple[str, ...] = ()
    without: tuple[str, ...] = ()


def answer(verdict: Verdict, question: Question | None = None, reading: Reading | None = None) -> str:
    """Return a verdict as at most twelve plain lines."""
    lines = [_first(verdict), f"Why: {_why(verdict)}."]
    if verdict.attainable in ("yes", "wider_input") or (verdict.attainable_here and not verdict.way_out):
        lines.append(f"The function must see: {'; '.join(seen_in_words(verdict)) or 'nothing'}.")
    if verdict.edges:
        many = ", .." if len(verdict.edges) > MOST else ""
        where = ", ".join(map(str, verdict.edges[:MOST])) + many
        lines.append(f"At the ends, positions {where} lack a row that it must see: they keep factors of their own.")
    lines += describe(reading) if reading else []
    lines.append(_roles(verdict, question, reading))
    if verdict.local:
        lines.append(f"Local latents: {_listed(verdict.local_names)}; shared: {_listed(verdict.shared)}.")
    if verdict.evidence:
        lines.append(_evidence(verdict))
    lines.append(f"Next: {next_step(verdict, question)}")
    return "\n".join(lines)


def _first(verdict: Verdict) -> str:
    if verdict.attainable == "yes":
        return f"Yes: one function of the data of a row reaches the optimum of {FVI} row."
    if verdict.attainable == "wider_input":
        own = f"group ({verdict.group})" if verdict.group else "row"
        return f"With a wider input: one row is not enough, but a function of more reaches the optimum of {FVI} {own}."
    if verdict.attainable == "no" and verdict.attainable_here:
        return f"No for the graph, yet here yes by symmetry: a function reaches the optimum of {FVI}."
    if verdict.attainable == "no":
        return f"No: no function of a fixed number of rows reaches the optimum of {FVI} row."
    return f"Unknown: it was not found whether a function reaches the optimum of {FVI} row."


def _why(verdict: Verdict) -> str:
    """Return the reason in the words of the program's own sites and columns."""
    own = _listed(verdict.local_names, "or")
    given = f"given {_listed(verdict.shared)}, " if verdict.shared else ""
    unit = (verdict.group_column or verdict.group or "row") if verdict.rule in ("index", "group") else "row"
    apart = f"{given}{own} of one {unit} does not interact with that of another"
    columns = _listed([*verdict.observed, *verdict.covariates]) or "nothing"
    if verdict.rule == "index":
        return f"{apart}, but two with equal data differ: the program tells them apart by their place n"
    if verdict.rule in ("simple_hierarchical", "window"):
        return f"{apart}, and rows with equal {columns} have equal factors"
    if verdict.rule == "group" and verdict.group:
        return f"{apart}, and each needs the rows of its own"
    if verdict.rule in ("coupling", "exchangeable") and verdict.coupled:
        pair = verdict.coupled[0]
        one, other = (f"{s} at {_place(p)}" for s, p in zip(pair["sites"], pair["positions"], strict=True))
        linked = f"{one} interacts with {other}, and so on through ever more rows as the data grow"
        if verdict.attainable_here:
            return (
                f"{linked}; but swapping two with equal {columns} changes nothing, so that they have equal factors, by"
                " a function whose parameters depend on the whole data set and are fitted anew for another"
            )
        if verdict.twin:
            places = " and ".join(map(_place, verdict.twin["positions"]))
            return f"{linked}; positions {places} of one data set have equal inputs and other factors"
        return linked
    return verdict.reason.replace("z_n", own)


def seen_in_words(verdict: Verdict) -> list[str]:
    """Return what the function must see, each in words."""
    if verdict.index_map is not None:
        found = [f"the rows that the index map gives it: {_listed([*verdict.observed, *verdict.covariates])}"]
    elif verdict.group is None:
        windows = dict.fromkeys(verdict.observed, verdict.inputs) | dict(verdict.covariate_offsets)
        found = rows_in_words(windows)
    else:
        unit = verdict.group_column or verdict.group
        of_rows = [n for n in verdict.covariates if n not in (*verdict.group_covariates, verdict.group_column)]
        columns = ", ".join([*(verdict.observed if verdict.inputs else ()), *of_rows])
        many = "" if verdict.group_bounded else ", however many"
        found = [f"the rows of its own {unit}{many}: {columns}, and their number"]
        if verdict.group_covariates:
            found.append(f"{_listed(verdict.group_covariates)} of its own {unit}")
    return [*found, *(["the place n of the row itself"] if verdict.needs_index else [])]


def _evidence(verdict: Verdict) -> str:
    """Return how the answer is known: what structure proves, what values show, and what is not settled."""
    rows = f" at {' and '.join(map(str, verdict.looked_at))} rows" if verdict.looked_at else ""
    own = _listed(verdict.local_names, "or")
    parts = []
    if verdict.evidence.get("coupling") == "proved":
        parts.append(
            f"that {own} of two {'groups' if verdict.group else 'rows'} do not interact is proved by structure"
        )
    elif verdict.evidence.get("coupling") == "seen":
        parts.append("the interactions are seen in values")
    sharing = verdict.evidence.get("sharing")
    if sharing in ("proved", "seen"):
        parts.append(
            f"that equal rows have equal factors is {'proved too' if sharing == 'proved' else 'seen in values'}"
        )
    if verdict.concrete:
        parts.append(f"for these values of {_listed(verdict.concrete)}")
    if verdict.common:
        parts.append(f"parameters of the function hold what all rows share: {_listed(verdict.common)}")
    if verdict.inactive:
        parts.append(f"interactions that {_listed(list(verdict.inactive))} switch off at these data are left out")
    if verdict.num_unsettled:
        parts.append(f"{verdict.num_unsettled} pairs are not settled")
    return f"Known{rows}: {'; '.join(parts)}." if parts else f"Looked at{rows or ' one set of data'}."


def _roles(verdict: Verdict, question: Question | None, reading: Reading | None) -> str:
    """Return which site observes each argument, which arguments are covariates, and which change nothing."""
    parts = [
        f"{name} is observed at {_listed([repr(site) for site in own])}" for name, own in verdict.sites.items() if own
    ]
    drawn = [name for name in verdict.sites if reading and name not in reading.columns]
    parts += [f"no column fills {_listed(drawn)}, drawn by the program"] if drawn else []
    parts += ["nothing is observed at a site"] if not parts else []
    given = [name for name in verdict.covariates if name not in verdict.sites]
    parts += [f"covariates: {_listed(given)}"] if given else []
    parts += [f"values that change nothing: those of {_listed(verdict.unused)}"] if verdict.unused else []
    parts += [f"not given: {_listed(question.without)}"] if question and question.without else []
    text = "; ".join(parts)
    return f"{text[0].upper() if text.startswith('nothing') else text[0]}{text[1:]}."


def next_step(verdict: Verdict, question: Question | None) -> str:
    """Return the call or the command that follows from a verdict, filled in."""
    asked = question or Question("file.py:program")
    if verdict.attainable == "unknown":
        return _after_unknown(verdict)
    if verdict.way_out:
        return (
            f"take {_listed([n for n in verdict.local_names if n not in verdict.way_out])} for shared, and"
            f" {_listed(verdict.way_out)} can be amortized: {command(asked, '--local', *verdict.way_out)}"
        )
    study = f"config.yaml with experiments: {json.dumps({'mine': study_of(asked)})}, then snakemake --cores all"
    if verdict.attainable == "no" and not verdict.attainable_here:
        return f"keep a factor for each row (AutoNormal), or measure what functions of windows cost: {study}"
    if verdict.group or verdict.needs_index or not _is_plain(verdict):
        return f"measure what functions of these inputs cost: {study}"
    return f"guide = {call(verdict, asked)}, for numpyro.infer.SVI"


def _is_plain(verdict: Verdict) -> bool:
    """Say whether a guide sees what is needed: rows of columns."""
    has_plates = any(isinstance(position, Mapping) for position in verdict.edges)
    is_loop = verdict.local_names != list(verdict.local)
    return bool(verdict.inputs or verdict.covariates) and not has_plates and not is_loop


def _after_unknown(verdict: Verdict) -> str:
    after = {
        "discrete_latent": "sum the discrete latents out, and ask again",
        "not_finite": "ask again with other data or --settings, at which the density is finite",
        "not_settled": "ask again with data, or --settings, at which these interactions are active",
        "too_few": "ask again with more rows by --num-obs",
    }
    return f"{after.get(verdict.rule, 'ask again with more rows by --num-obs')}."


def call(verdict: Verdict, question: Question) -> str:
    """Return the call of :func:`avigap.amortize` that a verdict asks for."""
    offsets = sorted({*verdict.inputs, *(o for own in verdict.covariate_offsets.values() for o in own)}) or [0]
    columns = [*(verdict.observed if verdict.inputs else ()), *verdict.covariates]
    name = question.model.rpartition(":")[2].replace("-", "_")
    local = f", local={verdict.local_names}" if len(verdict.local) and len(verdict.shared) else ""
    return f'avigap.amortize({name}, {{"kind": "mlp", "width": 8}}, inputs={offsets}, columns={columns}{local})'


def command(question: Question, *more: str) -> str:
    """Return the command that asks again, with more options."""
    settings = ("--settings", json.dumps(dict(question.settings))) if question.settings else ()
    words = ["--model", question.model, *settings, *question.data, *more, "--output", "verdict.json"]
    return f"python scripts/check_condition.py {shlex.join(words)}"


def study_of(question: Question) -> dict[str, object]:
    """Return the experiment of a configuration that measures what functions cost."""
    file = question.data[question.data.index("--data") + 1] if "--data" in question.data else None
    data: dict[str, object] = {"file": file} if file else {"simulate": {"num_obs": [100]}}
    settings = {"settings": dict(question.settings)} if question.settings else {}
    return {"model": question.model, **settings, "data": data}


def _place(position: object) -> str:
    if isinstance(position, Mapping):
        return " ".join(f"{plate} {index}" for plate, index in position.items())
    return str(position)


def _listed(names: Sequence[str], last: str = "and") -> str:
    """Return names in a row, the first of many."""
    shown = [*names[:MOST], *([f".. ({len(names)} in all)"] if len(names) > MOST else [])]
    if len(names) > MOST:
        return ", ".join(shown)
    return f" {last} ".join(filter(None, [", ".join(shown[:-1]), *shown[-1:]])) if shown else "none"
