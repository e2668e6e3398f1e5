"""Fit a ladder of inference functions to every data set of a NumPyro program; one JSON line each on standard output."""

from functools import partial
from pathlib import Path

import pandas as pd

from avigap import cli
from avigap.condition.verdict import read_verdict
from avigap.ladder import decompose, fit_ladder, ladder_of
from avigap.paths import check_output
from avigap.sample_fits import read_factorized, write_ladder
from avigap.samples import read_samples
from avigap.settings import check_settings
from avigap.starts import DEFAULTS, fit_settings


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="file written by prepare_data.py")
    parser.add_argument("--fvi", type=Path, required=True, help="file written by fit_program_fvi.py for the same data")
    parser.add_argument("--verdict", type=Path, required=True, help="file written by check_condition.py")
    parser.add_argument("--families", type=cli.json_object, help="families by name; by default as the verdict says")
    parser.add_argument("--fit", type=cli.json_object, default={}, help=f"any of {DEFAULTS._asdict()}")
    parser.add_argument("--seed", type=cli.whole(0), default=0, help="seed of the starts")
    parser.add_argument("--output", type=Path, required=True, help="netCDF file to write")
    args = parser.parse_args()
    inputs = [args.data, args.fvi, args.verdict]
    check_output(args.output, inputs)
    settings = fit_settings(**check_settings("fit", fit_settings, args.fit))
    verdict, samples = read_verdict(args.verdict), read_samples(args.data)
    families = args.families or ladder_of(verdict)
    fits, rows, parts = {}, [], pd.DataFrame()
    for each, (optimum, stats) in zip(samples, read_factorized(args.fvi, samples), strict=True):
        nodes = each.nodes(verdict.local_names)
        found = fit_ladder(
            *(nodes, optimum, verdict, families, partial(cli.named_key, args.seed, each.name), settings),
        )
        for name, fit in found.items():
            seed = float("nan") if each.seed is None else each.seed
            own = {"model": each.model, "seed": seed, "family": name, **fit.summary_row(each.num_obs)}
            rows.append(own | {"residual_fvi": stats["residual"], "num_params_fvi": 2 * nodes.target.num_local})
            cli.print_result(own)
            fits[each.name, name] = fit
        if each.num_obs == max(other.num_obs for other in samples) and parts.empty:
            key = cli.named_key(args.seed, each.name, "pareto_k")
            parts = decompose(nodes, optimum, stats["elbo"], each.num_obs, found, key).assign(model=each.model)
    write_ladder(args.output, fits, families, {"summary": pd.DataFrame(rows), "decomposition": parts}, inputs)


if __name__ == "__main__":
    cli.run(main)
