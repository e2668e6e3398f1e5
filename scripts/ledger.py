"""Judge every published number by the tables of results: the ledger, as one table."""

from pathlib import Path

from avigap import cli, io
from avigap.ledger import judge_all, read_reference
from avigap.paths import check_output
from avigap.tables import read_table


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--reference", type=Path, required=True, help="YAML file of published numbers")
    parser.add_argument("--schema", type=Path, required=True, help="JSON schema of the reference file, in YAML")
    parser.add_argument("--tables", type=Path, nargs="+", required=True, help="csv files; each is named by its stem")
    parser.add_argument("--output", type=Path, required=True, help="csv file to write")
    args = parser.parse_args()
    cli.check_distinct("--tables", [path.stem for path in args.tables])
    check_output(args.output, [args.reference, args.schema, *args.tables])
    tables = {path.stem: read_table(path) for path in args.tables}
    ledger = judge_all(read_reference(args.reference, args.schema), tables)
    io.write_text(args.output, ledger.to_csv(index=False, lineterminator="\n"))
    for verdict, number in ledger.verdict.value_counts().items():
        cli.print_result({"verdict": verdict, "rows": int(number)})


if __name__ == "__main__":
    cli.run(main)
