"""Fit families to one data set from many start seeds; one row of a csv file tells what each seed reaches."""

import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from avigap import cli, io
from avigap.amortization import Variational
from avigap.errors import InputError
from avigap.families import build
from avigap.gap import fit_amortized
from avigap.paths import check_output
from avigap.result import summary_row
from avigap.settings import check_settings
from avigap.starts import DEFAULTS, Problem, fit_settings

COLUMNS = [
    *("gap", "gap_per_obs", "gap_error", "optimization_gap_per_obs"),
    *("num_params", "start", "num_starts", "num_failed", "status"),
]


def largest(params: Variational) -> float:
    """Return the size of the largest parameter of the inference function."""
    return max((float(np.abs(leaf).max()) for leaf in jax.tree.leaves(params["function"])), default=0.0)


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="file written by simulate.py or import_data.py")
    parser.add_argument("--fvi", type=Path, required=True, help="file written by fit_fvi.py for the same data")
    parser.add_argument("--num-obs", type=cli.whole(1), help="of the data sets in the file, the first of this size")
    parser.add_argument("--family", type=cli.json_object, nargs="+", required=True, help="families, JSON objects")
    parser.add_argument("--fit", type=cli.json_object, default={}, help=f"any of {DEFAULTS._asdict()}")
    parser.add_argument("--seeds", type=cli.whole(1), default=10, help="number of start seeds: 0, 1, ..")
    parser.add_argument("--output", type=Path, required=True, help="csv file to write, a row for each fit")
    args = parser.parse_args()
    check_output(args.output, [args.data, args.fvi])
    families = [build(config) for config in args.family]
    settings = fit_settings(**check_settings("fit", fit_settings, args.fit))
    data = io.read_data(args.data)
    fits = zip(data, io.read_fvi(args.fvi, data), strict=True)
    chosen = [(each, fvi) for each, fvi in fits if args.num_obs in (None, each.num_obs)]
    if not chosen:
        sizes = ", ".join(sorted({str(each.num_obs) for each in data}, key=int))
        raise InputError(f"{args.data} has no data set with {args.num_obs} observations; it has {sizes}")
    each, fvi = chosen[0]
    problem = Problem(each.joint, jnp.asarray(each.x), fvi.q, fvi.local_q)
    rows: list[dict[str, Any]] = []
    for config, family in zip(args.family, families, strict=True):
        for seed in range(args.seeds):
            start = time.perf_counter()
            fit = fit_amortized(problem, family, cli.named_key(seed, each.model, each.name), settings)
            summary = summary_row(problem.joint, each.num_obs, fit)
            row = {"model": each.model, "num_obs": each.num_obs, **config, "seed": seed}
            row |= {name: summary[name] for name in COLUMNS} | {"largest_parameter": largest(fit.params)}
            rows.append(row | {"seconds": time.perf_counter() - start})
            cli.print_result(rows[-1])
    io.write_text(args.output, pd.DataFrame(rows).to_csv(index=False, lineterminator="\n"))


if __name__ == "__main__":
    cli.run(main)
