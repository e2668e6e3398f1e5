"""Measure the fits of one method of images: ELBO, gap with the decoder held, unseen images, refinement by F-VI."""

from pathlib import Path
from typing import Any

import jax
import pandas as pd

from avigap import cli, io
from avigap.errors import InputError
from avigap.images.files import checksum, decoder_of, read_fits, read_images
from avigap.images.results import REFINEMENT, run_rows
from avigap.paths import check_output


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="file written by prepare_images.py")
    parser.add_argument("--fits", type=Path, required=True, help="file written by fit_images.py for the same data")
    parser.add_argument("--tolerance", type=float, required=True, help="squared error per pixel to count steps to")
    parser.add_argument("--refined", type=cli.whole(1), help="images of each split that F-VI refines; absent, all")
    parser.add_argument("--looks", type=cli.whole(0), nargs="+", default=REFINEMENT, help="steps of F-VI, rising")
    parser.add_argument("--seed", type=cli.whole(0), default=0, help="of the draws")
    parser.add_argument(
        "--output", type=Path, nargs=2, required=True, help="csv files to write: runs, and their gaps by steps of F-VI"
    )
    args = parser.parse_args()
    if args.looks[0] or list(args.looks) != sorted(set(args.looks)):
        raise InputError(f"--looks must rise from 0, got {' '.join(map(str, args.looks))}")
    for path in args.output:
        check_output(path, [args.data, args.fits])
    images, _ = read_images(args.data)
    rows: list[dict[str, Any]] = []
    curves: list[dict[str, Any]] = []
    fits = read_fits(args.fits, checksum(images.train))
    for fit in fits:
        looks = args.looks if fit.num_obs == max(each.num_obs for each in fits) else (0, args.looks[-1])
        decoder = decoder_of(fit.settings, images.train.shape[1])
        key = jax.random.fold_in(cli.named_key(args.seed, "measure_images"), fit.num_obs)
        own, curve = run_rows(fit, decoder, images, key, args.tolerance, looks, args.refined)
        rows, curves = rows + own, curves + curve
        for row in own:
            names = ("num_obs", "seed", "status", "elbo", "local_gap_per_obs", "held_out_gap_per_obs")
            cli.print_result({name: row[name] for name in names})
    for path, table in zip(args.output, (rows, curves), strict=True):
        io.write_text(path, pd.DataFrame(table).to_csv(index=False, lineterminator="\n"))


if __name__ == "__main__":
    cli.run(main, gpu=True)
