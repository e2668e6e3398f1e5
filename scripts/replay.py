"""Run methods of a published experiment again, from many seeds; one JSON line for each run on standard output."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import xarray as xr

from avigap import cli, io
from avigap.errors import InputError, unknown
from avigap.families import build
from avigap.paths import check_output
from avigap.replay import Protocol, Replay, protocol, replay
from avigap.replay_files import group_of, write_replay
from avigap.settings import check_settings
from avigap.starts import Problem


def first_of_each(data: Sequence[io.DataSet], sizes: Sequence[int] | None, path: Path) -> list[io.DataSet]:
    """Return the first data set of each size, or the first of all if no size is wanted."""
    firsts = {each.num_obs: each for each in reversed(data)}
    if sizes is None:
        return list(data[:1])
    if missing := set(sizes) - set(firsts):
        found = ", ".join(map(str, sorted(firsts)))
        raise InputError(f"{path} has no data set with {min(missing)} observations; it has {found}")
    return [firsts[size] for size in sizes]


def print_runs(names: dict[str, Any], optimum: float, seeds: Sequence[int], played: Replay) -> None:
    """Print where each run ended, in nats, and how long all of them took."""
    for index, elbo in enumerate(map(float, played.runs.elbo[:, -1])):
        where = {**names, "seed": seeds[played.seed[index]], "learning_rate": float(played.learning_rate[index])}
        reached = {"elbo": elbo, "gap": optimum - elbo, "dead": bool(played.dead[index])}
        cli.print_result({**where, **reached, "seconds": float(played.runs.seconds.sum())})


def protocols(methods: dict[str, Any], common: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Protocol]:
    """Return the protocol of each method."""
    for name in overrides:
        if name not in methods:
            raise unknown("method in --overrides", name, methods)
    parts = {name: common | overrides.get(name, {}) for name in methods}
    return {name: protocol(**check_settings("protocol", protocol, part)) for name, part in parts.items()}


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="file written by simulate.py or import_data.py")
    parser.add_argument("--fvi", type=Path, required=True, help="file written by fit_fvi.py for the same data")
    parser.add_argument("--num-obs", type=cli.whole(1), nargs="+", help="of the data sets, the first of each size")
    parser.add_argument("--methods", type=cli.json_object, required=True, help="families by name")
    parser.add_argument("--protocol", type=cli.json_object, required=True, help="steps, learning_rates, ..")
    parser.add_argument("--overrides", type=cli.json_object, default={}, help="parts of the protocol, by method")
    parser.add_argument("--seed", type=cli.whole(0), nargs="+", default=[0], help="one run each per learning rate")
    parser.add_argument("--output", type=Path, required=True, help="netCDF file to write")
    args = parser.parse_args()
    cli.check_distinct("--seed", args.seed)
    check_output(args.output, [args.data, args.fvi])
    families = {name: build(config) for name, config in args.methods.items()}
    courses = protocols(args.methods, args.protocol, args.overrides)
    data = io.read_data(args.data)
    optima = {each.name: fvi for each, fvi in zip(data, io.read_fvi(args.fvi, data), strict=True)}
    groups: dict[tuple[str, str], dict[str, xr.Dataset]] = {}
    for each in first_of_each(data, args.num_obs, args.data):
        fvi, keys = optima[each.name], [cli.named_key(seed, each.model) for seed in args.seed]
        problem = Problem(each.joint, jnp.asarray(each.x), fvi.q, fvi.local_q)
        progress = cli.Progress(f"{each.model} {each.name}", max(how.steps for how in courses.values()))
        methods = {name: (families[name], courses[name]) for name in families}
        for name, played in replay(problem, methods, keys, partial(progress, "best of all")).items():
            print_runs({"method": name, "num_obs": each.num_obs}, fvi.stats["elbo"], args.seed, played)
            groups[name, each.name] = group_of(each, fvi, args.methods[name], courses[name], args.seed, played)
        progress.close()
    write_replay(args.output, groups, [args.data, args.fvi])


if __name__ == "__main__":
    cli.run(main)
