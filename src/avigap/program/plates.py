"""Which position every element of the local latents and every row of the data has: plates, or axes that grow with N."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from avigap.errors import InputError
from avigap.program.arguments import Program
from avigap.program.roles import elements_of
from avigap.program.shown import indexed
from avigap.program.sites import Sites, SiteShape
from avigap.program.tracing import draw, is_latent

Position = tuple[tuple[str, int], ...]
"""Index in each plate; a latent without a plate, or a row of data, has one in the plate of the observations."""

ROWS = "rows"
"""Stands for the plate of the observations where a program has none."""


class Main(NamedTuple):
    """The plate of the observations that grows with N, or :data:`ROWS`: its size, and that with more observations."""

    name: str
    size: int
    after: int | None


class Places(NamedTuple):
    """Positions of local latents and data.

    Attributes
    ----------
    local, shared
        Names of the latent sites.
    units
        Position of each unit: the elements of local latents that share one.
    unit_of
        For each local site, the unit of every element of its unconstrained value.
    label_of
        For each local site its name, or the stem of a series of sites that differ in a number at the end.
    rows
        Position of each row of the data.
    row_of
        For each argument with rows, the row of every element; -1 where it has none.
    main
        The plate of the observations that grows with N.
    """

    local: tuple[str, ...]
    shared: tuple[str, ...]
    units: tuple[Position, ...]
    unit_of: Mapping[str, np.ndarray]
    label_of: Mapping[str, str]
    rows: tuple[Position, ...]
    row_of: Mapping[str, np.ndarray]
    main: str

    @property
    def is_in_one_plate(self) -> bool:
        """Say whether all units lie in one and the same plate, and in no other."""
        plate = self.units[0][0][0] if self.units else ""
        return all(len(own) == 1 and own[0][0] == plate for own in self.units)

    def elements(self, unit: int) -> list[tuple[str, str, int]]:
        """Return (label, site, flat index) of every element of a unit, in an order that is the same for like units."""
        found = [(self.label_of[n], n, int(i)) for n in self.local for i in np.flatnonzero(self.unit_of[n] == unit)]
        return sorted(found)


def places_of(
    program: Program,
    arguments: Mapping[str, Any],
    sites: Sites,
    larger: Sites | None,
    whole: Sites,
    names: Sequence[str] = (),
) -> Places:
    """Return the positions of all local latents and rows.

    Parameters
    ----------
    arguments, sites
        Of a run with observations.
    larger
        Sites of the same program with another number of observations: what grows with N.
    whole
        Sites with all the data that are given: columns of groups have as many rows as their plates have there.
    names
        Local latents; found if there are none.

    Raises
    ------
    InputError
        If a name is no latent site, or no local latents are found.
    """
    main = _main_plate(program, arguments, sites, larger)
    series = _series(sites, larger, main)
    local = _local(sites, larger, names, series, main)
    of_data = {frame[0] for site in sites.observed.values() for frame in site.plates}
    units: dict[Position, int] = {}
    unit_of = {}
    for name in local:
        site = sites.latent[name]
        fixed: Position = ((main.name, series[name][1]),) if name in series else ()
        axes = [] if fixed else _axes(site, larger.latent.get(name) if larger else None, of_data, main)
        unit_of[name] = _number(units, site.shape, axes, fixed)
    plates = {plate for position in units for plate, _ in position}
    rows: dict[Position, int] = {}
    row_of = {}
    seen = _observed_values(program, arguments)
    site_axes = {name: _site_axes(sites, larger, name, plates, main) for name in sites.observed}
    for name, value in arguments.items():
        if name in program.columns or name in program.observed or np.ndim(value):
            linked = _linked(program, arguments, name, seen, site_axes, rows)
            axes = _row_axes(np.asarray(value), sites, site_axes, whole, seen, plates, main) if np.ndim(value) else []
            by_shape = _number(rows, np.shape(value), axes) if axes and linked is None else np.full(np.shape(value), -1)
            row_of[name] = by_shape if linked is None else linked
    labels = {name: series[name][0] if name in series else name for name in local}
    shared = tuple(name for name in sites.latent if name not in local)
    return Places(tuple(local), shared, tuple(units), unit_of, labels, tuple(rows), row_of, main.name)


def _main_plate(program: Program, arguments: Mapping[str, Any], sites: Sites, larger: Sites | None) -> Main:
    frames = [frame for site in sites.observed.values() for frame in site.plates]
    after = {f[0]: f[1] for site in larger.observed.values() for f in site.plates} if larger else {}
    growing = [frame for frame in frames if after.get(frame[0], frame[1]) != frame[1]]
    for name, size, _ in growing:
        return Main(name, size, after[name])
    for name, site in sites.observed.items():
        other = larger.observed.get(name) if larger else None
        for axis in _grown_axes(site, other):
            return Main(ROWS, site.shape[axis], other.shape[axis] if other else None)
    for name, size, _ in sorted(frames, key=lambda frame: -frame[1]):
        return Main(name, size, after.get(name))
    lengths = [len(arguments[name]) for name in program.observed if np.ndim(arguments.get(name, 0))]
    lengths += [len(c) for n, c in arguments.items() if n in program.columns and np.ndim(c)]
    return Main(ROWS, min(lengths, default=0), None)


def _series(sites: Sites, larger: Sites | None, main: Main) -> dict[str, tuple[str, int]]:
    """Return stem and number of sites of which there is one for each observation, as in a Python loop."""
    found: dict[str, tuple[str, int]] = {}
    after = {stem: len(names) for stem, names in indexed(larger.latent).items()} if larger else {}
    for stem, names in indexed(sites.latent).items():
        grows = after.get(stem, len(names)) != len(names) if larger else len(names) == main.size
        if grows and not any(sites.latent[name].plates for name in names):
            found |= {name: (stem, number) for number, name in enumerate(names)}
    return found


def _local(
    sites: Sites, larger: Sites | None, names: Sequence[str], series: Mapping[str, tuple[str, int]], main: Main
) -> list[str]:
    """Return the local latents: those named, or those in a plate of the observations, or those that grow with N."""
    latent = sites.latent
    if names:
        stems = {stem for stem, _ in series.values()}
        for name in names:
            if name not in latent and name not in stems:
                raise InputError(f"no latent site {name!r}; the program has {', '.join(sorted({*latent, *stems}))}")
        return [name for name in latent if name in names or series.get(name, ("",))[0] in names]
    of_data = {frame[0] for site in sites.observed.values() for frame in site.plates}
    found = [name for name, site in latent.items() if of_data & {frame[0] for frame in site.plates} or name in series]
    if larger:
        found = [n for n, site in latent.items() if n in found or _grown_axes(site, larger.latent.get(n))]
    if not found and not larger:
        found = [n for n, site in latent.items() if not site.plates and main.size in site.shape]
    found = found or [name for name, site in latent.items() if site.plates]
    if not found:
        raise nothing_to_amortize(latent)
    return found


def nothing_to_amortize(latent: Iterable[str]) -> InputError:
    """Return the error for a program none of whose latents belongs to some of the rows."""
    *names, last = latent or [""]
    own = f"{', '.join(names)}{' and ' * bool(names)}{last} {'are' if names else 'is'} shared by all rows"
    own = own if last else "the program has no latent"
    return InputError(f"no latent has a row of its own: {own}, so there is nothing to amortize; --local would name one")


def _grown_axes(site: SiteShape, larger: SiteShape | None) -> list[int]:
    """Return the axes in no plate that are of another length with another number of observations."""
    inside = {axis for _, _, axis in site.plates}
    both = zip(site.shape, larger.shape, strict=False) if larger else ()
    return [axis for axis, (before, after) in enumerate(both) if after != before and axis not in inside]


def _axes(site: SiteShape, larger: SiteShape | None, of_data: set[str], main: Main) -> list[tuple[str, int, int]]:
    """Return (plate, axis, shift) of the axes that give a position."""
    after = {name: size for name, size, _ in larger.plates} if larger else {}
    frames = [frame for frame in site.plates if frame[0] in of_data] or list(site.plates)
    axes = []
    for name, size, axis in frames:
        alike = size == main.size and (main.after is None or after.get(name, main.after) == main.after)
        axes.append((main.name if name not in of_data and alike else name, axis, 0))
    grown = _grown_axes(site, larger)
    if not site.plates and not larger and main.size in site.shape:
        grown = [site.shape.index(main.size)]
    axes += [(main.name, axis, 0) for axis in grown[:1] if main.name not in {name for name, *_ in axes}]
    return sorted(axes, key=lambda own: own[1])  # outer plates first, for latents and data alike


def _number(
    numbers: dict[Position, int], shape: tuple[int, ...], axes: list[tuple[str, int, int]], fixed: Position = ()
) -> np.ndarray:
    """Return the number of the position of every element of an array, numbering positions as they come."""
    if not axes:
        return np.full(shape, numbers.setdefault(fixed, len(numbers)), int)
    index = [np.arange(shape[axis]) - shift for _, axis, shift in axes]
    lengths = [len(own) for own in index]
    names = [name for name, *_ in axes]
    places = np.stack([own.ravel() for own in np.meshgrid(*index, indexing="ij")], axis=1).tolist()
    flat = [numbers.setdefault((*fixed, *zip(names, place, strict=True)), len(numbers)) for place in places]
    each = np.array(flat, int).reshape(lengths)
    order = np.argsort([axis for _, axis, _ in axes])
    wide = np.ones(len(shape), int)
    for _, axis, _ in axes:
        wide[axis] = shape[axis]
    found: np.ndarray = np.broadcast_to(each.transpose(order).reshape(wide), shape).copy()
    return found


def _observed_values(program: Program, arguments: Mapping[str, Any]) -> dict[str, np.ndarray]:
    trace, _ = draw(program.function, arguments, jax.random.key(0))
    observed = {name: site for name, site in trace.items() if site["type"] == "sample" and not is_latent(site)}
    return {name: np.asarray(site["value"]) for name, site in observed.items() if site["value"] is not None}


def _linked(
    program: Program,
    arguments: Mapping[str, Any],
    name: str,
    seen: Mapping[str, np.ndarray],
    axes: Mapping[str, list[tuple[str, int, int]]],
    rows: dict[Position, int],
) -> np.ndarray | None:
    """Return the row of every element of an observed argument, by the elements of sites that are made of it.

    None if a site observes the argument as it is, or elements of it are not to be told apart at its sites.
    """
    value, own = np.asarray(arguments[name]), [site for site in program.sites.get(name, ()) if site in seen]
    if not value.ndim or not own or not all(axes.get(site) for site in own):
        return None
    if any(np.array_equal(seen[site], value) for site in own):
        return None
    elements = elements_of(program.function, arguments, name, own)
    if elements is None or len(np.unique(np.concatenate([e.ravel() for e in elements.values()]))) < value.size:
        return None
    found = np.empty(value.size, int)
    for site, places in elements.items():
        found[places.ravel()] = _number(rows, places.shape, axes[site]).ravel()
    return found.reshape(value.shape)


def _site_axes(
    sites: Sites, larger: Sites | None, name: str, plates: set[str], main: Main
) -> list[tuple[str, int, int]]:
    """Return (plate, axis, shift) of the axes of an observed site that give its rows."""
    site = sites.observed[name]
    of_data = {frame[0] for frame in site.plates}
    axes = _axes(site, larger.observed.get(name) if larger else None, of_data, main)
    return [axis for axis in axes if axis[0] in plates] or axes


def _row_axes(
    value: np.ndarray,
    sites: Sites,
    site_axes: Mapping[str, list[tuple[str, int, int]]],
    whole: Sites,
    seen: Mapping[str, np.ndarray],
    plates: set[str],
    main: Main,
) -> list[tuple[str, int, int]]:
    """Return (plate, axis, shift) of the axes of an argument that give its rows; none if it has no rows."""
    for name, site in sites.observed.items():
        if site.shape == value.shape and site_axes[name]:
            return site_axes[name]
    if main.size <= len(value) < 2 * main.size:
        lead = len(value) - main.size
        shifts = [s for s in range(lead + 1) for v in seen.values() if np.array_equal(v, value[s : s + main.size])]
        return [(main.name, 0, next(iter(shifts), lead))]
    every = [*sites.observed.values(), *sites.latent.values(), *whole.latent.values()]
    return [(name, 0, 0) for site in every for name, length, _ in site.plates if length == len(value)][:1]
