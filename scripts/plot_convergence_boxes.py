"""Draw iterations and seconds to convergence of replayed runs as box plots."""

from pathlib import Path

from avigap import cli, plots
from avigap.ledger import published_medians, read_reference
from avigap.plots_replay import convergence_boxes, read_replays


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--replay", type=Path, nargs="+", required=True, help="tables written by summarise_replay.py")
    parser.add_argument("--reference", type=Path, required=True, help="YAML file of published numbers")
    parser.add_argument("--schema", type=Path, required=True, help="JSON schema of the reference file, in YAML")
    parser.add_argument("--output", type=Path, nargs="+", required=True, help="files to write, .pdf or .png")
    args = parser.parse_args()
    published = published_medians(read_reference(args.reference, args.schema))
    plots.save_figures(convergence_boxes(read_replays(args.replay), published), args.output)


if __name__ == "__main__":
    cli.run(main)
