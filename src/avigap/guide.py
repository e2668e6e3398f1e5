"""NumPyro guides: a mean-field q, or an amortized family whose parameters ``numpyro.infer.SVI`` learns."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpyro
import numpyro.distributions as dist
from jaxtyping import Array
from numpyro.distributions import biject_to

from avigap.core import Joint, MeanField, latent_layouts

Guide = Callable[..., None]


def sample_mean_field(joint: Joint, num_obs: int, q: MeanField) -> None:
    """Sample every latent of the program from q, inside the program's own plates and on its own support."""
    for site, layout in latent_layouts(joint, num_obs).items():
        base = dist.Normal(q.loc[site], q.scale[site]).to_event(layout.event_dim)
        transform = biject_to(layout.support)
        identity = isinstance(transform, dist.transforms.IdentityTransform)
        with ExitStack() as plates:
            for name, size, dim in layout.plates:
                plates.enter_context(numpyro.plate(name, size, dim=dim))
            numpyro.sample(site, base if identity else dist.TransformedDistribution(base, transform))


def mean_field_guide(joint: Joint, q: MeanField) -> Guide:
    """Return a guide with no parameters that samples from ``q``."""

    def guide(x: Array | None = None, *, num_obs: int, **settings: Any) -> None:
        sample_mean_field(joint, num_obs, q)

    return guide
