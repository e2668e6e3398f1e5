"""Train one method of the Bayesian decoder of images on the first images of a data set, many seeds side by side."""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from avigap import cli
from avigap.errors import InputError
from avigap.images.evaluate import free_start
from avigap.images.files import ImageFit, checksum, decoder_of, read_fits, read_images, write_fits
from avigap.images.inference import build
from avigap.images.steps import training
from avigap.images.train import Checkpoint, train
from avigap.paths import check_output
from avigap.settings import check_settings


def start_of(path: Path | None, data: str, num_obs: int, seeds: list[int], x: np.ndarray) -> Any:
    """Return where runs of F-VI start: at the ends of those of another method; None without one."""
    if path is None:
        return None
    fits = {(fit.num_obs, *fit.seeds): fit for fit in read_fits(path, data)}
    if (fit := fits.get((num_obs, *seeds))) is None:
        raise InputError(f"{path} has no fit of {num_obs} images and seeds {seeds}")
    return free_start(fit.inference, fit.trained.params, jnp.asarray(x))


def arguments() -> Any:
    """Return the checked arguments."""
    parser = cli.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="file written by prepare_images.py")
    parser.add_argument("--method", type=cli.json_object, required=True, help='{"kind": "encoder", "width": 64}, ..')
    parser.add_argument("--settings", type=cli.json_object, default={}, help="of the model bnn_images")
    parser.add_argument("--fit", type=cli.json_object, default={}, help="how it is trained")
    parser.add_argument("--num-obs", type=cli.whole(1), nargs="+", help="images to train with; all if absent")
    parser.add_argument("--seed", type=cli.whole(0), nargs="+", default=[0], help="one run each, side by side")
    parser.add_argument("--start", type=Path, help="fits whose ends a factorized method starts from")
    parser.add_argument("--checkpoint", type=Path, help="folder in which runs on their way are kept and found again")
    parser.add_argument("--output", type=Path, required=True, help="netCDF file to write")
    args = parser.parse_args()
    cli.check_distinct("--seed", args.seed)
    if args.start and args.method.get("kind") != "factorized":
        raise InputError("only a factorized method starts from other fits")
    check_output(args.output, [args.data, *filter(None, [args.start])])
    return args


def main() -> None:
    args = arguments()
    images, source = read_images(args.data)
    decoder, data = decoder_of(args.settings, images.train.shape[1]), checksum(images.train)
    how = training(**check_settings("fit", training, args.fit))
    keys, fits = jnp.stack([cli.named_key(seed, "bnn_images") for seed in args.seed]), []
    for num_obs in args.num_obs or [len(images.train)]:
        if num_obs > len(images.train):
            raise InputError(f"--num-obs must be at most the {len(images.train)} images of the data, got {num_obs}")
        start = start_of(args.start, data, num_obs, args.seed, images.train[:num_obs])
        progress, begun = cli.Progress(f"{source} {num_obs} images", how.max_steps), jax.tree.map(checksum, start)
        what = data, checksum(images.test), num_obs, args.seed, args.method, decoder, how, begun
        trained = train(
            *(decoder, build(args.method), how, images.train, num_obs, images.test, keys, start),
            report=partial(progress, "best of all"),
            checkpoint=Checkpoint.of(args.checkpoint, progress.resume, *what) if args.checkpoint else None,
        )
        progress.close()
        configured = args.method, decoder._asdict(), how._asdict()
        fits.append(ImageFit(trained, args.seed, num_obs, *configured, data, args.start is not None))
        for seed, elbo, status in zip(args.seed, trained.elbo[:, -1], trained.status, strict=True):
            cli.print_result({"num_obs": num_obs, "seed": seed, "elbo_per_obs": elbo / num_obs, "status": status})
    write_fits(args.output, fits, [args.data, *filter(None, [args.start])])
    for path in args.checkpoint.glob("*.npz") if args.checkpoint else []:
        path.unlink()


if __name__ == "__main__":
    cli.run(main, gpu=True)
