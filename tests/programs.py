"""Calls of the scripts, in this process or in one of their own, for the tests of scripts and of bad input."""

import contextlib
import io
import os
import runpy
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ROOT / "scripts"


class Done(NamedTuple):
    code: int
    out: str
    err: str


def call(folder: Path, name: str, *arguments: object) -> Done:
    """Run a script in ``folder`` and in this process, which imported jax already."""
    argv, on_term, code = sys.argv, signal.getsignal(signal.SIGTERM), 0
    out, err = io.StringIO(), io.StringIO()
    try:
        sys.argv = [f"{name}.py", *map(str, arguments)]
        with contextlib.chdir(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            runpy.run_path(str(SCRIPTS / f"{name}.py"), run_name="__main__")
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
        err.write("" if isinstance(stop.code, int) else f"{stop.code}\n")  # as the interpreter does
    finally:
        sys.argv = argv
        signal.signal(signal.SIGTERM, on_term)
    return Done(code, out.getvalue(), err.getvalue())


def succeed(folder: Path, name: str, *arguments: object) -> str:
    """Run a script that must succeed; return its standard output."""
    done = call(folder, name, *arguments)
    assert done.code == 0, done.err
    return done.out


def environment() -> dict[str, str]:
    """That of child processes: the package beside these tests, the interpreter that runs them."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return os.environ | {"PYTHONPATH": str(ROOT / "src"), "PATH": path}


def start(folder: Path, name: str, *arguments: object) -> Done:
    """Run a script in ``folder`` and in a process of its own."""
    command = [sys.executable, str(SCRIPTS / f"{name}.py"), *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, env=environment())
    return Done(done.returncode, done.stdout, done.stderr)
