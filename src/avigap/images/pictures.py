"""Images beside what each method makes of them."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from avigap.errors import InputError
from avigap.plots import panels, styled


@styled
def image_reconstructions(
    shape: Mapping[str, tuple[int, int]], pictures: Mapping[str, Mapping[str, np.ndarray]]
) -> Figure:
    """Draw images and what each method makes of them; a row for each, the same images in all rows of a panel.

    Parameters
    ----------
    shape
        Of an image, by experiment.
    pictures
        By experiment and label of the row: (number, pixels).

    Raises
    ------
    InputError
        If a pixel is not a finite number.
    """
    heights = [len(rows) for rows in pictures.values()]
    fig, axes = panels(len(pictures), 1, 0.42 * sum(heights) / len(heights), heights)
    for ax, (experiment, rows) in zip(axes, pictures.items(), strict=True):
        for label, own in rows.items():
            if not np.isfinite(own).all():
                raise InputError(f"the reconstructions of {label!r} in {experiment!r} are not finite numbers")
        most = max(len(own) for own in rows.values())
        strips = [_strip(own.reshape(-1, *shape[experiment]), most) for own in rows.values()]
        ax.imshow(np.concatenate(strips), cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
        height = shape[experiment][0] + 1
        ax.set_yticks([height * (i + 0.5) - 0.5 for i in range(len(rows))], list(rows))
        ax.set_xticks([])
        ax.set_anchor("E")  # what the aspect leaves over belongs to the labels
        ax.tick_params(left=False)
        ax.spines[:].set_visible(False)
        ax.set_title(experiment)
    fig.suptitle("Images and their reconstructions from the means of q")
    return fig


def _strip(images: np.ndarray, number: int) -> np.ndarray:
    """Return ``number`` images side by side, white where there are fewer, with a white line after and below each."""
    padded = np.pad(images, ((0, number - len(images)), (0, 1), (0, 1)))
    return np.concatenate(list(padded), axis=1)
