"""Collect the certified optima of F-VI of all experiments into one tidy table, fvi.csv."""

from pathlib import Path
from typing import Any

import pandas as pd

from avigap import cli, io
from avigap.errors import InputError
from avigap.paths import check_output

COLUMNS = ["elbo", "elbo_second", "elbo_local", "loss_published", "other_basin", "residual", "status", "seconds"]


def read_optima(path: Path) -> list[dict[str, Any]]:
    """Return a row for each data set of <experiment>/fvi.nc; ``missed`` is what a local method loses, in nats."""
    data = path.with_name("data.nc")
    if not data.is_file():
        raise InputError(f"{path} must lie beside the data.nc that it was fitted to")
    rows = []
    sets = io.read_data(data)
    for each, fvi in zip(sets, io.read_fvi(path, sets), strict=True):
        names = {"experiment": path.resolve().parent.name, "model": each.model, "num_obs": each.num_obs}
        stats = {name: fvi.stats.get(name) for name in COLUMNS}
        rows.append(names | {"seed": each.seed} | stats | {"missed": fvi.stats["elbo"] - fvi.stats["elbo_local"]})
    return rows


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--optima", type=Path, nargs="+", required=True, help="files <experiment>/fvi.nc")
    parser.add_argument("--output", type=Path, required=True, help="csv file to write")
    args = parser.parse_args()
    cli.check_distinct("--optima", args.optima)
    check_output(args.output, args.optima)
    table = pd.DataFrame([row for path in args.optima for row in read_optima(path)]).astype({"seed": "Int64"})
    io.write_text(args.output, table.to_csv(index=False, lineterminator="\n"))


if __name__ == "__main__":
    cli.run(main)
