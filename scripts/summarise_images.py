"""Collect the runs of all experiments with images: images.csv, and how their gaps close by refinement."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from avigap import cli, io
from avigap.errors import unknown
from avigap.files.netcdf import write_provenance
from avigap.images.results import summarise
from avigap.paths import check_output
from avigap.tables import read_table


def collected(paths: Sequence[Path]) -> pd.DataFrame:
    """Return the rows of files ``<experiment>/<folder>/<method>_<part>.csv``, named by their places."""
    names = [(path.resolve().parents[1].name, path.stem.rpartition("_")[0]) for path in paths]
    parts = [
        read_table(path).assign(experiment=experiment, method=method)
        for path, (experiment, method) in zip(paths, names, strict=True)
    ]
    table = pd.concat(parts, ignore_index=True)
    first = ["experiment", "method", "num_obs", "seed"]
    return table[first + [name for name in table if name not in first]]


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--runs", type=Path, nargs="+", required=True, help="<experiment>/runs/<method>_<part>.csv")
    parser.add_argument("--refinement", type=Path, nargs="+", required=True, help="the same under refinement/")
    parser.add_argument("--fits", type=Path, nargs="+", required=True, help="the fits that they are of")
    parser.add_argument("--modes", type=cli.json_object, required=True, help="mode of each experiment, by name")
    parser.add_argument("--output", type=Path, nargs=2, required=True, help="csv files to write: runs, refinement")
    parser.add_argument("--provenance", type=Path, required=True, help="JSON file to write: what made the fits")
    args = parser.parse_args()
    for output in (*args.output, args.provenance):
        check_output(output, [*args.runs, *args.refinement, *args.fits])
    runs = collected(args.runs)
    if missing := set(runs.experiment) - set(args.modes):
        raise unknown("experiment in --modes", min(missing), args.modes)
    io.write_text(args.output[0], summarise(runs, args.modes).to_csv(index=False, lineterminator="\n"))
    io.write_text(args.output[1], collected(args.refinement).to_csv(index=False, lineterminator="\n"))
    write_provenance(args.provenance, args.fits, "image_fits")


if __name__ == "__main__":
    cli.run(main)
