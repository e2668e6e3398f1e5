"""Whether amortization can reach F-VI's optimum in a program, and what an inference function must see (Theorem 3.4).

The statement: for every data set, ties included, there is a function of the stated inputs, whose parameters may differ
between data sets, that gives every factor of F-VI's optimum but those at edges (Remark 3.7). It holds for all densities
on a graph if no two z_n are coupled given the shared latents, and if the log joint is unchanged when the latents of two
positions with equal inputs are swapped; a bounded group of coupled z_n needs the rows of the group, and coupling that
grows with N has no such function but by a symmetry of the density (Appendix A.3).
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from avigap.adam import ONCE
from avigap.errors import InputError
from avigap.exchange import exchangeable_pairs
from avigap.needs import MAX_OFFSETS, direct_offsets, largest_group, needed_covariates, needed_rows, plate_of, window_of
from avigap.probes import NONZERO, ZERO
from avigap.program.arguments import Program
from avigap.program.bounds import check_bounds
from avigap.rules import Found, in_bounded_groups, in_one_plate, in_several_plates
from avigap.target import check_support
from avigap.ties import alike
from avigap.twin import Optimum, twin
from avigap.verdict import RARE, Verdict
from avigap.view import View, look, sites_at

NUM_PROBES = 256
"""Random points at which every dependence is sought, at the smaller number of observations."""

NUM_PROBES_LARGE = 64
"""The same at the larger one, which only tells what grows."""

MAX_DOUBLINGS = 2
"""How often the numbers of observations are doubled where the larger one shows more."""

MAX_TRIES = 12
"""Pairs of positions and data sets among which a twin is sought."""

MIN_VALID = 24
"""Probes at which the log joint must be finite for a verdict."""

MAX_SIZE, SIZED = 1e8, 32
"""Nats of all terms of the log joint up to which dependences are told from rounding, and points that tell them."""

NUM_EXAMPLES = 3
"""Coupled pairs that are shown, and pairs of positions among which a twin is sought."""


def _check_whole(program: Program) -> None:
    """Raise if all of the data, of which few rows are looked at, do not fit the program.

    Raises
    ------
    InputError
        If an index lies beyond an array, or an observed value outside of the support of its distribution.
    """
    arguments = program.arguments(program.num_rows) | program.given(program.num_rows)
    if not program.columns:
        return
    check_bounds(program.function, arguments)
    if all(arguments.get(name) is not None for name in program.observed):
        check_support(program, arguments)


def sizes(program: Program, num_obs: int | None) -> tuple[int | None, int | None]:
    """Return the two numbers of observations at which a program is looked at; None for one that it fixes itself."""
    rows = program.num_rows
    if rows is None and program.count_name is None:
        return None, None
    smaller = rows if num_obs is None else min(num_obs, rows or num_obs)
    if not _runs(program, smaller):
        return None, None
    return smaller, _after(program, smaller)


def _runs(program: Program, num_obs: int | None) -> bool:
    try:
        sites_at(program, num_obs)
        check_bounds(program.function, program.arguments(num_obs) | program.given(num_obs))
    except InputError:
        return False
    return True


def check_condition(program: Program, num_obs: int | None = 6, local: Sequence[str] = (), seed: int = 0) -> Verdict:
    """Find out whether amortization can reach F-VI's optimum in a program.

    Parameters
    ----------
    num_obs
        Number of observations at which dependences are sought; what grows is judged at twice as many.
    local
        Names of the local latents; by default those in a plate of the observations, or that grow with N.
    seed
        Of the random points.

    Raises
    ------
    InputError
        If the program cannot be scored, or has no local latents.
    """
    _check_whole(program)
    smaller, larger = sizes(program, num_obs)
    latent = sites_at(program, smaller).latent
    if discrete := [name for name, site in latent.items() if site.discrete]:
        reason = f"discrete latents ({', '.join(discrete)}): sum them out, for instance with MixtureSameFamily"
        none = Found("unknown", None, (), (), False, None, (), "discrete_latent", reason)
        return _verdict(none, program, None, [], None)
    view, more = _views(program, smaller, larger, local or program.local, seed)
    found, example = _found(view, more), None
    if found.attainable == "no":
        found, example = _here(view, found, seed)
    verdict = _verdict(found, program, view, _coupled(view), example)
    looked = [len(view.places.rows), *([len(more.places.rows)] if more else [])]
    verdict = verdict._replace(looked_at=looked)
    if verdict.attainable == "no" and not (local or program.local):
        return verdict._replace(way_out=_way_out(program, smaller, larger, view, seed))
    return verdict


def _views(
    program: Program, smaller: int | None, larger: int | None, local: Sequence[str], seed: int
) -> tuple[View, View | None]:
    """Return a program at two numbers of observations, at larger ones if only the larger shows what depends on what."""
    view = look(program, smaller, larger, local, NUM_PROBES, seed)
    for _ in range(MAX_DOUBLINGS):
        if larger is None:
            return view, None
        names = sorted(set(view.places.label_of.values()))
        following = _after(program, larger)
        more = look(program, larger, following, names, NUM_PROBES_LARGE, seed + 1)
        if not _shows_more(view, more):
            return view, more
        view, larger = look(program, larger, following, names, NUM_PROBES, seed), following
    after = _after(program, larger)
    return view, look(program, larger, after, names, NUM_PROBES_LARGE, seed + 1) if larger else None


def _after(program: Program, num_obs: int | None) -> int | None:
    """Return twice a number of observations, or as many as the data have, if the program runs with so many."""
    rows = program.num_rows
    after = 2 * num_obs if num_obs and rows is None else min(2 * (num_obs or 0), rows or 0)
    return after if num_obs and after > num_obs and _runs(program, after) else None


def _shows_more(view: View, more: View) -> bool:
    """Say whether only the larger number of observations shows that units are coupled, or a wider window."""
    if largest_group(view)[0] == 1 and largest_group(more)[0] > 1:
        return True
    if plate_of(view) is None or plate_of(more) is None or largest_group(view)[0] > 1:
        return False
    wider = direct_offsets(more)
    return not set(wider) <= set(direct_offsets(view)) and len(wider) <= len(view.places.units)


def _found(view: View, more: View | None) -> Found:
    size = float(np.nanmedian(view.scorer(view.points.take(np.arange(0, view.points.number, 2)[:SIZED]))[1]))
    if size > MAX_SIZE:
        columns = {name: float(np.abs(np.asarray(view.arguments[name], float)).max()) for name in view.points.data}
        largest = max(columns, key=columns.__getitem__)
        reason = (
            f"the terms of the log joint are of size {size:.0e}, so that dependences are lost in rounding:"
            f" centre or scale {largest}, which is of size {columns[largest]:.0e}"
        )
        return Found("unknown", None, (), (), False, None, (), "too_large", reason)
    strengths = np.concatenate([view.relations.units.ravel(), *(s.ravel() for s in view.relations.rows.values())])
    unclear = int(((strengths > ZERO) & (strengths <= NONZERO)).sum())
    if view.relations.valid < MIN_VALID:
        reason = f"the log joint is finite at {view.relations.valid} of {view.points.number} random points only"
        return Found("unknown", None, (), (), False, None, (), "not_finite", reason)
    if unclear:
        reason = f"{unclear} dependences are neither zero nor clearly more than rounding"
        return Found("unknown", None, (), (), False, None, (), "inconclusive", reason)
    size, rows = largest_group(view)
    if size == 1:
        found = in_one_plate(view, _is_bounded(view, more)) if plate_of(view) else in_several_plates(view)
        reason = "no two z_n are coupled, but each factor depends on all rows of the data in a way of its own"
        return found or _none(view, "many_rows", reason)
    if more is None:
        grows, how = size == len(view.places.units), f"all {size} positions are coupled"
    else:
        after = largest_group(more)
        grows = after[0] > size or after[1] > rows
        if after[0] < size or after[1] < rows:
            reason = (
                f"coupled groups of {size} positions with {rows} rows, but of {after[0]} with {after[1]} at twice N"
            )
            return Found("unknown", None, (), (), False, None, (), "inconclusive", reason)
        how = f"the largest coupled group has {size} positions with {rows} rows, {after[0]} with {after[1]} at twice N"
    if not grows:
        return in_bounded_groups(view)
    return _none(view, "coupling", f"{how}: a factor needs rows whose number grows with N")


def _is_bounded(view: View, more: View | None) -> bool:
    direct = direct_offsets(view)
    if more is None or plate_of(more) is None:
        return len(direct) <= MAX_OFFSETS
    return set(direct_offsets(more)) <= set(direct)


def _none(view: View, rule: str, reason: str) -> Found:
    inputs = (0,) if any(needed_rows(view)) else ()
    return Found("no", None, inputs, needed_covariates(view), False, None, (), rule, reason)


def _here(view: View, found: Found, seed: int) -> tuple[Found, dict[str, Any] | None]:
    """Say whether a symmetry of the density makes positions with equal inputs alike all the same, or find a twin."""
    for inputs in dict.fromkeys([(), found.inputs]):
        pairs = exchangeable_pairs(view, inputs, found.covariates)
        strength = alike(view, list(pairs), pairs)
        if len(pairs) and (strength <= NONZERO).all():
            reason = f"{found.reason}; yet this density is unchanged when positions with equal inputs are swapped"
            return found._replace(attainable_here=True, inputs=inputs, rule="exchangeable", reason=reason), None
    start = {name: leaf[::2].mean(axis=0) for name, leaf in view.points.latents.items()}
    optimum = Optimum(view.scorer, start, seed)
    unlike = [pair for pair, own in zip(pairs, strength, strict=True) if own > NONZERO]
    tries = [(pair, number) for number in range(0, MAX_TRIES, 2) for pair in unlike[:NUM_EXAMPLES]]
    for (one, other), number in tries[:MAX_TRIES]:
        data = {name: leaf[number] for name, leaf in pairs[one, other].items()}
        best = twin(optimum, view.places, (one[0], other[0]), data)
        if best.differs:
            shown = {name: np.asarray(data[name]).tolist() for name in (*view.observed, *view.covariates)}
            where: list[Any] = [view.position(unit) for unit in best.units]
            example = {"positions": where, "factors": list(best.factors), "data": shown}
            return found._replace(attainable_here=False), example | {"difference": best.difference, "error": best.error}
    return found, None


def _coupled(view: View) -> list[dict[str, Any]]:
    """Return the pairs that are coupled most, with the mixed derivative at the probe where they are, in nats."""
    strength = np.triu(view.relations.units, 1)
    order = np.argsort(-strength, axis=None, kind="stable")[:NUM_EXAMPLES]
    pairs = [(int(u), int(v)) for u, v in zip(*np.unravel_index(order, strength.shape), strict=True)]
    pairs = [pair for pair in pairs if strength[pair] > NONZERO]
    if not pairs:
        return []
    own = {name: jnp.asarray(view.points.latents[name][0]) for name in view.places.local}
    units = np.concatenate([view.places.unit_of[name].ravel() for name in sorted(own)])
    names = np.concatenate([np.full(own[name].size, name) for name in sorted(own)])
    restore = ravel_pytree(own)[1]

    def log_joint(flat: jax.Array, latents: Any, data: Any) -> jax.Array:
        return view.scorer.log_joint({**latents, **restore(flat)}, data)[0]

    hessian = jax.jit(jax.hessian(log_joint), compiler_options=ONCE)
    shown = []
    for u, v in pairs:
        best: tuple[float, Any] = (0.0, (names[units == u][0], names[units == v][0]))
        for probe in (0, 2, int(view.relations.at[u, v])):
            point = view.points.take(np.array(probe))
            matrix = np.asarray(hessian(ravel_pytree({n: point.latents[n] for n in own})[0], *point))
            block = np.nan_to_num(matrix[np.ix_(units == u, units == v)], posinf=0.0, neginf=0.0)
            i, j = np.unravel_index(np.abs(block).argmax(), block.shape)
            if best[0] == 0:
                best = float(block[i, j]), (names[units == u][i], names[units == v][j])
        sites = [str(name) for name in best[1]]
        shown.append({"positions": [view.position(u), view.position(v)], "sites": sites, "mixed_derivative": best[0]})
    return shown


def _way_out(program: Program, smaller: int | None, larger: int | None, view: View, seed: int) -> Sequence[str] | None:
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
            found = _found(*_views(program, smaller, larger, names, seed))
        except InputError:
            continue
        if found.attainable == "yes":
            return names
        wider = names if found.attainable == "wider_input" and wider is None else wider
    return wider


def _of_groups(view: View, group: str, covariates: Sequence[str]) -> tuple[str | None, list[str]]:
    """Return the covariate that holds the group of each row, and those of which each group has one row."""
    column, of_groups = None, list[str]()
    several = any(len(needed) > 1 for needed in needed_rows(view))
    for name in covariates:
        rows = view.places.row_of[name]
        plates = {plate for row in np.unique(rows) if row >= 0 for plate, _ in view.places.rows[row]}
        values = np.asarray(view.arguments[name])
        own = [set(values[np.isin(rows, list(needed))].ravel().tolist()) for needed in needed_rows(view) if needed]
        if plates == {group}:
            of_groups.append(name)
        elif column is None and several and values.dtype.kind != "b" and all(len(each) == 1 for each in own):
            column = name if len(set().union(*own)) == len(own) else None
    return column, of_groups


def _verdict(
    found: Found,
    program: Program,
    view: View | None,
    coupled: list[dict[str, Any]],
    example: dict[str, Any] | None,
) -> Verdict:
    probes = view.relations.valid if view else 0
    offsets = {name: list(window_of(view, name)) for name in found.covariates} if view else {}
    if view and not program.observed:  # what the factors need of their data are covariates
        offsets |= {name: list(found.inputs) for name in view.observed if any(needed_rows(view, name))}
    column, of_groups = _of_groups(view, found.group, list(offsets)) if view and found.group else (None, [])
    return Verdict(
        **{**found._asdict(), "inputs": list(found.inputs), "covariates": list(offsets)}
        | {"edges": [view.position(unit) for unit in found.edges] if view else []},
        coupled=coupled,
        twin=example,
        local=list(view.places.local) if view else [],
        shared=list(view.places.shared) if view else [],
        observed=list(program.observed),
        covariate_offsets=offsets,
        probes=probes,
        error_probability=(1 - RARE) ** probes,
        sites={name: list(own) for name, own in program.sites.items()},
        unused=list(program.unused),
        group_column=column,
        group_covariates=of_groups,
    )
