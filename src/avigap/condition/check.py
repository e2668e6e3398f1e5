"""Whether amortization can reach F-VI's optimum in a program, and what an inference function must see (Theorem 3.4).

The statement: for every data set, ties included, there is a function of the stated inputs, whose parameters may differ
between data sets, that gives every factor of F-VI's optimum but those at edges (Remark 3.7). It holds for all densities
on a graph if no two z_n are coupled given the shared latents, and if the log joint is unchanged when the latents of two
positions with equal inputs are swapped; a bounded group of coupled z_n needs the rows of the group, and coupling that
grows with N has no such function but by a symmetry of the density (Appendix A.3).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from avigap.condition.dependence import MAX_OFFSETS, Dependence
from avigap.condition.evidence import Evidence, evidence_of
from avigap.condition.rules import Case, Found, judge
from avigap.condition.symmetry import is_exchangeable, pairs_of, tied
from avigap.condition.twin import Optimum, twin
from avigap.condition.values import Evaluator, Moves, Point
from avigap.condition.verdict import Verdict
from avigap.condition.view import View, look
from avigap.errors import InputError
from avigap.program.arguments import Program
from avigap.program.bounds import check_bounds
from avigap.program.sites import Sites, sites_at
from avigap.program.structure.joint import trace_joint
from avigap.target import check_support

NUM_OBS = 200
"""Number of observations at which a program that simulates is looked at, and at twice as many."""

SMALL = 6
"""Number of observations at which a twin is sought."""

MAX_TRIES, MAX_UNITS = 12, 60
"""Pairs of positions and data sets among which a twin is sought, and units up to which it is."""

MAX_LISTED = 50
"""Pairs that are not settled that are listed."""

NUM_EXAMPLES = 3
"""Coupled pairs that are shown."""


def check_condition(program: Program, num_obs: int | None = None, local: Sequence[str] = (), seed: int = 0) -> Verdict:
    """Find out whether amortization can reach F-VI's optimum in a program.

    Parameters
    ----------
    num_obs
        Number of observations at which a program that simulates is looked at, and at twice as many; data that are
        given are looked at whole.
    local
        Names of the local latents; by default those in a plate of the observations, or that grow with N.
    seed
        Of the random points.

    Raises
    ------
    InputError
        If the program cannot be scored, or has no local latents.
    """
    with jax.enable_x64(True):
        return _checked(program, num_obs, tuple(local), seed)


def _checked(program: Program, num_obs: int | None, local: tuple[str, ...], seed: int) -> Verdict:
    _check_whole(program)
    smaller, larger, sites = sizes(program, num_obs)
    latent = sites[smaller].latent
    if discrete := [name for name, site in latent.items() if site.discrete]:
        reason = f"discrete latents ({', '.join(discrete)}): sum them out, for instance with MixtureSameFamily"
        return _without_view(program, Found("unknown", None, (), (), False, None, (), "discrete_latent", reason))
    view = look(program, smaller, sites[smaller], sites.get(larger) if larger else None, local or program.local, seed)
    more = _more(view, larger, sites, seed)
    if more is not None and _shows_more(smaller, view, more):
        return _checked(program, larger, local, seed)
    points = view.points(seed)
    found, known, moves = _found(view, more, points)
    example = None
    if found.attainable == "no":
        found, example = _here(view, known, moves, found, points[0], seed)
    verdict = _verdict(found, view, known, moves, points[0])._replace(twin=example)
    looked = [n for n in (smaller if program.num_rows is None else program.num_rows, larger) if n]
    verdict = verdict._replace(looked_at=looked or [len(view.places.units)])
    if verdict.attainable == "no" and not (local or program.local):
        return verdict._replace(way_out=_way_out(view, smaller, larger, sites, seed))
    return verdict


def _check_whole(program: Program) -> None:
    """Raise if the data do not fit the program.

    Raises
    ------
    InputError
        If an index lies beyond an array, or an observed value outside of the support of its distribution.
    """
    if not program.columns:
        return
    arguments = program.arguments(program.num_rows) | program.given(program.num_rows)
    check_bounds(program.function, arguments)
    if all(arguments.get(name) is not None for name in program.observed):
        check_support(program, arguments)


def sizes(program: Program, num_obs: int | None) -> tuple[int | None, int | None, dict[int | None, Sites]]:
    """Return the two numbers of observations at which a program is looked at, and its sites there.

    Data that are given are looked at whole, and at no other number. None stands for one that a program fixes itself.
    """
    smaller = NUM_OBS if num_obs is None else num_obs
    tried = [program.num_rows] if program.columns else [smaller, 2 * smaller] if program.count_name else []
    sites: dict[int | None, Sites] = {}
    for number in tried:
        try:
            sites[number] = sites_at(program, number)
        except InputError:
            break
    if not sites:
        return None, None, {None: sites_at(program, None)}
    first, *others = sites
    return first, next(iter(others), None), sites


def _shows_more(num_obs: int | None, view: View, more: Dependence) -> bool:
    """Say whether only the larger number of observations shows that units are coupled, or a wider window."""
    if num_obs is None or num_obs >= NUM_OBS:
        return False
    now = Dependence(view, view.pattern())
    if now.is_coupled or now.is_dense or more.is_dense:
        return False
    wider = bool(now.plate and more.plate) and not set(more.window()) <= set(now.window())
    return more.is_coupled or (wider and len(more.window()) <= len(now.units))


def _found(view: View, more: Dependence | None, both: tuple[list[Point], list[Point]]) -> tuple[Found, Evidence, Moves]:
    """Return what was found, with what is known, and how it was computed."""
    program, pattern = view.program, view.pattern(view.shifts())
    checked = trace_joint(
        program.function, view.arguments, view.joint.latents, list(view.joint.data), program.sites, checked=True
    )
    moves = Moves(view.inputs, pattern, checked)
    points, others = both
    known = evidence_of(view, pattern, moves, points, others)
    found = judge(Case(known.upper, more, moves, points))
    if known.points == 0:
        reason = "the log joint is finite at none of the points that were looked at"
        return (
            found._replace(attainable="unknown", attainable_here=None, rule="not_finite", reason=reason),
            known,
            moves,
        )
    if known.unsettled:
        other = judge(Case(known.lower, more, moves, points))
        if (other.attainable, other.inputs, other.group) != (found.attainable, found.inputs, found.group):
            reason = f"{len(known.unsettled)} pairs may interact by structure, and no value shows that they do"
            found = found._replace(attainable="unknown", attainable_here=None, rule="not_settled", reason=reason)
    return found, known, moves


def _more(view: View, larger: int | None, sites: Mapping[int | None, Sites], seed: int) -> Dependence | None:
    """Return the structure at the larger number of observations."""
    if larger is None:
        return None
    names = sorted(set(view.places.label_of.values()))
    smaller = next(own for number, own in sites.items() if number is not None and number != larger)
    after = look(view.program, larger, sites[larger], smaller, names, seed)
    return Dependence(after, after.pattern())


def _here(
    view: View, known: Evidence, moves: Moves, found: Found, points: Sequence[Point], seed: int
) -> tuple[Found, dict[str, Any] | None]:
    """Say whether a symmetry of the density makes positions with equal inputs alike all the same, or find a twin."""
    same = is_exchangeable(known.upper, known.seen, moves, points)
    if same and same.possible:
        inputs = () if same.without_data else found.inputs
        reason = f"{found.reason}; yet this density is unchanged when positions with equal inputs are swapped"
        return found._replace(attainable_here=True, inputs=inputs, rule="exchangeable", reason=reason), None
    example = _twin(view, seed) if same else None
    return (found._replace(attainable_here=False), example) if example else (found, None)


def _twin(view: View, seed: int) -> dict[str, Any] | None:
    """Return two positions of one small data set with equal inputs whose optimal factors differ, if they are found."""
    small = _small(view, seed)
    if small is None:
        return None
    now = Dependence(small, small.pattern())
    pairs = [pair for pair in pairs_of(now) if pair.rows]
    evaluator = Evaluator(small.joint)
    points, others = small.points(seed)
    start = {name: np.zeros(np.shape(leaf)) for name, leaf in small.joint.latents.items()}
    optimum = Optimum(evaluator.total, start, seed)
    tries = [(pair, point) for point in (*points, *others) for pair in pairs[:NUM_EXAMPLES]]
    for pair, point in tries[:MAX_TRIES]:
        data = tied(now, point.data, pair)
        best = twin(optimum, small.places, (pair.one, pair.other), data)
        if best.differs:
            shown = {name: np.asarray(data[name]).tolist() for name in (*small.observed, *small.covariates)}
            where: list[Any] = [small.position(unit) for unit in best.units]
            example = {"positions": where, "factors": list(best.factors), "data": shown}
            return example | {"difference": best.difference, "error": best.error}
    return None


def _small(view: View, seed: int) -> View | None:
    """Return a program with few observations, if it runs with so many."""
    program, names = view.program, sorted(set(view.places.label_of.values()))
    if len(view.places.units) <= MAX_UNITS and program.columns:
        return view
    for number in (SMALL, 2 * SMALL, 4 * SMALL, 8 * SMALL):
        try:
            found = look(program, number, sites_at(program, number), sites_at(program, 2 * number), names, seed)
        except Exception:  # whatever a program raises with so few rows
            continue
        if 1 < len(found.places.units) <= MAX_UNITS and _has_many(Dependence(found, found.pattern())):
            return found
    return view if len(view.places.units) <= MAX_UNITS else None


def _has_many(now: Dependence) -> bool:
    return now.is_coupled or now.is_dense or bool((now.counts > 1).any())


def _coupled(view: View, known: Evidence, moves: Moves, point: Point) -> list[dict[str, Any]]:
    """Return examples of coupled pairs, with their largest mixed derivative at a point, in nats."""
    pairs = known.upper.pattern.pairs
    if pairs is None or not len(pairs):
        return []
    group = known.upper.group
    pairs = pairs[group[pairs[:, 0]] == group[pairs[:, 1]]]
    if not len(pairs):
        return []
    index = np.unique(np.linspace(0, len(pairs) - 1, NUM_EXAMPLES).astype(int))
    shown = []
    for one, other in pairs[index].tolist():
        value, first, second = moves.mixed_derivative(point, one, other)
        where: list[Any] = [view.position(one), view.position(other)]
        shown.append({"positions": where, "sites": [first, second], "mixed_derivative": value})
    return shown


def _way_out(
    view: View, smaller: int | None, larger: int | None, sites: Mapping[int | None, Sites], seed: int
) -> Sequence[str] | None:
    """Return the local latents of one kind that can be amortized if all others are taken for shared, if there are."""
    kinds: dict[tuple[str, ...], list[str]] = {}
    for name in view.places.local:
        first = view.places.units[int(view.places.unit_of[name].ravel()[0])]
        kinds.setdefault(tuple(plate for plate, _ in first), []).append(view.places.label_of[name])
    wider: list[str] | None = None
    order = sorted(kinds, key=lambda plates: view.places.main not in plates)  # those of the rows first
    for own in map(kinds.__getitem__, order if len(kinds) > 1 else ()):
        names = list(dict.fromkeys(own))
        try:
            after = sites.get(larger) if larger else None
            other = look(view.program, smaller, sites[smaller], after, names, seed)
            found, _, _ = _found(other, _more(other, larger, sites, seed), other.points(seed))
        except InputError:
            continue
        if found.attainable == "yes":
            return names
        wider = names if found.attainable == "wider_input" and wider is None else wider
    return wider


def _of_groups(now: Dependence, group: str, covariates: Sequence[str]) -> tuple[str | None, list[str]]:
    """Return the covariate that holds the group of each row, and those of which each group has one row."""
    column, of_groups = None, list[str]()
    places = now.view.places
    rows = now.data
    several = bool((now.counts > 1).any())
    for name in covariates:
        row_of = places.row_of[name].ravel()
        plates = {plate for row in np.unique(row_of) if row >= 0 for plate, _ in places.rows[row]}
        if plates == {group}:
            of_groups.append(name)
            continue
        values = np.asarray(now.view.arguments[name])
        if column is not None or not several or values.dtype.kind == "b" or values.size != row_of.size:
            continue
        value_of = dict(zip(row_of.tolist(), values.ravel().tolist(), strict=True))
        own: dict[int, set[Any]] = {}
        for unit, row in rows.tolist():
            own.setdefault(unit, set()).add(value_of.get(row))
        if all(len(each) == 1 for each in own.values()) and len(set().union(*own.values())) == len(own):
            column = name
    return column, of_groups


def _verdict(found: Found, view: View, known: Evidence, moves: Moves, points: Sequence[Point]) -> Verdict:
    now, program = known.upper, view.program
    offsets = {name: _offsets(now, name) for name in found.covariates}
    if not program.observed:  # what the factors need of their data are covariates
        offsets |= {name: list(found.inputs) for name in view.observed if now.is_needed(name)}
    column, of_groups = _of_groups(now, found.group, list(offsets)) if found.group else (None, [])
    pattern = now.pattern
    coupled = _coupled(view, known, moves, points[0]) if found.attainable == "no" or found.rule == "group" else []
    evidence = {
        "coupling": "proved" if not now.is_coupled else "seen" if len(known.seen) else "not settled",
        "inputs": "not settled" if any(name for name, _, _ in known.unsettled) else "seen",
        "sharing": found.sharing or "not settled",
    }
    listed: list[Any] = [
        {"argument": name, "unit": view.position(u), "other": view.position(v) if not name else int(v)}
        for name, u, v in known.unsettled[:MAX_LISTED]
    ]
    return Verdict(
        attainable=found.attainable,
        attainable_here=found.attainable_here,
        inputs=list(found.inputs),
        covariates=list(offsets),
        covariate_offsets=offsets,
        needs_index=found.needs_index,
        group=found.group,
        edges=[view.position(unit) for unit in found.edges],
        coupled=coupled,
        rule=found.rule,
        reason=found.reason,
        twin=None,
        local=list(view.places.local),
        shared=list(view.places.shared),
        observed=list(program.observed),
        evidence=evidence,
        unsettled=listed,
        num_unsettled=len(known.unsettled),
        inactive=dict(known.inactive),
        concrete=list(pattern.concrete),
        common=list(pattern.common),
        asked=[
            f"{own.how} of {', '.join(sorted(own.names))} {own.line}".strip() for own in view.joint.asked if own.names
        ],
        dense=dict(pattern.dense),
        operations=pattern.operations,
        points=known.points,
        compared=known.compared,
        group_bounded=found.group_bounded,
        index_map=None if found.index_map is None else [list(own) for own in found.index_map],
        sites={name: list(own) for name, own in program.sites.items()},
        unused=list(program.unused),
        group_column=column,
        group_covariates=of_groups,
    )


def _offsets(now: Dependence, name: str) -> list[int]:
    """Return the offsets of a covariate that are needed; its own row alone if it has no offsets."""
    if name in now.fixed or now.plate is None or now.needs.get(name) is None:
        return [0]
    return list(now.window(name)) if len(now.window(name)) <= MAX_OFFSETS else [0]


def _without_view(program: Program, found: Found) -> Verdict:
    return Verdict(
        attainable=found.attainable,
        attainable_here=None,
        inputs=[],
        covariates=[],
        covariate_offsets={},
        needs_index=False,
        group=None,
        edges=[],
        coupled=[],
        rule=found.rule,
        reason=found.reason,
        twin=None,
        local=[],
        shared=[],
        observed=list(program.observed),
        sites={name: list(own) for name, own in program.sites.items()},
        unused=list(program.unused),
    )
