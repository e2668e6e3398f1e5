"""Import a data set from a file with a column x, such as CSV or netCDF; optionally cut to its first N latents."""

from pathlib import Path

from avigap import cli, data, models
from avigap.files.table import Reading, describe
from avigap.paths import check_output
from avigap.settings import check_settings


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--model", required=True, help=f"one of {', '.join(models.names())}")
    parser.add_argument("--settings", type=cli.json_object, default={}, help="settings of the model, a JSON object")
    parser.add_argument("--input", type=Path, required=True, help="CSV or netCDF file with x; for saw x_0 comes first")
    parser.add_argument(
        "--num-obs", type=cli.whole(1), nargs="+", help="keep the first N latents, once for each N; all if absent"
    )
    parser.add_argument("--output", type=Path, required=True, help="netCDF file to write")
    args = parser.parse_args()
    cli.check_distinct("--num-obs", args.num_obs or [])
    check_output(args.output, [args.input])
    settings = check_settings(f"model {args.model!r}", models.load(args.model).program, args.settings)
    readings: list[Reading] = []
    whole = data.import_data(args.input, args.model, settings, readings.append)
    data.write_data(args.output, [whole.first(num_obs) for num_obs in args.num_obs or [whole.num_obs]], [args.input])
    print("\n".join(describe(readings[0])))


if __name__ == "__main__":
    cli.run(main)
