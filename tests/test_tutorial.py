"""The tutorial does what it says: its blocks are run in order, in a copy of the project."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys

import pandas as pd
from programs import ROOT

BLOCK = re.compile(r"^```(\w+) ?(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_tutorial(tmp_path):
    text = (ROOT / "docs/tutorial.md").read_text(encoding="utf-8")
    for name in (
        "Snakefile",
        "config.yaml",
        "config",
        "workflow",
        "scripts",
        "src",
        "profiles",
        "envs",
        "reference",
        "data",
    ):
        source = ROOT / name
        shutil.copytree(source, tmp_path / name) if source.is_dir() else shutil.copy(source, tmp_path / name)
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
    paths = os.pathsep.join([str(tmp_path / "src"), str(tmp_path)])
    variables = os.environ | {"PATH": path, "PYTHONPATH": paths, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    printed, lines = "", 0

    def run(*command):
        done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    for language, option, body in BLOCK.findall(text):
        lines += len([line for line in body.splitlines() if line.strip()])
        if option.startswith("file="):
            (tmp_path / option.removeprefix("file=")).write_text(body, encoding="utf-8")
        elif language == "python":
            run(sys.executable, "-c", body)
        else:
            for command in body.splitlines():
                printed += run(*shlex.split(command))
    verdict = json.loads((tmp_path / "verdict.json").read_text())
    assert verdict["attainable"] == "yes"
    assert printed.startswith("Yes: ")
    assert "Amortize" in printed and "a function of hits_n" in printed
    assert "F-VI's optimum: certified" in printed
    table = pd.read_csv(tmp_path / "skills/results/programs.csv").set_index(["num_obs", "family"]).gap_per_obs
    assert table[18, "constant"] > 10 * table[18, "linear"] > 0
    assert (tmp_path / "skills/figures/program_gaps.png").stat().st_size > 10_000
    assert lines <= 50
