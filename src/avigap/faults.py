"""What went wrong in a user's program, as the cause and the line."""

import linecache
import sys
import sysconfig
from functools import cache
from pathlib import Path
from traceback import extract_tb
from types import FrameType
from typing import Any

import jax
from jax._src import source_info_util

MAX_LINE = 100
"""Characters of a line of the program that are shown."""

OUTSIDE = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
    jax.errors.NonConcreteBooleanIndexError,
)


def short(error: BaseException) -> str:
    """Return the kind of an error and the first line of its message."""
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no message'}"


def said(error: BaseException) -> str:
    """Return what an error of a program says, and the line of the program that raised it."""
    cause = short(error)
    if isinstance(error, OUTSIDE):
        cause = (
            "it asks for the value of what it draws, or of data that vary, outside of JAX"
            f" ({type(error).__name__}): use jax.numpy there, and jnp.where for a choice"
        )
    line = line_of(error)
    return f"{cause}, {line}" if line else cause


def line_of(error: BaseException) -> str | None:
    """Return the last line of the user's own files that an error passed through, in words; None if there is none."""
    found = None
    for frame in extract_tb(error.__traceback__):
        if frame.lineno and _is_own(frame.filename):
            found = line_in_words(frame.filename, frame.lineno)
    return found


def line_here() -> str:
    """Return the line of the user's own files that is being run, in words; empty if there is none."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if _is_own(frame.f_code.co_filename):
            return line_in_words(frame.f_code.co_filename, frame.f_lineno)
        frame = frame.f_back
    return ""


def line_of_operation(source: Any) -> str:
    """Return the line of the user's own files that an equation of a jaxpr comes from, in words; empty if none."""
    frames = source_info_util.user_frames(source.traceback) if source is not None else ()
    return next((line_in_words(f.file_name, f.start_line) for f in frames if _is_own(f.file_name)), "")


@cache
def _is_own(filename: str) -> bool:
    """Say whether a file is neither of this package, nor of an installed one or of Python."""
    packages = [Path(__file__).parent, *map(Path, {sysconfig.get_path("stdlib"), sysconfig.get_path("purelib")})]
    file = Path(filename)
    return file.is_file() and not any(file.is_relative_to(package) for package in packages)


def line_in_words(filename: str, number: int) -> str:
    """Return a line of a file with its place."""
    text = linecache.getline(filename, number).strip()
    return f"in line {number} of {Path(filename).name}: {text if len(text) <= MAX_LINE else f'{text[:MAX_LINE]} ..'}"
