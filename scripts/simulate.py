"""Simulate data sets from a model: one per number of observations and seed, each with a held-out draw."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from avigap import cli, data, models
from avigap.core import simulate_many
from avigap.paths import check_output
from avigap.settings import check_settings


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--model", required=True, help=f"one of {', '.join(models.names())}")
    parser.add_argument("--settings", type=cli.json_object, default={}, help="settings of the model, a JSON object")
    parser.add_argument("--num-obs", type=cli.whole(1), nargs="+", required=True, help="numbers of local latents")
    parser.add_argument("--seed", type=cli.whole(0), nargs="+", default=[0], help="one data set each per --num-obs")
    parser.add_argument("--output", type=Path, required=True, help="netCDF file to write")
    args = parser.parse_args()
    cli.check_distinct("--num-obs", args.num_obs)
    cli.check_distinct("--seed", args.seed)
    check_output(args.output)
    model = models.load(args.model)
    settings = check_settings(f"model {args.model!r}", model.program, args.settings)
    drawn = []
    for num_obs in args.num_obs:
        keys = [
            cli.named_key(seed, args.model, part, str(num_obs)) for seed in args.seed for part in ("data", "held_out")
        ]
        x, latents = jax.tree.map(np.asarray, simulate_many(model, settings, num_obs, jnp.stack(keys)))
        for index, seed in enumerate(args.seed):
            own, held_out = 2 * index, 2 * index + 1
            values = {site: value[own] for site, value in latents.items()}
            drawn.append(data.DataSet(args.model, settings, x[own], seed, values, x[held_out]))
    data.write_data(args.output, drawn)


if __name__ == "__main__":
    cli.run(main)
