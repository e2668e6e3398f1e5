"""Draw iterations to convergence by the published rule and by one that counts NaN as failure."""

from avigap import cli
from avigap.figure_program import figure_program
from avigap.plots_explain import nan_rule

main = figure_program(__doc__, nan_rule, "--replay", "replay.csv, written by summarise_replay.py")

if __name__ == "__main__":
    cli.run(main)
