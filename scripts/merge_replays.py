"""Put tables of replayed runs together, of one replay from several seeds, with what made them."""

import json
from pathlib import Path

import pandas as pd

from avigap import cli, io
from avigap.errors import InputError
from avigap.paths import check_input, check_output
from avigap.tables import read_table

RUN = ["replay", "method", "num_obs", "seed", "learning_rate"]
"""Columns of replay.csv that name a run."""


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--tables", type=Path, nargs="+", required=True, help="files written by summarise_replay.py")
    parser.add_argument("--made", type=Path, nargs="+", required=True, help="their JSON files of provenance")
    parser.add_argument("--output", type=Path, required=True, help="csv file to write")
    parser.add_argument("--provenance", type=Path, required=True, help="JSON file to write")
    args = parser.parse_args()
    for output in (args.output, args.provenance):
        check_output(output, [*args.tables, *args.made])
    tables = [read_table(path) for path in args.tables]
    for path, table in zip(args.tables, tables, strict=True):
        if list(table.columns) != list(tables[0].columns):
            raise InputError(f"{path} and {args.tables[0]} have different columns")
    merged = pd.concat(tables, ignore_index=True)
    if (twice := merged[merged.duplicated(RUN)]).size:
        name = ", ".join(f"{column} {value}" for column, value in twice.iloc[0][RUN].items())
        raise InputError(f"a run is in two tables: {name}")
    for path in args.made:
        check_input(path)
    made = [entry for path in args.made for entry in json.loads(path.read_text(encoding="utf-8"))]
    io.write_text(args.output, merged.to_csv(index=False, lineterminator="\n"))
    io.write_text(args.provenance, json.dumps(made, indent=1) + "\n")


if __name__ == "__main__":
    cli.run(main)
