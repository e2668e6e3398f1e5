"""Collect replayed runs into one tidy table, replay.csv: a row for each run."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from avigap import cli, io
from avigap.convergence import BEST_RATES
from avigap.errors import unknown
from avigap.files.netcdf import write_provenance
from avigap.paths import check_output
from avigap.replay_files import Recorded, read_replay
from avigap.replay_summary import mark_best_rates, table_of


def read_parts(paths: Sequence[Path]) -> dict[str, list[Recorded]]:
    """Return the runs of files <replay>/<part>.nc by replay."""
    records: dict[str, list[Recorded]] = {}
    for path in paths:
        records.setdefault(path.resolve().parent.name, []).extend(read_replay(path))
    return records


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--runs", type=Path, nargs="+", required=True, help="files <replay>/<part>.nc")
    parser.add_argument(
        "--replays",
        type=cli.json_object,
        required=True,
        help='such as {"saw": {"mode": "as_coded", "note": "", "read_as": {"saw_corrected": "corrected"}}}',
    )
    parser.add_argument("--output", type=Path, required=True, help="csv file to write")
    parser.add_argument("--provenance", type=Path, help="JSON file to write: versions, commit and device of the runs")
    args = parser.parse_args()
    cli.check_distinct("--runs", args.runs)
    for output in filter(None, (args.output, args.provenance)):
        check_output(output, args.runs)
    tables = []
    for replay, records in read_parts(args.runs).items():
        if replay not in args.replays:
            raise unknown("replay in the place of a file", replay, args.replays)
        entry = args.replays[replay]
        for name, mode in {replay: entry["mode"], **entry.get("read_as", {})}.items():
            tables.append(table_of(records, mode).assign(replay=name, mode=mode, note=entry.get("note", "")))
    table = pd.concat(tables, ignore_index=True)
    for column, steps in BEST_RATES.items():
        table[column] = mark_best_rates(table, steps)
    names = ["replay", "mode", "note"]
    table = table[[*names, *table.columns.drop(names)]]
    if args.provenance is not None:
        write_provenance(args.provenance, args.runs, "replay")
    io.write_text(args.output, table.to_csv(index=False, lineterminator="\n"))


if __name__ == "__main__":
    cli.run(main)
