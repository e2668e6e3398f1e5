"""Split what each fitted q of a data set loses against the log evidence into its parts; a row for each family."""

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import pandas as pd

from avigap import cli, io
from avigap.amortization import mean_field
from avigap.errors import InputError
from avigap.evidence import log_evidence, pareto_k
from avigap.paths import check_output

GAPS = ["gap", "gap_error", "optimization_gap_per_obs", "held_out_gap_per_obs", "seed", "num_obs"]


def row_of(each: io.DataSet, index: int, path: Path) -> dict[str, Any]:
    """Return a family's parts of the loss, in nats per observation, and Pareto's k of its q."""
    family = io.read_family(path, each.name)
    params, gaps = io.read_avi(path, [each], family, each.name)[0], io.read_summary(path, GAPS).iloc[index]
    q = mean_field(each.joint, family, params, jnp.asarray(each.x))
    own = gaps.gap / each.num_obs
    return {
        "family": path.stem,
        "amortization_gap": own,
        "optimization_gap": gaps.optimization_gap_per_obs,
        "generalization_gap": gaps.held_out_gap_per_obs - own,
        "pareto_k": pareto_k(each.joint, jnp.asarray(each.x), q, cli.named_key(0, each.model, path.stem)),
    }


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="file written by simulate.py or import_data.py")
    parser.add_argument("--fvi", type=Path, required=True, help="file written by fit_fvi.py for the same data")
    parser.add_argument("--fits", type=Path, nargs="+", required=True, help="files of fit_avi.py for the same data")
    parser.add_argument("--num-obs", type=cli.whole(1), default=1000, help="largest size; the first data set below it")
    parser.add_argument("--output", type=Path, required=True, help="csv file to write")
    args = parser.parse_args()
    check_output(args.output, [args.data, args.fvi, *args.fits])
    data = io.read_data(args.data)
    sizes = [each.num_obs for each in data if each.num_obs <= args.num_obs]
    if not sizes:
        raise InputError(f"{args.data} has no data set of {args.num_obs} observations or fewer")
    index = [other.num_obs for other in data].index(max(sizes))
    each, fvi = data[index], io.read_fvi(args.fvi, data)[index]
    joint, x = each.joint, jnp.asarray(each.x)
    evidence = log_evidence(joint, x, fvi.q)
    common = {"experiment": args.data.resolve().parent.name, "model": each.model, "num_obs": each.num_obs}
    common |= {"log_evidence": evidence.value, "log_evidence_error": evidence.error, "elbo_fvi": fvi.stats["elbo"]}
    common["approximation_gap"] = (evidence.value - fvi.stats["elbo"]) / each.num_obs
    common["pareto_k_fvi"] = pareto_k(joint, x, fvi.q, cli.named_key(0, each.model, "fvi"))
    rows = [common | row_of(each, index, path) for path in args.fits]
    io.write_text(args.output, pd.DataFrame(rows).to_csv(index=False, lineterminator="\n"))


if __name__ == "__main__":
    cli.run(main)
