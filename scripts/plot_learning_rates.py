"""Draw the steps to a small gap against the learning rate, one start for all methods."""

from avigap import cli
from avigap.figure_program import figure_program
from avigap.plots_times import learning_rates

main = figure_program(__doc__, learning_rates, "--replay", "replay.csv, written by summarise_replay.py")

if __name__ == "__main__":
    cli.run(main)
