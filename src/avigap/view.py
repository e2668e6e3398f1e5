"""A program at one number of observations: its random points, and what depends on what there."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from avigap.coupling import Relations, X, changeable, related_to_change, relations
from avigap.errors import InputError
from avigap.probes import NONZERO, Arrays, Points, Scorer, draw_points
from avigap.program.arguments import Program
from avigap.program.plates import Places, nothing_to_amortize, places_of
from avigap.program.roles import other_orders
from avigap.program.sites import Sites, sites_of


class View(NamedTuple):
    """A program at one number of observations, with random points of it.

    Attributes
    ----------
    arguments : all of them, with one draw of the observations
    observed, covariates : arguments that points change; data of factors stand for observations if there are none
    fixed : covariates that they cannot change, on which some factor depends
    points, others : K points each
    """

    arguments: Mapping[str, Any]
    places: Places
    scorer: Scorer
    observed: tuple[str, ...]
    covariates: tuple[str, ...]
    fixed: tuple[str, ...]
    points: Points
    others: Points
    relations: Relations

    def position(self, unit: int) -> Any:
        """Return the index of a unit: a number; by plate, if units do not lie in one and the same plate."""
        position = self.places.units[unit]
        if {tuple(name for name, _ in own) for own in self.places.units} == {(position[0][0],)}:
            return position[0][1]
        return dict(position)

    def related_to(self, data: Arrays) -> np.ndarray:
        """Return (U,) how strongly each unit is related to a change of the data to others of the same shape."""
        return related_to_change(self.scorer, self.scorer, self.places, self.points, self.others, data)


def look(
    program: Program, num_obs: int | None, larger: int | None, local: Sequence[str], number: int, seed: int
) -> View:
    """Return a program at ``num_obs`` observations, and what depends on what there.

    Raises
    ------
    InputError
        If the program cannot be scored, or has no local latents.
    """
    open_, given = program.arguments(num_obs), program.given(num_obs)
    both = draw_points(program, open_, given, 2 * number, seed)
    arguments = {**open_, **{name: leaf[0] for name, leaf in both.data.items()}}
    sites = sites_of(program, arguments)
    bigger = sites_at(program, larger) if larger else None
    whole = sites_at(program, program.num_rows) if program.columns else sites
    places = places_of(program, arguments, sites, bigger, whole, local)
    view = _view(program, arguments, places, both, number, seed)
    if not local:
        own = _with_own_rows(view, sites, whole)
        if own != list(places.local):
            places = places_of(program, arguments, sites, bigger, whole, own)
            view = _view(program, arguments, places, both, number, seed)
    return view


def _view(program: Program, arguments: Mapping[str, Any], places: Places, both: Points, number: int, seed: int) -> View:
    names_of_sites = (*places.local, *places.shared)
    latents = {name: leaf[0] for name, leaf in both.latents.items() if name in names_of_sites}
    names, scorer = changeable(program, arguments, places, latents)
    observed = tuple(name for name in names if name in program.data)
    covariates = tuple(name for name in names if name not in observed)
    both = both._replace(latents={name: both.latents[name] for name in latents})
    rng = np.random.default_rng(seed)
    rows = {}
    for name in (*observed, *covariates):
        if name not in both.data and np.ndim(arguments[name]):
            column = np.asarray(arguments[name])
            whole = np.asarray(program.columns.get(name, column))
            shuffled = [whole[rng.permutation(len(whole))[: len(column)]] for _ in range(2 * number)]
            every = 2 if column.dtype.kind == "f" else 1  # whole numbers may say which rows belong together
            shuffled[:number:every] = [column] * len(shuffled[:number:every])
            rows[name] = np.stack(shuffled)
    both = both._replace(data={**both.data, **rows})
    points, others = both.take(np.arange(number)), both.take(np.arange(number, 2 * number))
    single = covariates if program.observed else (*covariates, *observed)
    found = relations(scorer, places, points, others, observed, single)
    fixed = _fixed(program, arguments, places, scorer, points, others, (*observed, *covariates))
    return View(arguments, places, scorer, observed, covariates, fixed, points, others, found)


def _fixed(
    program: Program,
    arguments: Mapping[str, Any],
    places: Places,
    scorer: Scorer,
    points: Points,
    others: Points,
    changed: Sequence[str],
) -> tuple[str, ...]:
    """Return the covariates that points cannot change, on whose values some factor depends."""
    found = []
    for name, column in program.columns.items():
        if name in changed or name in program.observed or name in program.unused or not np.ndim(column):
            continue
        column = np.asarray(arguments[name])
        for moved in other_orders(column):
            other = Scorer(program, {**arguments, name: moved})
            try:
                related = related_to_change(scorer, other, places, points, others, points.data)
            except Exception:  # whatever a user's program raises with its rows in another order
                continue
            if (related > NONZERO).any():
                found.append(name)
                break
    return tuple(found)


def _with_own_rows(view: View, sites: Sites, whole: Sites) -> list[str]:
    """Return the local latents that have rows of their own: one that depends on all rows is shared by all.

    Where no latent lies in a plate of the observations, every latent in a plate was taken for local. A plate that has
    more members in the whole data is one of groups, though all of the first rows may lie in one of them.

    Raises
    ------
    InputError
        If none has.
    """
    places, rows = view.places, view.relations.rows[X] > NONZERO
    of_data = {frame[0] for site in sites.observed.values() for frame in site.plates}
    plates = {name: {frame[0] for frame in sites.latent[name].plates} for name in places.local}
    if any(of_data & own for own in plates.values()) or not all(plates.values()) or not rows.size:
        return list(places.local)
    grows = {n for n in places.local if sites.latent[n].plates != whole.latent.get(n, sites.latent[n]).plates}
    some = [name for name in places.local if name in grows or not rows[np.unique(places.unit_of[name])].all()]
    if not some:
        raise nothing_to_amortize(sites.latent)
    return some


def sites_at(program: Program, num_obs: int | None) -> Sites:
    """Return the sites of a program that has its observations; draws nothing but shapes, if it can be traced.

    Raises
    ------
    InputError
        If the program does not run.
    """
    found: list[Sites] = []

    def visit() -> None:
        arguments, data = program.arguments(num_obs), program.given(num_obs)
        if program.simulates:
            _, data = program.simulate(arguments, jax.random.key(0))
        found.append(sites_of(program, {**arguments, **data}))

    try:
        jax.eval_shape(visit)
    except InputError:  # it may compute with the values that it draws
        visit()
    return found[-1]
