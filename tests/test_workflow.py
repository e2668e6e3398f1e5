"""The workflow plans the whole chain, reruns what an edit touches and nothing else, and always gives the same table.

Where only the plan matters, stand-ins for the programs write their names; what the programs import is still an input.
"""

import contextlib
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import psutil
import pytest
import yaml
from programs import ROOT, SCRIPTS

from avigap.sources import imported_files

STAND_IN = """
import itertools, pathlib, sys
for flag in {"--output", "--provenance"} & set(sys.argv):
    for word in itertools.takewhile(lambda word: word[:2] != "--", sys.argv[sys.argv.index(flag) + 1 :]):
        pathlib.Path(word).write_text(pathlib.Path(sys.argv[0]).name)
sys.exit()
"""


CHAIN = ("simulate", "import_data", "fit_fvi", "fit_avi", "summarise_gap")


class Project:
    """A copy of the project in which Snakemake is run."""

    jobs: list["Job"]

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        cache = str(folder.parent / "cache")
        self.variables = os.environ | {"PATH": path, "PYTHONPATH": str(folder / "src"), "XDG_CACHE_HOME": cache}

    def snakemake(self, *flags: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "snakemake", *flags]
        options = {"cwd": self.folder, "env": self.variables, "capture_output": True, "text": True}
        return subprocess.run(command, timeout=240, **options)

    def run(self, *flags: str) -> str:
        done = self.snakemake(*flags)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def plan(self, *flags: str) -> list["Job"]:
        return jobs_in(self.run("--dry-run", *flags))


class Job:
    """A job as Snakemake prints it."""

    def __init__(self, rule: str, text: str) -> None:
        self.rule = rule
        fields = dict(re.findall(r"^    (\w+): (.*)$", text, re.MULTILINE))
        self.inputs, self.outputs = (fields.get(name, "").split(", ") for name in ("input", "output"))
        self.log, self.benchmark = fields.get("log"), fields.get("benchmark")


def jobs_in(text):
    parts = re.split(r"^(?:local)?rule (\w+):$", text, flags=re.MULTILINE)
    return [Job(rule, part) for rule, part in zip(parts[1::2], parts[2::2], strict=True)]


def copy_of_the_project(folder):
    """Copy what git tracks or would track; all of it where there is no git."""
    git = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listing = subprocess.run(git, capture_output=True, text=True)
    names = [name for name in listing.stdout.split("\0") if (ROOT / name).is_file()]
    if listing.returncode:
        return shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(".*", "results", "logs", "smoke"))
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The whole project after a run with stand-ins, and the jobs of that run."""
    project = Project(copy_of_the_project(tmp_path_factory.mktemp("planned") / "project"))
    for script in (project.folder / "scripts").glob("*.py"):
        script.write_text(STAND_IN + script.read_text())
    project.jobs = jobs_in(project.run("--cores", "2"))
    return project


@pytest.fixture
def edit(project):
    """Change a file of the project until the end of the test."""
    before = {}

    def change(name, text=None):
        path = project.folder / name
        before[path] = path.read_text() if path.exists() else None
        path.write_text(before[path] + "\n# edited\n" if text is None else text)

    yield change
    for path, text in before.items():
        path.unlink() if text is None else path.write_text(text)


def outputs(jobs, rule):
    return {output for job in jobs if job.rule == rule for output in job.outputs}


TABLES = (
    *("coefficients", "decompose", "ledger", "summarise_fvi", "summarise_gap", "summarise_replay"),
    "summarise_images",
)


def assert_only_drawing(jobs, *beside):
    """Beside some rules only those of tables and figures run: no data are made and nothing is fitted."""
    assert all(job.rule in (*beside, *TABLES, "all") or job.rule.startswith("plot_") for job in jobs)


def test_a_clone_plans_the_whole_chain(tmp_path):
    clone = tmp_path / "clone"
    git = ["git", "clone", "--quiet", str(ROOT), str(clone)]
    if not (ROOT / ".git").exists():
        pytest.skip("not in a git checkout")
    assert subprocess.run(git, capture_output=True).returncode == 0
    rules = re.findall(r"^rule (\w+):", "".join(p.read_text() for p in clone.glob("workflow/rules/*.smk")), re.M)
    assert set(CHAIN) <= set(rules)
    own = ("--configfile", "config/zoo.yaml", "--replace-workflow-config")
    planned = {job.rule for flags in ((), own) for job in Project(clone).plan(*flags)}
    assert planned == {"all", *rules}


def test_rule_script_log_and_benchmark_share_their_name(project):
    assert set(CHAIN) <= {job.rule for job in project.jobs}
    for job in project.jobs:
        if job.rule != "all":
            assert f"scripts/{job.rule}.py" == job.inputs[0]
            assert re.match(rf"logs/{job.rule}[./]", job.log) and re.match(rf"benchmarks/{job.rule}[./]", job.benchmark)


def test_every_script_of_the_chain_has_a_rule(project):
    stems = {path.stem for path in SCRIPTS.glob("*.py")} - {
        "unlock",
        "bench",
        "docs_figures",
        "docs_zoo",
        "reference_posterior",
        "start_seeds",
        "merge_replays",
    }
    rules = re.findall(r"^rule (\w+):", "".join(p.read_text() for p in ROOT.glob("workflow/rules/*.smk")), re.M)
    assert stems == set(rules)


def test_a_second_run_does_nothing(project):
    began = time.monotonic()
    assert "Nothing to be done" in project.run("--cores", "2")
    assert time.monotonic() - began < 30


def test_an_edited_configuration_runs_what_it_touches(project, edit):
    """A family added to one experiment, and a setting changed in another."""
    config = yaml.safe_load((project.folder / "config.yaml").read_text())
    config["experiments"]["hmm"]["families"]["added"] = {"kind": "constant", "inputs": [-1]}
    config["experiments"]["saw"]["settings"]["alpha"] = 0.5
    edit("config.yaml", yaml.safe_dump(config))
    jobs = project.plan()
    families = config["experiments"]["saw"]["families"]
    assert outputs(jobs, "simulate") == {"results/saw/data.nc"}
    assert outputs(jobs, "fit_fvi") == {"results/saw/fvi.nc"}
    expected = {f"results/saw/avi/{family}.nc" for family in families} | {"results/hmm/avi/added.nc"}
    assert outputs(jobs, "fit_avi") == expected
    assert outputs(jobs, "summarise_gap") == {"results/gap.csv", "results/provenance.json"}
    replays = yaml.safe_load((project.folder / config["replays"]).read_text())
    of_saw = {name for name, entry in replays.items() if entry["of"]["experiment"] == "saw"}
    assert {Path(output).parent.name for output in outputs(jobs, "replay")} == of_saw
    assert_only_drawing(jobs, "simulate", "fit_fvi", "fit_avi", "replay")


def test_an_edited_replay_runs_alone(project, edit):
    replays = yaml.safe_load((project.folder / "config/replays.yaml").read_text())
    replays["saw_fair"]["protocol"] = replays["saw_fair"]["protocol"] | {"learning_rates": [0.1]}
    edit("config/replays.yaml", yaml.safe_dump(replays, sort_keys=False))
    jobs = project.plan()
    assert outputs(jobs, "replay") == {"results/replays/saw_fair/part_0.nc"}
    assert {job.rule for job in jobs if job.rule in TABLES} == {"summarise_replay", "ledger"}
    assert_only_drawing(jobs, "replay")


def test_an_edited_reference_runs_the_ledger_and_its_figures(project, edit):
    edit("reference/ledger.yaml")
    rules = {job.rule for job in project.plan()}
    assert rules == {"ledger", "plot_ledger", "plot_convergence_boxes", "all"}


def test_an_edited_fit_runs_the_fits_again_but_not_the_data(project, edit):
    edit("src/avigap/ascend.py")
    jobs = project.plan()
    assert outputs(jobs, "fit_avi") == outputs(project.jobs, "fit_avi")
    assert_only_drawing(jobs, "fit_fvi", "fit_avi", "replay")


def test_an_edited_model_or_family_runs_those_who_use_it(project, edit):
    edit("src/avigap/models/saw.py")
    edit("src/avigap/families/mlp.py")
    jobs, everything = project.plan(), yaml.safe_load((project.folder / "config.yaml").read_text())["experiments"]
    saw = {name for name, entry in everything.items() if entry["model"] == "saw"}
    assert outputs(jobs, "fit_fvi") == {f"results/{name}/fvi.nc" for name in saw}
    assert outputs(jobs, "fit_avi") == {
        f"results/{name}/avi/{family}.nc"
        for name, entry in everything.items()
        for family, settings in entry["families"].items()
        if name in saw or settings["kind"] == "mlp"
    }


def test_jobs_name_the_model_and_the_family_that_they_find_by_name(project):
    everything = yaml.safe_load((project.folder / "config.yaml").read_text())["experiments"]
    for job in project.jobs:
        place = Path(job.outputs[0]).parts
        if job.rule in ("simulate", "import_data", "fit_fvi", "fit_avi"):
            expected = {f"src/avigap/models/{everything[place[1]]['model']}.py"}
            if job.rule == "fit_avi":
                kind = everything[place[1]]["families"][Path(place[3]).stem]["kind"]
                expected |= {f"src/avigap/families/{kind}.py"}
            assert expected <= set(job.inputs)


def test_a_new_model_or_family_runs_nothing_and_an_edited_script_its_rule(project, edit):
    edit("src/avigap/models/added.py", '"""New."""\n')
    edit("src/avigap/families/added.py", '"""New."""\n')
    edit("scripts/summarise_gap.py")
    jobs = project.plan()
    assert outputs(jobs, "summarise_gap") == {"results/gap.csv", "results/provenance.json"}
    assert_only_drawing(jobs)


def test_edited_plots_run_only_figures(project, edit):
    for path in (project.folder / "src/avigap").glob("plots*.py"):
        edit(path)
    jobs = project.plan()
    assert {job.rule for job in jobs} == {job.rule for job in project.jobs if job.rule.startswith("plot_")} | {"all"}


TIMED = """
import json, pathlib, sys, time
began = time.time()
time.sleep(0.7)
output = pathlib.Path(sys.argv[sys.argv.index("--output") + 1])
output.write_text(json.dumps([began, time.time(), json.loads(sys.argv[sys.argv.index("--fit") + 1])]))
"""
IMAGES = """
root: {root}
experiments: {{}}
images:
  few:
    data: {{source: digits, held_out: 9}}
    num_obs: [10]
    mse_tolerance: 0.1
    fit: {{learning_rate: 0.01}}
    methods:
      factorized: {{kind: factorized}}
      one: {{kind: constant}}
      other: {{kind: constant, fit: {{learning_rate: 0.5}}}}
"""


def test_jobs_that_can_use_a_gpu_run_one_at_a_time_where_there_is_one(project, edit, tmp_path):
    """With a stand-in for NVIDIA's tool and one for JAX's plug-in; without them two run side by side.

    Each job has the fit of its own method.
    """
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    (tmp_path / "jax_cuda12_plugin.py").touch()
    edit("scripts/fit_images.py", TIMED)
    together = {}
    for root, more in {"with_none": "", "with_one": f"{os.pathsep}{tmp_path}"}.items():
        one = Project(project.folder)
        one.variables |= {name: one.variables[name] + more for name in ("PATH", "PYTHONPATH")}
        edit(f"{root}.yaml", IMAGES.format(root=root))
        fits = [f"{root}/results/few/fits/{method}_0.nc" for method in ("factorized", "one", "other")]
        one.run(*fits, "--cores", "2", "--configfile", f"{root}.yaml", "--replace-workflow-config")
        done = [json.loads((project.folder / fit).read_text()) for fit in fits]
        assert [fit for _, _, fit in done] == [{"learning_rate": rate} for rate in (0.01, 0.01, 0.5)]
        together[root] = any(following[0] < span[1] for span, following in itertools.pairwise(sorted(done)))
    has_one = bool(shutil.which("nvidia-smi") and find_spec("jax_cuda12_plugin"))
    assert together == {"with_none": not has_one, "with_one": False}


BAD = {
    "experiments: {}\nexperiments: {}": "configuration: bad.yaml line 1: 'experiments' is given 2 times",
    "experiments: {'a;touch pwned': {}}": "configuration: experiments: the name 'a;touch pwned' must consist of",
}


@pytest.mark.parametrize("text", BAD)
def test_a_wrong_configuration_stops_snakemake_in_a_sentence(project, edit, text):
    edit("bad.yaml", text)
    done = project.snakemake("--dry-run", "--quiet", "--configfile", "bad.yaml", "--replace-workflow-config")
    errors = [line for line in (done.stdout + done.stderr).splitlines() if not line.startswith(("Using", "Config"))]
    assert done.returncode == 1 and len(errors) == 3, errors
    assert errors[0].startswith("WorkflowError in file") and errors[1].startswith(BAD[text])
    assert errors[2].startswith("  File ")
    assert not (project.folder / "pwned").exists()


def test_lint_finds_nothing(project):
    done = project.snakemake("--lint")
    assert done.returncode == 0, done.stderr


def test_snakefmt_changes_nothing(project):
    command = [str(Path(sys.executable).parent / "snakefmt"), "--check", "Snakefile", "workflow"]
    done = subprocess.run(command, cwd=project.folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


IMPORTED = """
import json, runpy, sys
files = {}
for script in sys.argv[1:]:
    for name in [name for name in sys.modules if name.partition(".")[0] == "avigap"]:
        del sys.modules[name]
    runpy.run_path(script)
    files[script] = [m.__file__ for name, m in sys.modules.items() if name.partition(".")[0] == "avigap"]
print(json.dumps(files))
"""


def test_inputs_are_what_a_script_imports(project):
    """Python itself says which files of the package the scripts run; each of them is an input of the rule."""
    scripts = [str(SCRIPTS / f"{rule}.py") for rule in CHAIN]
    variables = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-c", IMPORTED, *scripts]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
    for script, imported in json.loads(done.stdout).items():
        rule, expected = Path(script).stem, {str(Path(path).relative_to(ROOT)) for path in imported}
        assert len(expected) > 3
        for job in project.jobs:
            assert job.rule != rule or set(job.inputs) >= expected


def test_imports_are_followed_in_every_form(tmp_path):
    package = tmp_path / "pack"
    (package / "sub").mkdir(parents=True)
    for name, text in {
        "__init__": "",
        "a": "import pack.b\nfrom numpy import pi",
        "b": "def f():\n    from pack.sub import c, name",
        "sub/__init__": "name = 1",
        "sub/c": "from pack.d import value",
        "d": "import pack.a",
        "alone": "",
    }.items():
        (package / f"{name}.py").write_text(text)
    (tmp_path / "program.py").write_text("from pack import a as renamed")
    found = imported_files([tmp_path / "program.py"], package)
    names = ["__init__", "a", "b", "d", "sub/__init__", "sub/c"]
    assert [path.relative_to(package).as_posix() for path in found] == [f"{name}.py" for name in names]
    assert imported_files([package / "alone.py"], package) == [package / "alone.py"]


TINY = """
experiments:
  linear:
    model: linear
    data: {simulate: {num_obs: [10], seeds: 1}}
    families:
      affine: {kind: polynomial, degree: 1}
      constant: {kind: constant}
"""
TABLE = "results/gap.csv"


@pytest.fixture
def tiny(tmp_path):
    """Two copies of the project with a configuration that takes seconds."""
    projects = [Project(copy_of_the_project(tmp_path / name)) for name in ("undisturbed", "disturbed")]
    for project in projects:
        (project.folder / "config.yaml").write_text(TINY)
        project.variables["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
    return projects


def table(project):
    rows = pd.read_csv(project.folder / TABLE, dtype=str, keep_default_na=False)
    return rows.drop(columns="seconds").to_csv(index=False)


def test_the_table_does_not_depend_on_cores_or_on_a_killed_job(tiny):
    """Two cores, undisturbed; and one core, where the job of a family is killed with -9 and run again."""
    undisturbed, disturbed = tiny
    undisturbed.run("--cores", "2", TABLE)
    if (cache := undisturbed.folder / ".jax_cache").exists():
        shutil.copytree(cache, disturbed.folder / cache.name)
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--quiet", "all", "--", TABLE]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, cwd=disturbed.folder, env=disturbed.variables, **quiet) as running:
        os.kill(job_of(running.pid, "fit_avi.py", "constant.nc"), signal.SIGKILL)
        assert running.wait(timeout=120) == 1
    fits = disturbed.folder / "results/linear/avi"
    assert [path.name for path in fits.iterdir()] == ["affine.nc"], "a killed job has no output, the others go on"
    jobs = jobs_in(disturbed.run("--cores", "1", TABLE))
    assert [job.outputs for job in jobs] == [["results/linear/avi/constant.nc"], [TABLE, "results/provenance.json"]]
    assert table(disturbed) == table(undisturbed)
    assert len(table(disturbed).splitlines()) == 3


def job_of(snakemake, *words):
    """Return the id of the process below Snakemake that runs a script, once it has worked for a second."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for process in psutil.Process(snakemake).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                line = " ".join(process.cmdline())
                is_python = "python" in process.name() and all(word in line for word in words)
                if is_python and sum(process.cpu_times()[:2]) > 1.0:
                    return process.pid
        time.sleep(0.02)
    raise TimeoutError(f"no job {words}")
