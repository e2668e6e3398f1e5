"""Data sets of images: scikit-learn's digits, and MNIST and Fashion-MNIST as IDX files from a folder or by HTTPS.

IDX is the format of http://yann.lecun.com/exdb/mnist: two zero bytes, a type, the number of dimensions, their sizes as
big-endian 32-bit numbers, and the values.
"""

import gzip
import hashlib
import http.client
import struct
import urllib.error
import urllib.request
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from avigap.errors import InputError, unknown
from avigap.paths import check_input, replacing

UNSIGNED_BYTES = 8
TIMEOUT = 60.0
"""Seconds without an answer after which a server is given up."""


class Published(NamedTuple):
    """A published data set: where its files lie, and their names and MD5 sums, those of what is in the archives."""

    url: str
    train: tuple[str, str]
    test: tuple[str, str]


TRAIN, TEST = "train-images-idx3-ubyte.gz", "t10k-images-idx3-ubyte.gz"
PUBLISHED = {
    "mnist": Published(
        "https://ossci-datasets.s3.amazonaws.com/mnist",
        (TRAIN, "6bbc9ace898e44ae57da46a324031adb"),
        (TEST, "2646ac647ad5339dbf082846283269ea"),
    ),
    "fashion_mnist": Published(
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion",
        (TRAIN, "f4a8712d7a061bf5bd6d2ca38dc4d50a"),
        (TEST, "8181f5470baa50b63fa0f6fddb340f0a"),
    ),
}
"""Sums of the content: the same file may be compressed in several ways (that of Debian's package has no name in it)."""

SOURCES = ("digits", "idx", *PUBLISHED)

NUM_DIGITS, NUM_TRAIN, NUM_TEST = 1_797, 60_000, 10_000
"""Images of scikit-learn's digits, seen and unseen, and of the two files of MNIST and Fashion-MNIST."""


class Images(NamedTuple):
    """Grey images with pixels in [0, 1]: those to train with, unseen ones, and the shape of each."""

    train: Float[np.ndarray, "N pixels"]
    test: Float[np.ndarray, "M pixels"]
    shape: tuple[int, int]


def read_idx(path: Path, md5: str | None = None) -> UInt8[np.ndarray, "number rows columns"]:
    """Return the images of an IDX file, compressed by gzip or not.

    Parameters
    ----------
    md5
        Sum that the content must have, that of the file before it was compressed.

    Raises
    ------
    InputError
        If the file is missing, has another checksum, is no IDX file of images in bytes, or does not have as many values
        as its header says.
    """
    check_input(path)
    content = path.read_bytes()
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (EOFError, OSError, zlib.error) as error:
            raise InputError(f"{path} is truncated or damaged: {error}") from error
    if md5 is not None and (found := hashlib.md5(content, usedforsecurity=False).hexdigest()) != md5:
        raise InputError(
            f"{path} is not the published file: the MD5 sum of its content is {found}, not {md5}; remove it to go on"
        )
    if len(content) < 4 or content[:2] != b"\0\0":
        raise InputError(
            f"{path} is not an IDX file: it starts with {content[:4].hex(' ') or 'nothing'}, not with 00 00"
        )
    kind, dims = content[2], content[3]
    if (kind, dims) != (UNSIGNED_BYTES, 3):
        raise InputError(
            f"{path} must hold unsigned bytes in 3 dimensions (type 8), got type {kind} in {dims} dimensions"
        )
    if len(content) < 16:
        raise InputError(f"{path} is truncated: its header has {len(content)} of 16 bytes")
    sizes = struct.unpack(">3I", content[4:16])
    if 0 in sizes:
        raise InputError(f"{path} has no image: its sizes are {' x '.join(map(str, sizes))}")
    if (given := len(content) - 16) != (needed := sizes[0] * sizes[1] * sizes[2]):
        what = "truncated" if given < needed else "longer than its header says"
        raise InputError(f"{path} is {what}: it has {given} values, {needed} belong to {sizes[0]} images")
    return np.frombuffer(content, np.uint8, offset=16).reshape(sizes)


def download(url: str, path: Path) -> None:
    """Write what an address holds to a file, whole or not at all.

    Raises
    ------
    InputError
        If there is no connection, or the server refuses.
    """
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
            content = answer.read()
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        reason = getattr(error, "reason", error)
        raise InputError(
            f"{url} could not be loaded ({reason}); without a connection, put the file {path.name} into {path.parent}"
        ) from error
    with replacing(path) as partial:
        partial.write_bytes(content)


def _published(name: str, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the images of a published data set from a folder, into which missing files are loaded first."""
    source, parts = PUBLISHED[name], []
    for file, md5 in (source.train, source.test):
        path = next((own for own in (folder / file, folder / file.removesuffix(".gz")) if own.exists()), None)
        if path is None:
            download(f"{source.url}/{file}", path := folder / file)
        parts.append(read_idx(path, md5))
    return parts[0], parts[1]


def _digits(num_test: int) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits  # a second of imports, for this source alone

    images = load_digits().images * (255 / 16)
    if num_test >= len(images):
        raise InputError(f"held_out must be below the {len(images)} digits that there are, got {num_test}")
    order = np.random.default_rng(0).permutation(len(images))
    return images[order[num_test:]], images[order[:num_test]]


def most_images(source: str, held_out: int) -> tuple[int | None, int | None]:
    """Return how many images a source has to train with and to hold out; None where only its files say."""
    if source == "digits":
        return NUM_DIGITS - held_out, NUM_DIGITS - 1
    return (NUM_TRAIN, NUM_TEST) if source in PUBLISHED else (None, None)


def load(
    source: str, held_out: int, folder: Path | None = None, train: Path | None = None, test: Path | None = None
) -> Images:
    """Return a data set of images.

    Parameters
    ----------
    source
        ``digits`` of scikit-learn, in a random order that is always the same; ``mnist`` or ``fashion_mnist``, whose
        files lie in ``folder`` or are loaded into it; or ``idx``, two files ``train`` and ``test`` of your own.
    held_out
        Unseen images: of the digits so many are set apart, of other sources the first of the test file.

    Raises
    ------
    InputError
        If the source is unknown, a file cannot be had or is not what it should be, or images are missing.
    """
    if source not in SOURCES:
        raise unknown("source of images", source, SOURCES)
    if source == "digits":
        seen, unseen = _digits(held_out)
    elif source == "idx":
        if train is None or test is None:
            raise InputError("source 'idx' needs two files, 'train' and 'test'")
        seen, unseen = read_idx(train), read_idx(test)
    else:
        if folder is None:
            raise InputError(f"source {source!r} needs a 'folder' with its files, or for them")
        seen, unseen = _published(source, folder)
    if held_out > len(unseen):
        raise InputError(f"held_out must be at most the {len(unseen)} test images that there are, got {held_out}")
    if seen.shape[1:] != unseen.shape[1:]:
        raise InputError(f"train and test images must have one shape, got {seen.shape[1:]} and {unseen.shape[1:]}")
    parts = [part.reshape(len(part), -1) / 255 for part in (seen, unseen[:held_out])]
    return Images(parts[0], parts[1], (int(seen.shape[1]), int(seen.shape[2])))
