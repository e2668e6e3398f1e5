"""Collect verdicts, gaps and parts of all programs of the user's own into tables: two CSV files and one to be read."""

from pathlib import Path

import pandas as pd

from avigap import cli
from avigap.condition.verdict import read_verdict
from avigap.paths import check_output, write_text
from avigap.programs_table import distance_to, markdown, row_of
from avigap.sample_fits import read_factorized, read_ladder
from avigap.samples import read_samples
from avigap.tables import read_table


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--verdicts", type=Path, nargs="+", required=True, help="files <program>/verdict.json")
    parser.add_argument("--fvi", type=Path, nargs="+", required=True, help="files <program>/fvi.nc, beside data.nc")
    parser.add_argument("--ladders", type=Path, nargs="+", required=True, help="files <program>/ladder.nc")
    parser.add_argument("--references", type=cli.json_object, default={}, help="posterior files by program")
    parser.add_argument("--output", type=Path, required=True, help="csv file to write: gaps by program and family")
    parser.add_argument("--parts", type=Path, required=True, help="csv file to write: parts of the loss")
    parser.add_argument("--table", type=Path, required=True, help="Markdown file to write")
    args = parser.parse_args()
    for output in (args.output, args.parts, args.table):
        check_output(output, [*args.verdicts, *args.fvi, *args.ladders])
    rows, parts, lines = [], [], []
    for verdict_path, fvi, ladder in zip(args.verdicts, args.fvi, args.ladders, strict=True):
        name, verdict = ladder.resolve().parent.name, read_verdict(verdict_path)
        summary, own = (read_ladder(ladder, table) for table in ("summary", "decomposition"))
        samples = read_samples(fvi.parent / "data.nc")
        largest = max(range(len(samples)), key=lambda index: samples[index].num_obs)
        q, stats = read_factorized(fvi, samples)[largest]
        distance = ""
        if name in args.references:
            target = samples[largest].nodes(verdict.local_names).target
            distance = distance_to(target, q, read_table(Path(args.references[name])))
        lines.append(row_of(name, verdict, stats, summary, own, distance))
        rows.append(summary.assign(experiment=name))
        parts.append(own.assign(experiment=name))
    write_text(args.output, pd.concat(rows, ignore_index=True).to_csv(index=False, lineterminator="\n"))
    write_text(args.parts, pd.concat(parts, ignore_index=True).to_csv(index=False, lineterminator="\n"))
    write_text(args.table, markdown(lines))


if __name__ == "__main__":
    cli.run(main)
