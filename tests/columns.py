"""Interactions of a program by brute force: every unit and every row is moved by itself, and gradients compared."""

from typing import NamedTuple

import numpy as np

from avigap.condition.pattern import Pattern
from avigap.condition.values import CHANGED, Moves, derivatives_at, near_to, stable_units
from avigap.condition.view import View, look
from avigap.program.arguments import Program
from avigap.program.sites import sites_at
from avigap.program.structure.joint import trace_joint


class Columns(NamedTuple):
    """Which pairs of units (U, U), and which units and rows of each argument (U, R), values show."""

    units: np.ndarray
    rows: dict[str, np.ndarray]


def view_at(program: Program, num_obs: int | None) -> View:
    return look(program, num_obs, sites_at(program, num_obs), None, (), 0)


def moves_of(view: View, pattern: Pattern) -> Moves:
    names = list(view.joint.data)
    checked = trace_joint(
        view.program.function, view.arguments, view.joint.latents, names, view.program.sites, checked=True
    )
    return Moves(view.inputs, pattern, checked)


def columns_of(view: View, moves: Moves, concrete: tuple[str, ...], number: int = 2) -> Columns:
    random = np.random.default_rng(0)
    count, rows = view.inputs.num_units, view.inputs.num_rows
    found = Columns(
        np.zeros((count, count), bool),
        {name: np.zeros((count, rows), bool) for name in view.inputs.names if name not in concrete},
    )
    points, others = view.points(0, number)
    for point, other in zip(points, others, strict=True):
        flat, to = moves.flat(point.latents), moves.flat(other.latents)
        near, zero = near_to(flat, random), np.zeros_like(flat)
        for unit in range(count):
            own = moves.unit_of == unit
            along = np.where(own, random.uniform(0.5, 1.5, flat.shape), 0.0)
            out = derivatives_at(
                moves, point, np.stack([flat, near, np.where(own, to, flat)]), [{}] * 3, [along] * 3, [{}] * 3
            )
            found.units[:, unit] |= _shows(moves, *out)
        for name, table in found.rows.items():
            row_of, base, target = view.inputs.rows_of[name], np.asarray(point.data[name]), np.asarray(other.data[name])
            for row in np.unique(row_of[row_of >= 0]):
                chosen = row_of == row
                moved = np.where(chosen, target, base)
                if not moves.legal_rows(flat, {**point.data, name: moved}, name).all():
                    continue
                is_float = name in moves.floats
                tangent = {name: np.where(chosen, random.uniform(0.5, 1.5, base.shape), 0.0)} if is_float else {}
                changed = [{}, {}, {name: moved}]
                out = derivatives_at(
                    moves, point, np.stack([flat, near, flat]), changed, [zero] * 3, [tangent, tangent, {}]
                )
                table[:, row] |= _shows(moves, *out)
    np.fill_diagonal(found.units, False)
    return found


def _shows(moves: Moves, gradient: np.ndarray, along: np.ndarray) -> np.ndarray:
    size = np.abs(gradient[0]) + np.abs(gradient[2])
    changed = (np.abs(gradient[2] - gradient[0]) > CHANGED * size) & np.isfinite(size)
    return stable_units(moves, along[:1], along[1:2])[0] | moves.by_unit(changed[None])[0]


def tables_of(view: View, pattern: Pattern) -> Columns:
    """The pattern as tables of the same form."""
    count, rows = view.inputs.num_units, view.inputs.num_rows
    units = np.zeros((count, count), bool)
    units[pattern.pairs[:, 0], pattern.pairs[:, 1]] = True
    found = Columns(units | units.T, {})
    for name in (name for name in view.inputs.names if name not in pattern.concrete):
        found.rows[name] = np.zeros((count, rows), bool)
        found.rows[name][pattern.needs[name][:, 0], pattern.needs[name][:, 1]] = True
    return found
