"""Draw steps and seconds to a small gap against the number of observations."""

from avigap import cli
from avigap.figure_program import figure_program
from avigap.plots_times import time_to_gap

main = figure_program(__doc__, time_to_gap, "--replay", "replay.csv, written by summarise_replay.py")

if __name__ == "__main__":
    cli.run(main)
