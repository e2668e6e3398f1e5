"""Cut the data of a NumPyro program to parts of several sizes, or draw data sets from the program."""

from pathlib import Path

from avigap import cli
from avigap.condition.verdict import read_verdict
from avigap.errors import InputError
from avigap.files.table import describe
from avigap.given import add_options, options_of, read_data, wanted_by
from avigap.loading import load_program
from avigap.paths import check_output
from avigap.samples import Sample, draw, part_of, write_samples


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--model", required=True, help="path/to/file.py:program")
    parser.add_argument("--settings", type=cli.json_object, default={}, help="other arguments of it, a JSON object")
    parser.add_argument("--data", type=Path, help="file with named columns; without it, data are drawn")
    add_options(parser)
    parser.add_argument(
        "--verdict", type=Path, required=True, help="file written by check_condition.py, whose codes count"
    )
    parser.add_argument("--num-obs", type=cli.whole(2), nargs="+", help="numbers of rows; all if absent")
    parser.add_argument("--seed", type=cli.whole(0), nargs="+", default=[0], help="one data set each per --num-obs")
    parser.add_argument("--output", type=Path, required=True, help="netCDF file to write")
    args = parser.parse_args()
    cli.check_distinct("--num-obs", args.num_obs or [])
    cli.check_distinct("--seed", args.seed)
    inputs = [args.verdict, *([args.data] if args.data else [])]
    check_output(args.output, inputs)
    verdict, samples, whole = read_verdict(args.verdict), [], None
    if args.data is None and not args.num_obs:
        raise InputError("either --data or --num-obs is needed")
    if args.data:
        options = options_of(args)
        options = options if options.codes else options._replace(codes=args.verdict)
        wanted = wanted_by(load_program(args.model)[0], args.settings)
        columns, reading = read_data(args.data, wanted, options)
        print("\n".join(describe(reading)))
        whole = Sample(args.model, args.settings, columns)
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
