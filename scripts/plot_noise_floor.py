"""Draw the excess loss at which Adam's noise holds F-VI and A-VI, against N and learning rate."""

from pathlib import Path

from avigap import cli, plots
from avigap.models.linear import linear
from avigap.plots_explain import noise_floor
from avigap.settings import check_settings
from avigap.tables import read_table


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--replay", type=Path, required=True, help="replay.csv, written by summarise_replay.py")
    parser.add_argument("--settings", type=cli.json_object, default={}, help="of the linear model")
    parser.add_argument("--output", type=Path, nargs="+", required=True, help="files to write, .pdf or .png")
    args = parser.parse_args()
    settings = check_settings("model 'linear'", linear, args.settings)
    curvature = 1 + (settings["tau"] / settings["sigma"]) ** 2
    plots.save_figures(noise_floor(read_table(args.replay), curvature), args.output)


if __name__ == "__main__":
    cli.run(main)
