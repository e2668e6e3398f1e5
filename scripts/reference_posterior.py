"""Draw from the posterior of a NumPyro program by NUTS; write means and standard deviations of all latents."""

import argparse
import sys
import time
from pathlib import Path

import pandas as pd

from avigap import cli
from avigap.files.table import describe
from avigap.given import add_options, options_of, read_data, wanted_by
from avigap.loading import load_program
from avigap.paths import check_output, write_text
from avigap.program.arguments import bind_program
from avigap.reference import COLUMNS, Effort, reference_posterior


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--model", required=True, help="a model of this package, or path/to/file.py:program")
    parser.add_argument("--settings", type=cli.json_object, default={}, help="other arguments of it, a JSON object")
    parser.add_argument(
        "--data", type=Path, required=True, help="file with observations and covariates as named columns"
    )
    add_options(parser)
    parser.add_argument("--num-obs", type=cli.whole(1), help="first rows of the data to use; else all")
    parser.add_argument("--warmup", type=cli.whole(1), default=1000, help="steps of each chain that adapt it")
    parser.add_argument("--draws", type=cli.whole(4), default=1000, help="draws of each chain")
    parser.add_argument("--chains", type=cli.whole(2), default=4)
    parser.add_argument("--target-accept", type=_share, default=0.8, help="acceptance to adapt the steps to")
    parser.add_argument("--decentred", nargs="+", default=[], help="sites to draw as loc + scale * noise")
    parser.add_argument("--radius", type=_positive, default=2.0, help="of the starts, on the unconstrained space")
    parser.add_argument("--seed", type=cli.whole(0), default=0, help="of the chains")
    parser.add_argument("--output", type=Path, required=True, help="CSV file to write")
    args = parser.parse_args()
    check_output(args.output, [args.data])
    function, local = load_program(args.model)
    columns, reading = read_data(args.data, wanted_by(function, args.settings), options_of(args))
    print("\n".join(describe(reading)), file=sys.stderr)
    program = bind_program(function, args.settings, columns, args.num_obs, local)
    start = time.monotonic()
    effort = Effort(args.warmup, args.draws, args.chains, args.target_accept, tuple(args.decentred), args.radius)
    reference = reference_posterior(program, args.num_obs, effort, args.seed)
    table = pd.DataFrame(reference.rows, columns=list(COLUMNS))
    write_text(args.output, table.to_csv(index=False, lineterminator="\n"))
    seconds = round(time.monotonic() - start, 1)
    cli.print_result({k: v for k, v in reference._asdict().items() if k != "rows"} | {"seconds": seconds})


def _share(text: str) -> float:
    value = float(text)  # argparse reports what is not a number
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"must lie between 0 and 1, got {text!r}")
    return value


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a positive number, got {text!r}")
    return value


if __name__ == "__main__":
    cli.run(main)
