"""Programs by name: the models of this package, or functions in a user's own files."""

from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import FunctionType
from typing import Any

from avigap import models
from avigap.errors import InputError
from avigap.faults import said


def load_program(text: str) -> tuple[Callable[..., Any], tuple[str, ...]]:
    """Return the program that ``text`` names, and its local latents if it is a model of this package.

    Parameters
    ----------
    text
        The name of a model of this package, or ``path/to/file.py:function``, where the function may be a method,
        ``object.method``, of an object in the file.

    Raises
    ------
    InputError
        If there is no such model, file or function.
    """
    if ":" not in text:
        model = models.load(text)
        return model.program, model.local
    file, name = text.rsplit(":", 1)
    if not Path(file).is_file():
        raise InputError(f"no file {file!r}; a program is named as path/to/file.py:function")
    spec = spec_from_file_location(Path(file).stem, file)
    if spec is None or spec.loader is None:
        raise InputError(f"{file!r} is not a Python file")
    module = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever a user's file raises
        raise InputError(f"{file} cannot be run: {said(error)}") from error
    function: Any = module
    for part in name.split("."):
        owner, function = function, getattr(function, part, None)
        if isinstance(function, FunctionType) and isinstance(owner, type):
            raise InputError(f"{file}: {name!r} is a method of a class: name an object of it, object.{part}")
    if not callable(function):
        raise InputError(f"{file} has no function {name!r}")
    return function, ()
