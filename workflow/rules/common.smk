import json
import re
from pathlib import Path

from snakemake.exceptions import WorkflowError

from avigap.config import check_config
from avigap.errors import InputError

ROOT = Path(workflow.current_basedir.get_path_or_uri(secret_free=True)).resolve().parents[1]

try:
    check_config(config, ROOT / "workflow/schemas/config.schema.yaml", Path.cwd())
except InputError as error:
    raise WorkflowError(f"configuration: {error}") from None

EXPERIMENTS = config["experiments"]
PREFIX = "" if config["root"] == "." else f"{config['root']}/"
RESULTS, FIGURES, LOGS, BENCHMARKS = (PREFIX + name for name in ("results", "figures", "logs", "benchmarks"))


def sources(*patterns):
    """Package files that a step depends on, as inputs: their content decides whether it runs again."""
    return sorted(str(path.relative_to(ROOT)) for pattern in patterns for path in (ROOT / "src/avigap").glob(pattern))


def any_of(names):
    """Regular expression for one of several names; matches nothing if there are none."""
    return "|".join(map(re.escape, names)) or "(?!)"


def as_json(value):
    return json.dumps(value, sort_keys=True)


SIMULATED = [name for name, entry in EXPERIMENTS.items() if "simulate" in entry["data"]]
IMPORTED = [name for name, entry in EXPERIMENTS.items() if "file" in entry["data"]]
FITS = [f"{RESULTS}/{name}/avi/{family}.nc" for name, entry in EXPERIMENTS.items() for family in entry["families"]]

CORE = sources("core.py", "errors.py", "settings.py", "priors.py", "io.py", "cli.py", "models/*.py")
FITTING = sorted(set(sources("*.py", "models/*.py", "families/*.py")) - set(sources("plots*.py", "config.py")))


wildcard_constraints:
    experiment=any_of(EXPERIMENTS),
    family=any_of({family for entry in EXPERIMENTS.values() for family in entry["families"]}),


def is_linear_window(family):
    """Whether a family's loc is linear in x_{n-h}, .., x_{n+h}."""
    inputs = sorted(family.get("inputs", [0]))
    is_linear = family["kind"] == "polynomial" and family.get("degree", 1) == 1
    return is_linear and inputs == list(range(-inputs[-1], inputs[-1] + 1))
