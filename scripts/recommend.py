"""Say in one paragraph whether to amortize a NumPyro program, with what function, and at what cost."""

from pathlib import Path

from avigap import cli
from avigap.condition.verdict import read_verdict
from avigap.paths import check_output, write_text
from avigap.recommend import recommendation
from avigap.sample_fits import read_ladder, read_stats


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--verdict", type=Path, required=True, help="file written by check_condition.py")
    parser.add_argument("--fvi", type=Path, required=True, help="file written by fit_program_fvi.py")
    parser.add_argument("--ladder", type=Path, required=True, help="file written by fit_ladder.py")
    parser.add_argument("--output", type=Path, required=True, help="text file to write")
    args = parser.parse_args()
    check_output(args.output, [args.verdict, args.fvi, args.ladder])
    summary, parts = (read_ladder(args.ladder, table) for table in ("summary", "decomposition"))
    stats = read_stats(args.fvi, int(summary.num_obs.max()))
    text = recommendation(read_verdict(args.verdict), stats, summary, parts)
    write_text(args.output, text + "\n")
    print(text)


if __name__ == "__main__":
    cli.run(main)
