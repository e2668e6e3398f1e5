"""Factor analysis of 200 images of digits.

    mean_k ~ N(0, 1)                                             k = 1..48
    loadings_kj ~ N(0, 0.5^2), and 0 where j > k, and positive where j = k
    noise_k ~ HalfNormal(0.5)
    z_n ~ N(0, I_2)                                              n = 1..200
    y_nk ~ N(mean_k + loadings_k1 z_n1 + loadings_k2 z_n2, noise_k^2)

Instructive as the simplest autoencoder: given all else, z_n has a mean that is affine in the image and one covariance
for all n, so an affine inference function of 48 numbers suffices. The triangle of the first two pixels leaves no
rotation and no sign open.

Data: the first 200 of the 8 by 8 images that scikit-learn ships (Alpaydin and Kaynak, 1998, Optical recognition of
handwritten digits, UCI), divided by 16; the 48 pixels that are not 0 in at least 20 of them, in rows from the top, but
first the anchors, pixels 2 of row 7 and 3 of row 1 (from 0).
"""

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array


def program(*, y: Array | None = None, num_obs: int, num_pixels: int = 48) -> None:
    """Images ``y`` of shape (num_obs, num_pixels)."""
    mean = numpyro.sample("mean", dist.Normal(0.0, 1.0).expand([num_pixels]).to_event(1))
    diagonal = numpyro.sample("diagonal", dist.HalfNormal(0.5).expand([2]).to_event(1))
    first = numpyro.sample("first", dist.Normal(0.0, 0.5).expand([num_pixels - 1]).to_event(1))
    second = numpyro.sample("second", dist.Normal(0.0, 0.5).expand([num_pixels - 2]).to_event(1))
    noise = numpyro.sample("noise", dist.HalfNormal(0.5).expand([num_pixels]).to_event(1))
    columns = jnp.append(diagonal[0], first), jnp.concatenate([jnp.zeros(1), diagonal[1:], second])
    with numpyro.plate("images", num_obs):
        z = numpyro.sample("z", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
        numpyro.sample("y", dist.Normal(mean + z @ jnp.stack(columns), noise).to_event(1), obs=y)
