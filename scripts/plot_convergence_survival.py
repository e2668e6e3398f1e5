"""Draw the share of replayed runs that have not converged against iterations."""

from pathlib import Path

from avigap import cli, plots
from avigap.plots_replay import convergence_survival, read_replays


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--replay", type=Path, nargs="+", required=True, help="tables written by summarise_replay.py")
    parser.add_argument("--output", type=Path, nargs="+", required=True, help="files to write, .pdf or .png")
    args = parser.parse_args()
    plots.save_figures(convergence_survival(read_replays(args.replay)), args.output)


if __name__ == "__main__":
    cli.run(main)
