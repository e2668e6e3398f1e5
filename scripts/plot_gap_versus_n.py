"""Draw the gap per observation against the number of observations, a panel for each experiment."""

from avigap import cli
from avigap.figure_program import figure_program
from avigap.plots_gap import gap_versus_n
from avigap.plots_rows import read_gap

main = figure_program(__doc__, gap_versus_n, "--gap", "gap.csv, written by summarise_gap.py", read_gap)

if __name__ == "__main__":
    cli.run(main)
