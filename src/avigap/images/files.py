"""Images and fits of the Bayesian decoder on file: netCDF trees with what produced them."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import xarray as xr
from jax.flatten_util import ravel_pytree

from avigap.errors import InputError
from avigap.files.netcdf import read_tree, reading, write_tree
from avigap.images.idx import Images
from avigap.images.inference import Inference, build
from avigap.images.objective import Decoder, Params
from avigap.images.steps import Training, training
from avigap.images.train import SEEN, Trained
from avigap.models import load
from avigap.settings import check_settings


def decoder_of(settings: Mapping[str, Any], pixels: int) -> Decoder:
    """Return the decoder with checked settings of the model, for images of so many pixels.

    Raises
    ------
    InputError
        If a setting is unknown or not allowed, or names another number of pixels.
    """
    if settings.get("pixels", pixels) != pixels:
        raise InputError(f"pixels must be {pixels}, as the images have, got {settings['pixels']}")
    program = load("bnn_images").program
    return Decoder(**check_settings("model 'bnn_images'", program, {**settings, "pixels": pixels}))


def checksum(x: np.ndarray) -> str:
    """Return the checksum of images, which fits name."""
    return hashlib.sha256(np.ascontiguousarray(x, dtype="<f8").tobytes()).hexdigest()[:16]


def write_images(path: Path, images: Images, source: str, inputs: Sequence[Path] = ()) -> None:
    """Write a data set of images.

    Raises
    ------
    InputError
        If a pixel is not a finite number.
    """
    for name, x in (("training", images.train), ("held-out", images.test)):
        if not np.isfinite(x).all():
            raise InputError(f"the {name} images have pixels that are not finite numbers")
    attrs = {"source": source, "rows": images.shape[0], "columns": images.shape[1]}
    groups = {
        "observed_data": xr.Dataset({"x": (("row", "pixel"), images.train)}, attrs=attrs),
        "held_out/observed_data": xr.Dataset({"x": (("row", "pixel"), images.test)}),
    }
    write_tree(path, "images", groups, inputs)


def read_images(path: Path) -> tuple[Images, str]:
    """Return a data set of images, and the name of its source.

    Raises
    ------
    InputError
        If the file is not one that :func:`write_images` wrote.
    """
    tree = read_tree(path, "images")
    with reading(path, "images"):
        seen, unseen = (tree[name].to_dataset() for name in ("observed_data", "held_out/observed_data"))
        shape = int(seen.attrs["rows"]), int(seen.attrs["columns"])
        return Images(seen["x"].values, unseen["x"].values, shape), str(seen.attrs["source"])


class ImageFit(NamedTuple):
    """The runs of one method on the first ``num_obs`` images of a data set.

    Attributes
    ----------
    trained : the runs
    seeds : (R,) of them
    num_obs : images that they were trained with
    method, settings, fit : configuration of the family, of the model and of the training
    data : checksum of all training images
    is_continued : whether the runs started from the ends of another method's
    """

    trained: Trained
    seeds: list[int]
    num_obs: int
    method: dict[str, Any]
    settings: dict[str, Any]
    fit: dict[str, Any]
    data: str
    is_continued: bool = False

    @property
    def inference(self) -> Inference:
        """The family."""
        return build(self.method)

    @property
    def how(self) -> Training:
        """How it was trained."""
        return training(**self.fit)

    @property
    def num_params(self) -> int:
        """Number of parameters of the factors of all images together."""
        return sum(leaf[0].size for leaf in jax.tree.leaves(self.trained.params["local"]))


def write_fits(path: Path, fits: Sequence[ImageFit], inputs: Sequence[Path]) -> None:
    """Write the runs of one method, a node for each number of images."""
    groups = {}
    for fit in fits:
        own = fit.trained
        course: dict[str, Any] = {name: (("run", "look"), getattr(own, name)) for name in SEEN}
        course |= {"steps": ("look", own.steps), "seconds": ("look", own.seconds), "seed": ("run", fit.seeds)}
        attrs: dict[str, Any] = {
            name: json.dumps(getattr(fit, name), sort_keys=True) for name in ("method", "settings", "fit")
        }
        attrs |= {"num_obs": fit.num_obs, "data": fit.data, "compile_seconds": own.compile_seconds}
        attrs |= {"status": json.dumps(own.status), "is_continued": int(fit.is_continued)}
        local = np.asarray(jax.vmap(lambda params: ravel_pytree(params)[0])(own.params["local"]))
        ends = {f"theta_{name}": (("run", "weight"), np.asarray(leaf)) for name, leaf in own.params["theta"].items()}
        groups[f"/n{fit.num_obs}/runs"] = xr.Dataset(course, attrs=attrs)
        groups[f"/n{fit.num_obs}/variational"] = xr.Dataset({**ends, "local": (("run", "parameter"), local)})
    write_tree(path, "image_fits", groups, inputs)


def read_fits(path: Path, data: str) -> list[ImageFit]:
    """Return the runs of one method, by number of images.

    Parameters
    ----------
    data
        Checksum of the training images that they must be of.

    Raises
    ------
    InputError
        If the file is not one that :func:`write_fits` wrote, or is of other images.
    """
    tree = read_tree(path, "image_fits")
    with reading(path, "image_fits"):
        fits = [_read_node(node) for node in tree.children.values()]
    if not fits or any(fit.data != data for fit in fits):
        raise InputError(f"{path} is of other images than the data")
    return fits


def _read_node(node: xr.DataTree) -> ImageFit:
    runs, ends = node["runs"].to_dataset(), node["variational"].to_dataset()
    method, settings, fit = (json.loads(runs.attrs[name]) for name in ("method", "settings", "fit"))
    num_obs, local = int(runs.attrs["num_obs"]), ends["local"].values
    inference, how = build(method), training(**check_settings("fit", training, fit))
    latent, pixels = settings["latent"], settings["pixels"]
    like = jax.eval_shape(lambda: inference.init(jax.random.key(0), num_obs, pixels, latent, how.start))
    restore = ravel_pytree(jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), like))[1]
    theta = {name: ends[f"theta_{name}"].values for name in ("loc", "log_scale")}
    params: Params = {"theta": theta, "local": jax.vmap(restore)(jax.numpy.asarray(local))}
    trained = Trained(
        params=params,
        **{name: runs[name].values for name in SEEN},
        steps=runs["steps"].values,
        seconds=runs["seconds"].values,
        compile_seconds=float(runs.attrs["compile_seconds"]),
        status=json.loads(runs.attrs["status"]),
    )
    seeds = runs["seed"].values.tolist()
    return ImageFit(
        trained, seeds, num_obs, method, settings, fit, str(runs.attrs["data"]), bool(runs.attrs["is_continued"])
    )
