"""Names of files: checked before the work, and written whole or not at all."""

import glob
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from avigap.errors import InputError


def check_output(path: Path, inputs: Sequence[Path] = ()) -> None:
    """Raise unless ``path`` can be written: called before the work, not after it.

    Raises
    ------
    InputError
        If ``path`` is a folder or one of the inputs, or its folder cannot be made or written.
    """
    if path.is_dir():
        raise InputError(f"--output {path} is a folder; the name of a file is needed")
    if path.resolve() in [each.resolve() for each in inputs]:
        raise InputError(f"--output {path} is an input as well; another name is needed")
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir():
        raise InputError(f"--output {path} cannot be written: {folder} is not a folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"--output {path} cannot be written: no permission to write in {folder}")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside ``path`` to write to; it becomes ``path`` at the end, or goes after an error.

    What a process killed with -9 left behind for the same ``path`` goes too.

    Raises
    ------
    InputError
        If the file system refuses, as a full disk does.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for left_over in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        if not _is_alive(left_over.name.split(".")[-2]):
            left_over.unlink(missing_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield partial
        os.replace(partial, path)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)


def _is_alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except PermissionError:
        return True
    except (ProcessLookupError, ValueError, OverflowError):
        return False
    return True


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def check_input(path: Path) -> None:
    """Raise unless ``path`` is a file with something in it that may be read.

    Raises
    ------
    InputError
        With what it is instead.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder; a file is needed")
    if not path.exists():
        raise InputError(f"{path} does not exist")
    if not path.is_file():
        raise InputError(f"{path} is not a regular file")
    if not os.access(path, os.R_OK):
        raise InputError(f"{path} cannot be read: no permission")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty")
