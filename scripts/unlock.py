"""Make a folder ready for Snakemake after a kill -9, unless a live Snakemake works in it.

``kill -9`` gives Snakemake no chance to remove its locks, and leaves the jobs that were running alive. This program
refuses, with a sentence, while a Snakemake process works in the folder; it waits for left-over jobs to end, because
they would write beside the jobs of the next run; then it runs ``snakemake --unlock`` where there is a lock.

It refuses even where there is no lock: a Snakemake that ends removes all locks of its folder, others' as well.

Only processes of this machine are seen: where several computers share the folder, make sure that none of the others
runs Snakemake in it.
"""

import argparse
import fcntl
import subprocess
import sys
import time
from pathlib import Path

from avigap.processes import left_over_jobs, live_snakemakes


def wait_for_left_over_jobs(folder: Path, seconds: float) -> None:
    """Return when no left-over job is alive; exit with a sentence when one still is after so many seconds."""
    deadline, told = time.monotonic() + seconds, False
    while jobs := left_over_jobs(folder, Path(__file__).name):
        pids = " ".join(str(job.pid) for job in jobs)
        if time.monotonic() > deadline:
            sys.exit(f"unlock: jobs of a killed Snakemake still run after {seconds:.0f} s; stop them: kill {pids}")
        if not told:
            print(f"unlock: waiting for the jobs of a killed Snakemake to end (or: kill {pids})", flush=True)
            told = True
        time.sleep(0.5)


def refuse_while_snakemake_runs(folder: Path, lock_owners: set[int]) -> None:
    """Exit with a sentence where a live Snakemake works in the folder, or may hold its locks."""
    if running := live_snakemakes(folder, lock_owners):
        where = "in this folder" if all(process.cwd for process in running) else "perhaps in this folder"
        pids = ", ".join(str(process.pid) for process in running)
        sys.exit(f"unlock: Snakemake is at work {where} (process {pids}); wait for it to end, or stop it")


def unlock(folder: Path, wait: float) -> None:
    """Return when a new Snakemake can start in the folder; exit with a sentence where it cannot."""
    state = folder / ".snakemake"
    lock_owners = {path.stat().st_uid for path in state.glob("locks/*")}
    refuse_while_snakemake_runs(folder, lock_owners)
    if lock_owners or any(state.glob("incomplete/*")):
        wait_for_left_over_jobs(folder, wait)
    if not lock_owners:
        return
    # Of two callers at once the second waits here, and then meets the first one's Snakemake, or no lock.
    with (state / "unlock.guard").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        refuse_while_snakemake_runs(folder, lock_owners)
        if any(state.glob("locks/*")):
            print("unlock: removing the locks of a killed Snakemake", flush=True)
            sys.exit(subprocess.run([sys.executable, "-m", "snakemake", "--unlock", "--quiet"], cwd=folder).returncode)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(), help="where Snakemake is run (default: here)")
    parser.add_argument("--wait", type=float, default=900, help="seconds to wait for left-over jobs (default: 900)")
    arguments = parser.parse_args()
    unlock(arguments.folder.resolve(), arguments.wait)


if __name__ == "__main__":
    main()
