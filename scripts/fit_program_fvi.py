"""Find F-VI's optimum of a NumPyro program for every data set of a file; one JSON line each on standard output."""

from pathlib import Path

from avigap import cli
from avigap.condition.verdict import read_verdict
from avigap.factorized import fit_target
from avigap.paths import check_output
from avigap.sample_fits import write_factorized
from avigap.samples import read_samples


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="file written by prepare_data.py")
    parser.add_argument("--verdict", type=Path, required=True, help="file written by check_condition.py")
    parser.add_argument("--starts", type=cli.whole(1), default=3, help="draws of the program to climb from")
    parser.add_argument("--output", type=Path, required=True, help="netCDF file to write")
    args = parser.parse_args()
    check_output(args.output, [args.data, args.verdict])
    samples, local, fits = read_samples(args.data), read_verdict(args.verdict).local_names, []
    for each in samples:
        nodes = each.nodes(local)
        fit = fit_target(nodes, args.starts)
        fits.append(fit)
        kept = ("elbo", "residual", "status", "is_certified", "evidence", "starts", "seconds")
        shown = {"num_obs": each.num_obs, "seed": each.seed, "estimator": nodes.estimator}
        cli.print_result(shown | {name: value for name, value in fit._asdict().items() if name in kept})
    write_factorized(args.output, samples, fits, [args.data, args.verdict])


if __name__ == "__main__":
    cli.run(main)
