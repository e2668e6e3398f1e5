import json
import re
import shutil
from importlib.util import find_spec
from pathlib import Path

from snakemake.exceptions import WorkflowError

from avigap.config import check_config, check_repeated_keys, is_program
from avigap.errors import InputError
from avigap.sources import imported_files

ROOT = Path(workflow.current_basedir.get_path_or_uri(secret_free=True)).resolve().parents[1]

try:
    check_repeated_keys(map(Path, workflow.configfiles))
    check_config(config, ROOT / "workflow/schemas/config.schema.yaml", Path.cwd())
except InputError as error:
    raise WorkflowError(f"configuration: {error}") from None

EXPERIMENTS = {name: entry for name, entry in config["experiments"].items() if not is_program(entry)}
PROGRAMS = {name: entry for name, entry in config["experiments"].items() if is_program(entry)}
REPLAYS = config["replays"]
IMAGES = config["images"]
# Jobs that can use a GPU ask for it where there are one and a JAX for it (`make cuda`): one at a time.
GPU = int(bool(shutil.which("nvidia-smi") and find_spec("jax_cuda12_plugin")))
PREFIX = "" if config["root"] == "." else f"{config['root']}/"
RESULTS, FIGURES, LOGS, BENCHMARKS = (PREFIX + name for name in ("results", "figures", "logs", "benchmarks"))


def package_files(stem, *modules):
    """Package files that scripts/<stem>.py imports, with modules that it finds by name: their content decides on reruns."""
    programs = [ROOT / f"scripts/{stem}.py", *(ROOT / f"src/avigap/{module}.py" for module in modules)]
    return [str(path.relative_to(ROOT)) for path in imported_files(programs, ROOT / "src/avigap")]


def model_file(wildcards):
    return f"models/{EXPERIMENTS[wildcards.experiment]['model']}"


def family_file(wildcards):
    return f"families/{EXPERIMENTS[wildcards.experiment]['families'][wildcards.family]['kind']}"


def any_of(names):
    """Regular expression for one of several names; matches nothing if there are none."""
    return "|".join(map(re.escape, names)) or "(?!)"


def as_json(value):
    return json.dumps(value, sort_keys=True)


def model_and_family_files(experiments):
    """Modules that a program finds by name when it reads the fits of experiments."""
    entries = [EXPERIMENTS[name] for name in experiments]
    kinds = {family["kind"] for entry in entries for family in entry["families"].values()}
    return [f"models/{name}" for name in {entry["model"] for entry in entries}] + [f"families/{kind}" for kind in kinds]


SIMULATED = [name for name, entry in EXPERIMENTS.items() if "simulate" in entry["data"]]
IMPORTED = [name for name, entry in EXPERIMENTS.items() if "file" in entry["data"]]
FITS = [f"{RESULTS}/{name}/avi/{family}.nc" for name, entry in EXPERIMENTS.items() for family in entry["families"]]

# One experiment for each model, with simulated data if there is one.
SHOWN = sorted(
    {EXPERIMENTS[n]["model"]: n for n in reversed(SIMULATED + IMPORTED)}.values(), key=list(EXPERIMENTS).index
)


wildcard_constraints:
    experiment=any_of(EXPERIMENTS),
    family=any_of({family for entry in EXPERIMENTS.values() for family in entry["families"]}),
    program=any_of(PROGRAMS),


def is_linear_window(family):
    """Whether a family's loc is linear in x_{n-h}, .., x_{n+h}."""
    inputs = sorted(family.get("inputs", [0]))
    is_linear = family["kind"] == "polynomial" and family.get("degree", 1) == 1
    return is_linear and inputs == list(range(-inputs[-1], inputs[-1] + 1))


def parts_of(entry):
    """Methods and seeds of each job of a replay."""
    names, seeds = list(entry["methods"]), list(range(entry["seeds"]))
    size, many = entry["methods_per_job"], entry["seeds_per_job"]
    return [
        (names[first : first + size], seeds[start : start + many])
        for start in range(0, len(seeds), many)
        for first in range(0, len(names), size)
    ]


def of_part(wildcards):
    """Methods of a job: their families, and what differs in their protocols."""
    entry, (names, _) = REPLAYS[wildcards.replay], PARTS[wildcards.replay][int(wildcards.part)]
    return tuple({name: entry[key][name] for name in names if name in entry[key]} for key in ("methods", "overrides"))


def replayed(wildcards):
    """Experiment whose data a replay takes."""
    return REPLAYS[wildcards.replay]["of"]["experiment"]


def program_file(wildcards):
    return PROGRAMS[wildcards.program]["model"].rpartition(":")[0]


def program_data(wildcards):
    """Files that a program's data are read from: the data, and an earlier verdict with codes of its categories."""
    data = PROGRAMS[wildcards.program]["data"]
    return [data[key] for key in ("file", "codes") if key in data]


def program_options(wildcards):
    """Options of scripts that read the data of a program."""
    data = PROGRAMS[wildcards.program]["data"]
    rename = [f"{column}={argument}" for column, argument in data.get("rename", {}).items()]
    return [
        *(["--data", data["file"]] if "file" in data else []),
        *(["--rename", *rename] if rename else []),
        *(["--ignore", *data["ignore"]] if data.get("ignore") else []),
        *(["--drop-missing"] if data.get("drop_missing") else []),
        *(["--codes", data["codes"]] if "codes" in data else []),
    ]


def program_sizes(wildcards):
    """Options for the sizes and seeds of the data sets of a program."""
    data = PROGRAMS[wildcards.program]["data"]
    block = data.get("simulate", data)
    return [*(["--num-obs", *n] if (n := block.get("num_obs")) else []), "--seed", *range(block["seeds"])]


def image_files(wildcards):
    """IDX files of the user's own from which a data set of images is made."""
    return [path for key in ("train", "test") if (path := IMAGES[wildcards.images]["data"].get(key))]


def image_options(wildcards):
    """Options of prepare_images.py."""
    return [
        word
        for key, value in IMAGES[wildcards.images]["data"].items()
        for word in (f"--{key.replace('_', '-')}", value)
    ]


def image_seeds(name):
    """Seeds of each job of an experiment with images."""
    seeds, many = list(range(IMAGES[name]["seeds"])), IMAGES[name]["seeds_per_job"]
    return [seeds[first : first + many] for first in range(0, len(seeds), many)]


def image_method(wildcards):
    """A method of an experiment with images."""
    return IMAGES[wildcards.images]["methods"][wildcards.method]


def image_start(wildcards):
    """Fits from whose ends a method starts."""
    start = image_method(wildcards).get("start")
    return [f"{RESULTS}/{wildcards.images}/fits/{start}_{wildcards.part}.nc"] if start else []
