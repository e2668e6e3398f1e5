"""Say whether amortization can reach the optimum of factorized VI in a NumPyro program, and from which inputs."""

import json
from pathlib import Path

import jax

from avigap import cli
from avigap.binding import bind_program
from avigap.condition import check_condition
from avigap.loading import load_program
from avigap.paths import check_output, write_text
from avigap.tables import read_columns
from avigap.verdict import answer


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--model", required=True, help="a model of this package, or path/to/file.py:program")
    parser.add_argument("--settings", type=cli.json_object, default={}, help="other arguments of it, a JSON object")
    parser.add_argument("--data", type=Path, help="CSV or netCDF with observations and covariates as named columns")
    parser.add_argument(
        "--local", nargs="+", default=[], help="local latents; else those in a plate of the observations"
    )
    parser.add_argument("--num-obs", type=cli.whole(2), default=6, help="observations to look at, and at twice as many")
    parser.add_argument("--seed", type=cli.whole(0), default=0, help="of the random points")
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    args = parser.parse_args()
    jax.config.update(
        "jax_disable_most_optimizations", True
    )  # everything runs a few times: compiling is what takes time
    check_output(args.output, [args.data] if args.data else [])
    function, local = load_program(args.model)
    columns = read_columns(args.data) if args.data else {}
    program = bind_program(function, args.settings, columns, args.num_obs, local)
    verdict = check_condition(program, args.num_obs, args.local, args.seed)
    write_text(args.output, json.dumps(verdict._asdict(), indent=2) + "\n")
    print(answer(verdict))


if __name__ == "__main__":
    cli.run(main)
