"""The ``images`` block of a configuration, checked before any job runs."""

from pathlib import Path
from typing import Any

from avigap.errors import InputError, unknown
from avigap.images.idx import PUBLISHED, SOURCES, most_images
from avigap.images.inference import build
from avigap.images.steps import training
from avigap.models import load
from avigap.settings import check_settings


def check_images(entry: dict[str, Any], folder: Path) -> None:
    """Check an experiment with images; fill in defaults, in place.

    Raises
    ------
    InputError
        With one sentence that names the culprit and what is allowed.
    """
    _check_data(entry["data"], folder)
    entry["num_obs"] = list(map(int, entry["num_obs"]))
    _check_sizes(entry["num_obs"], entry["data"])
    entry["seeds"] = int(entry.get("seeds", 2))
    entry["seeds_per_job"] = int(entry.get("seeds_per_job", entry["seeds"]))
    entry.setdefault("mode", "corrected")
    settings = check_settings("model 'bnn_images'", load("bnn_images").program, entry.setdefault("settings", {}))
    if "pixels" in entry["settings"]:
        raise InputError(f"pixels follow from the images; leave them out of settings, got {settings['pixels']}")
    how = training(**check_settings("fit", training, entry.setdefault("fit", {})))
    if (how.objective == "as_coded") != (entry["mode"] == "as_coded"):
        raise InputError(
            f"objective and mode must both be 'as_coded' or neither, got {how.objective!r}, {entry['mode']!r}"
        )
    fits = {name: entry["fit"] | method.get("fit", {}) for name, method in entry["methods"].items()}
    for name, method in entry["methods"].items():
        try:
            if "objective" in method.get("fit", {}):
                raise InputError("objective belongs to the fit of all methods: the ELBOs of others cannot be compared")
            training(**check_settings("fit", training, fits[name]))
            _check_method(method, entry["methods"])
        except InputError as error:
            raise InputError(f"method {name!r}: {error}") from None
    # Copies: by an anchor of YAML another experiment may have the same methods.
    entry["methods"] = {name: method | {"fit": fits[name]} for name, method in entry["methods"].items()}
    if "factorized" not in entry["methods"]:
        raise InputError("a method named 'factorized' is needed: gaps are to F-VI")


def _check_sizes(sizes: list[int], data: dict[str, Any]) -> None:
    held_out, of_source = int(data["held_out"]), f"the images of {data['source']!r}"
    train, unseen = most_images(data["source"], held_out)
    if unseen is not None and held_out > unseen:
        raise InputError(f"held_out must be at most {unseen} of {of_source}, got {held_out}")
    for most, what in ((data.get("num_train"), "num_train ="), (train, f"{of_source} to train with,")):
        if most is not None and max(sizes) > most:
            raise InputError(f"num_obs must be at most {what} {most}, got {max(sizes)}")


def _check_data(data: dict[str, Any], folder: Path) -> None:
    if (source := data["source"]) not in SOURCES:
        raise unknown("source of images", source, SOURCES)
    wanted = {"idx": {"train", "test"}, **{name: {"folder"} for name in PUBLISHED}}.get(source, set())
    given = {name for name in ("folder", "train", "test") if name in data}
    if given != wanted:
        needs = " and ".join(sorted(wanted)) or "neither folder nor files"
        raise InputError(f"source {source!r} needs {needs}, got {', '.join(sorted(given)) or 'none'}")
    for name in wanted & {"train", "test"}:
        if not (folder / data[name]).is_file():
            raise InputError(f"the file {name}: {data[name]!r} does not exist, or is not a file")


def _check_method(method: dict[str, Any], methods: dict[str, Any]) -> None:
    own = {name: value for name, value in method.items() if name not in ("start", "fit")}
    build(own)
    if "start" not in method:
        return
    if own["kind"] != "factorized":
        raise InputError(f"only a factorized method has a 'start', the method whose ends it starts from; got {own!r}")
    if method["start"] not in methods or "start" in methods[method["start"]]:
        others = [name for name, other in methods.items() if "start" not in other]
        raise unknown("method to start from", method["start"], others)
