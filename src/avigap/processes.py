"""Processes of this machine: which are Snakemake in a folder, and which are jobs that a killed one left over."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil

INTERPRETER = re.compile(r"(python|pypy|sh|bash|dash|zsh)[\d.]*")


class Process(NamedTuple):
    """A live process; ``cwd`` is None where the system does not tell."""

    pid: int
    parent: int
    owner: int
    cwd: Path | None
    argv: list[str]


def processes() -> Iterator[Process]:
    """Every live process of this machine but this one; a zombie has no command line."""
    for found in psutil.process_iter(["pid", "ppid", "uids", "cwd", "cmdline"]):
        pid, parent, uids, cwd, argv = (found.info[name] for name in ("pid", "ppid", "uids", "cwd", "cmdline"))
        if argv and pid != os.getpid():
            yield Process(pid, parent, uids.effective, Path(cwd) if cwd else None, argv)


def is_snakemake(argv: list[str]) -> bool:
    """Whether a command line is Snakemake: called by name, through its interpreter, or as ``python -m snakemake``."""
    names = [Path(word).name for word in argv[:6]]
    return names[0] == "snakemake" or (bool(INTERPRETER.fullmatch(names[0])) and "snakemake" in names)


def live_snakemakes(folder: Path, lock_owners: set[int]) -> list[Process]:
    """The Snakemake processes that work in the folder, or may: those whose working folder is hidden."""
    return [
        process
        for process in processes()
        if is_snakemake(process.argv) and (process.cwd == folder if process.cwd else process.owner in lock_owners)
    ]


def left_over_jobs(folder: Path, but: str) -> list[Process]:
    """Processes that run a script of the folder, not ``but``, and that nobody in it waits for, with their children."""
    everything = {process.pid: process for process in processes()}

    def runs_script(process: Process) -> bool:
        words = [Path(word) for argument in process.argv for word in argument.split()]
        return any(
            word.suffix == ".py" and (folder / word).parent == folder / "scripts" and word.name != but for word in words
        )

    def is_left_over(process: Process) -> bool:
        if process.cwd not in (folder, None) or not runs_script(process):
            return False
        parent = everything.get(process.parent)
        return process.parent == 1 or parent is None or parent.cwd != folder or is_left_over(parent)

    return [process for process in everything.values() if is_left_over(process)]
