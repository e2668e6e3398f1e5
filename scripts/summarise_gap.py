"""Collect the fits of all experiments and families into one tidy table, gap.csv."""

from pathlib import Path

import pandas as pd

from avigap import cli, io
from avigap.errors import InputError
from avigap.files.netcdf import write_provenance
from avigap.paths import check_output

COLUMNS = [
    *("experiment", "model", "num_obs", "family", "seed"),
    *("elbo_fvi", "elbo_avi", "elbo_avi_plain", "gap", "gap_per_obs", "gap_error"),
    *("optimization_gap_per_obs", "held_out_gap_per_obs", "residual_fvi"),
    *("num_params", "num_params_shared", "start", "num_starts", "num_failed", "status", "seconds"),
]


def read_fits(path: Path) -> pd.DataFrame:
    """Return the rows of one file of fits, named by its place."""
    family, folder, experiment, *_ = path.stem, *(parent.name for parent in path.resolve().parents), "", ""
    if folder != "avi" or not experiment:
        raise InputError(f"{path} must lie at <experiment>/avi/<family>.nc: the table takes the names from there")
    names = {"experiment": experiment, "family": family}
    return io.read_summary(path, [column for column in COLUMNS if column not in names]).assign(**names)[COLUMNS]


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--fits", type=Path, nargs="+", required=True, help="files <experiment>/avi/<family>.nc")
    parser.add_argument("--output", type=Path, required=True, help="csv file to write")
    parser.add_argument("--provenance", type=Path, help="JSON file to write: versions, commit and device of the fits")
    args = parser.parse_args()
    cli.check_distinct("--fits", args.fits)
    for output in filter(None, (args.output, args.provenance)):
        check_output(output, args.fits)
    table = pd.concat(map(read_fits, args.fits), ignore_index=True)
    if args.provenance is not None:
        write_provenance(args.provenance, args.fits, "avi")
    io.write_text(args.output, table.to_csv(index=False, lineterminator="\n"))


if __name__ == "__main__":
    cli.run(main)
