"""Find the certified optimum of factorized VI for every data set of a file; one JSON line each on standard output."""

import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from avigap import cli, io
from avigap.models import published_loss
from avigap.optimum import Optimum, fit_factorized
from avigap.paths import check_output


def statistics(data: io.DataSet, optimum: Optimum) -> dict[str, Any]:
    """Return the scalars that describe an optimum, ready for JSON and netCDF attributes."""
    loss = published_loss(data.model, data.settings, data.num_obs, optimum.elbo_finer)
    return {
        "num_obs": data.num_obs,
        "elbo": optimum.elbo_finer,
        **({} if loss is None else {"loss_published": loss}),
        "status": optimum.fit.status,
        "residual": optimum.fit.residual,
        "elbo_second": optimum.elbo_second,
        "elbo_local": optimum.elbo_local,
        "other_basin": optimum.other_basin,
        "evidence": optimum.evidence,
        "optima": json.dumps([[list(map(float, place)), elbo] for place, elbo in optimum.optima]),
        "seconds": optimum.seconds,
    }


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="file written by simulate.py or import_data.py")
    parser.add_argument("--output", type=Path, required=True, help="netCDF file to write")
    args = parser.parse_args()
    check_output(args.output, [args.data])
    data = io.read_data(args.data)
    optima, stats, done = [], [], 0
    progress = cli.Progress("F-VI", sum(each.num_obs for each in data), "observations")
    for each in data:
        optimum = fit_factorized(each.joint, jnp.asarray(each.x))
        held_out = None if each.held_out_x is None else fit_factorized(each.joint, jnp.asarray(each.held_out_x))
        optima.append((optimum, held_out))
        stats.append(statistics(each, optimum))
        done += each.num_obs
        progress(f"{each.model} {each.name}", done, stats[-1]["elbo"])
        cli.print_result(stats[-1])
    progress.close()
    io.write_fvi(args.output, data, optima, stats, [args.data])


if __name__ == "__main__":
    cli.run(main)
