"""Draw the figures of images: paths, convergence, gaps and reconstructions."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np

from avigap import cli, plots
from avigap.errors import InputError, unknown
from avigap.images.evaluate import free_factors
from avigap.images.files import ImageFit, checksum, decoder_of, read_fits, read_images
from avigap.images.idx import Images
from avigap.images.pictures import image_reconstructions
from avigap.images.plots import Fits, image_convergence, image_gaps, image_paths, largest
from avigap.models.bnn_images import decode
from avigap.tables import read_table

SHOWN = 14
"""Images of a row of reconstructions."""


def reconstructed(fit: ImageFit, images: Images, x: np.ndarray) -> np.ndarray:
    """Return what the first run that stayed finite makes of images."""
    finite = [run for run, status in enumerate(fit.trained.status) if status != "nonfinite"]
    if not finite:
        raise InputError(f"no run of method {fit.method} stayed finite: there is nothing to reconstruct with")
    decoder, params = decoder_of(fit.settings, images.train.shape[1]), fit.trained.params
    loc = free_factors(fit.inference, params, jnp.asarray(x))[0][finite[0]]
    return np.asarray(decode(params["theta"]["loc"][finite[0]], loc[:SHOWN], decoder.hidden, decoder.pixels))


def pictures(fits: Fits, experiment: str, images: Images) -> dict[str, np.ndarray]:
    """Return the rows of reconstructions of an experiment."""
    rows = {"data": images.train[:SHOWN]}
    most = largest(fits, experiment)
    for method, (fit, *_) in most.items():
        rows[method] = reconstructed(fit, images, images.train[: fit.num_obs])
    rows["unseen data"] = images.test[:SHOWN]
    for method, (fit, *_) in most.items():
        if fit.method["kind"] == "encoder":
            rows[f"{method}, unseen"] = reconstructed(fit, images, images.test[:SHOWN])
    return rows


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--runs", type=Path, required=True, help="images.csv, written by summarise_images.py")
    parser.add_argument("--refinement", type=Path, required=True, help="images_refinement.csv, written with it")
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="files <experiment>/images.nc")
    parser.add_argument("--fits", type=Path, nargs="+", required=True, help="<experiment>/fits/<method>_<part>.nc")
    parser.add_argument("--tolerances", type=cli.json_object, required=True, help="squared error by experiment")
    parser.add_argument("--output", type=Path, required=True, nargs="+", help="files to write, named by their figures")
    args = parser.parse_args()
    runs, refinement = read_table(args.runs), read_table(args.refinement)
    data = {path.resolve().parent.name: read_images(path)[0] for path in args.data}
    fits: dict[tuple[str, str], list[ImageFit]] = {}
    for path in args.fits:
        experiment, method = path.resolve().parents[1].name, path.stem.rpartition("_")[0]
        fits.setdefault((experiment, method), []).extend(read_fits(path, checksum(data[experiment].train)))
    shapes = {name: images.shape for name, images in data.items()}
    figures = {
        "image_paths": lambda: image_paths(runs, fits),
        "image_convergence": lambda: image_convergence(runs, args.tolerances),
        "image_gaps": lambda: image_gaps(runs, refinement, fits),
        "image_reconstructions": lambda: image_reconstructions(
            shapes, {name: pictures(fits, name, images) for name, images in data.items()}
        ),
    }
    for name in dict.fromkeys(path.stem for path in args.output):
        if name not in figures:
            raise unknown("figure", name, figures)
        plots.save_figures(figures[name](), [path for path in args.output if path.stem == name])


if __name__ == "__main__":
    cli.run(main)
