"""Data files of a user's own are read as they were meant, or refused in one sentence that names the fault."""

import datetime
import json
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from avigap.errors import InputError
from avigap.files import table
from avigap.files.table import Reading, Wanted, describe, read_columns, table_of_frame

WANTED = Wanted(("y", "sigma"), required=("sigma",))
PLAIN = "y,sigma\n28.5,15.0\n8.0,10.0\n-3.0,16.0\n"
Y, SIGMA = [28.5, 8.0, -3.0], [15.0, 10.0, 16.0]
MISSING = ["", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "<NA>", "NaT", ".", "#N/A", "#NULL!", "#N/D"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Files have short names, as those that a user gives."""
    monkeypatch.chdir(tmp_path)


def read(content, wanted=WANTED, **options):
    """Read a file of this content, a text, bytes or a data frame."""
    path = Path("f.csv")
    if isinstance(content, pd.DataFrame):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(table, "open_table", lambda path: table_of_frame(path, content))
            return read_columns(path, wanted, **options)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_columns(path, wanted, **options)


def refuse(content, *fragments, **options):
    """Assert that a file is refused in one sentence with the fragments."""
    with pytest.raises(InputError) as error:
        read(content, **options)
    sentence = str(error.value)
    assert "f.csv" in sentence and "\n" not in sentence and len(sentence) < 300, sentence
    for fragment in fragments:
        assert fragment in sentence, sentence


def equal(columns, **expected):
    """Assert that columns have these values, of these types."""
    assert list(columns) == list(expected)
    for name, values in expected.items():
        expected_array = np.array(values)
        assert columns[name].dtype == expected_array.dtype, name
        np.testing.assert_array_equal(columns[name], expected_array)


SAME = {
    "plain": (PLAIN, []),
    "no_newline_at_the_end": (PLAIN.rstrip(), []),
    "byte_order_mark": (b"\xef\xbb\xbf" + PLAIN.encode(), []),
    "carriage_returns_and_quotes": ('"y","sigma"\r\n"28.5","15.0"\r\n"8.0","10.0"\r\n"-3.0","16.0"\r\n', []),
    "carriage_returns_alone": (PLAIN.replace("\n", "\r"), []),
    "blanks_around": ("y , sigma\n 28.5, 15.0\n8.0 ,10.0\n-3.0,\t16.0\n", []),
    "quotes_after_blanks": ('"y", "sigma"\n28.5, "15.0"\n8.0, "10.0"\n-3.0, "16.0"\n', []),
    "zero_width_space": ("\u200by,sigma\u200b\n" + PLAIN.split("\n", 1)[1], []),
    "utf_16": (PLAIN.encode("utf-16"), ["encoding UTF-16"]),
    "utf_16_big": (b"\xfe\xff" + PLAIN.encode("utf-16-be"), ["encoding UTF-16"]),
    "semicolons": (PLAIN.replace(",", ";"), ["separator ';'", "decimal mark '.'"]),
    "tabs": (PLAIN.replace(",", "\t"), ["separator tab"]),
    "bars": (PLAIN.replace(",", "|"), ["separator '|'"]),
    "blanks": (PLAIN.replace(",", "   "), ["separator blanks"]),
    "aligned": (" y     sigma  \n 28.5   15.0 \n  8.0   10.0\n -3.0   16.0\n\n", ["separator blanks"]),
    "declared": ("sep=;\r\n" + PLAIN.replace(",", ";"), ["separator ';'", "decimal mark '.'"]),
    "declared_comma": ("sep=,\n" + PLAIN, []),
    "decimal_comma": (PLAIN.replace(",", ";").replace(".", ","), ["separator ';'", "decimal mark ','"]),
    "decimal_comma_in_tabs": (PLAIN.replace(",", "\t").replace(".", ","), ["separator tab", "decimal mark ','"]),
    "empty_rows_at_the_end": (PLAIN + ",\n ,\n", ["2 empty rows at the end left out"]),
    "empty_lines_at_the_end": (PLAIN + "\n\n", []),
    "empty_line_in_the_middle": (PLAIN.replace("8.0", "\n8.0"), ["line 3 is empty and left out"]),
    "empty_lines": (
        "\n" + PLAIN.replace("8.0", "\n  \n8.0"),
        ["line 1 is empty and left out", "2 empty lines left out"],
    ),
    "row_names_of_r": (
        '"y","sigma"\n"a",28.5,15.0\n"b",8.0,10.0\n"c",-3.0,16.0\n',
        ["row names left out"],
    ),
    "row_names_of_r_by_blanks": (
        '"y" "sigma"\n"7" 28.5 15.0\n"9" 8.0 10.0\n"8" -3.0 16.0\n',
        ["separator blanks", "row names left out"],
    ),
    "row_names_that_run": ("y,sigma\n1,28.5,15.0\n2,8.0,10.0\n3,-3.0,16.0\n", ["row names left out"]),
}


@pytest.mark.parametrize("name", SAME)
def test_one_table_in_many_formats(name):
    content, notes = SAME[name]
    columns, reading = read(content)
    equal(columns, y=Y, sigma=SIGMA)
    assert reading == Reading("f.csv", 3, {"y": "y", "sigma": "sigma"}, {}, [], notes)


@pytest.mark.parametrize("name", ["F.CSV", "data.TXT", "data", "data.tsv.bak"])
def test_the_suffix_does_not_count(name):
    Path(name).write_text(PLAIN)
    equal(read_columns(Path(name), WANTED)[0], y=Y, sigma=SIGMA)


UNUSED = {
    "index": (",y,sigma\n0,28.5,15.0\n1,8.0,10.0\n2,-3.0,16.0\n", ["column 1 (without a name)"]),
    "comma_at_the_end": ("y,sigma,\n28.5,15.0,\n8.0,10.0,\n-3.0,16.0,\n", ["column 3 (without a name)"]),
    "text_and_date": (
        "date,y,sigma,note\n2024-03-01,28.5,15.0,\n2024-03-02,8.0,10.0,7 mg\n,-3.0,16.0,inf\n",
        ["date", "note"],
    ),
    "same_name_twice": ("a,y,a,sigma\n1,28.5,2,15.0\n1,8.0,2,10.0\n1,-3.0,2,16.0\n", ["a", "a"]),
    "matrix_with_a_gap": ("z[0],z[2],y,sigma\n1,2,28.5,15.0\n1,2,8.0,10.0\n1,2,-3.0,16.0\n", ["z[0]", "z[2]"]),
    "several_lines": ('note,y,sigma\n"a\n""b"", c",28.5,15.0\n,8.0,10.0\n,-3.0,16.0\n', ["note"]),
    "long": (f"map,y,sigma\n{'7' * 200_000},28.5,15.0\n,8.0,10.0\n,-3.0,16.0\n", ["map"]),
}


@pytest.mark.parametrize("name", UNUSED)
def test_columns_that_no_argument_takes_may_hold_anything(name):
    content, unused = UNUSED[name]
    columns, reading = read(content)
    equal(columns, y=Y, sigma=SIGMA)
    assert reading.unused == unused


HAS_PYARROW = find_spec("pyarrow") is not None
NO_FRAME = "is not a readable" if HAS_PYARROW else "reading f.csv needs pyarrow: pip install pyarrow"
FORMATS = [
    (b"PK\x03\x04rest", "is an Excel workbook or a zip: save it as CSV"),
    (b"\xd0\xcf\x11\xe0rest", "is an Excel workbook"),
    (b"\x1f\x8brest", "is compressed: unpack it"),
    (b"BZh91AY&SYrest", "is compressed"),
    (b"PAR1\x15\x04 rest PAR1", NO_FRAME),
    (b"ARROW1\0\0 rest ARROW1", NO_FRAME),
    (b"FEA1\0\0 rest FEA1", NO_FRAME),
    (b"\x89HDF\r\n\x1a\nrest", "is not a readable netCDF file: truncated, or another format"),
    (b"CDF\x01rest", "is not a readable netCDF file: truncated, or another format"),
    (b"y,sigma\n1,\0\n", "is not a CSV text file", "NUL"),
    (b"\xff\xfey\0,\0s\0\0", "is not a CSV text file", "UTF-16"),
    (b"y,sigma\r\n1,2\r\n3,\x81\r\n", "is not a CSV text file: line 3 is not UTF-8 text"),
    (b"y,sigma\n1,\xe9\x01\n", "is not a CSV text file: line 2 is not UTF-8 text"),
    (b"", "is empty"),
    (b"\xef\xbb\xbf", "has no column"),
    (b"\n\n", "has no column"),
    (b"y,sigma\n", "has no row"),
    (b"y,sigma\n,\n", "has no row"),
]


@pytest.mark.parametrize(("content", "fragments"), [(case[0], case[1:]) for case in FORMATS])
def test_what_is_no_text_with_columns(content, fragments):
    refuse(content, *fragments)


@pytest.mark.parametrize("name", ["PAR1", "FEA1", "ARROW1", "PK", "CDF", "BZh"])
def test_a_heading_that_looks_like_the_mark_of_a_format(name):
    equal(read(f"{name},y,sigma\n1,2,3\n")[0], y=[2], sigma=[3])


def test_windows_1252_is_read_and_told():
    columns, reading = read("größe;ort\n1;Köln\n2;Bärn\n3;Köln\n".encode("cp1252"), Wanted(("größe", "ort")))
    equal(columns, größe=[1, 2, 3], ort=[1, 0, 1])
    assert reading.codes == {"ort": ["Bärn", "Köln"]}
    assert reading.notes == ["encoding Windows-1252", "separator ';'"]


HEADERS = [
    ("# exported 2024-03-01\n" + PLAIN, "line 1 is a comment, not the names of the columns: '# exported 2024-03-01'"),
    ("# by me, at home, today\n" + PLAIN, "line 1 is a comment"),
    ("# by me\n# at home\n" + PLAIN, "line 1 is a comment", "'# by me'"),
    ("% exported\n" + PLAIN.replace(",", ";"), "line 1 is a comment", "'% exported'; delete it"),
    ("// exported today\n" + PLAIN.replace(",", " "), "line 1 is a comment", "'// exported today'"),
    ("# y sigma\n1 2\n3 4\n", "line 1 begins with '#': delete the mark if the names of the columns follow it"),
    ("# y,sigma\n1,2\n", "column '# y' of f.csv", "--rename '# y=y', or --ignore '# y'"),
    ("28.5,15.0\n8.0,10.0\n", "has no names of columns, but '28.5', '15.0' in their place"),
    ("28,5;15,0\n8,0;10,0\n", "has no names of columns, but '28,5', '15,0' in their place"),
    ("a,b\n1,2\n", "none of the columns that the program takes, y, sigma (it needs sigma); it has 'a', 'b'"),
    ("y;sigma,b\n1;2\n", "'sigma,b'"),
    ("y,y,sigma\n1,2,3\n", "columns 'y' and 'y' of f.csv both fill y: delete one of them"),
    ("y,\uff59,sigma\n1,2,3\n", "columns 'y' and '\uff59' of f.csv both fill y: --ignore one of them"),
    ("y[0],y[2],sigma\n1,2,3\n", "must have columns y[0], y[1], .. without a gap"),
    ("y[0],y,sigma\n1,2,3\n", "must have columns y[0], y[1], .. without a gap, and no other 'y'"),
    ("y[0],y[00],sigma\n1,2,3\n", "columns 'y[0]' and 'y[00]' of f.csv both fill y[0]"),
]


@pytest.mark.parametrize(("content", "fragments"), [(case[0], case[1:]) for case in HEADERS])
def test_bad_header(content, fragments):
    refuse(content, *fragments)


ROWS = [
    ("y,sigma\n28.5,15.0,1\n8.0,10.0,1\n", "line 2 has 3 fields where the first line has 2: '28.5,15.0,1'"),
    ('"y","sigma"\n"28.5","15.0","1"\n"8.0","10.0","1"\n', "line 2 has 3 fields where the first line has 2"),
    ('y,sigma\n"a",1,2\n"a",3,4\n', "line 2 has 3 fields"),
    ("y,sigma\n1,28.5,15.0\n", "line 2 has 3 fields"),
    ("y,sigma\n1,28.5,15.0\n3,8.0,10.0\n", "line 2 has 3 fields"),
    ("y,sigma\n1,28.5,\n2,8.0,\n", "line 2 has 3 fields", "'1,28.5,' (a separator at its end)"),
    ("y,sigma\n1,2\n3\n", "line 3 has 1 fields where the first line has 2: '3'"),
    ("y;sigma\n1;2\n3;4;5\n", "line 3 has 3 fields where the first line has 2: '3;4;5'"),
    ("y;sigma\n1,5,2\n2,5,3\n", "line 2 has 1 fields where the first line has 2"),
    ("sep=;\ny;sigma\n1\n", "line 3 has 1 fields where line 2 has 2"),
    ("y sigma\n1 2\n3\n", "line 3 has 1 fields where the first line has 2"),
    ("y\n1\n\n2\n", "line 3 has 0 fields where the first line has 1"),
    ("y\n1,5\n2,5\n", "line 2 has 2 fields where the first line has 1: '1,5'; write a decimal comma as a point"),
    (
        'y,sigma\n1,"2\n3,4\n',
        "is not a CSV text file: the row that begins in line 2 opens a quote that is never closed",
    ),
    ('y,sigma\n1,2\n1,"2"3\n', "is not a CSV text file: line 3: "),
    (f"y,sigma\n1,2,{'long ' * 100}\n", "…"),
]


@pytest.mark.parametrize(("content", "fragments"), [(case[0], case[1:]) for case in ROWS])
def test_bad_rows(content, fragments):
    refuse(content, *fragments)


SEPARATORS = [
    ("y;sigma (a,b);c\n1,5;2;x\n2,5;3;z\n", {"rename": {"sigma (a,b)": "sigma"}}, [1.5, 2.5], [2, 3]),
    ("y,sigma,p(y|x)\n1,2,3\n", {}, [1], [2]),
    ("a, b\ty\tsigma\nc, d\t1\t2\n", {}, [1], [2]),
    ('y,sigma,note\n1,2,"a;b;c"\n3,4,"d;e;f"\n', {}, [1, 3], [2, 4]),
]


@pytest.mark.parametrize(("content", "options", "y", "sigma"), SEPARATORS)
def test_separators_within_names_and_texts(content, options, y, sigma):
    equal(read(content, **options)[0], y=y, sigma=sigma)


def test_one_column_has_no_separator():
    columns, reading = read("body weight\n70\n81.5\n", rename={"body weight": "y"})
    equal(columns, y=[70, 81.5])
    assert (reading.notes, reading.columns) == ([], {"y": "body weight"})
    columns, reading = read("y\n1\n2\n\n")
    equal(columns, y=[1, 2])
    assert reading.notes == ["1 empty row at the end left out"]
    equal(read('"y"\n"1" 0.5\n"2" 0.25\n')[0], y=[0.5, 0.25])


VALUES = {
    "whole": (["1", "-2", "+3", "007"], [1, -2, 3, 7]),
    "largest": (["9223372036854775807", "0"], [9223372036854775807, 0]),
    "too_large_for_64_bits": (["9223372036854775808", "0"], [9223372036854775808.0, 0.0]),
    "mixed": (["1", "2.5", ".5", "3.", "1e3", "-2E-2"], [1, 2.5, 0.5, 3, 1000, -0.02]),
    "largest_float": (["1e308"], [1e308]),
    "upper": (["TRUE", "FALSE"], [True, False]),
    "capital": (["True", "True"], [True, True]),
    "lower": (["false", "true"], [False, True]),
    "letters": (["T", "F", "F"], [True, False, False]),
}


@pytest.mark.parametrize("name", VALUES)
def test_values_and_types(name):
    cells, values = VALUES[name]
    equal(read("\n".join(["y", *cells]))[0], y=values)


CATEGORIES = [
    (["yes", "no", "yes"], [1, 0, 1], ["no", "yes"]),
    (["b", " a ", "10", "b"], None, None),
    (["T", "T"], [0, 0], ["T"]),
    (["TRUE", "FALSE", "perhaps"], [1, 0, 2], ["FALSE", "TRUE", "perhaps"]),
    (["3a", "3b", "4a"], [0, 1, 2], ["3a", "3b", "4a"]),
    (["18-24", "25-34", "65+"], [0, 1, 2], ["18-24", "25-34", "65+"]),
    (["1:10", "1:20"], [0, 1], ["1:10", "1:20"]),
    (["-", "a", "?"], [0, 2, 1], ["-", "?", "a"]),
    (["cafe\u0301", "caf\u00e9"], [0, 0], ["caf\u00e9"]),
    (["line\u2028break", "a"], [1, 0], ["a", "line\u2028break"]),
]


@pytest.mark.parametrize(("cells", "codes", "categories"), CATEGORIES)
def test_texts_are_categories(cells, codes, categories):
    if codes is None:
        refuse("\n".join(["y", *cells]), "line 2: y is 'b', not a finite number")
        return
    columns, reading = read("\n".join(["y", *cells]))
    equal(columns, y=codes)
    assert reading.codes == {"y": categories}


def test_codes_of_an_earlier_file():
    codes = {"y": ["b", "a", "2"]}
    columns, reading = read("y\na\n2\nb\n", codes=codes)
    equal(columns, y=[1, 2, 0])
    assert reading.codes == codes
    equal(read("y\n2\n2\n", codes=codes)[0], y=[2, 2])
    refuse("y\na\n\u00e9\n", "line 3: y is '\u00e9', none of the categories known, 'b', 'a', '2'", codes=codes)
    equal(read("y\na\nNA\n", codes=codes, drop_missing=True)[0], y=[1])


NUMBERS = [
    (["1", "2", "three"], "line 4: y is 'three', not a finite number"),
    (["inf", "1"], "line 2: y is 'inf', not a finite number"),
    (["-Infinity"], "line 2: y is '-Infinity', not a finite number"),
    (["1", "1e999"], "line 3: y is '1e999', not a finite number"),
    (["1_000"], "line 2: y is '1_000', not a finite number: write 1000.0"),
    (["\u0663"], "line 2: y is '\u0663', not a finite number: write 3.0"),
    (["\u22125", "3"], "line 2: y is '\u22125', not a finite number: write -5.0"),
    (["TRUE", "1"], "line 2: y is 'TRUE', not a finite number"),
    (["5 mg", "7"], "line 2: y is '5 mg', not a finite number"),
    (["5 mg", "7 g"], "'5 mg', not a finite number: something stands beside the number; write the numbers alone"),
    (["5mg", "7mg"], "something stands beside the number"),
    (["5%", "7.5%"], "something stands beside the number"),
    (["$5", "\u20ac 7"], "something stands beside the number"),
    (["<5", "<7"], "something stands beside the number"),
    (
        ["2024-03-01", "2024-03-02"],
        "line 2: y is '2024-03-01', not a finite number but like a date or time",
        "days since",
    ),
    (["2024-03-01T12:00:00Z", "unknown"], "like a date or time"),
    (["31/12/2024", "1/1/2025"], "like a date or time"),
    (["12/31/2024 11:59 PM"], "like a date or time"),
    (["31.12.24"], "like a date or time"),
    (["3 Mar 2024", "12-Mar-2024"], "like a date or time"),
    (["March 3, 2024"], "like a date or time"),
    (["12:30", "08:15:30"], "like a date or time"),
    (["1", "2024-03-01"], "line 3: y is '2024-03-01', not a finite number but like a date or time"),
]


@pytest.mark.parametrize(("cells", "fragments"), [(case[0], case[1:]) for case in NUMBERS])
def test_values_that_are_no_numbers(cells, fragments):
    refuse("\n".join(["y;sigma", *(f"{each};1" for each in cells)]), *fragments)


MARKS = [
    ('y,sigma\n"1,5",1\n', "line 2: y is '1,5', not a finite number: it has a decimal comma; write 1.5"),
    ('y,sigma\n1,1\n"1234,567",1\n', "line 3: y is '1234,567'", "decimal comma"),
    ('y,sigma\n"1,234",1\n', "line 2: y is '1,234'", "looks like one with a thousands mark; write 1234"),
    ('y,sigma\n"-1,234,567",1\n', "thousands mark; write -1234567"),
    ('y,sigma\n"1,234.5",1\n', "thousands mark; write 1234.5"),
    ("y;sigma\n1.234,56;1\n", "line 2: y is '1.234,56'", "thousands mark; write 1234.56"),
    ("y;sigma\n1.234.567;1\n", "thousands mark; write 1234567"),
    ("y;sigma\n1 234;1\n", "line 2: y is '1 234'", "thousands mark; write 1234"),
    ("y;sigma\n1'234;1\n", "thousands mark"),
    ("y;sigma\n1\u2019234;1\n", "thousands mark"),
    ("y;sigma\n1\u00a0234;1\n", "thousands mark"),
    ("y;sigma\n1\u202f234;1\n", "thousands mark"),
    ("y;sigma\n0,5;1\n1 234,5;1\n", "line 3: y is '1 234,5'", "thousands mark; write 1234,5"),
    ("y;sigma\n1,234;1\n5,678;1\n", "line 2: y is '1,234'", "thousands mark or a decimal mark cannot be told", "1.234"),
    ("y;sigma\n1,234;28.5\n5,678;7.5\n", "line 2: y is '1,234'", "cannot be told"),
    ("y;sigma\n0,5;1.234\n0,7;2\n", "line 2: sigma is '1.234'", "a point", "a decimal comma; write 1234 or 1,234"),
    ("y;sigma\n0,5;1.5\n0,7;2\n", "line 2: sigma is '1.5'", "a point", "a decimal comma; write 1,5"),
    ("y;sigma\n1.5;1\n2.5;2\n3.5;3\n1,25;1\n", "line 5: y is '1,25'", "a decimal comma; write 1.25"),
]


@pytest.mark.parametrize(("content", "fragments"), [(case[0], case[1:]) for case in MARKS])
def test_marks_in_numbers(content, fragments):
    refuse(content, *fragments)


def test_a_decimal_comma_is_proved_by_any_column():
    equal(read("y;sigma\n1,234;1\n5,678;1,5\n")[0], y=[1.234, 5.678], sigma=[1, 1.5])
    equal(read("y;sigma;z\n1,234;1;0,5\n5,678;1;0,5\n")[0], y=[1.234, 5.678], sigma=[1, 1])
    equal(read("y;sigma\n0,123;1\n1,234;2\n")[0], y=[0.123, 1.234], sigma=[1, 2])
    refuse("y;sigma;z\n1,234;1;a\n5,678;1;b\n6,789;2;1,5\n", "cannot be told")


@pytest.mark.parametrize("mark", MISSING)
def test_a_missing_value_is_counted_and_its_line_is_named(mark):
    shown = repr(mark) if mark else "empty"
    for cells, others in (("1", "2.5"), ("a", "b")):
        text = f"y,sigma\n{cells},1\n{mark},1\n{others},1\n{others},2\n"
        refuse(
            text, f"column 'y' of f.csv lacks 1 of 4 values (line 3: {shown}): leave such rows out", "--drop-missing"
        )
        columns, reading = read(text, drop_missing=True)
        equal(columns, y=[1, 2.5, 2.5] if cells == "1" else [0, 1, 1], sigma=[1, 1, 2])
        assert (reading.rows, reading.notes) == (3, ["1 row that lacks a value left out"])


def test_words_for_several_missing_values():
    refuse("y,sigma\nNA,1\n2,NA\n.,1\n", "column 'y' of f.csv lacks 2 of 3 values (lines 2 and 4: 'NA' or '.'), with")
    refuse("y,sigma\nNA,1\n2,NA\n.,1\n", "with gaps in 'sigma' too", "mask column", "as a latent")
    refuse("y,sigma\n-,1\n?,1\n--,1\n-,1\n5,1\n", "lacks 4 of 5 values (lines 2, 3, 4, ..: '-' or '?')")
    refuse("y,sigma\n,\n1,2\n", "column 'y' of f.csv lacks 1 of 2 values (line 2: empty)")
    refuse("y,sigma\nNA,1\n,2\n", "column 'y' of f.csv has no value in any row", "--ignore y")
    refuse("y,sigma\n1,NA\n,2\n", "has no row with a value in each of 'y', 'sigma'", drop_missing=True)
    columns, reading = read("y,sigma\n1,NA\n,2\n3,4\n", drop_missing=True)
    equal(columns, y=[3], sigma=[4])
    assert reading.notes == ["2 rows that lack a value left out"]


def test_matrices():
    columns, reading = read("y[1],sigma,y[0]\n1,2,3\n4,5,6.5\n")
    equal(columns, sigma=[2, 5], y=[[3, 1], [6.5, 4]])
    assert reading.columns == {"sigma": "sigma", "y": ["y[0]", "y[1]"]}
    columns, reading = read("y[0],y[1]\nb,c\na,b\n")
    equal(columns, y=[[1, 2], [0, 1]])
    assert reading.codes == {"y": ["a", "b", "c"]}
    equal(read("y[0],y[1]\nb,c\na,b\n", codes={"y": ["c", "b", "a"]})[0], y=[[1, 0], [2, 1]])
    equal(read("first,y[1]\n1,2\n", rename={"first": "y[0]"})[0], y=[[1, 2]])
    refuse("y[0],y[1]\n1,a\n2,b\n", "columns y[0], [1], .. of f.csv hold both numbers and texts")
    refuse("y[0],y[1]\n1,2\nNA,3\n", "column 'y[0]' of f.csv lacks 1 of 2 values")
    refuse("Y[0],Y[1],sigma\n1,2,3\n", "is near to 'y'", "--rename 'Y[0]=y[0]'")


def test_names_as_python_spells_them():
    columns, reading = read("\u00b5,gro\u0308\u00dfe\n1,2\n", Wanted(("\u03bc", "gr\u00f6\u00dfe")))
    equal(columns, **{"\u03bc": [1], "gr\u00f6\u00dfe": [2]})
    assert reading.columns == {"\u03bc": "\u00b5", "gr\u00f6\u00dfe": "gro\u0308\u00dfe"}


NEAR = [
    ("Dose", "dose", "--rename Dose=dose, or --ignore Dose"),
    ("Log dose", "log_dose", "--rename 'Log dose=log_dose', or --ignore 'Log dose'"),
    ("log.dose", "log_dose", "--rename log.dose=log_dose"),
    ("Y", "y", "--rename Y=y"),
    ("'y'", "y", "near to 'y'"),
    ("counties", "county", None),
    ("county_", "county", "near to 'county'"),
    ("countys", "county", "near to 'county'"),
    ("sig", "sigma", None),
    ("x1", "x2", None),
    ("", "y", None),
    (f"county{' ' * 50}.", "county", ": --rename, or --ignore"),
]


@pytest.mark.parametrize(("heading", "argument", "words"), NEAR)
def test_a_near_miss(heading, argument, words):
    text, wanted = f"{heading},other\n1,2\n", Wanted((argument, "other"))
    if words is None:
        equal(read(text, wanted)[0], other=[2])
        return
    refuse(text, f"fills no argument of the program, but is near to {argument!r}", words, wanted=wanted)
    if heading == "Log dose":
        equal(read(text, wanted, ignore=["Log dose"])[0], other=[2])
        equal(read(text, wanted, rename={"Log dose": "log_dose"})[0], log_dose=[1], other=[2])
    filled = Wanted((argument, "other"))
    equal(read(f"{heading},{argument},other\n1,3,2\n", filled)[0], **{argument: [3], "other": [2]})


def test_a_program_that_takes_every_column():
    wanted = Wanted(("y",), every=True)
    columns, reading = read("y,age,site,\n1,2,a,b\n", wanted)
    equal(columns, y=[1], age=[2], site=[0])
    assert reading.unused == ["column 4 (without a name)"]
    refuse("Y,age\n1,2\n", "named argument", "near to 'y'", "--rename Y=y, or --rename Y=Y", wanted=wanted)
    equal(read("Y,age\n1,2\n", wanted, rename={"Y": "Y"})[0], Y=[1], age=[2])
    refuse("y,age\n1,2024-01-01\n", "age is '2024-01-01'", wanted=wanted)
    equal(read("y,age\n1,2024-01-01\n", wanted, ignore=["age"])[0], y=[1])
    equal(read("a b,c[0],c[1]\n1,2,3\n", None)[0], **{"a b": [1], "c": [[2, 3]]})
    refuse("a,a\n1,2\n", "both fill a", wanted=None)
    refuse("a\n1\n", "has no column left to take; it has 'a'", wanted=None, ignore=["a"])


def test_columns_renamed_and_ignored():
    columns, reading = read("a,y,sigma\n1,2,3\n", rename={"a": "y"}, ignore=["y"])
    equal(columns, y=[1], sigma=[3])
    assert (reading.columns, reading.unused) == ({"y": "a", "sigma": "sigma"}, ["y"])
    text = "a,b,y\n1,2,3\n"
    refuse(text, "has no column 'c' to rename; it has 'a', 'b', 'y'", rename={"c": "y"})
    refuse(text, "has no column 'c' to ignore; it has 'a', 'b', 'y'", ignore=["c"])
    refuse(text, "columns 'a' and 'b' of f.csv both fill sigma", rename={"a": "sigma", "b": "sigma"})
    refuse(text, "columns 'a' and 'y' of f.csv both fill y: --ignore one of them", rename={"a": "y"})
    refuse(text, "column 'a' of f.csv is both to be renamed and to be ignored", rename={"a": "y"}, ignore=["a"])
    with pytest.raises(InputError, match="--rename a=z: the program takes no column 'z', only y, sigma"):
        read(text, rename={"a": "z"})
    equal(read("2019,2020\n1,2\n", rename={"2019": "y", "2020": "sigma"})[0], y=[1], sigma=[2])


FRAME = pd.DataFrame(
    {
        "bool": [True, False],
        "int": np.array([1, 2], dtype=np.int32),
        "float": [1.0, 2.0],
        "Int": pd.array([1, 2], dtype="Int64"),
        "boolean": pd.array([True, False], dtype="boolean"),
        "Float": pd.array([1.0, 2.5], dtype="Float64"),
        "text": ["b", "a"],
        "object": np.array(["TRUE", "FALSE"], dtype=object),
        "digits": ["1", "2"],
        "ordered": pd.Categorical(["low", "high"], categories=["low", "middle", "high"]),
        "lists": [[1, 2], [3, 4]],
        "arrays": [np.array([0.5, 1]), np.array([2.0, 3])],
        "words": [["a", "b"], ["c", "a"]],
        "decimal": [Decimal("1.5"), Decimal(2)],
        "bytes": [b"x", b"y"],
        "huge": np.array([2**70, 1], dtype=object),
    }
)


def test_a_data_frame_by_the_types_of_its_columns():
    columns, reading = read(FRAME, None)
    equal(
        {name: column for name, column in columns.items() if name != "int"},
        bool=[True, False],
        float=[1.0, 2.0],
        Int=[1, 2],
        boolean=[True, False],
        Float=[1.0, 2.5],
        text=[1, 0],
        object=[True, False],
        digits=[1, 2],
        ordered=[0, 2],
        lists=[[1, 2], [3, 4]],
        arrays=[[0.5, 1], [2, 3]],
        words=[[0, 1], [2, 0]],
        decimal=[1.5, 2.0],
        bytes=[0, 1],
        huge=[2.0**70, 1],
    )
    assert columns["int"].dtype == np.int32
    assert reading.codes["ordered"] == ["low", "middle", "high"]
    assert reading.codes["words"] == ["a", "b", "c"]
    assert reading.codes["text"] == ["a", "b"]


GAPS = {
    "float": ([1.0, None, 3.0], [1.0, 3.0]),
    "Int": (pd.array([1, None, 3], dtype="Int64"), [1, 3]),
    "boolean": (pd.array([True, None, False], dtype="boolean"), [True, False]),
    "Float": (pd.array([1.5, None, 3], dtype="Float64"), [1.5, 3.0]),
    "text": (["b", None, "a"], [1, 0]),
    "marked": (["b", "NA", "a"], [1, 0]),
    "object": (np.array([True, None, False], dtype=object), [True, False]),
    "numbers": (np.array([1, None, 3], dtype=object), [1, 3]),
    "categories": (pd.Categorical(["b", None, "a"], categories=["b", "a"]), [0, 1]),
    "lists": ([[1, 2], None, [3, 4]], [[1, 2], [3, 4]]),
    "hole_in_a_list": ([[1.0, 2.0], [np.nan, 1.0], [3.0, 4.0]], [[1.0, 2.0], [3.0, 4.0]]),
    "decimal": ([Decimal(1), None, Decimal("0.5")], [1.0, 0.5]),
}


@pytest.mark.parametrize("name", GAPS)
def test_missing_values_of_a_data_frame(name):
    values, left = GAPS[name]
    frame = pd.DataFrame({"y": values, "sigma": [1, 2, 3]})
    refuse(frame, "column 'y' of f.csv lacks 1 of 3 values (row 2): leave such rows out with --drop-missing")
    equal(read(frame, drop_missing=True)[0], y=left, sigma=[1, 3])


@pytest.mark.parametrize(
    ("values", "fragment"),
    [
        ([1.0, np.inf], "row 2: y is 'inf', not a finite number"),
        ([[1, 2], [3]], "column 'y' of f.csv holds lists of different lengths: 2 values in row 1, 1 in row 2"),
        (
            pd.to_datetime(["2024-01-01", None]),
            "row 1: y is '2024-01-01 00:00:00', not a finite number but like a date",
        ),
        ([None, datetime.date(2024, 1, 1)], "row 2: y is '2024-01-01', not a finite number but like a date or time"),
        (pd.to_timedelta([1, 2], unit="h"), "but like a date or time"),
        (["2024-01-01", "2024-01-02"], "but like a date or time"),
        ([1, "a"], "row 2: y is 'a', not a finite number"),
        ([1j, 2j], "row 1: y is '1j', not a finite number"),
        ([{"a": 1}, {}], "not a finite number"),
        ([np.nan, np.nan], "column 'y' of f.csv has no value in any row"),
    ],
)
def test_bad_values_of_a_data_frame(values, fragment):
    refuse(pd.DataFrame({"y": values, "sigma": [1, 2]}), fragment)


def test_the_index_of_a_data_frame_is_taken_by_its_name_alone():
    frame = pd.DataFrame({"y": [1, 2]}, index=pd.Index([5, 6], name="id"))
    columns, reading = read(frame, None)
    equal(columns, y=[1, 2])
    assert reading.unused == ["id"]
    equal(read(frame, Wanted(("id",)))[0], id=[5, 6])
    equal(read(frame, WANTED, rename={"id": "sigma"})[0], y=[1, 2], sigma=[5, 6])
    equal(
        read(pd.DataFrame({"y": ["a"], "sigma": [2]}), codes={"y": ["b", "a"], "sigma": ["1", "2"]})[0],
        y=[1],
        sigma=[1],
    )


def test_frames_of_files_when_pyarrow_is_there(monkeypatch):
    for magic, name in ((b"PAR1", "read_parquet"), (b"ARROW1", "read_feather")):
        monkeypatch.setattr(pd, name, lambda path: pd.DataFrame({"y": [1.5], "sigma": [2]}))
        equal(read(magic + b"\0" + magic)[0], y=[1.5], sigma=[2])

        def damaged(path):
            raise ValueError("not this format")

        monkeypatch.setattr(pd, name, damaged)
        refuse(magic + b"\0" + magic, "is not a readable", "truncated, or another format")


ARRAYS = {
    "y": ("row", [1.0, 2.0]),
    "whole": ("row", np.array([3, 4], dtype=np.int32)),
    "matrix": (("row", "k"), [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]),
    "text": ("row", np.array(["b", "a"])),
    "other": ("group", [1.0, 2.0, 3.0]),
    "scalar": ((), 2.5),
}


@pytest.mark.parametrize("engine", ["h5netcdf", "scipy"])
@pytest.mark.parametrize("name", ["f.nc", "F.CDF", "f.dat"])
def test_netcdf(engine, name):
    data = xr.Dataset(ARRAYS, coords={"row": [0, 1]})
    data.to_netcdf("f.nc", engine=engine)
    content = Path("f.nc").read_bytes()
    Path(name).write_bytes(content)
    columns, reading = read_columns(Path(name), None)
    assert {"row"} == set(reading.unused) and set(columns) == set(ARRAYS)
    for each in ("y", "whole", "matrix", "other", "scalar"):
        assert columns[each].dtype == np.asarray(data[each]).dtype
        np.testing.assert_array_equal(columns[each], data[each])
    np.testing.assert_array_equal(columns["text"], [1, 0])
    assert reading.codes == {"text": ["a", "b"]}
    assert list(read_columns(Path(name), Wanted(("y", "row")))[0]) == ["y", "row"]


def test_bad_netcdf():
    def write(**arrays):
        xr.Dataset(arrays).to_netcdf("n.nc", engine="h5netcdf")
        return Path("n.nc").read_bytes()

    times = pd.to_datetime(["2024-01-01", "2024-01-02"])
    refuse(write(y=("row", times)), "row 1: y is '2024-01-01 00:00:00', not a finite number but like a date or time")
    equal(read(write(y=("row", [1.0, 2.0]), t=("row", times)))[0], y=[1.0, 2.0])
    equal(read(write(y=("row", [1, 2], {"units": "days since nonsense"})))[0], y=[1, 2])
    refuse(write(y=("row", [1.0, np.nan])), "column 'y' of f.csv lacks 1 of 2 values (row 2)")
    content = write(y=("row", [1.0, np.nan]), sigma=(("row", "k"), [[1.0, 2.0], [3.0, 4.0]]))
    equal(read(content, drop_missing=True)[0], y=[1.0], sigma=[[1.0, 2.0]])
    refuse(write(y=(("row", "k"), [[1.0, 2.0], [3.0, np.nan]])), "lacks a value in 1 of 2 rows (row 2)")
    refuse(write(y=(("row", "k"), [[1.0, 2.0], [3.0, np.inf]])), "row 2: y is 'inf', not a finite number")
    content = write(y=("row", [1.0, np.nan]), sigma=("other", [1.0, 2.0, 3.0]))
    refuse(content, "has gaps in 'y', and columns of other lengths", drop_missing=True)
    refuse(write(), "has no column")
    refuse(write(y=("row", np.ones(0))), "has no row")


def test_what_was_read_in_at_most_three_lines():
    text = "y;sigma;Dose;camper;note;when\n1,5;1;3;no;a;b\n2,5;1;4;yes;;\n"
    wanted = Wanted(("y", "sigma", "dose", "camper"))
    _, reading = read(text, wanted, rename={"Dose": "dose"})
    assert describe(reading) == [
        "Read f.csv: 2 rows (separator ';', decimal mark ','); y, sigma, camper from columns of the same names, dose"
        " from 'Dose'.",
        "Codes: camper no = 0, yes = 1.",
        "Columns that no argument takes: note, when.",
    ]
    assert Reading(**json.loads(json.dumps(reading._asdict()))) == reading
    many = "\n".join(["y[0],y[1],g,h", *(f"1,2,{chr(97 + i)},{'ab'[i % 2]}" for i in range(26))])
    assert describe(read(many, Wanted(("y", "g", "h")))[1]) == [
        "Read f.csv: 26 rows; g, h from columns of the same names, y from y[0], y[1].",
        "Codes: g a = 0, b = 1, c = 2, d = 3, e = 4, f = 5, .. (26 categories); h a = 0, b = 1.",
    ]
    assert describe(read("y\n1\n")[1]) == ["Read f.csv: 1 row; y from the column of the same name."]
    wide = ",".join(f"x{i}" for i in range(40))
    (line,) = describe(read(f"{wide}\n{wide.replace('x', '1')}\n", None)[1])
    assert line.endswith("x10, x11, .. (40 in all) from columns of the same names.")


FINITE = st.floats(allow_nan=False, allow_infinity=False, width=64)
TABLES = st.integers(1, 8).flatmap(
    lambda rows: st.tuples(
        st.lists(FINITE, min_size=rows, max_size=rows),
        st.lists(st.integers(-(2**63), 2**63 - 1), min_size=rows, max_size=rows),
    )
)
WAYS = st.fixed_dictionaries(
    {
        "sep": st.sampled_from([",", ";", "\t", "|", " "]),
        "encoding": st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252"]),
        "quoting": st.sampled_from([0, 1, 2]),
        "lineterminator": st.sampled_from(["\n", "\r\n", "\r"]),
        "index": st.booleans(),
        "header": st.sampled_from([["y", "größe"], ["y[0]", "y[1]"]]),
    }
).filter(lambda way: way["sep"] != " " or not way["index"])  # whose heading is empty, and blanks count as one


@settings(max_examples=150, deadline=None)
@given(values=TABLES, way=WAYS, comma=st.booleans())
def test_numbers_that_pandas_wrote_come_back_exactly(tmp_path_factory, values, way, comma):
    """Decimal commas only where they prove to be some: a number of an own pattern stands in the last row."""
    floats, whole = [*values[0], 0.5], [*values[1], 7]
    path = tmp_path_factory.getbasetemp() / "round.csv"
    decimal = "," if comma and way["sep"] != "," else "."
    pd.DataFrame({"y": floats, "other": whole}).to_csv(path, decimal=decimal, **way)
    columns, _ = read_columns(path, Wanted(("y", "größe")))
    if way["header"][0] == "y":
        equal(columns, y=np.array(floats, dtype=float), größe=np.array(whole, dtype=np.int64))
    else:
        equal(columns, y=np.stack([np.array(floats, dtype=float), np.array(whole, dtype=float)], axis=1))


PIECES = [
    "y",
    "Y",
    "sigma",
    "y[0]",
    "y[1]",
    ",",
    ";",
    "\t",
    "|",
    " ",
    "\n",
    "\r\n",
    '"',
    "'",
    "1",
    "2.5",
    "3,5",
    "1,234",
]
PIECES += [
    "1.234,5",
    "NA",
    "-",
    "a",
    "TRUE",
    "F",
    "2024-01-01",
    "5 mg",
    "#",
    "sep=;",
    "\ufeff",
    "\u00e9",
    "\u00a0",
    "1e999",
]
PIECES += ["inf", "1_0", "\u0663", "\u00b2", "\x0b", "\u2028", "9" * 400, "x" * 500]


@settings(max_examples=400, deadline=None)
@given(
    head=st.sampled_from(["", "y,sigma\n", "y;sigma\n", "y sigma\n", "y\n", "y[0]\ty[1]\n"]),
    rest=st.lists(st.sampled_from(PIECES), min_size=1, max_size=25).map("".join),
    encoding=st.sampled_from(["utf-8", "utf-16", "cp1252"]),
    wanted=st.sampled_from([WANTED, Wanted(("y",), every=True), None]),
    drop_missing=st.booleans(),
)
def test_whatever_a_file_holds_it_is_read_or_refused_in_a_sentence(
    tmp_path_factory, head, rest, encoding, wanted, drop_missing
):
    path = tmp_path_factory.getbasetemp() / "f.csv"
    path.write_bytes((head + rest).encode(encoding, errors="ignore"))
    try:
        columns, reading = read_columns(path, wanted, drop_missing=drop_missing)
    except InputError as error:
        sentence = str(error)
        assert sentence.isprintable() and len(sentence) < 300 + len(str(path)), sentence
        return
    assert all(np.isfinite(each).all() and len(each) == reading.rows for each in columns.values())
    assert all(line.isprintable() for line in describe(reading))
