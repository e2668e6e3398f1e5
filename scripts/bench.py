"""Time the certified optimum, one optimiser step and the chain beside NumPyro's SVI, each in a fresh process."""

import json
import os
import subprocess
import sys

from avigap import bench, cli

HEADER = f"{'model':<10} {'N':>8} {'what':<8} {'seconds':>9} {'/ SVI step':>11} {'peak GiB':>9}  note"


def measure(what: str, model: str, num_obs: int) -> dict[str, float]:
    """Run one measurement in a process of its own and return what it printed."""
    command = [sys.executable, __file__, "--only", what, "--model", model, "--num-obs", str(num_obs)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"bench.py: {what} of {model} at N = {num_obs} failed: {done.stderr.strip().splitlines()[-1]}")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def note(what: str, result: dict[str, float]) -> str:
    """Return what a reader has to know beside the time."""
    if what == "svi":
        fewer = "" if result["particles"] == 100 else " (fewer than 100: they would exceed 4 GiB)"
        return f"AutoNormal, {result['particles']:.0f} particles{fewer}, one step"
    if what == "optimum":
        return f"residual {result['residual']:.1e} nats, compilation included"
    if what == "step":
        return "Levenberg-Marquardt, network of width 8"
    return f"simulate, F-VI, A-VI; gap per observation {result['gap_per_obs']:.1e} nats"


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--model", nargs="+", default=["linear", "nonlinear"], choices=sorted(bench.CHAIN_FAMILY))
    parser.add_argument("--num-obs", type=int, nargs="+", default=[1_000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--only", choices=sorted(bench.MEASUREMENTS), help="one measurement in this process, as JSON")
    args = parser.parse_args()
    if args.only:
        bench.jax_ready()
        result = bench.MEASUREMENTS[args.only](args.model[0], args.num_obs[0])
        cli.print_result(result | {"peak_memory": bench.peak_memory()})
        return
    print(f"{os.cpu_count()} cores, float64; every row is a process of its own\n{HEADER}")
    for model in args.model:
        for num_obs in args.num_obs:
            svi = measure("svi", model, num_obs)
            for what in ("svi", "optimum", "step", "chain"):
                result = svi if what == "svi" else measure(what, model, num_obs)
                ratio = result["seconds"] / svi["seconds"]
                print(
                    f"{model:<10} {num_obs:>8} {what:<8} {result['seconds']:>9.4f} {ratio:>11.2f}"
                    f" {result['peak_memory']:>9.2f}  {note(what, result)}",
                    flush=True,
                )


if __name__ == "__main__":
    cli.run(main)
