"""What was found about a program, as values and in words."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from avigap.condition.rules import Attainable
from avigap.errors import InputError
from avigap.paths import check_input
from avigap.program.shown import indexed

VERSION = 2
"""Of the schema of a verdict's file, ``workflow/schemas/verdict.schema.yaml``."""


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
    evidence
        How each part of the answer is known: ``coupling`` (its absence is ``"proved"`` by structure, its presence is
        ``"seen"`` in values), ``inputs`` and ``sharing`` (``"proved"``, ``"seen"``, ``"differs"``, ``"not settled"``).
    unsettled, num_unsettled
        Pairs that may interact by structure and that no value shows, the first of them, and how many there are.
    inactive
        Arguments whose values switch interactions off at these data, and how many pairs.
    concrete
        Arguments that were taken for constants, as an index is: what is proved is proved for their values.
    common
        Numbers that all positions have in common, which are parameters of the function.
    asked
        Values that Python asked for while the program ran.
    dense, operations
        Operations without a rule, which are taken for functions of all their inputs, and how many there were of all.
    points, compared
        Points at which values were looked at, and pairs for which they were.
    group_bounded
        Whether the rows of a group do not grow in number with N; None if there is no group.
    index_map
        For each position the rows that it needs, where these are not at the same offsets.
    sites
        For each of the observations, the sites that condition on it.
    unused
        Arguments that are given and change nothing: no site observes them, and they enter no density.
    group_column, group_covariates
        The covariate that holds the group of each row, and the covariates of which each group has one row.
    way_out
        Local latents to name, which can be amortized if all others are taken for shared.
    looked_at
        Numbers of rows at which dependences were sought.
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
    evidence: Mapping[str, str] = MappingProxyType({})
    unsettled: Sequence[Any] = ()
    num_unsettled: int = 0
    inactive: Mapping[str, int] = MappingProxyType({})
    concrete: Sequence[str] = ()
    common: Sequence[str] = ()
    asked: Sequence[str] = ()
    dense: Mapping[str, int] = MappingProxyType({})
    operations: int = 0
    points: int = 0
    compared: int = 0
    group_bounded: bool | None = None
    index_map: Sequence[Sequence[int]] | None = None
    sites: Mapping[str, list[str]] = MappingProxyType({})
    unused: Sequence[str] = ()
    group_column: str | None = None
    group_covariates: Sequence[str] = ()
    way_out: Sequence[str] | None = None
    looked_at: Sequence[int] = ()

    @property
    def local_names(self) -> list[str]:
        """Names of the local latents for any N: the stem of a series of sites of which there is one for each row."""
        series = indexed(dict.fromkeys(self.local))
        numbered = {name for names in series.values() for name in names}
        return [*series, *(name for name in self.local if name not in numbered)]


def document(verdict: Verdict, reading: Mapping[str, Any] | None) -> str:
    """Return the file of a verdict, as JSON: its version, what was found, and what was read from the data."""
    found = {name: dict(value) if isinstance(value, Mapping) else value for name, value in verdict._asdict().items()}
    return json.dumps({"version": VERSION, **found, "read": reading}, indent=2, allow_nan=False) + "\n"


def read_verdict(path: Path) -> Verdict:
    """Return the verdict that ``scripts/check_condition.py`` wrote.

    Raises
    ------
    InputError
        If the file is not one of these.
    """
    check_input(path)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if "attainable" in found and found.get("version") != VERSION:
            version = found.get("version", "an earlier one")
            raise InputError(f"{path} is a verdict of version {version}, not {VERSION}: run check_condition.py again")
        return Verdict(**{name: value for name, value in found.items() if name not in ("version", "read")})
    except (UnicodeDecodeError, json.JSONDecodeError, TypeError) as error:
        raise InputError(f"{path} is not a verdict that check_condition.py wrote") from error
