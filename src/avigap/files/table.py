"""Data files of a user's own: found to be text, netCDF or a data frame by their content, and read into columns."""

import difflib
import re
import shlex
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from avigap.errors import InputError
from avigap.files.arrays import values_of_array
from avigap.files.text import (
    COMMENTS,
    Column,
    Values,
    clean,
    has_decimal_comma,
    is_number,
    listed,
    quoted,
    read_cells,
    short,
    values_of,
)
from avigap.paths import check_input

NETCDF_SUFFIXES = (".nc", ".nc4", ".cdf", ".netcdf", ".h5", ".hdf5")
NETCDF = (b"\x89HDF", b"CDF\x01", b"CDF\x02", b"CDF\x05")
WORKBOOKS = (b"PK\x03\x04", b"PK\x05\x06", b"\xd0\xcf\x11\xe0")
COMPRESSED = (b"\x1f\x8b", *(b"BZh%d1AY" % level for level in range(1, 10)), b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
FRAMES = {b"PAR1": "parquet", b"ARROW1": "feather", b"FEA1": "feather"}
CONTROL = bytes(set(range(32)) - set(b"\t\n\r"))
MOST = 12


class Wanted(NamedTuple):
    """What a program takes from a file.

    Attributes
    ----------
    names
        The arguments that a column may fill, as Python spells them, in the normal form NFKC.
    required
        Those without a default value, for the words of errors.
    every
        Whether the program takes ``**features``: then every other column fills an argument of its own name.
    """

    names: tuple[str, ...]
    required: tuple[str, ...] = ()
    every: bool = False


class Reading(NamedTuple):
    """What was read from a file, in values that JSON has.

    Attributes
    ----------
    file
        The file.
    rows
        Number of rows.
    columns
        For each argument the heading of its column, or those of the columns of a matrix.
    codes
        For each argument of categories the categories; the place of each is its code.
    unused
        The headings that no argument takes, with those to be ignored.
    notes
        What else a reader should know, in short clauses.
    """

    file: str
    rows: int
    columns: dict[str, str | list[str]]
    codes: dict[str, list[str]]
    unused: list[str]
    notes: list[str]


class Table(NamedTuple):
    """The columns of a file before any is looked at: lists of cells of a text, or arrays.

    ``lines`` are the lines of a text in which its rows begin, None for other files; ``indices`` are names of columns
    that number the rows, which an argument takes only if it has that name.
    """

    path: Path
    names: list[str]
    columns: list[Any]
    notes: list[str]
    lines: list[int] | None = None
    separator: str = ""
    comma: bool = False
    indices: tuple[str, ...] = ()

    @property
    def headings(self) -> list[str]:
        """Names of the columns, with words for those without one."""
        return [name or f"column {index + 1} (without a name)" for index, name in enumerate(self.names)]

    def find(self, name: str) -> list[int]:
        """Return the columns of a name, or those of one that Python takes for the same."""
        exact = [index for index, each in enumerate(self.names) if each == name]
        return exact or [index for index, each in enumerate(self.names) if each and _plain(each) == _plain(name)]

    def column(self, index: int) -> Column:
        """Return a column of a text file."""
        return Column(self.path, self.headings[index], self.columns[index], self.lines, self.separator, self.comma)

    def values(self, index: int, known: Sequence[str] | None = None) -> Values:
        """Return what a column holds, see :func:`avigap.files.text.values_of`."""
        if self.lines is None:
            return values_of_array(self.path, self.headings[index], self.columns[index], known)
        return values_of(self.column(index), known)


def open_table(path: Path) -> Table:
    """Return the columns of a data file, whose format is found from its content.

    Raises
    ------
    InputError
        If the file is missing, empty, or of a format that cannot be read.
    """
    check_input(path)
    content = path.read_bytes()
    if path.suffix.lower() in NETCDF_SUFFIXES or content.startswith(NETCDF):
        return _open_netcdf(path, "scipy" if content.startswith(b"CDF") else "h5netcdf")
    for magic, kind in FRAMES.items():
        if content.startswith(magic) and (content.endswith(magic) or content[len(magic)] in CONTROL):
            return _open_frame(path, kind)
    if content.startswith(WORKBOOKS):
        raise InputError(f"{path} is an Excel workbook or a zip: save it as CSV")
    if content.startswith(COMPRESSED):
        raise InputError(f"{path} is compressed: unpack it")
    cells = read_cells(path, content)
    columns = [[*map(str.strip, column)] for column in zip(*cells.rows, strict=True)] or [[] for _ in cells.names]
    comma = cells.separator != "," and has_decimal_comma(columns)
    points = cells.separator == ";" and any("." in each and is_number(each) for own in columns for each in own)
    mark = "decimal mark ','" if comma else "decimal mark '.'" if points else ""
    notes = [*cells.notes, *([mark] if mark else [])]
    return Table(path, cells.names, columns, notes, cells.lines, cells.separator, comma)


def _open_netcdf(path: Path, engine: str) -> Table:
    """Return the variables of a netCDF file; times that cannot be decoded stay numbers."""
    for decode in (True, False):
        try:
            with xr.open_dataset(path, engine=engine, decode_times=decode, decode_timedelta=False) as opened:
                data = opened.load()
            break
        except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
            if not decode:
                raise InputError(f"{path} is not a readable netCDF file: truncated, or another format") from error
    names = [str(name) for name in [*data.data_vars, *data.coords]]
    columns = [_native(data[name].to_numpy()) for name in names]
    return Table(path, [clean(name) for name in names], columns, [], indices=tuple(map(str, data.coords)))


def _native(array: np.ndarray) -> np.ndarray:
    """Return an array with the bytes of its numbers in the order of this machine, as pandas needs them."""
    return array.astype(array.dtype.newbyteorder("=")) if array.dtype.kind in "iufc" else array


def _open_frame(path: Path, kind: str) -> Table:
    read = pd.read_parquet if kind == "parquet" else pd.read_feather
    try:
        frame = read(path)
    except ImportError as error:
        raise InputError(f"reading {path} needs pyarrow: pip install pyarrow") from error
    except (OSError, ValueError, NotImplementedError) as error:  # those of pyarrow are kinds of these
        raise InputError(f"{path} is not a readable {kind} file: truncated, or another format") from error
    return table_of_frame(path, frame)


def table_of_frame(path: Path, frame: pd.DataFrame) -> Table:
    """Return the columns of a data frame that a file holds; those of an index with a name come last."""
    levels = [level for level, name in enumerate(frame.index.names) if name is not None]
    indices = [clean(str(frame.index.names[level])) for level in levels]
    names = [*(clean(str(name)) for name in frame.columns), *indices]
    columns = [frame.iloc[:, place] for place in range(frame.shape[1])]
    columns += [pd.Series(frame.index.get_level_values(level)) for level in levels]
    return Table(path, names, columns, [], indices=tuple(indices))


def read_columns(
    path: Path,
    wanted: Wanted | None,
    rename: Mapping[str, str] = {},
    ignore: Collection[str] = (),
    drop_missing: bool = False,
    codes: Mapping[str, Sequence[str]] = {},
) -> tuple[dict[str, np.ndarray], Reading]:
    """Return the columns of a file that a program takes, by argument, and what was read.

    Columns ``y[0]``, ``y[1]``, .. are those of a matrix ``y`` (N, K).

    Parameters
    ----------
    path
        A text file with separated columns, a netCDF file, or a parquet or Feather file.
    wanted
        What the program takes; None if every column counts.
    rename
        The argument that a column fills, by its heading.
    ignore
        Headings of columns to leave out.
    drop_missing
        Whether to leave out rows that lack a value.
    codes
        The categories of an argument, in the order of their codes.

    Raises
    ------
    InputError
        If the file cannot be read, a column that is taken cannot be either, or it is unclear what an argument takes.
    """
    table = open_table(path)
    every = Wanted((), every=True) if wanted is None else wanted
    chosen, unused = _chosen(table, every, rename, ignore)
    places = {name: [place] if isinstance(place, int) else place for name, place in chosen.items()}
    values = {place: table.values(place, codes.get(name)) for name, own in places.items() for place in own}
    values, notes = _without_missing(table, values, drop_missing)
    columns, found = {}, {}
    for name, place in chosen.items():
        read = values[place] if isinstance(place, int) else _matrix(path, name, [values[each] for each in place])
        columns[name] = read.array
        if read.categories is not None:
            found[name] = read.categories
    rows = max((len(array) for array in columns.values() if array.ndim), default=0)
    if not rows:
        raise InputError(f"{path} has no row")
    headings = {
        n: table.headings[p] if isinstance(p, int) else [table.headings[e] for e in p] for n, p in chosen.items()
    }
    return columns, Reading(str(path), rows, headings, found, unused, [*table.notes, *notes])


def _plain(name: str) -> str:
    """Return a name as Python spells it."""
    return unicodedata.normalize("NFKC", name).strip()


def _place(name: str) -> tuple[str, int | None]:
    """Return the name of a matrix and the place of a column in it, or the name of a column and None."""
    match = re.fullmatch(r"(.+)\[(\d+)\]", _plain(name))
    return (match[1], int(match[2])) if match else (_plain(name), None)


def _target(name: str) -> str:
    """Return the argument, or the column of a matrix, that a name stands for."""
    base, number = _place(name)
    return base if number is None else f"{base}[{number}]"


def _chosen(
    table: Table, wanted: Wanted, rename: Mapping[str, str], ignore: Collection[str]
) -> tuple[dict[str, int | list[int]], list[str]]:
    """Return which column fills each argument, or which columns if it is a matrix, and headings that fill none."""
    if not table.names:
        raise InputError(f"{table.path} has no column")
    given = _renamed(table, wanted, rename)
    ignored = {place for heading in ignore for place in _known(table, heading, "ignore")}
    if clash := [heading for place, (heading, _) in given.items() if place in ignored]:
        raise InputError(f"column {quoted(clash[0])} of {table.path} is both to be renamed and to be ignored")
    if not rename and table.lines is not None and all(is_number(name) for name in table.names):
        found = listed(table.names, 4)
        raise InputError(
            f"{table.path} has no names of columns, but {found} in their place: write them into a line above"
        )
    taken: dict[str, list[int]] = {}
    for place, name in enumerate(table.names):
        target = given[place][1] if place in given else _target(name)
        open_ = place in given or (wanted.every and name not in table.indices)
        if target and place not in ignored and (open_ or _place(target)[0] in wanted.names):
            taken.setdefault(target, []).append(place)
    chosen = _with_matrices(table, _alone(table, taken))
    named = {place for target, places in taken.items() if _place(target)[0] in wanted.names for place in places}
    left = [place for place in range(len(table.names)) if place not in named | ignored | set(given)]
    _check_near(table, left, [name for name in wanted.names if name not in chosen], wanted.every)
    if not chosen:
        raise _nothing_taken(table, wanted)
    return chosen, [heading for place, heading in enumerate(table.headings) if [place] not in taken.values()]


def _alone(table: Table, taken: Mapping[str, Sequence[int]]) -> dict[str, int]:
    """Return the one column of each argument."""
    for target, places in taken.items():
        if len(places) > 1:
            one, other = (table.headings[place] for place in places[:2])
            advice = "delete one of them" if one == other else "--ignore one of them"
            raise InputError(
                f"columns {quoted(one)} and {quoted(other)} of {table.path} both fill {short(target)}: {advice}"
            )
    return {target: places[0] for target, places in taken.items()}


def _nothing_taken(table: Table, wanted: Wanted) -> InputError:
    needs = f" (it needs {_first(wanted.required, 4)})" if wanted.required else ""
    takes = f"none of the columns that the program takes, {_first(wanted.names, 8)}{needs}"
    takes = takes if wanted.names else "no column left to take"
    advice = "a program that takes a whole table must take its columns instead, each by its name"
    if table.names[0].startswith(COMMENTS):
        advice = "if line 1 is a comment, delete it"
    return InputError(f"{table.path} has {takes}; it has {listed(table.headings)}; {advice}")


def _known(table: Table, heading: str, what: str) -> list[int]:
    """Return the columns of a heading that a user names."""
    if places := table.find(clean(heading)):
        return places
    raise InputError(f"{table.path} has no column {quoted(heading)} to {what}; it has {listed(table.headings)}")


def _renamed(table: Table, wanted: Wanted, rename: Mapping[str, str]) -> dict[int, tuple[str, str]]:
    """Return heading and argument for each column that is given an argument of another name."""
    given: dict[int, tuple[str, str]] = {}
    for heading, name in rename.items():
        target = _target(name)
        if not wanted.every and _place(target)[0] not in wanted.names:
            takes = _first(wanted.names)
            what = f"--rename {short(heading)}={short(name)}"
            raise InputError(f"{what}: the program takes no column {quoted(name)}, only {takes}")
        given |= dict.fromkeys(_known(table, heading, "rename"), (heading, target))
    return given


def _with_matrices(table: Table, places: Mapping[str, int]) -> dict[str, int | list[int]]:
    """Join columns whose names end in numbers in brackets."""
    found: dict[str, int | list[int]] = {}
    parts: dict[str, dict[int, int]] = {}
    for target, place in places.items():
        name, number = _place(target)
        if number is None:
            found[name] = place
        else:
            parts.setdefault(name, {})[number] = place
    for name, own in parts.items():
        if set(own) != set(range(len(own))) or name in found:
            of = short(name, 24)
            must = f"must have columns {of}[0], {of}[1], .. without a gap, and no other {quoted(name, 24)}"
            raise InputError(f"{table.path} {must}")
        found[name] = [own[number] for number in range(len(own))]
    return found


def _check_near(table: Table, left: Sequence[int], unfilled: Sequence[str], every: bool) -> None:
    """Raise if a column that no named argument takes has nearly the name of one that no column fills."""
    for place in left:
        heading, number = _place(table.names[place])
        near = max(unfilled, key=lambda name: _likeness(heading, name), default="")
        if heading and _likeness(heading, near) >= 0.8:
            own, target = table.names[place], near if number is None else f"{near}[{number}]"
            keep = _flag("rename", f"{own}={own}") if every else _flag("ignore", own)
            advice = f"{_flag('rename', f'{own}={target}')}, or {keep}"
            what = f"column {quoted(own)} of {table.path} fills no {'named ' * every}argument of the program"
            raise InputError(f"{what}, but is near to {near!r}, which no column fills: {advice}")


def _flag(name: str, value: str) -> str:
    """Return a flag with a value that can be pasted; without one that is too long for a sentence."""
    return f"--{name} {shlex.quote(value)}" if len(value) <= 40 and value.isprintable() else f"--{name}"


def _likeness(heading: str, name: str) -> float:
    """Return how like two names are: 1 if they differ in case and signs alone, 0 if one is too short to tell."""
    one, other = (re.sub(r"[\W_]", "", each).casefold() for each in (heading, name))
    if one == other:
        return float(bool(one))
    if other and other in (re.sub(r"[\W_]", "", word).casefold() for word in re.split(r"[\s_.()\[\]-]+", heading)):
        return 0.9
    return difflib.SequenceMatcher(None, one, other).ratio() if min(len(one), len(other)) >= 4 else 0.0


def _matrix(path: Path, name: str, parts: Sequence[Values]) -> Values:
    """Return the matrix of several columns, whose categories are those of all of them."""
    texts = [part.categories for part in parts if part.categories is not None]
    if texts and len(texts) < len(parts):
        raise InputError(f"columns {short(name)}[0], [1], .. of {path} hold both numbers and texts")
    if not texts:
        return Values(np.stack([part.array for part in parts], axis=1), parts[0].missing)
    joint = texts[0] if all(each == texts[0] for each in texts) else sorted({each for own in texts for each in own})
    arrays = [np.array([joint.index(each) for each in own])[part.array] for own, part in zip(texts, parts, strict=True)]
    return Values(np.stack(arrays, axis=1), parts[0].missing, joint)


def _without_missing(table: Table, values: Mapping[int, Values], drop: bool) -> tuple[dict[int, Values], list[str]]:
    """Return columns without the rows in which one lacks a value, and a note on them.

    Raises
    ------
    InputError
        If there are any and none is to be left out, or none would be left.
    """
    lacking = {place: each.missing for place, each in values.items() if each.missing.any()}
    if not lacking:
        return dict(values), []
    names = listed(table.headings[place] for place in lacking)
    if void := [table.headings[place] for place, lacks in lacking.items() if lacks.all()]:
        advice = f"fill it in, or leave it out with {_flag('ignore', void[0])}"
        raise InputError(f"column {quoted(void[0])} of {table.path} has no value in any row: {advice}")
    if not drop:
        raise _lacking(table, lacking)
    if len({len(each.missing) for each in values.values()}) > 1:
        raise InputError(
            f"{table.path} has gaps in {names}, and columns of other lengths, so that no row can be left out"
        )
    keep = ~np.any([*lacking.values()], axis=0)
    if not keep.any():
        raise InputError(f"{table.path} has no row with a value in each of {names}")
    left_out = int(np.sum(~keep))
    note = f"{left_out} row{'s' * (left_out > 1)} that lack{'s' * (left_out == 1)} a value left out"
    return {p: each._replace(array=each.array[keep], missing=each.missing[keep]) for p, each in values.items()}, [note]


def _lacking(table: Table, lacking: Mapping[int, np.ndarray]) -> InputError:
    """Return the error for the first column that lacks values, with where they are."""
    place, lacks = next(iter(lacking.items()))
    rows = np.flatnonzero(lacks)
    numbers = [str(row + 1 if table.lines is None else table.lines[row]) for row in rows[:3]]
    where = ", ".join(numbers) if len(numbers) < 2 or len(rows) > 2 else " and ".join(numbers)
    where = f"{'row' if table.lines is None else 'line'}{'s' * (len(rows) > 1)} {where}{', ..' * (len(rows) > 3)}"
    if table.lines is not None:
        marks = dict.fromkeys(table.columns[place][row] for row in rows)
        where += f": {' or '.join(quoted(mark) if mark else 'empty' for mark in [*marks][:2])}"
    others = [quoted(table.headings[each]) for each in [*lacking][1:]]
    also = f", with gaps in {others[0] if len(others) == 1 else f'{len(others)} other columns'} too" if others else ""
    flat = np.ndim(table.columns[place]) == 1
    count = f"{len(rows)} of {len(lacks)} values" if flat else f"a value in {len(rows)} of {len(lacks)} rows"
    return InputError(
        f"column {quoted(table.headings[place])} of {table.path} lacks {count} ({where}){also}: leave such rows out"
        " with --drop-missing, or let the program take a mask column or draw the missing values as a latent"
    )


def describe(reading: Reading) -> list[str]:
    """Return what was read in at most three lines: rows and columns, codes of categories, and what is not used."""
    same = [name for name, own in reading.columns.items() if isinstance(own, str) and _plain(own) == name]
    words = "columns of the same names" if len(same) > 1 else "the column of the same name"
    parts = [f"{_first(same)} from {words}"] if same else []
    for name in [name for name in reading.columns if name not in same][:MOST]:
        own = reading.columns[name]
        parts.append(f"{name} from {quoted(own) if isinstance(own, str) else _first(own, 3)}")
    notes = f" ({', '.join(reading.notes)})" if reading.notes else ""
    lines = [f"Read {reading.file}: {reading.rows} row{'s' * (reading.rows != 1)}{notes}; {', '.join(parts)}."]
    if reading.codes:
        codes = {
            name: [f"{short(each)} = {code}" for code, each in enumerate(own)] for name, own in reading.codes.items()
        }
        each_argument = [f"{name} {_first(own, 6, 'categories')}" for name, own in codes.items()]
        lines.append(f"Codes: {'; '.join(each_argument)}.")
    if reading.unused:
        lines.append(f"Columns that no argument takes: {_first([short(each) for each in reading.unused])}.")
    return lines


def _first(names: Sequence[str], most: int = MOST, what: str = "in all") -> str:
    """Return the first names of many, and how many there are."""
    return ", ".join([*names[:most], *([f".. ({len(names)} {what})"] if len(names) > most else [])])
