"""Draw the ledger at a glance."""

from avigap import cli
from avigap.figure_program import figure_program
from avigap.plots_ledger import ledger_glance

main = figure_program(__doc__, ledger_glance, "--ledger", "ledger.csv, written by ledger.py")

if __name__ == "__main__":
    cli.run(main)
