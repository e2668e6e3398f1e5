"""Compare fitted affine functions of x_n with Proposition 3.6, for the linear model; one table."""

from pathlib import Path

import numpy as np
import pandas as pd

from avigap import cli, io
from avigap.errors import InputError
from avigap.families import build
from avigap.models.linear import ideal_function
from avigap.paths import check_output

FAMILY = {"kind": "polynomial", "degree": 1}


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="data of the linear model, by simulate.py")
    parser.add_argument("--fits", type=Path, required=True, help=f"file of fit_avi.py, with the family {FAMILY}")
    parser.add_argument("--output", type=Path, required=True, help="csv file to write")
    args = parser.parse_args()
    check_output(args.output, [args.data, args.fits])
    data, rows = io.read_data(args.data), []
    if any(each.model != "linear" for each in data):
        raise InputError(f"{args.data} holds data of another model; Proposition 3.6 is on the model 'linear'")
    for each, fit in zip(data, io.read_avi(args.fits, data, build(FAMILY)), strict=True):
        intercept, slope = map(float, fit["function"]["loc"])
        ideal = ideal_function(each.x, each.settings)
        row = {"num_obs": each.num_obs, "seed": each.seed, "intercept": intercept, "slope": slope}
        row |= {"variance": float(np.exp(2 * fit["function"]["log_scale"])), "x_mean": float(each.x.mean())}
        row |= {f"ideal_{name}": value for name, value in ideal._asdict().items()}
        rows.append(row | {"intercept_error": intercept - ideal.intercept})
    io.write_text(args.output, pd.DataFrame(rows).to_csv(index=False, lineterminator="\n"))


if __name__ == "__main__":
    cli.run(main)
