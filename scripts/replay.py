"""Run one method of a published experiment again, from many seeds; one JSON line for each run on standard output."""

from pathlib import Path

from avigap import cli, io
from avigap.errors import InputError
from avigap.families import build
from avigap.files import check_output
from avigap.replay import protocol, replay
from avigap.replay_files import write_replay
from avigap.settings import check_settings


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="file written by simulate.py or import_data.py")
    parser.add_argument("--fvi", type=Path, required=True, help="file written by fit_fvi.py for the same data")
    parser.add_argument("--num-obs", type=cli.whole(1), help="of the data sets in the file, the first of this size")
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
    fits = list(zip(data, io.read_fvi(args.fvi, data), strict=True))
    each, fvi = next((pair for pair in fits if args.num_obs in (None, pair[0].num_obs)), fits[0])
    if args.num_obs not in (None, each.num_obs):
        sizes = ", ".join(map(str, sorted({other.num_obs for other in data})))
        raise InputError(f"{args.data} has no data set with {args.num_obs} observations; it has {sizes}")
    progress = cli.Progress(f"{each.model} {each.name}", how.steps)
    keys = [cli.named_key(seed, each.model) for seed in args.seed]
    played = replay(each, family, how, keys, lambda step, elbo: progress("all runs", step, elbo))
    progress.close()
    write_replay(args.output, each, fvi, args.family, how, args.seed, played, [args.data, args.fvi])
    for index, elbo in enumerate(played.runs.elbo[:, -1]):
        cli.print_result(
            {
                "seed": args.seed[played.seed[index]],
                "learning_rate": float(played.learning_rate[index]),
                "elbo": float(elbo),
                "gap": float(fvi.stats["elbo"]) - float(elbo),
                "dead": bool(played.dead[index]),
                "seconds": float(played.runs.seconds.sum()),
            }
        )


if __name__ == "__main__":
    cli.run(main)
