"""Fit one family of inference functions to every data set of a file; one JSON line each on standard output."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import pandas as pd

from avigap import cli, io
from avigap.families import build
from avigap.gap import fit_amortized
from avigap.models import published_loss
from avigap.paths import check_output
from avigap.result import AmortizedFit, summary_row
from avigap.settings import check_settings
from avigap.starts import DEFAULTS, Problem, fit_settings


def result(data: io.DataSet, fit: AmortizedFit, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what standard output tells of a fit, in nats; ``row`` is the fit's row of gap.csv."""
    loss = published_loss(data.model, data.settings, data.num_obs, fit.best.elbo)
    return {
        "num_obs": data.num_obs,
        "elbo": fit.best.elbo,
        **({} if loss is None else {"loss_published": loss}),
        "gap": fit.best.gap,
        "gap_per_obs": row["gap_per_obs"],
        "gap_error": fit.best.gap_error,
        "optimization_gap": max(fit.plain.gap - fit.best.gap, 0.0),
        "num_params": row["num_params"],
        "status": fit.status,
    }


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="file written by simulate.py or import_data.py")
    parser.add_argument("--fvi", type=Path, required=True, help="file written by fit_fvi.py for the same data")
    parser.add_argument("--family", type=cli.json_object, required=True, help='such as {"kind": "mlp", "width": 4}')
    parser.add_argument("--fit", type=cli.json_object, default={}, help=f"any of {DEFAULTS._asdict()}")
    parser.add_argument("--seed", type=cli.whole(0), default=0, help="seed of the starts")
    parser.add_argument("--output", type=Path, required=True, help="netCDF file to write")
    args = parser.parse_args()
    check_output(args.output, [args.data, args.fvi])
    family = build(args.family)
    settings = fit_settings(**check_settings("fit", fit_settings, args.fit))
    data = io.read_data(args.data)
    optima = io.read_fvi(args.fvi, data)
    fits, rows = [], []
    for each, fvi in zip(data, optima, strict=True):
        held_out = None if each.held_out_x is None else jnp.asarray(each.held_out_x)
        problem = Problem(each.joint, jnp.asarray(each.x), fvi.q, fvi.local_q, held_out, fvi.held_out_q)
        progress = cli.Progress(f"{each.model} {each.name}", settings.max_steps)
        start = time.perf_counter()
        fit = fit_amortized(problem, family, cli.named_key(args.seed, each.model, each.name), settings, progress)
        progress.close()
        seed = float("nan") if each.seed is None else each.seed
        row = {"model": each.model, "seed": seed, **summary_row(problem.joint, each.num_obs, fit)}
        row["residual_fvi"] = fvi.stats["residual"]
        fits.append(fit)
        rows.append(row)
        cli.print_result({**result(each, fit, row), "seconds": time.perf_counter() - start})
    io.write_avi(args.output, data, args.family, fits, pd.DataFrame(rows), [args.data, args.fvi])


if __name__ == "__main__":
    cli.run(main)
