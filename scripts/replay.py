"""Run one method of a published experiment again, from many seeds; one JSON line for each run on standard output."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import jax.numpy as jnp

from avigap import cli, io
from avigap.errors import InputError
from avigap.families import build
from avigap.files import check_output
from avigap.replay import Replay, protocol, replay
from avigap.replay_files import write_replay
from avigap.settings import check_settings
from avigap.starts import Problem


def first_of_each(data: Sequence[io.DataSet], sizes: Sequence[int] | None, path: Path) -> list[io.DataSet]:
    """Return the first data set of each size, or the first of all if no size is wanted."""
    firsts = {each.num_obs: each for each in reversed(data)}
    if sizes is None:
        return list(data[:1])
    if missing := set(sizes) - set(firsts):
        raise InputError(
            f"{path} has no data set with {min(missing)} observations; it has {', '.join(map(str, sorted(firsts)))}"
        )
    return [firsts[size] for size in sizes]


def print_runs(data: io.DataSet, fvi: io.FactorizedResult, seeds: Sequence[int], played: Replay) -> None:
    """Print where each run ended, in nats, and how long all of them took."""
    for index, elbo in enumerate(map(float, played.runs.elbo[:, -1])):
        where = {"num_obs": data.num_obs, "seed": seeds[played.seed[index]]}
        reached = {"elbo": elbo, "gap": float(fvi.stats["elbo"]) - elbo, "dead": bool(played.dead[index])}
        rate, seconds = float(played.learning_rate[index]), float(played.runs.seconds.sum())
        cli.print_result({**where, "learning_rate": rate, **reached, "seconds": seconds})


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="file written by simulate.py or import_data.py")
    parser.add_argument("--fvi", type=Path, required=True, help="file written by fit_fvi.py for the same data")
    parser.add_argument("--num-obs", type=cli.whole(1), nargs="+", help="of the data sets, the first of each size")
    parser.add_argument("--family", type=cli.json_object, required=True, help='such as {"kind": "mlp", "width": 4}')
    parser.add_argument("--protocol", type=cli.json_object, required=True, help="steps, learning_rates, ..")
    parser.add_argument("--seed", type=cli.whole(0), nargs="+", default=[0], help="one run each per learning rate")
    parser.add_argument("--output", type=Path, required=True, help="netCDF file to write")
    args = parser.parse_args()
    cli.check_distinct("--seed", args.seed)
    check_output(args.output, [args.data, args.fvi])
    family = build(args.family)
    how = protocol(**check_settings("protocol", protocol, args.protocol))
    data = io.read_data(args.data)
    optima = {each.name: fvi for each, fvi in zip(data, io.read_fvi(args.fvi, data), strict=True)}
    chosen, played = first_of_each(data, args.num_obs, args.data), []
    for each in chosen:
        fvi, progress = optima[each.name], cli.Progress(f"{each.model} {each.name}", how.steps)
        problem = Problem(each.joint, jnp.asarray(each.x), fvi.q, fvi.local_q)
        keys = [cli.named_key(seed, each.model) for seed in args.seed]
        played.append(replay(problem, family, how, keys, partial(progress, "all runs")))
        progress.close()
        print_runs(each, fvi, args.seed, played[-1])
    fits = [optima[each.name] for each in chosen]
    write_replay(args.output, chosen, fits, args.family, how, args.seed, played, [args.data, args.fvi])


if __name__ == "__main__":
    cli.run(main)
