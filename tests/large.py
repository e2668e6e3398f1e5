"""NumPyro programs whose dependences need many rows, or the user's own data, to show."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array
from numpyro.contrib.control_flow import scan

sample, plate = numpyro.sample, numpyro.plate

NEIGHBOURS = np.zeros((12, 12))
for one in range(10):
    NEIGHBOURS[one, (one + 1) % 10] = NEIGHBOURS[(one + 1) % 10, one] = 1
NEIGHBOURS[10, 11] = NEIGHBOURS[11, 10] = 1


def season(x: Any = None, *, num_obs: int = 6) -> None:
    """Months are tied to those of the year before."""
    with plate("obs", num_obs):
        z = sample("z", dist.Normal(0, 1))
        sample("x", dist.Normal(z, 1), obs=x)
    numpyro.factor("lag", -((z[12:] - z[:-12]) ** 2).sum() if num_obs > 12 else 0.0)


def yearly_saw(x: Any = None, *, num_obs: int = 6) -> None:
    before = jnp.zeros(num_obs) if x is None else jnp.concatenate([jnp.zeros(min(12, num_obs)), x[:-12]])
    with plate("obs", num_obs):
        z = sample("z", dist.Normal(before, 1))
        sample("x", dist.Normal(z, 1), obs=x)


def change_point(x: Any = None, *, num_obs: int = 6) -> None:
    with plate("obs", num_obs):
        z = sample("z", dist.Normal(jnp.where(jnp.arange(num_obs) < 20, 0.0, 3.0), 1))
        sample("x", dist.Normal(z, 1), obs=x)


def walk(x: Any = None, *, num_obs: int = 6, step: float = 1e6, noise: float = 0.1) -> None:
    """The entries of the Hessian that couple neighbours are 1e-14 of those on its diagonal."""
    z = sample("z", dist.GaussianRandomWalk(scale=step, num_steps=num_obs))
    with plate("obs", num_obs):
        sample("x", dist.Normal(z, noise), obs=x)


def repeated(y: Any = None, subject: Any = None) -> None:
    """Repeated measures, in long format."""
    mean = sample("mean", dist.Normal(0, 1))
    with plate("subjects", int(subject.max()) + 1):
        a = sample("a", dist.Normal(mean, 1))
    with plate("obs", len(subject)):
        sample("y", dist.Normal(a[subject], 1), obs=y)


def two_groups(y: Any = None, treated: Any = None) -> None:
    """The codes of the groups are decimals."""
    with plate("arms", 2):
        a = sample("a", dist.Normal(0, 1))
    with plate("obs", len(treated)):
        sample("y", dist.Normal(a[treated.astype(int)], 1), obs=y)


def classes(y: Any = None, *, num_obs: int = 6) -> None:
    """Classes of twenty pupils, which no plate tells."""
    room = np.arange(num_obs) // 20
    with plate("pupils", num_obs):
        z = sample("z", dist.Normal(0, 1))
        sample("y", dist.Normal(z, 1), obs=y)
    numpyro.factor("room", -(jnp.zeros(room.max() + 1).at[room].add(z) ** 2).sum())


def pupils(y: Any = None, room: Any = None) -> None:
    """Three levels: a pupil's effect is centred at that of its class, of which sizes differ."""
    with plate("rooms", int(room.max()) + 1):
        c = sample("c", dist.Normal(0, 1))
    with plate("pupils", len(room)):
        z = sample("z", dist.Normal(c[room], 1))
        sample("y", dist.Normal(z, 1), obs=y)


def mirrored(y: Any = None, *, num_obs: int = 6) -> None:
    with plate("obs", num_obs):
        z = sample("z", dist.Normal(0, 1))
        sample("y", dist.Normal(z[::-1], 1), obs=y)


def tree(y: Any = None, *, num_obs: int = 6) -> None:
    """The saw series on a binary tree."""
    parent = np.maximum((np.arange(num_obs) - 1) // 2, 0)
    with plate("obs", num_obs):
        z = sample("z", dist.Normal(0.0 if y is None else y[parent], 1))
        sample("y", dist.Normal(z, 1), obs=y)


def island(y: Any = None, *, near: Any = NEIGHBOURS) -> None:
    """A map of fixed size, two areas of which are an island."""
    z = sample("z", dist.Normal(0, 3).expand([12]).to_event(1))
    numpyro.factor("map", -0.5 * z @ (jnp.diag(near.sum(axis=1)) - near) @ z)
    with plate("obs", 12):
        sample("y", dist.Normal(z, 1), obs=y)


def three_groups(y: Any = None, *, num_obs: int = 6) -> None:
    """Three groups, in which the rows grow with N."""
    with plate("groups", 3):
        a = sample("a", dist.Normal(0, 1))
    with plate("obs", num_obs):
        sample("y", dist.Normal(a[np.arange(num_obs) % 3], 1), obs=y)


def alternating(y: Any = None, *, num_obs: int = 6) -> None:
    """exp(z_n) - z_(n-1) at odd n and its mirror at even n: with the names of inputs alone, all would be alike."""
    n = np.arange(num_obs)
    with plate("obs", num_obs):
        z = sample("z", dist.Normal(0, 1))
        sample("y", dist.Normal(z, 1), obs=y)
    one, other = jnp.exp(-(z[1:] ** 2)) - z[:-1], jnp.exp(-(z[:-1] ** 2)) - z[1:]
    numpyro.factor("alternating", jnp.where(n[1:] % 2 == 1, one, other).sum())


def above_fifty(x: Any = None, *, num_obs: int = 6) -> None:
    """Neighbours are coupled where their data are large."""
    with plate("obs", num_obs):
        z = sample("z", dist.Normal(0, 1))
        sample("x", dist.Normal(z, 1), obs=x)
    if x is not None:
        both = (x[1:] > 50) & (x[:-1] > 50)
        numpyro.factor("above", -jnp.where(both, (z[1:] - z[:-1]) ** 2, 0.0).sum())


def median(x: Any = None, *, num_obs: int = 6) -> None:
    with plate("obs", num_obs):
        z = sample("z", dist.Normal(0.0 if x is None else jnp.median(x), 1))
        sample("x", dist.Normal(z, 1), obs=x)


def standardised(y: Any = None, t: Any = None) -> None:
    slope = sample("slope", dist.Normal(0, 1))
    with plate("obs", len(t)):
        z = sample("z", dist.Normal(slope * (t - t.mean()) / t.std(), 1))
        sample("y", dist.Normal(z, 1), obs=y)


def changing_variance(y: Any = None, *, num_obs: int = 6) -> None:
    """The variance depends on all data before."""

    def step(variance: Array, now: Any) -> tuple[Array, None]:
        z = sample("z", dist.Normal(0, jnp.sqrt(variance)))
        value = sample("y", dist.Normal(z, 1), obs=now)
        return 0.5 + 0.3 * variance + 0.2 * value**2, None

    scan(step, 1.0, y, length=num_obs)


def floored(y: Any = None, t: Any = None) -> None:
    with plate("obs", len(t)):
        z = sample("z", dist.Normal(jnp.floor(t), 1))
        sample("y", dist.Normal(z, 1), obs=y)


def switched(y: Any = None, t: Any = None) -> None:
    """A covariate acts by a choice alone."""
    with plate("obs", len(t)):
        z = sample("z", dist.Normal(0, 1))
        sample("y", dist.Normal(jnp.where(t > 0, z, 0.0), 1), obs=y)


def hazards(time: Any = None, died: Any = None) -> None:
    """Cox's partial likelihood: who is at risk is a comparison of times."""
    with plate("obs", len(time)):
        z = sample("z", dist.Normal(0, 1))
        at_risk = jnp.where(time[None, :] >= time[:, None], jnp.exp(z)[None, :], 0.0).sum(axis=1)
        numpyro.factor("partial", died * (z - jnp.log(at_risk)))


def drifting_panel(y: Any = None) -> None:
    """Three series, each prior mean the datum before; the scale of the prior grows with time."""
    time = len(y)
    with plate("subjects", 3, dim=-1), plate("time", time, dim=-2):
        before = jnp.concatenate([jnp.zeros((1, 3)), y[:-1]])
        z = sample("z", dist.Normal(before, 1.0 + jnp.arange(time)[:, None]))
        sample("y", dist.Normal(z, 1), obs=y)


def steady_panel(y: Any = None) -> None:
    """The same with one scale."""
    with plate("subjects", 3, dim=-1), plate("time", len(y), dim=-2):
        z = sample("z", dist.Normal(jnp.concatenate([jnp.zeros((1, 3)), y[:-1]]), 1))
        sample("y", dist.Normal(z, 1), obs=y)


def weighted_members(y: Any = None, *, num_obs: int = 6) -> None:
    """Members of a group, which its effect couples; the second one's noise is twice that of the others."""
    with plate("groups", num_obs, dim=-2):
        g = sample("g", dist.Normal(0, 1))
        with plate("members", 3, dim=-1):
            m = sample("m", dist.Normal(g, 1))
            sample("y", dist.Normal(m, jnp.array([1.0, 2.0, 1.0])), obs=y)
