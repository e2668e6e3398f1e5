"""What was found about a program, as values and in words."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from avigap.errors import InputError
from avigap.names import rows_named
from avigap.paths import check_input
from avigap.rules import Attainable
from avigap.shown import indexed

RARE = 0.05
"""Share of the probes at which a dependence shows, for which the probability to miss it is stated."""

LOOKUP = (
    "Distinct data always admit a lookup table: the verdict is about data sets with ties, and so about functions of a"
    " small class."
)


class Verdict(NamedTuple):
    """What was found about a program.

    Attributes
    ----------
    attainable
        Of the graph, for all densities on it: ``"yes"`` if x_n and the n-th row of the covariates suffice,
        ``"wider_input"`` if other offsets, the rows of a bounded group or n itself are needed, ``"no"`` if the rows
        needed grow with N, else ``"unknown"``.
    attainable_here
        Of this density; None if nothing was found either way.
    inputs
        Offsets of the rows of the observations; empty if none is needed.
    covariates
        Names of those whose n-th row is needed.
    covariate_offsets
        Offsets of the rows of each covariate that are needed, `[0]` as a rule.
    needs_index
        Whether two positions with equal inputs and covariates, none at an edge, still differ.
    group
        Plate whose rows are needed.
    edges
        Positions whose inputs leave the data.
    coupled
        Examples of coupled positions, with the mixed derivative of the log joint in nats.
    rule, reason
        What decided, as a name and in a sentence.
    twin
        Two positions of one data set with equal inputs whose optimal factors differ, with both factors.
    local, shared
        Names of the latent sites.
    observed
        Names of the observations, whose rows are x_n; empty if the data enter by factors alone, and are covariates.
    probes, error_probability
        Number of random points, and the probability that a dependence which shows at 5 % of such points was missed.
    sites
        For each of the observations, the sites that condition on it.
    unused
        Arguments that are given and change nothing: no site observes them, and they enter no density.
    """

    attainable: Attainable
    attainable_here: bool | None
    inputs: list[int]
    covariates: list[str]
    covariate_offsets: dict[str, list[int]]
    needs_index: bool
    group: str | None
    edges: list[Any]
    coupled: list[dict[str, Any]]
    rule: str
    reason: str
    twin: dict[str, Any] | None
    local: list[str]
    shared: list[str]
    observed: list[str]
    probes: int
    error_probability: float
    sites: Mapping[str, list[str]] = MappingProxyType({})
    unused: Sequence[str] = ()

    @property
    def local_names(self) -> list[str]:
        """Names of the local latents for any N: the stem of a series of sites of which there is one for each row."""
        series = indexed(dict.fromkeys(self.local))
        numbered = {name for names in series.values() for name in names}
        return [*series, *(name for name in self.local if name not in numbered)]


def answer(verdict: Verdict) -> str:
    """Return a verdict as a short plain answer."""
    first = {
        "yes": "Yes: an inference function of x_n can reach the optimum of F-VI, for every density on this graph.",
        "wider_input": "With a wider input: x_n is not enough, but a function that sees more reaches the optimum.",
        "no": "No: on this graph no inference function of a fixed number of rows reaches the optimum of F-VI.",
        "unknown": "Unknown.",
    }[verdict.attainable]
    lines = [first, f"Why: {verdict.reason}."]
    if verdict.attainable == "no" and verdict.attainable_here is not None:
        lines.append(
            "For this density it exists all the same, by symmetry."
            if verdict.attainable_here
            else f"Nor for this density: positions {verdict.twin['positions']} have equal inputs and other factors."  # type: ignore[index]
        )
    if verdict.attainable != "unknown":
        lines.append(f"Inputs: {_inputs(verdict)}.")
    if verdict.edges:
        lines.append(f"Positions with a factor of their own: {', '.join(map(str, verdict.edges))}.")
    lines.append(f"Local latents: {', '.join(verdict.local) or 'none'}; shared: {', '.join(verdict.shared) or 'none'}.")
    lines.append(
        f"A dependence that shows at {RARE:.0%} of the {verdict.probes} random points was missed with probability"
        f" {verdict.error_probability:.0e}."
    )
    return "\n".join([*lines, LOOKUP])


def _inputs(verdict: Verdict) -> str:
    parts = rows_named(verdict.observed, verdict.inputs, verdict.covariate_offsets)
    parts += [f"all rows of the same {verdict.group!r}"] if verdict.group else []
    parts += ["n itself"] if verdict.needs_index else []
    return ", ".join(parts) or "none"


def read_verdict(path: Path) -> Verdict:
    """Return the verdict that ``scripts/check_condition.py`` wrote.

    Raises
    ------
    InputError
        If the file is not one of these.
    """
    check_input(path)
    try:
        return Verdict(**json.loads(path.read_text(encoding="utf-8")))
    except (UnicodeDecodeError, json.JSONDecodeError, TypeError) as error:
        raise InputError(f"{path} is not a verdict that check_condition.py wrote") from error
