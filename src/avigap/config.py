"""The configuration: experiments, their data and families, checked before any job runs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from avigap import families, models
from avigap.errors import InputError
from avigap.settings import check_settings
from avigap.starts import fit_settings


def check_config(config: dict[str, Any], schema_path: Path, folder: Path) -> None:
    """Check a configuration against the schema and against what models and families accept; fill in defaults.

    Parameters
    ----------
    config
        As read from YAML; defaults of the schema are filled in, in place.
    schema_path
        The JSON schema, in YAML.
    folder
        Where relative paths of data files start.

    Raises
    ------
    InputError
        With one sentence that names the culprit and what is allowed.
    """
    schema = yaml.safe_load(schema_path.read_text())
    errors = sorted(jsonschema.Draft202012Validator(schema).iter_errors(config), key=lambda e: list(map(str, e.path)))
    if errors:
        raise InputError(_sentence(errors[0]))
    config.setdefault("root", schema["properties"]["root"]["default"])
    if ".." in Path(config["root"]).parts:
        raise InputError(f"root must stay inside the project folder, got {config['root']!r}")
    for name, experiment in config["experiments"].items():
        try:
            _check_experiment(experiment, folder)
        except InputError as error:
            raise InputError(f"experiment {name!r}: {error}") from None


def _sentence(error: jsonschema.ValidationError) -> str:
    """Return the place of a schema error and what is allowed there, without the schema itself."""
    place = ".".join(map(str, error.path)) or "the top level"
    if error.validator == "additionalProperties":
        allowed = sorted(error.schema["properties"])
        unknown = sorted(set(error.instance) - set(allowed))
        return f"{place}: unknown key {', '.join(map(repr, unknown))}; allowed: {', '.join(allowed)}"
    if error.validator in ("minProperties", "minItems"):
        return f"{place}: at least one entry is needed"
    if "propertyNames" in error.schema_path:
        return f"{place}: the name {error.instance!r} must be lower-case letters, digits and _, starting with a letter"
    return f"{place}: {error.message}"


def _check_experiment(experiment: dict[str, Any], folder: Path) -> None:
    experiment.setdefault("settings", {})
    experiment.setdefault("fit", {})
    data = experiment["data"]
    if ("simulate" in data) == ("file" in data):
        raise InputError("data needs either 'simulate' or 'file'")
    if "simulate" in data:
        if "num_obs" in data:
            raise InputError("num_obs of simulated data belongs under 'simulate'")
        data["simulate"].setdefault("seeds", 5)
    elif not (folder / data["file"]).is_file():
        raise InputError(f"data file {data['file']!r} does not exist")
    model = models.load(experiment["model"])
    check_settings(f"model {experiment['model']!r}", model.program, experiment["settings"])
    check_settings("fit", fit_settings, experiment["fit"])
    sizes = data.get("num_obs", []) if "file" in data else data["simulate"]["num_obs"]
    for name, family in experiment["families"].items():
        try:
            built = families.build(family)
        except InputError as error:
            raise InputError(f"family {name!r}: {error}") from None
        _check_window(name, built.inputs, model.lead, sizes)


def _check_window(name: str, inputs: tuple[int, ...], lead: int, sizes: list[int]) -> None:
    span = max(0, *inputs) - min(0, *inputs) + 1
    for size in sizes:
        if span > size + lead:
            raise InputError(f"family {name!r}: its window spans {span} rows, num_obs {size} has only {size + lead}")


def experiment_of(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return one experiment of a checked configuration."""
    experiment: Mapping[str, Any] = config["experiments"][name]
    return experiment
