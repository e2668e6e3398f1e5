"""After a kill -9 of Snakemake the folder is unlocked, and never under a live Snakemake."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

UNLOCK = Path(__file__).resolve().parents[1] / "scripts" / "unlock.py"
SNAKEFILE = """
rule all:
    output:
        "done.txt",
    shell:
        "'{python}' scripts/slow.py {{output}}"
"""
SLOW = """
import pathlib, sys, time
pathlib.Path("started").touch()
while not pathlib.Path("go").exists():
    time.sleep(0.05)
pathlib.Path(sys.argv[1]).touch()
"""


@pytest.fixture
def running(tmp_path):
    """A folder in which Snakemake is at work, with the process."""
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "slow.py").write_text(SLOW)
    (tmp_path / "Snakefile").write_text(SNAKEFILE.format(python=sys.executable))
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--quiet"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (tmp_path / "started").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    yield tmp_path.resolve(), process
    (tmp_path / "go").touch()
    process.kill()
    process.wait()


def unlock(folder, *flags):
    command = [sys.executable, str(UNLOCK), *flags]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)


def locks(folder):
    return list((folder / ".snakemake").glob("locks/*"))


def test_a_live_snakemake_keeps_its_locks(running):
    folder, process = running
    done = unlock(folder)
    assert done.returncode == 1
    assert f"process {process.pid}" in done.stderr and len(done.stderr.splitlines()) == 1
    assert locks(folder)


def test_left_over_jobs_are_waited_for_and_then_the_locks_go(running):
    folder, process = running
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert locks(folder)
    impatient = unlock(folder, "--wait", "0.1")
    assert impatient.returncode == 1 and "kill" in impatient.stderr and locks(folder)
    (folder / "go").touch()
    patient = unlock(folder)
    assert patient.returncode == 0, patient.stderr
    assert not locks(folder)


def test_a_folder_without_locks_is_left_alone(tmp_path):
    done = unlock(tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []
