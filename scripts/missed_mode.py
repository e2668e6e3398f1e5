"""Try starts of F-VI on data with several modes: which of them find the certified optimum's; a row for each start."""

from pathlib import Path

import jax.numpy as jnp

from avigap import cli, io
from avigap.errors import InputError
from avigap.missed_mode import try_starts
from avigap.paths import check_output


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="file written by simulate.py or import_data.py")
    parser.add_argument("--fvi", type=Path, required=True, help="file written by fit_fvi.py for the same data")
    parser.add_argument("--output", type=Path, required=True, help="csv file to write, for the largest data set")
    args = parser.parse_args()
    check_output(args.output, [args.data, args.fvi])
    data = io.read_data(args.data)
    index = max(range(len(data)), key=lambda i: data[i].num_obs)
    each, fvi = data[index], io.read_fvi(args.fvi, data)[index]
    if fvi.local_q is None:
        raise InputError(f"{args.fvi}: a local method misses no mode of data set {each.name}")
    table = try_starts(each.joint, jnp.asarray(each.x), fvi.q, fvi.local_q, fvi.stats["elbo"])
    io.write_text(args.output, table.assign(num_obs=each.num_obs).to_csv(index=False, lineterminator="\n"))


if __name__ == "__main__":
    cli.run(main)
