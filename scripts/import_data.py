"""Import a data set from a CSV file with a column x, or from a netCDF file; optionally cut to its first N latents."""

from pathlib import Path

from avigap import cli, io, models
from avigap.settings import check_settings


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--model", required=True, help=f"one of {', '.join(models.names())}")
    parser.add_argument("--settings", type=cli.json_object, default={}, help="settings of the model, a JSON object")
    parser.add_argument(
        "--input", type=Path, required=True, help="CSV or netCDF file; the saw series' first row is x_0"
    )
    parser.add_argument(
        "--num-obs", type=int, nargs="+", help="keep the first N latents, once for each N; all if absent"
    )
    parser.add_argument("--output", type=Path, required=True, help="netCDF file to write")
    args = parser.parse_args()
    settings = check_settings(f"model {args.model!r}", models.load(args.model).program, args.settings)
    sizes = args.num_obs or [None]
    data = [io.import_data(args.input, args.model, settings, num_obs) for num_obs in sizes]
    io.write_data(args.output, data, [args.input])


if __name__ == "__main__":
    cli.run(main)
