"""Draw the hidden Markov example of the paper, as printed and corrected, and a valid one."""

from avigap import cli
from avigap.figure_program import figure_program
from avigap.plots_hmm_example import hmm_example

main = figure_program(__doc__, hmm_example, "--example", "hmm_example.csv, written by hmm_example.py")

if __name__ == "__main__":
    cli.run(main)
