"""Collect replayed runs into one tidy table, replay.csv: a row for each run."""

import json
from pathlib import Path

import pandas as pd

from avigap import cli, io
from avigap.errors import InputError
from avigap.files import check_output, read_provenance
from avigap.replay_files import read_replay
from avigap.replay_summary import mark_best_rates, table_of


def place(path: Path) -> tuple[str, str, str]:
    """Return replay, method and part from <replay>/<method>/<part>.nc."""
    part, method, replay = path.stem, *(parent.name for parent in list(path.resolve().parents)[:2])
    if not replay:
        raise InputError(f"{path} must lie at <replay>/<method>/<part>.nc: the table takes the names from there")
    return replay, method, part


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--runs", type=Path, nargs="+", required=True, help="files <replay>/<method>/<part>.nc")
    parser.add_argument("--modes", type=cli.json_object, required=True, help='such as {"saw_as_coded": "as_coded"}')
    parser.add_argument("--output", type=Path, required=True, help="csv file to write")
    parser.add_argument("--provenance", type=Path, help="JSON file to write: versions, commit and device of the runs")
    args = parser.parse_args()
    cli.check_distinct("--runs", args.runs)
    for output in filter(None, (args.output, args.provenance)):
        check_output(output, args.runs)
    records = {(*place(path), each.num_obs): each for path in args.runs for each in read_replay(path)}
    if missing := {replay for replay, *_ in records} - set(args.modes):
        raise InputError(f"--modes lacks {', '.join(sorted(missing))}")
    tables = []
    for (replay, method, part, num_obs), record in records.items():
        mode = args.modes[replay]
        names = {"replay": replay, "mode": mode, "method": method}
        found = table_of(record, mode, records.get((replay, "factorized", part, num_obs)))
        tables.append(pd.DataFrame(names, index=found.index).join(found))
    table = pd.concat(tables, ignore_index=True)
    table["is_best_rate"] = mark_best_rates(table)
    if args.provenance is not None:
        made = {"/".join(place(path)): read_provenance(path, "replay") for path in args.runs}
        io.write_text(args.provenance, json.dumps(made, indent=1) + "\n")
    io.write_text(args.output, table.to_csv(index=False, lineterminator="\n"))


if __name__ == "__main__":
    cli.run(main)
