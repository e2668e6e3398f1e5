"""The data that a user gives for a program: what it takes of a file, and the options that settle what is unclear.

Every command and the configuration read a file through here, so that they never read it differently.
"""

import argparse
import ast
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from avigap.errors import InputError
from avigap.files.table import Reading, Wanted, read_columns
from avigap.loading import load_program
from avigap.paths import check_input
from avigap.program.arguments import NUM_OBS, parameters_of


class Options(NamedTuple):
    """What a user says about the columns of a file.

    Attributes
    ----------
    rename
        The argument that a column fills, by its heading.
    ignore
        Headings of columns to leave out.
    drop_missing
        Whether rows that lack a value are left out.
    codes
        A verdict, whose codes of categories are taken; None for codes of the file's own.
    """

    rename: Mapping[str, str] = {}
    ignore: Sequence[str] = ()
    drop_missing: bool = False
    codes: Path | None = None


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the flags of :class:`Options`."""
    parser.add_argument(
        "--rename", nargs="+", default=[], metavar="COLUMN=ARGUMENT", help="columns that fill an argument of that name"
    )
    parser.add_argument("--ignore", nargs="+", default=[], metavar="COLUMN", help="columns to leave out")
    parser.add_argument("--drop-missing", action="store_true", help="leave out rows that lack a value")
    parser.add_argument("--codes", type=Path, help="an earlier verdict, whose codes of categories are taken")


def options_of(args: argparse.Namespace) -> Options:
    """Return the options that flags give.

    Raises
    ------
    InputError
        If a flag is not of the form ``COLUMN=ARGUMENT``, or names a column twice.
    """
    rename: dict[str, str] = {}
    for text in args.rename:
        column, sign, argument = text.rpartition("=")
        if not sign or not column or not argument:
            raise InputError(f"--rename takes COLUMN=ARGUMENT, such as Dose=dose, got {text!r}")
        if column in rename:
            raise InputError(f"--rename names the column {column!r} twice")
        rename[column] = argument
    return Options(rename, args.ignore, args.drop_missing, args.codes)


def options_in(data: Mapping[str, Any], folder: Path = Path()) -> Options:
    """Return the options of a ``data`` block of a configuration."""
    codes = folder / data["codes"] if "codes" in data else None
    return Options(data.get("rename", {}), data.get("ignore", ()), data.get("drop_missing", False), codes)


def wanted_by(function: Callable[..., Any], settings: Mapping[str, Any]) -> Wanted:
    """Return which columns a program takes."""
    own = parameters_of(function)
    names = tuple(name for name in own.names if name not in settings and name != NUM_OBS)
    return Wanted(names, tuple(name for name in own.required if name in names), own.every)


def wanted_in(model: str, settings: Mapping[str, Any], folder: Path) -> Wanted:
    """Return which columns the program ``path/to/file.py:function`` takes, read off its source where that tells.

    Raises
    ------
    InputError
        If the file has no such program, or cannot be run where it must.
    """
    path, _, name = model.rpartition(":")
    try:
        tree = ast.parse((folder / path).read_bytes())
    except (SyntaxError, ValueError) as error:
        raise InputError(f"{path} is not a file of Python: {error}") from error
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name]
    assigned = {
        target.id for node in tree.body for target in getattr(node, "targets", ()) if isinstance(target, ast.Name)
    }
    if not found or found[-1].args.posonlyargs or name in assigned:
        return wanted_by(load_program(f"{folder / path}:{name}")[0], settings)
    own = found[-1].args
    places = [each.arg for each in own.args]
    required = places[: len(places) - len(own.defaults)]
    required += [each.arg for each, value in zip(own.kwonlyargs, own.kw_defaults, strict=True) if value is None]
    names = [*places, *(each.arg for each in own.kwonlyargs)]
    kept = tuple(each for each in names if each not in settings and each != NUM_OBS)
    return Wanted(kept, tuple(each for each in required if each in kept), own.kwarg is not None)


def read_data(path: Path, wanted: Wanted, options: Options) -> tuple[dict[str, np.ndarray], Reading]:
    """Return the columns of a file that a program takes, and what was read.

    Raises
    ------
    InputError
        As :func:`avigap.files.table.read_columns`, or if the file of the codes is no verdict.
    """
    codes = {} if options.codes is None else read_codes(options.codes)
    return read_columns(path, wanted, options.rename, options.ignore, options.drop_missing, codes)


def read_codes(path: Path) -> dict[str, list[str]]:
    """Return the codes of categories that a verdict holds, by argument.

    Raises
    ------
    InputError
        If the file is no verdict.
    """
    check_input(path)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return dict((found["read"] or {"codes": {}})["codes"])
    except (UnicodeDecodeError, json.JSONDecodeError, TypeError, KeyError) as error:
        raise InputError(f"{path} is not a verdict that check_condition.py wrote") from error


def check_data(model: str, settings: Mapping[str, Any], data: Mapping[str, Any], folder: Path) -> None:
    """Raise if the study of a configuration could not read its data file.

    Raises
    ------
    InputError
        As :func:`read_data`, in the words of a configuration.
    """
    try:
        wanted = wanted_in(model, settings, folder)
        _, reading = read_data(folder / data["file"], wanted, options_in(data, folder))
        if lacking := [name for name in wanted.required if name not in reading.columns]:
            left = f"; columns that no argument takes: {', '.join(reading.unused)}" if reading.unused else ""
            raise InputError(
                f"no column of {reading.file} fills {', '.join(map(repr, lacking))}, which the program needs: give it"
                f" a column, or settings{left}"
            )
    except InputError as error:
        text = str(error).replace("--drop-missing", "drop_missing: true under data")
        text = re.sub(r"--rename ('[^']+'|\S+?)=([^'\s,]+)", _as_yaml, text)
        text = re.sub(r"--ignore ('[^']+'|[^\s,]+)", r"ignore: [\1] under data", text)
        raise InputError(text) from error


def _as_yaml(match: "re.Match[str]") -> str:
    return f"rename: {{{match[1]}: {match[2]}}} under data"
