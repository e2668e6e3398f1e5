"""Compute the hidden Markov example of the paper as printed and corrected, and a valid one, as one table."""

from pathlib import Path

from avigap import cli, io
from avigap.hmm_example import NUM_OBS, example_table
from avigap.paths import check_output


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--num-obs", type=cli.whole(20), default=NUM_OBS, help="length of the series")
    parser.add_argument("--output", type=Path, required=True, help="csv file to write")
    args = parser.parse_args()
    check_output(args.output)
    table = example_table(args.num_obs)
    io.write_text(args.output, table.to_csv(index=False, lineterminator="\n"))


if __name__ == "__main__":
    cli.run(main)
