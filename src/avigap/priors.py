"""The prior of a shared latent, in one place for all models."""

import numpyro
import numpyro.distributions as dist
from jaxtyping import Array


def shared(name: str, scale: float | None) -> Array:
    """Sample a real shared latent: flat if ``scale`` is None, else normal with mean 0 and standard deviation ``scale``.

    A flat prior scores 0 nats and cannot be drawn from: simulation conditions on the model's ``truth``.
    """
    if scale is None:
        return numpyro.sample(name, dist.ImproperUniform(dist.constraints.real, (), ()))
    return numpyro.sample(name, dist.Normal(0.0, scale))
