"""Which position every element of the local latents and every row of the data has: plates, or axes that grow with N."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from numpyro.distributions import biject_to

from avigap.errors import InputError
from avigap.program import Program, indexed, run_program
from avigap.tracing import Site, draw, is_latent

Position = tuple[tuple[str, int], ...]
"""Index in each plate; a latent without a plate, or a row of data, has one in the plate of the observations."""

ROWS = "rows"
"""Stands for the plate of the observations where a program has none."""


class SiteShape(NamedTuple):
    """What is known of a site: plates (name, size, axis), shape on the unconstrained space, whether it is discrete."""

    plates: tuple[tuple[str, int, int], ...]
    shape: tuple[int, ...]
    discrete: bool


class Sites(NamedTuple):
    """Latents and observed sites of a program for one number of observations, by name."""

    latent: Mapping[str, SiteShape]
    observed: Mapping[str, SiteShape]


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

    def elements(self, unit: int) -> list[tuple[str, str, int]]:
        """Return (label, site, flat index) of every element of a unit, in an order that is the same for like units."""
        found = [(self.label_of[n], n, int(i)) for n in self.local for i in np.flatnonzero(self.unit_of[n] == unit)]
        return sorted(found)


def sites_of(program: Program, arguments: Mapping[str, Any]) -> Sites:
    """Return the sites of a program that is given all of its arguments; runs nothing but shapes."""
    latent: dict[str, SiteShape] = {}
    observed: dict[str, SiteShape] = {}

    def visit() -> None:
        for name, site in run_program(program.function, arguments, jax.random.key(0))[0].items():
            if site["type"] == "sample":
                (latent if is_latent(site) else observed)[name] = _shape(site)

    jax.eval_shape(visit)
    return Sites(latent, observed)


def _shape(site: Site) -> SiteShape:
    discrete = bool(site["fn"].is_discrete)
    value = site["value"]
    shape = value.shape if discrete else biject_to(site["fn"].support).inv(value).shape
    batch = len(site["fn"].batch_shape)
    frames = tuple((f.name, f.size, batch + f.dim) for f in site["cond_indep_stack"])
    return SiteShape(frames, tuple(shape), discrete)


def places_of(
    program: Program,
    arguments: Mapping[str, Any],
    sites: Sites,
    larger: Sites | None,
    names: Sequence[str] = (),
) -> Places:
    """Return the positions of all local latents and rows.

    Parameters
    ----------
    arguments, sites
        Of a run with observations.
    larger
        Sites of the same program with more observations: what grows with N.
    names
        Local latents; found if there are none.

    Raises
    ------
    InputError
        If a name is no latent site, or no local latents are found.
    """
    main, size = _main_plate(program, arguments, sites, larger)
    series = {site: (stem, k) for stem, names in indexed(sites.latent).items() for k, site in enumerate(names)}
    local = _local(sites, larger, names, series, main, size)
    of_data = {frame[0] for site in sites.observed.values() for frame in site.plates}
    units: dict[Position, int] = {}
    unit_of = {}
    for name in local:
        site = sites.latent[name]
        fixed: Position = ((main, series[name][1]),) if name in series else ()
        axes = [] if fixed else _axes(site, larger.latent.get(name) if larger else None, of_data, main, size)
        unit_of[name] = _number(units, site.shape, axes, fixed)
    plates = {plate for position in units for plate, _ in position}
    rows: dict[Position, int] = {}
    row_of = {}
    seen = _observed_values(program, arguments)
    for name, value in arguments.items():
        if not isinstance(value, str | None) and np.ndim(value):
            axes = _row_axes(np.asarray(value), sites, seen, plates, main, size)
            row_of[name] = _number(rows, np.shape(value), axes) if axes else np.full(np.shape(value), -1)
    labels = {name: series[name][0] if name in series else name for name in local}
    shared = tuple(name for name in sites.latent if name not in local)
    return Places(tuple(local), shared, tuple(units), unit_of, labels, tuple(rows), row_of, main)


def _main_plate(program: Program, arguments: Mapping[str, Any], sites: Sites, larger: Sites | None) -> tuple[str, int]:
    """Return name and size of the plate of the observations that grows with N, or stands for the rows of the data."""
    frames = [frame for site in sites.observed.values() for frame in site.plates]
    after = {f[0]: f[1] for site in larger.observed.values() for f in site.plates} if larger else {}
    growing = [frame for frame in frames if after.get(frame[0], frame[1]) > frame[1]]
    for name, size, _ in growing or sorted(frames, key=lambda frame: -frame[1]):
        return name, size
    lengths = [len(arguments[name]) for name in program.observed if np.ndim(arguments.get(name, 0))]
    lengths += [len(c) for n, c in arguments.items() if n in program.columns and np.ndim(c)]
    return ROWS, min(lengths, default=0)


def _local(
    sites: Sites,
    larger: Sites | None,
    names: Sequence[str],
    series: Mapping[str, tuple[str, int]],
    main: str,
    size: int,
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
    found = [
        name
        for name, site in latent.items()
        if of_data & {frame[0] for frame in site.plates}
        or name in series
        or _growing_axis(site, larger.latent.get(name) if larger else None, size) is not None
    ]
    found = found or [name for name, site in latent.items() if site.plates]
    if not found:
        raise InputError(f"no local latents found among {', '.join(latent) or 'no latents'}: name them with --local")
    return found


def _growing_axis(site: SiteShape, larger: SiteShape | None, size: int) -> int | None:
    """Return the axis of a site without plates that grows with N; of two sizes, or as long as the data if only one."""
    if site.plates or not site.shape:
        return None
    if larger is None:
        return next((axis for axis, length in enumerate(site.shape) if length == size), None)
    return next((axis for axis, (a, b) in enumerate(zip(site.shape, larger.shape, strict=False)) if b > a), None)


def _axes(
    site: SiteShape, larger: SiteShape | None, of_data: set[str], main: str, size: int
) -> list[tuple[str, int, int]]:
    """Return (plate, axis, shift) of the axes that give a position."""
    frames = [frame for frame in site.plates if frame[0] in of_data] or list(site.plates)
    if frames:
        return [(name, axis, 0) for name, _, axis in frames]
    axis = _growing_axis(site, larger, size)
    return [] if axis is None else [(main, axis, 0)]


def _number(
    numbers: dict[Position, int], shape: tuple[int, ...], axes: list[tuple[str, int, int]], fixed: Position = ()
) -> np.ndarray:
    """Return the number of the position of every element of an array, numbering positions as they come."""
    index = np.indices(shape)
    found = np.empty(shape, int)
    for place in np.ndindex(*shape):
        position = (*fixed, *sorted((name, int(index[(axis, *place)]) - shift) for name, axis, shift in axes))
        found[place] = numbers.setdefault(position, len(numbers))
    return found


def _observed_values(program: Program, arguments: Mapping[str, Any]) -> dict[str, np.ndarray]:
    trace, _ = draw(program.function, arguments, jax.random.key(0))
    observed = {name: site for name, site in trace.items() if site["type"] == "sample" and not is_latent(site)}
    return {name: np.asarray(site["value"]) for name, site in observed.items() if site["value"] is not None}


def _row_axes(
    value: np.ndarray,
    sites: Sites,
    seen: Mapping[str, np.ndarray],
    plates: set[str],
    main: str,
    size: int,
) -> list[tuple[str, int, int]]:
    """Return (plate, axis, shift) of the axes of an argument that give its rows; none if it has no rows."""
    like = next((site for site in sites.observed.values() if site.shape == value.shape and site.plates), None)
    if like is not None:
        axes = [(name, axis, 0) for name, _, axis in like.plates]
        return [axis for axis in axes if axis[0] in plates] or axes
    if size <= len(value) < 2 * size:
        lead = len(value) - size
        shifts = [s for s in range(lead + 1) for v in seen.values() if np.array_equal(v, value[s : s + size])]
        return [(main, 0, next(iter(shifts), lead))]
    frames = [frame for site in sites.observed.values() for frame in site.plates]
    return [(name, 0, 0) for name, length, _ in frames if length == len(value)][:1]
