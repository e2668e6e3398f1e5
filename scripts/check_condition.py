"""Say whether amortization can reach the optimum of factorized VI in a NumPyro program, and from which inputs."""

from pathlib import Path

import jax
import numpy as np

from avigap import cli
from avigap.condition.check import check_condition
from avigap.condition.verdict import document
from avigap.condition.words import Question, answer
from avigap.errors import InputError
from avigap.files.table import Reading
from avigap.given import add_options, options_of, read_data, wanted_by
from avigap.loading import load_program
from avigap.paths import check_output, write_text
from avigap.program.arguments import Program, bind_program, parameters_of

FEW = 6
"""Rows at which it is found out what the arguments are."""


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--model", required=True, help="a model of this package, or path/to/file.py:program")
    parser.add_argument("--settings", type=cli.json_object, default={}, help="other arguments of it, a JSON object")
    parser.add_argument("--data", type=Path, help="file with observations and covariates as named columns")
    add_options(parser)
    parser.add_argument(
        "--local", nargs="+", default=[], help="local latents; else those in a plate of the observations"
    )
    parser.add_argument(
        "--num-obs",
        type=cli.whole(2),
        help="rows that the program simulates, 200 if absent, and twice as many; data are looked at whole",
    )
    parser.add_argument("--seed", type=cli.whole(0), default=0, help="of the random points")
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    args = parser.parse_args()
    jax.config.update(
        "jax_disable_most_optimizations", True
    )  # everything runs a few times: compiling is what takes time
    options = options_of(args)
    check_output(args.output, [path for path in (args.data, options.codes) if path])
    function, local = load_program(args.model)
    columns, reading = read_data(args.data, wanted_by(function, args.settings), options) if args.data else ({}, None)
    try:
        program = bind_program(function, args.settings, columns, args.num_obs or FEW, local)
    except InputError as error:
        if reading and reading.unused and "not given" in str(error):
            raise InputError(f"{error}; columns that no argument takes: {', '.join(reading.unused)}") from error
        raise
    reading = _with_types(program, columns, reading) if reading else None
    verdict = check_condition(program, args.num_obs, args.local, args.seed)
    write_text(args.output, document(verdict, reading._asdict() if reading else None))
    given = {*program.columns, *program.settings, *program.observed, program.count_name}
    without = tuple(name for name in parameters_of(function).unset if name not in given)
    question = Question(args.model, args.settings, cli.words_of(parser, args, "data", *options._fields), without)
    print(answer(verdict, question, reading))


def _with_types(program: Program, columns: dict[str, np.ndarray], reading: Reading) -> Reading:
    """Note which columns of decimals the program takes as whole numbers."""
    whole = [name for name, column in columns.items() if program.columns[name].dtype != column.dtype]
    return reading._replace(notes=[*reading.notes, *(f"{name} taken as whole numbers" for name in whole)])


if __name__ == "__main__":
    cli.run(main)
