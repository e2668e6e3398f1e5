"""Text files of a user's own: bytes become headings and rows of cells, and cells become numbers or categories."""

import codecs
import csv
import io
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import dropwhile, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from avigap.errors import InputError

SEPARATORS = ("\t", ";", "|", ",")
"""In this order where all fit alike: a comma may stand in a name, a tab hardly."""

BLANKS = " "
NAMES = {BLANKS: "blanks", "\t": "tab"}
SAMPLE = 200
COMMENTS = ("#", "%", "//")
MISSING = frozenset(
    ["", ".", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "<NA>", "NaT", "#N/A", "#NULL!", "#N/D"]
)
MISSING_NUMBER = frozenset(["-", "--", "?"])
TRUE, FALSE = frozenset(["TRUE", "True", "true", "T"]), frozenset(["FALSE", "False", "false", "F"])

NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
COMMA_NUMBER = re.compile(r"[+-]?(?:\d+,\d*|,\d+)(?:[eE][+-]?\d+)?", re.ASCII)
WHOLE = re.compile(r"[+-]?\d+", re.ASCII)
EITHER_MARK = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}", re.ASCII)
THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}([,.' \u00a0\u2009\u202f\u2019])\d{3}(?:\1\d{3})*(?:[.,]\d+)?", re.ASCII)
INFINITE = re.compile(r"[+-]?inf(?:inity)?", re.IGNORECASE)
_CLOCK = r"\d{1,2}:[0-5]\d(?::[0-5]\d(?:[.,]\d+)?)?(?: ?[AaPp][Mm])?(?: ?(?:Z|UTC|[+-]\d{2}:?\d{2}))?"
_YEAR, _MONTH, _DAY = r"(?:1[5-9]|2[01])\d{2}", r"(?:0?[1-9]|1[0-2]|[A-Za-z]{3,9})", r"(?:0?[1-9]|[12]\d|3[01])"
_NAMED = "Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec"
_DATES = (
    rf"{_YEAR}-(?:0[1-9]|1[0-2])",
    rf"{_YEAR}([-/.]){_MONTH}\1{_DAY}",
    rf"{_DAY}([-/. ]){_MONTH}\2{_YEAR}",
    rf"{_MONTH}([-/]){_DAY}\3{_YEAR}",
    rf"{_DAY}([/.]){_MONTH}\4\d{{2}}",
    rf"{_MONTH}/{_DAY}/\d{{2}}",
    rf"[A-Za-z]{{3,9}}\.? {_DAY},? {_YEAR}",
    rf"{_DAY}[- ](?:{_NAMED})[a-z]*",
    rf"(?:{_NAMED})[a-z]*[- ]{_DAY}",
)
DATE = re.compile(rf"(?:{'|'.join(_DATES)})(?:[T ,]+{_CLOCK})?|(?=\d{{2}}:|\d:\d{{2}}:){_CLOCK}", re.ASCII)
BESIDE = re.compile(
    rf"((?:[<>≤≥~≈±$€£¥]|USD|EUR|GBP|CHF)?=?) ?(?:{NUMBER.pattern}|{COMMA_NUMBER.pattern})"
    r"( ?)([%‰°€$£¥]\w?|[^\W\d_][^\s,;]{0,11}|)"
)
A_DATE = " but like a date or time: give numbers instead, such as days since the first"


class Cells(NamedTuple):
    """A text file, split into cells: its headings, its rows, and the number of the line in which each begins."""

    names: list[str]
    rows: list[list[str]]
    lines: list[int]
    separator: str
    notes: list[str]


class Values(NamedTuple):
    """What a column holds: an array, which of its rows lack a value, and the categories if the array is of codes."""

    array: np.ndarray
    missing: np.ndarray
    categories: list[str] | None = None


class Column(NamedTuple):
    """The cells of one column without blanks around them, and where they stand: ``width`` of them in a row."""

    path: Path
    heading: str
    cells: Sequence[str]
    lines: Sequence[int] | None = None
    separator: str = ""
    comma: bool = False
    width: int = 1

    def where(self, index: int) -> str:
        """Name of the row of a cell: its line in a text file."""
        return f"row {index // self.width + 1}" if self.lines is None else f"line {self.lines[index]}"

    def refused(self, index: int, why: str = "") -> InputError:
        """The error for a cell that is not a number."""
        what = f"{self.where(index)}: {short(self.heading)} is {quoted(self.cells[index])}"
        return InputError(f"{self.path}: {what}, not a finite number{why}")


def short(text: str, width: int = 40) -> str:
    """Return a text of one line, cut to a width."""
    text = repr(text)[1:-1] if not text.isprintable() else text
    return text if len(text) <= width else f"{text[: width - 1]}…"


def quoted(text: str, width: int = 40) -> str:
    """Return a text in quotes, cut to a width."""
    return repr(text if len(text) <= width else f"{text[: width - 1]}…")


def clean(heading: str) -> str:
    """Return a heading without blanks around it and without characters that nobody sees."""
    return "".join(each for each in heading if unicodedata.category(each) != "Cf").strip()


def is_number(text: str) -> bool:
    """Whether a text is a number with a decimal point or a decimal comma."""
    return bool(NUMBER.fullmatch(text) or COMMA_NUMBER.fullmatch(text))


def read_cells(path: Path, content: bytes) -> Cells:
    """Return the cells of a text file, whose encoding and separator are found from its content.

    Raises
    ------
    InputError
        If it is no text, a quote is open, the first line is a comment, or a row has a field too many or too few.
    """
    text, notes = _decoded(path, content)
    lines = list(io.StringIO(text, newline=""))
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))
    declared = re.fullmatch(r'"?sep=([^\w"])"?\s*', "".join(lines[:1]), re.IGNORECASE)
    start = next((i for i, line in enumerate(lines) if i >= bool(declared) and line.strip(" \t\r\n,;|")), len(lines))
    if empty := start - bool(declared):
        notes.append(
            f"line {start} is empty and left out" if empty == 1 else f"{empty} empty lines at the start left out"
        )
    separator = declared[1] if declared else _separator(lines[start:])
    if not declared:
        _check_comment(path, lines, start)
    try:
        (_, header), *rows = [*_rows(lines, separator, start)] or [(0, [])]
    except csv.Error as error:
        raise InputError(f"{path} is not a CSV text file: {error}") from error
    if len(header) > 1 and separator != ",":
        notes.append(f"separator {NAMES.get(separator, repr(separator))}")
    rows = _without_empty(rows, len(header), notes)
    if _has_row_names(lines, rows, len(header), separator):
        rows = [(line, cells[1:]) for line, cells in rows]
        notes.append("row names left out")
    first = f"{'the first line' if start == 0 else f'line {start + 1}'} has {len(header)}"
    for line, cells in rows:
        if len(cells) != len(header):
            raise _ragged(path, line, len(cells), first, lines[line - 1])
    return Cells([clean(each) for each in header], [r for _, r in rows], [n for n, _ in rows], separator, notes)


def _decoded(path: Path, content: bytes) -> tuple[str, list[str]]:
    """Return the text, and a note if it is not UTF-8."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        text = content.decode("utf-16", errors="replace")
        if "\0" in text or "\ufffd" in text:
            raise InputError(f"{path} is not a CSV text file: it begins like UTF-16, but is not; save it as UTF-8")
        return text, ["encoding UTF-16"]
    if b"\0" in content:
        raise InputError(f"{path} is not a CSV text file: it has NUL bytes; save it as CSV")
    content = content.removeprefix(codecs.BOM_UTF8)
    try:
        return content.decode("utf-8"), []
    except UnicodeDecodeError as error:
        text = content.decode("cp1252", errors="replace")
        if re.search("[\x01-\x08\x0b\x0c\x0e-\x1f\x7f\ufffd]", text):
            line = len(re.findall(rb"\r\n?|\n", content[: error.start])) + 1
            raise InputError(
                f"{path} is not a CSV text file: line {line} is not UTF-8 text; save it as UTF-8"
            ) from error
        return text, ["encoding Windows-1252"]


def _rows(lines: Sequence[str], separator: str, start: int = 0) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows from a line on, each with the number of the line in which it begins.

    Raises
    ------
    csv.Error
        At a quote where none may be, with the line.
    """
    own: Iterable[str] = islice(lines, start, None)
    if separator == BLANKS:
        own = (line.replace("\t", " ").rstrip() + "\n" for line in own)
    reader = csv.reader(own, delimiter=separator, skipinitialspace=True, strict=True)
    line = start + 1
    try:
        for cells in reader:
            yield line, cells
            line = start + reader.line_num + 1
    except csv.Error as error:
        if "end of data" in str(error):
            raise csv.Error(f"the row that begins in line {line} opens a quote that is never closed") from error
        text = str(error).replace("\t", "tab")
        raise csv.Error(f"line {start + reader.line_num}: {text}") from error


def _sample(lines: Sequence[str], separator: str) -> list[tuple[int, list[str]]]:
    """Return the first rows that are not empty; those before a misplaced quote."""
    rows = []
    try:
        for line, cells in islice(_rows(lines, separator), SAMPLE):
            if any(each.strip() for each in cells):
                rows.append((line, cells))
    except csv.Error:
        pass
    return rows or [(1, [])]


def _fit(rows: Sequence[tuple[int, list[str]]], width: int, surplus: bool = True) -> float:
    """Return the share of rows of a width; 1 if all have one field more, as with row names."""
    counts = [len(cells) for _, cells in rows]
    if not counts or (surplus and all(each == width + 1 for each in counts)):
        return 1.0
    return sum(each == width for each in counts) / len(counts)


def _numeric(rows: Sequence[tuple[int, list[str]]]) -> float:
    """Return the share of fields that are numbers."""
    cells = [each.strip() for _, row in rows for each in row]
    return sum(is_number(each) for each in cells) / max(1, len(cells))


def _separator(lines: Sequence[str]) -> str:
    """Return the separator that splits the header and, of several, the rows alike; a comma if there is one column."""
    samples = {each: _sample(lines, each) for each in (*SEPARATORS, BLANKS)}
    widths = {each: len(rows[0][1]) for each, rows in samples.items()}
    if splitting := [each for each in SEPARATORS if widths[each] > 1]:
        return max(splitting, key=lambda e: (_fit(samples[e][1:], widths[e]), _numeric(samples[e]), widths[e]))
    words = samples[BLANKS][1:]
    if widths[BLANKS] > 1:
        return BLANKS if _fit(words, widths[BLANKS]) >= _fit(words, 1, surplus=False) else ","
    return next((each for each, rows in samples.items() if _has_row_names(lines, rows[1:], 1, each)), ",")


def _check_comment(path: Path, lines: Sequence[str], start: int) -> None:
    """Raise if the header is a comment: it begins like one, and has other numbers of fields than what follows."""
    header = "".join(lines[start : start + 1]).strip()
    mark = next((each for each in COMMENTS if header.startswith(each)), None)
    if mark is None:
        return
    below = [*dropwhile(lambda line: not line.strip() or line.startswith(COMMENTS), lines[start:])]
    if not below:
        return
    separator = _separator(below)
    samples = [_sample(each, separator) for each in (below, [header], [header.removeprefix(mark)])]
    fields, own, bare = (len(rows[0][1]) for rows in samples)
    if separator == BLANKS and own != fields == bare and _numeric(samples[0][:1]):
        advice = f"delete the mark if the names of the columns follow it, or else the line: {quoted(header)}"
        raise InputError(f"{path}: line {start + 1} begins with {mark!r}: {advice}")
    if own != fields:
        what = f"line {start + 1} is a comment, not the names of the columns: {quoted(header)}"
        raise InputError(f"{path}: {what}; delete it")


def _without_empty(rows: list[tuple[int, list[str]]], width: int, notes: list[str]) -> list[tuple[int, list[str]]]:
    """Return the rows without the empty ones at the end and, of several columns, without lines that are empty."""
    kept = len(rows)
    while kept and not any(each.strip() for each in rows[kept - 1][1]):
        kept -= 1
    if ends := sum(width == 1 or len(cells) > 1 for _, cells in rows[kept:]):
        notes.append(f"{ends} empty row{'s' * (ends > 1)} at the end left out")
    rows = rows[:kept]
    empty = [line for line, cells in rows if width > 1 and len(cells) < 2 and not "".join(cells).strip()]
    if empty:
        notes.append(
            f"line {empty[0]} is empty and left out" if len(empty) == 1 else f"{len(empty)} empty lines left out"
        )
        rows = [row for row in rows if row[0] not in set(empty)]
    return rows


def _has_row_names(lines: Sequence[str], rows: Sequence[tuple[int, list[str]]], width: int, separator: str) -> bool:
    """Whether each row has a field too many, and the first is a name: it alone is quoted, or it runs 1, 2, 3, ..

    Where all fields are quoted, this says nothing; nor may two rows have one name, or the last field always be empty.
    """
    if not rows or any(len(cells) != width + 1 for _, cells in rows) or not any(cells[-1].strip() for _, cells in rows):
        return False
    names = [cells[0].strip() for _, cells in rows]
    runs = names == [str(number) for number in range(1, len(names) + 1)]
    texts = [lines[line - 1].strip() for line, _ in rows]
    if all(each.startswith('"') for each in texts) and len(set(names)) == len(names):
        return runs or any(each.count('"') < 2 * (width + 1) for each in texts)
    return runs and len(names) > 1 and (width > 1 or separator != ",")


def _ragged(path: Path, line: int, found: int, first: str, text: str) -> InputError:
    """Return the error for a row that has not as many fields as the header."""
    text = text.strip("\r\n")
    shown = f": {quoted(text)}" if text.strip() else ""
    hint = " (a separator at its end)" if text.rstrip().endswith(SEPARATORS) else ""
    hint = "; write a decimal comma as a point" if first.endswith(" 1") and COMMA_NUMBER.fullmatch(text) else hint
    return InputError(f"{path}: line {line} has {found} fields where {first}{shown}{hint}")


def has_decimal_comma(columns: Iterable[Sequence[str]]) -> bool:
    """Whether a column shows that the commas in it are decimal marks: half of it are numbers, and one has no other."""
    for cells in columns:
        if not any("," in each for each in cells):
            continue
        present = {each for each in cells if each not in MISSING}
        numbers = [each for each in present if "." not in each and is_number(each)]
        shows = any("," in each and not EITHER_MARK.fullmatch(each) for each in numbers)
        if shows and 2 * len(numbers) >= len(present):
            return True
    return False


def values_of(column: Column, known: Sequence[str] | None = None) -> Values:
    """Return what the cells of a column spell: whole numbers, numbers, truth values, or codes of categories.

    Parameters
    ----------
    column
        The column.
    known
        The categories in the order of their codes; without them, they are the texts of the column, sorted.

    Raises
    ------
    InputError
        If it holds dates, numbers written in a way that can be misread, or both numbers and other texts.
    """
    missing = MISSING
    present = [each for each in dict.fromkeys(column.cells) if each not in MISSING]
    numbers = {} if known is not None else {each: n for each in present if (n := _number(column, each)) is not None}
    if numbers:
        missing = MISSING | MISSING_NUMBER
        bad = next(
            (each for each in present if each not in missing and not np.isfinite(numbers.get(each, np.inf))), None
        )
        if bad is not None:
            raise column.refused(column.cells.index(bad), _why(column, bad))
    elif present and known is None:
        _check_texts(column, present)
    lacks = np.array([each in missing for each in column.cells], dtype=bool)
    if numbers or not present:
        return Values(_numbers(column.cells, numbers), lacks)
    if known is None and _are_truths(set(present)):
        return Values(np.array([each in TRUE for each in column.cells], dtype=bool), lacks)
    return coded(column, lacks, known)


def _number(column: Column, text: str) -> float | None:
    """Return the number that a text spells in ASCII with the decimal mark of the file."""
    if NUMBER.fullmatch(text) and not (column.comma and "." in text):
        return float(text)
    return float(text.replace(",", ".")) if column.comma and COMMA_NUMBER.fullmatch(text) else None


def _numbers(cells: Sequence[str], numbers: Mapping[str, float]) -> np.ndarray:
    """Return the numbers of a column, whole ones if all are written so; 0 for those that are missing."""
    if all(WHOLE.fullmatch(each) for each in numbers):
        whole = {each: int(each) for each in numbers}
        if all(-(2**63) <= each < 2**63 for each in whole.values()):
            return np.array([whole.get(each, 0) for each in cells], dtype=np.int64)
    return np.array([numbers.get(each, 0.0) for each in cells], dtype=float)


def _are_truths(present: set[str]) -> bool:
    """Whether texts are truth values; a bare T or F alone may be a name."""
    return present <= TRUE | FALSE and present not in ({"T"}, {"F"})


def coded(column: Column, lacks: np.ndarray, known: Sequence[str] | None = None) -> Values:
    """Return the codes of a column's categories: their places among those known, or among its texts sorted.

    Raises
    ------
    InputError
        If a category is not known.
    """
    texts = [unicodedata.normalize("NFC", each) for each in column.cells]
    found = {each for each, lack in zip(texts, lacks, strict=True) if not lack}
    categories = sorted(found) if known is None else [unicodedata.normalize("NFC", each) for each in known]
    codes = {each: code for code, each in enumerate(categories)}
    for index, each in enumerate(texts):
        if each in found and each not in codes:
            what = f"{column.where(index)}: {short(column.heading)} is {quoted(each)}"
            raise InputError(f"{column.path}: {what}, none of the categories known, {listed(categories)}")
    return Values(np.array([codes.get(each, 0) for each in texts], dtype=np.int64), lacks, categories)


def _check_texts(column: Column, present: Sequence[str]) -> None:
    """Raise if the texts of a column without a plain number are dates, or numbers written in another way."""
    for kind in (DATE.fullmatch, _is_like_number):
        some = [each for each in present if kind(each)]
        if 2 * len(some) >= len(present):
            raise column.refused(column.cells.index(some[0]), _why(column, some[0]))
    beside = [BESIDE.fullmatch(each) for each in present]
    endings = {match[3] for match in beside if match and not match[2] and match[3].isalpha()}
    if all(beside) and len(endings) < 2:
        at = column.cells.index(present[0])
        raise column.refused(at, ": something stands beside the number; write the numbers alone")


def _is_like_number(text: str) -> bool:
    return any(each.fullmatch(text) for each in (COMMA_NUMBER, THOUSANDS, INFINITE, NUMBER)) or _loose(text) is not None


def _loose(text: str) -> str | None:
    """Return a number that has underscores, or other digits or signs than those of ASCII, as Python writes it."""
    plain = text.replace("\u2212", "-").replace("\u2013", "-")
    try:
        return str(float(plain)) if "_" in plain or not text.isascii() else None
    except ValueError:
        return None


def _why(column: Column, text: str) -> str:
    """Return why a text is not taken as a number, if it looks like one, and what to write instead."""
    if DATE.fullmatch(text):
        return A_DATE
    if EITHER_MARK.fullmatch(text) and column.separator != ",":
        plain, point = text.replace(",", ""), text.replace(",", ".")
        return f": whether its comma is a thousands mark or a decimal mark cannot be told; write {plain} or {point}"
    if column.comma and NUMBER.fullmatch(text):
        point = text.replace(".", ",")
        either = f"{text.replace('.', '')} or {point}" if EITHER_MARK.fullmatch(point) else point
        return f": it has a point, and other numbers of the file have a decimal comma; write {short(either)}"
    if match := THOUSANDS.fullmatch(text):
        plain = re.sub("[,.]", "," if column.comma else ".", text.replace(match[1], ""))
        return f": it looks like one with a thousands mark; write {short(plain)}"
    if COMMA_NUMBER.fullmatch(text):
        return f": it has a decimal comma; write {short(text.replace(',', '.'))}"
    loose = _loose(text)
    return f": write {loose} with plain digits and signs" if loose else ""


def listed(names: Iterable[str], most: int = 6) -> str:
    """Return quoted names, the first of many, or none."""
    every = [quoted(each, 24) for each in names]
    return ", ".join([*every[:most], ".."] if len(every) > most else every) or "none"
