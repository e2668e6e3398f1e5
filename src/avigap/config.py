"""The configuration: experiments, their data and families, checked before any job runs."""

import reprlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from avigap import families, models
from avigap.errors import InputError, unknown
from avigap.families import Family
from avigap.given import check_data
from avigap.images.config import check_images
from avigap.replay import protocol
from avigap.settings import check_settings, text_hint
from avigap.starts import fit_settings

TYPES = {
    **{"object": "a mapping of names to values", "array": "a list", "string": "a text"},
    **{"integer": "a whole number", "number": "a number", "boolean": "true or false"},
}


def check_repeated_keys(paths: Iterable[Path]) -> None:
    """Raise if a mapping in a YAML or JSON file has a key twice, of which the parser would silently keep the last.

    Raises
    ------
    InputError
        With the file, the line and the key.
    """
    for path in paths:
        try:
            root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        except (OSError, UnicodeDecodeError, yaml.YAMLError):
            continue  # whoever loads the file says what is wrong with it
        for mapping in _mappings(root, set()):
            names = [(key.tag, str(key.value)) for key, _ in mapping.value]
            for (key, _), name in zip(mapping.value, names, strict=True):
                if (times := names.count(name)) > 1:
                    raise InputError(f"{path.name} line {key.start_mark.line + 1}: {name[1]!r} is given {times} times")


def _mappings(node: yaml.Node | None, seen: set[int]) -> Iterator[yaml.MappingNode]:
    if node is None or id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        yield node
        for _, value in node.value:
            yield from _mappings(value, seen)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _mappings(value, seen)


def check_config(config: dict[str, Any], schema_path: Path, folder: Path) -> None:
    """Check a configuration against the schema and against what models and families accept; fill in defaults.

    Parameters
    ----------
    config
        As read from YAML; filled in, in place: defaults of the schema, and files that ``replays`` and ``images`` name.
    schema_path
        The JSON schema, in YAML.
    folder
        Where relative paths of data files start.

    Raises
    ------
    InputError
        With one sentence that names the culprit and what is allowed.
    """
    for part in ("replays", "images"):
        if isinstance(config.get(part), str):
            config[part] = _load_part(part, folder / config[part])
    schema = yaml.safe_load(schema_path.read_text(encoding="utf-8"))
    errors = sorted(jsonschema.Draft202012Validator(schema).iter_errors(config), key=lambda e: list(map(str, e.path)))
    if errors:
        raise InputError(_sentence(errors[0]))
    if not config["experiments"] and not config.get("images"):
        raise InputError("experiments: at least one entry is needed")
    config.setdefault("root", schema["properties"]["root"]["default"])
    for name, experiment in config["experiments"].items():
        try:
            _check_experiment(experiment, folder)
        except InputError as error:
            raise InputError(f"experiment {name!r}: {error}") from None
    for name, replay in config.setdefault("replays", {}).items():
        try:
            _check_replay(replay, config["experiments"])
            if taken := set(replay.setdefault("read_as", {})) & set(config["replays"]):
                raise InputError(f"read_as: the name {min(taken)!r} is that of another replay")
        except InputError as error:
            raise InputError(f"replay {name!r}: {error}") from None
    for name, entry in config.setdefault("images", {}).items():
        try:
            check_images(entry, folder)
        except InputError as error:
            raise InputError(f"images {name!r}: {error}") from None


def _load_part(part: str, path: Path) -> Any:
    """Return a part of a configuration that is a file of its own."""
    if not path.is_file():
        raise InputError(f"the file of {part} {path.name!r} does not exist, or is not a file")
    check_repeated_keys([path])
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"the file of {part} {path.name!r} is not YAML") from error


def _sentence(error: jsonschema.ValidationError) -> str:
    """Return the place of a schema error and what is allowed there, without the schema itself."""
    place = ".".join(map(str, error.absolute_path)) or "the top level"
    found: Any = error.instance
    limit: Any = error.validator_value
    schema: Any = error.schema
    if "propertyNames" in error.schema_path:
        return f"{place}: the name {found!r} must consist {schema['$comment']}"
    if error.validator == "additionalProperties":
        unknown = ", ".join(sorted(repr(name) for name in found if name not in schema["properties"]))
        return f"{place}: unknown key {unknown}; allowed: {', '.join(sorted(schema['properties']))}"
    if error.validator == "required":
        return f"{place} lacks {', '.join(repr(name) for name in limit if name not in found)}"
    if error.validator in ("minProperties", "minItems"):
        return f"{place}: at least one entry is needed"
    wanted = {
        "type": TYPES.get(str(limit), str(limit)),
        "minimum": f"at least {limit}",
        "maximum": f"at most {limit}",
        "exclusiveMinimum": f"greater than {limit}",
        "uniqueItems": "a list that repeats no value",
        "pattern": schema.get("$comment"),
    }[str(error.validator)]
    return f"{place} must be {wanted}, got {reprlib.repr(found)}{text_hint(found)}"


def is_program(experiment: dict[str, Any]) -> bool:
    """Say whether an experiment is about a user's own program, ``path/to/file.py:function``."""
    return ":" in experiment["model"]


OF_PROGRAMS = ("local", "reference")
"""Keys of experiments with a program of the user's own."""

OF_PROGRAM_DATA = ("seeds", "rename", "ignore", "drop_missing", "codes")
"""Keys of the data of such an experiment."""


def _check_experiment(experiment: dict[str, Any], folder: Path) -> None:
    experiment.setdefault("settings", {})
    experiment.setdefault("fit", {})
    if is_program(experiment):
        _check_program(experiment, folder)
        return
    if "families" not in experiment:
        raise InputError("it lacks 'families'")
    if own := [name for name in (*OF_PROGRAMS, *OF_PROGRAM_DATA) if name in experiment | experiment["data"]]:
        raise InputError(f"{own[0]!r} belongs to programs of your own, model: path/to/file.py:function")
    model = models.load(experiment["model"])
    settings = check_settings(f"model {experiment['model']!r}", model.program, experiment["settings"])
    if model.row_shape(settings):
        raise InputError(f"model {experiment['model']!r} has images for rows: it belongs under 'images'")
    check_settings("fit", fit_settings, experiment["fit"])
    sizes = _check_data(experiment["data"], folder)
    for name, family in experiment["families"].items():
        try:
            _check_window(families.build(family), model.lead, sizes)
        except InputError as error:
            raise InputError(f"family {name!r}: {error}") from None


def _check_program(experiment: dict[str, Any], folder: Path) -> None:
    """Check an experiment with a program of the user's own, without running it; fill in defaults."""
    path, _, name = experiment["model"].rpartition(":")
    if not (folder / path).is_file() or not all(map(str.isidentifier, name.split("."))):
        raise InputError(f"model {experiment['model']!r} must be path/to/file.py:function, and the file must exist")
    check_settings("fit", fit_settings, experiment["fit"])
    _check_data(experiment["data"], folder)
    if "file" in experiment["data"]:
        check_data(experiment["model"], experiment["settings"], experiment["data"], folder)
        experiment["data"]["seeds"] = int(experiment["data"].get("seeds", 3))
    if "reference" in experiment and not (folder / experiment["reference"]).is_file():
        raise InputError(f"reference {experiment['reference']!r} does not exist, or is not a file")
    for name, family in experiment.get("families", {}).items():
        try:
            families.build(family)
        except InputError as error:
            raise InputError(f"family {name!r}: {error}") from None


def _check_data(data: dict[str, Any], folder: Path) -> list[int]:
    """Return the numbers of observations that a ``data`` block names, of which it converts 10.0 to 10."""
    if ("simulate" in data) == ("file" in data):
        raise InputError("data needs either 'simulate' or 'file'")
    if "file" in data:
        if not (folder / data["file"]).is_file():
            raise InputError(f"data file {data['file']!r} does not exist, or is not a file")
        block = data
    else:
        if misplaced := [name for name in ("num_obs", "seeds") if name in data]:
            raise InputError(f"{misplaced[0]} of simulated data belongs under 'simulate'")
        if of_file := [name for name in OF_PROGRAM_DATA if name in data]:
            raise InputError(f"{of_file[0]} is said of a file, and simulated data have none")
        block = data["simulate"]
        block["seeds"] = int(block.get("seeds", 5))
    if "num_obs" in block:
        block["num_obs"] = list(map(int, block["num_obs"]))
    sizes: list[int] = block.get("num_obs", [])
    return sizes


def _check_window(family: Family, lead: int, sizes: list[int]) -> None:
    """Raise if no position of the smallest data set has its whole window inside the data."""
    if family.infer is None or not sizes:
        return
    first, last = max(0, -lead - min(family.inputs)), min(sizes) - 1 - max(0, *family.inputs)
    if first > last:
        raise InputError(f"inputs {list(family.inputs)} are wider than the data: num_obs {min(sizes)} is too small")


def _check_replay(replay: dict[str, Any], experiments: dict[str, Any]) -> None:
    """Check a replay against the experiment whose data it takes; fill in defaults."""
    replay["seeds"] = int(replay.get("seeds", 10))
    replay["seeds_per_job"] = int(replay.get("seeds_per_job", replay["seeds"]))
    replay["methods_per_job"] = int(replay.get("methods_per_job", len(replay["methods"])))
    name, wanted = replay["of"]["experiment"], list(map(int, replay["of"]["num_obs"]))
    replay["of"]["num_obs"] = wanted
    if name not in experiments:
        raise unknown("experiment", name, experiments)
    if is_program(experiments[name]):
        raise InputError(f"experiment {name!r} has a program of your own; replays are of models of this package")
    sizes = experiments[name]["data"].get("simulate", experiments[name]["data"]).get("num_obs", wanted)
    if missing := set(wanted) - set(sizes):
        raise InputError(f"num_obs must be among {', '.join(map(str, sizes))} of {name!r}, got {min(missing)}")
    for method in (overrides := replay.setdefault("overrides", {})):
        if method not in replay["methods"]:
            raise unknown("method in overrides", method, replay["methods"])
    lead = models.load(experiments[name]["model"]).lead
    for method, family in replay["methods"].items():
        try:
            _check_window(families.build(family), lead, wanted)
            settings = check_settings("protocol", protocol, replay["protocol"] | overrides.get(method, {}))
            how = protocol(**settings)
        except InputError as error:
            raise InputError(f"method {method!r}: {error}") from None
        if how.target == "factorized" and how.target_loss is None and "factorized" not in replay["methods"]:
            raise InputError("a method named 'factorized' is needed: the published rule compares with its loss")
