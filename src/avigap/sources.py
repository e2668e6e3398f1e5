"""Which files of the package a program depends on, read off its import statements."""

import ast
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def imported_files(programs: Iterable[Path], package: Path = PACKAGE) -> list[Path]:
    """Return the files of ``package`` that programs import, directly or through one another, sorted.

    Files that a program finds by name at run time, such as those of models and families, are not seen: name them as
    programs, and they are in the result if they belong to the package.
    """
    programs = [path.resolve() for path in programs]
    waiting, found = list(programs), set(programs)
    while waiting:
        new = set(_imports(waiting.pop().read_text(encoding="utf-8"), package)) - found
        found |= new
        waiting += sorted(new)
    return sorted(path for path in found if path.is_relative_to(package))


@lru_cache(maxsize=256)
def _imports(program: str, package: Path) -> list[Path]:
    """Return the files of the package that the import statements of a program text run."""
    names: list[str] = []
    for statement in ast.walk(ast.parse(program)):
        if isinstance(statement, ast.Import):
            names += [alias.name for alias in statement.names]
        elif isinstance(statement, ast.ImportFrom) and statement.module:
            names += [f"{statement.module}.{alias.name}" for alias in statement.names]
    return [path for name in names for path in _files_of(name, package)]


def _files_of(name: str, package: Path) -> Iterator[Path]:
    """Yield the files that the import of a dotted name runs: packages on the way, then the module."""
    top, *parts = name.split(".")
    if top != package.name:
        return
    for depth in range(len(parts) + 1):
        place = package.joinpath(*parts[:depth])
        for path in (place / "__init__.py", place.with_suffix(".py")):
            if path.is_file():
                yield path
