"""Collect the fits of all experiments and families into one tidy table, gap.csv."""

from pathlib import Path

import pandas as pd

from avigap import cli, io

COLUMNS = [
    *("experiment", "model", "num_obs", "family", "seed"),
    *("elbo_fvi", "elbo_avi", "elbo_avi_plain", "gap", "gap_per_obs", "gap_error"),
    *("optimization_gap_per_obs", "held_out_gap_per_obs", "residual_fvi"),
    *("num_params", "num_params_shared", "start", "num_starts", "num_failed", "status", "seconds"),
]


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--fits", type=Path, nargs="+", required=True, help="files <experiment>/avi/<family>.nc")
    parser.add_argument("--output", type=Path, required=True, help="csv file to write")
    args = parser.parse_args()
    tables = []
    for path in args.fits:
        table = io.read_summary(path)
        table["experiment"], table["family"] = path.parts[-3], path.stem
        tables.append(table)
    merged = pd.concat(tables, ignore_index=True)[COLUMNS]
    io.write_text(args.output, merged.to_csv(index=False))


if __name__ == "__main__":
    cli.run(main)
