"""Cut the data of a NumPyro program to parts of several sizes, or draw data sets from the program."""

from pathlib import Path

from avigap import cli
from avigap.errors import InputError
from avigap.paths import check_output
from avigap.samples import Sample, draw, part_of, write_samples
from avigap.tables import read_columns
from avigap.verdict import read_verdict


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--model", required=True, help="path/to/file.py:program")
    parser.add_argument("--settings", type=cli.json_object, default={}, help="other arguments of it, a JSON object")
    parser.add_argument("--data", type=Path, help="CSV or netCDF file with named columns; without it, data are drawn")
    parser.add_argument("--verdict", type=Path, required=True, help="file written by check_condition.py")
    parser.add_argument("--num-obs", type=cli.whole(2), nargs="+", help="numbers of rows; all if absent")
    parser.add_argument("--seed", type=cli.whole(0), nargs="+", default=[0], help="one data set each per --num-obs")
    parser.add_argument("--output", type=Path, required=True, help="netCDF file to write")
    args = parser.parse_args()
    cli.check_distinct("--num-obs", args.num_obs or [])
    cli.check_distinct("--seed", args.seed)
    inputs = [args.verdict, *([args.data] if args.data else [])]
    check_output(args.output, inputs)
    verdict, samples = read_verdict(args.verdict), []
    if args.data is None and not args.num_obs:
        raise InputError("either --data or --num-obs is needed")
    whole = Sample(args.model, args.settings, read_columns(args.data)) if args.data else None
    for num_obs in args.num_obs or [whole.num_obs if whole else 0]:
        for seed in args.seed:
            key = cli.named_key(seed, "rows", str(num_obs))
            if whole is None:
                samples.append(draw(args.model, args.settings, num_obs, key, seed))
            elif num_obs < whole.num_obs or seed == args.seed[0]:  # all rows are one data set
                samples.append(part_of(whole, num_obs, verdict, key, seed))
    write_samples(args.output, samples, inputs)


if __name__ == "__main__":
    cli.run(main)
