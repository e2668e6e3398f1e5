"""A program at one number of observations: its positions, its log joint as a jaxpr, and points of it."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro

from avigap.adam import ONCE
from avigap.condition.pattern import Inputs, Labels, Pattern, pattern_of
from avigap.condition.values import Evaluator, Point
from avigap.errors import InputError
from avigap.faults import said
from avigap.program.arguments import Program
from avigap.program.plates import Places, Position, nothing_to_amortize, places_of
from avigap.program.roles import elements_of, other_orders
from avigap.program.sites import Sites
from avigap.program.structure.joint import TracedJoint, trace_joint

NUM_POINTS, FEW_POINTS = 6, 2
"""Points at which values are looked at, and as many to which they are moved; the same if there are many rows."""

MANY_SITES, MANY_ROWS, FEW_DRAWS = 60, 5000, 3
"""Sites of a program whose draws are not compiled, rows of one that draws a few times only, and how often that is."""

MOST_SHIFTS = 1000
"""Rows further on among which one that differs is sought, at most."""

SCALES = (0.3, 1.0, 2.0)
"""Standard deviations of the latents at these points, on the unconstrained space."""


class View(NamedTuple):
    """A program at one number of observations.

    Attributes
    ----------
    arguments : all of them, with values of the observations
    places : positions of its latents and data
    inputs : of its log joint
    observed : arguments that are observations, or the data of factors if there are none, that have rows
    covariates : all others with rows
    """

    program: Program
    arguments: Mapping[str, Any]
    places: Places
    inputs: Inputs
    observed: tuple[str, ...]
    covariates: tuple[str, ...]

    @property
    def joint(self) -> TracedJoint:
        """The log joint as a jaxpr."""
        return self.inputs.joint

    def position(self, unit: int) -> Any:
        """Return the index of a unit: a number; by plate, if units do not lie in one and the same plate."""
        position = self.places.units[unit]
        return position[0][1] if len(position) == 1 and self.places.is_in_one_plate else dict(position)

    def pattern(self, labels: Sequence[Labels] = (), concrete: Sequence[str] = (), cut: bool = True) -> Pattern:
        """Return what may interact."""
        return pattern_of(self.inputs, [self.labels(), *labels], concrete, cut)

    def labels(self) -> Labels:
        """Return labels by which all units and rows are told apart."""
        return Labels(np.arange(len(self.places.units)), np.arange(len(self.places.rows)))

    def plates(self) -> list[str]:
        """Return the plates of the units, in the order of the program."""
        return list(dict.fromkeys(plate for unit in self.places.units for plate, _ in unit))

    def shifts(self) -> list[Labels]:
        """Return, for each plate of the units, labels by which a position is that of the one before it."""
        both = self.places.units, self.places.rows
        return [Labels(*(_shifted(own, plate) for own in both)) for plate in self.plates()]

    def points(self, seed: int, number: int = NUM_POINTS) -> tuple[list[Point], list[Point]]:
        """Return points, and others to which rows of data are moved; few if there are many rows."""
        number = min(number, FEW_POINTS) if len(self.places.rows) > MANY_ROWS else number
        random = np.random.default_rng(seed)
        drawn = _draws(self, seed, 2 * number)
        every = []
        for k in range(2 * number):
            scale = SCALES[k % len(SCALES)]
            latents = {n: scale * random.standard_normal(np.shape(v)) for n, v in self.joint.latents.items()}
            data = {**self.joint.data, **self.joint.outside, **(drawn[k] if drawn else {})}
            if k >= number:
                kept = drawn[k] if drawn else {}
                data = _in_another_order(data, kept, random) if k % 2 else _with_other_values(data, kept)
            every.append(Point(latents, data))
        return every[:number], every[number:]


def _in_another_order(
    data: Mapping[str, np.ndarray], drawn: Mapping[str, Any], random: np.random.Generator
) -> dict[str, np.ndarray]:
    """Return data that were not drawn with their rows in another order, the same for all of one length."""
    orders: dict[int, np.ndarray] = {}
    found = {}
    for name, column in data.items():
        if name in drawn or not np.ndim(column):
            found[name] = np.asarray(column)
        else:
            order = orders.setdefault(len(column), random.permutation(len(column)))
            found[name] = np.asarray(column)[order]
    return found


def _with_other_values(data: Mapping[str, np.ndarray], drawn: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return data that were not drawn with each row as the next one of the same column that differs, if one does."""
    found = {name: np.asarray(column) for name, column in data.items()}
    for name, column in found.items():
        if name in drawn or not column.ndim:
            continue
        other = column.copy()
        for shift in range(1, min(len(column), MOST_SHIFTS)):
            same = (other == column).reshape(len(column), -1).all(axis=1)
            if not same.any():
                break
            other[same] = np.roll(column, -shift, axis=0)[same]
        found[name] = other
    return found


def _draws(view: View, seed: int, number: int) -> list[dict[str, np.ndarray]]:
    """Return data sets that the program draws; none if it was given its observations, or cannot draw them."""
    program, names = view.program, [n for n in view.program.observed if n in view.joint.data]
    if not program.simulates or all(n in program.columns for n in names) or not names:
        return []
    arguments = {**view.arguments, **dict.fromkeys(program.observed)}

    def one(key: jax.Array) -> dict[str, Any]:
        with numpyro.validation_enabled(False):
            return {n: v for n, v in program.simulate(arguments, key)[1].items() if n in names}

    keys = jax.random.split(jax.random.key(seed), number)
    many = len(view.joint.sites) > MANY_SITES  # to compile so many takes longer than to run them a few times
    compiled = one if many else jax.jit(one, compiler_options=ONCE)
    is_large = many or len(view.places.rows) > MANY_ROWS
    keys = keys[:FEW_DRAWS] if is_large else keys
    try:
        drawn = [jax.tree.map(np.asarray, compiled(key)) for key in keys]
    except Exception:  # it may compute with the values that it draws
        drawn = [jax.tree.map(np.asarray, one(key)) for key in keys]
    return [drawn[k % len(drawn)] for k in range(number)]


def _shifted(positions: Sequence[Position], plate: str) -> np.ndarray:
    """Return the number of the position one before each along a plate; numbers of their own where there is none."""
    number = {position: k for k, position in enumerate(positions)}
    found = np.empty(len(positions), np.int64)
    for k, position in enumerate(positions):
        before = tuple((name, index - 1) if name == plate else (name, index) for name, index in position)
        found[k] = number.setdefault(before, len(number)) if before != position else k
    return found


def look(
    program: Program, num_obs: int | None, sites: Sites, larger: Sites | None, local: Sequence[str], seed: int
) -> View:
    """Return a program at ``num_obs`` observations.

    Parameters
    ----------
    sites, larger
        Sites at this number of observations, and at a larger one, which shows what grows; None if there is none.

    Raises
    ------
    InputError
        If the program cannot be scored, or has no local latents.
    """
    arguments = _arguments(program, num_obs, seed)
    places = places_of(program, arguments, sites, larger, sites, local)
    view = _view(program, arguments, sites, places)
    if not local:
        own = _with_own_rows(view, sites)
        if own != list(places.local):
            return _view(program, arguments, sites, places_of(program, arguments, sites, larger, sites, own))
    return view


def _arguments(program: Program, num_obs: int | None, seed: int) -> dict[str, Any]:
    """Return all arguments, with one draw of the observations that are not given."""
    arguments, given = program.arguments(num_obs), program.given(num_obs)
    lacking = [name for name in program.observed if name not in given]
    if not lacking:
        return {**arguments, **given}
    if not program.simulates:
        raise InputError(f"the data lack the observations {', '.join(map(repr, lacking))}")
    with numpyro.validation_enabled(False):
        _, drawn = program.simulate({**arguments, **given}, jax.random.key(seed))
    return {**arguments, **given, **{name: np.asarray(drawn[name]) for name in lacking}}


def _view(program: Program, arguments: Mapping[str, Any], sites: Sites, places: Places) -> View:
    latents = {name: np.zeros(sites.latent[name].shape) for name in (*places.local, *places.shared)}
    with_rows = [n for n, rows in places.row_of.items() if (rows >= 0).any() and n not in program.unused]
    joint = _joint(program, arguments, latents, with_rows)
    rows_of = dict(places.row_of)
    for name, own in program.sites.items():
        for site in (s for s in own if s in joint.outside):
            rows_of[site] = _rows_of_site(program, arguments, name, site, places, joint)
    for site in joint.outside:
        rows_of.setdefault(site, np.full(np.shape(joint.outside[site]), -1))
    inputs = Inputs(joint, places, rows_of)
    outside = [site for site in joint.outside if site in inputs.names]
    of_outside = {n for n, own in program.sites.items() if set(own) & set(outside)}
    order = [n for n in places.row_of if n in inputs.names and n not in of_outside]
    observed = [*(n for n in order if n in program.data), *outside]
    covariates = [n for n in order if n not in observed]
    return View(program, arguments, places, inputs, tuple(observed), tuple(covariates))


def _joint(
    program: Program, arguments: Mapping[str, Any], latents: Mapping[str, np.ndarray], names: Sequence[str]
) -> TracedJoint:
    """Return the log joint as a function of as many of the arguments as it is one of.

    Raises
    ------
    InputError
        If it is no function of the observations.
    """
    observed = [name for name in names if name in program.data]
    tried = list(names)
    try:
        joint = trace_joint(program.function, arguments, latents, tried, program.sites)
    except KeyError as lacking:  # as for missing data that are drawn
        raise InputError(f"the latent {lacking} appears only with other observations") from lacking
    except Exception:  # whatever a user's program raises
        tried = [n for n in names if n in observed or _is_traced(program, arguments, latents, [*observed, n])]
        try:
            joint = trace_joint(program.function, arguments, latents, tried, program.sites)
        except Exception as error:
            raise InputError(f"the log joint is no function of the observations: {said(error)}") from error
    if any(aval.dtype == np.float32 for aval in joint.closed.out_avals):
        raise InputError("the log joint is computed in float32, where a dependence cannot be told from rounding")
    chosen = _choosing(program, arguments, joint)
    if not chosen:
        return joint
    if lines := [own.line for own in joint.asked if own.names & chosen & set(program.observed)]:
        raise InputError(
            f"the log joint is no function of the observations: Python chooses by their values, {lines[0]}:"
            " use jnp.where there"
        )
    return trace_joint(program.function, arguments, latents, [n for n in tried if n not in chosen], program.sites)


def _is_traced(
    program: Program, arguments: Mapping[str, Any], latents: Mapping[str, np.ndarray], names: Sequence[str]
) -> bool:
    try:
        trace_joint(program.function, arguments, latents, names, program.sites)
    except Exception:  # whatever a user's program raises
        return False
    return True


def _choosing(program: Program, arguments: Mapping[str, Any], joint: TracedJoint) -> set[str]:
    """Return the arguments whose values change more than the log joint knows of, where Python asked for them.

    They are found by runs with the rows in other orders; a program that only checks its data has the same log joint.
    """
    names = {name for own in joint.asked for name in own.names}
    evaluator, found = Evaluator(joint), set[str]()
    for length in {len(joint.data[name]) for name in names if np.ndim(joint.data[name])}:
        inside = {n: np.asarray(c) for n, c in joint.data.items() if np.ndim(c) and len(c) == length}
        asked = names & set(inside)
        for order in other_orders(np.arange(length)):
            if _differs(program, arguments, joint, evaluator, {n: c[order] for n, c in inside.items()}):
                alone = {n for n in asked if _differs(program, arguments, joint, evaluator, {n: inside[n][order]})}
                found |= alone or asked
    return found


def _differs(
    program: Program,
    arguments: Mapping[str, Any],
    joint: TracedJoint,
    evaluator: Evaluator,
    moved: Mapping[str, np.ndarray],
) -> bool | None:
    """Say whether a run with other data has another log joint than the one that was traced; None if it does not run."""
    random = np.random.default_rng(0)
    latents = {name: 0.3 * random.standard_normal(np.shape(leaf)) for name, leaf in joint.latents.items()}
    try:
        other = trace_joint(program.function, {**arguments, **moved}, latents, list(joint.data), program.sites)
    except Exception:  # whatever a user's program raises with other data
        return None
    if other.sites != joint.sites or set(other.outside) != set(joint.outside):
        return True
    data = {**other.data, **other.outside}
    try:
        here, there = (own.total(latents, data) for own in (evaluator, Evaluator(other)))
    except Exception:  # shapes that depend on the data
        return True
    return not bool(jnp.abs(here - there) <= 1e-9 * (1 + jnp.abs(here)) if jnp.isfinite(here) else there == here)


def _rows_of_site(
    program: Program, arguments: Mapping[str, Any], name: str, site: str, places: Places, joint: TracedJoint
) -> np.ndarray:
    """Return the row of every element of an observed site whose value was computed outside of JAX."""
    shape, rows = np.shape(joint.outside[site]), places.row_of[name]
    if rows.shape == shape:
        return rows
    elements = elements_of(program.function, arguments, name, [site])
    return rows.ravel()[elements[site]] if elements else np.full(shape, -1)


def _with_own_rows(view: View, sites: Sites) -> list[str]:
    """Return the local latents that have rows of their own: one that depends on all rows is shared by all.

    Where no latent lies in a plate of the observations, every latent in a plate was taken for local.

    Raises
    ------
    InputError
        If none has.
    """
    places = view.places
    of_data = {frame[0] for site in sites.observed.values() for frame in site.plates}
    plates = {name: {frame[0] for frame in sites.latent[name].plates} for name in places.local}
    if any(of_data & own for own in plates.values()) or not all(plates.values()) or not len(places.rows):
        return list(places.local)
    pattern = view.pattern()
    rows = {name: own for name, own in pattern.needs.items() if name in view.observed and own is not None}
    used = {int(row) for own in rows.values() for row in np.unique(own[:, 1])}
    needed: list[set[int]] = [set() for _ in places.units]
    for own in rows.values():
        for unit, row in own.tolist():
            needed[unit].add(row)
    some = [n for n in places.local if any(len(needed[u]) < len(used) for u in np.unique(places.unit_of[n]))]
    if not some:
        raise nothing_to_amortize(sites.latent)
    return some
