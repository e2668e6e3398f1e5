"""NumPyro programs of many dependence structures, as a user would write them, for the tests of the verdict."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array
from numpyro import handlers
from numpyro.contrib.control_flow import scan
from numpyro.infer.reparam import LocScaleReparam

sample, plate = numpyro.sample, numpyro.plate

SCALES = np.array([1.0, 2.0, 0.5, 1.5, 3.0, 0.7])


def counts(y: Any = None, *, num_obs: int = 6) -> None:
    """Over-dispersed Poisson counts."""
    rate, spread = sample("rate", dist.Normal(0, 1)), sample("spread", dist.HalfNormal(1))
    with plate("obs", num_obs):
        z = sample("z", dist.Normal(rate, spread))
        sample("y", dist.Poisson(jnp.exp(jnp.clip(z, -8, 8))), obs=y)


def coins(y: Any = None, *, num_obs: int = 6) -> None:
    theta = sample("theta", dist.Normal(0, 1))
    with plate("obs", num_obs):
        z = sample("z", dist.Normal(theta, 1))
        sample("y", dist.Bernoulli(logits=z), obs=y)


def trials(y: Any = None, total: Any = None) -> None:
    theta = sample("theta", dist.Normal(0, 1))
    with plate("obs", len(total)):
        z = sample("z", dist.Normal(theta, 1))
        sample("y", dist.Binomial(total, logits=z), obs=y)


def categories(y: Any = None, *, num_obs: int = 6) -> None:
    with plate("obs", num_obs):
        z = sample("z", dist.Normal(0, 1).expand([3]).to_event(1))
        sample("y", dist.Categorical(logits=z), obs=y)


def factors(x: Any = None, *, num_obs: int = 6) -> None:
    """Factor analysis: z_n and x_n are vectors, coupled within a row only."""
    loadings = sample("loadings", dist.Normal(0, 1).expand([4, 2]).to_event(2))
    noise = sample("noise", dist.HalfNormal(1))
    with plate("obs", num_obs):
        z = sample("z", dist.Normal(0, 1).expand([2]).to_event(1))
        sample("x", dist.Normal(z @ loadings.T, noise).to_event(1), obs=x)


def two_sites(x: Any = None, *, num_obs: int = 6) -> None:
    with plate("obs", num_obs):
        loc = sample("loc", dist.Normal(0, 1))
        scale = sample("scale", dist.LogNormal(loc, 1))
        sample("x", dist.Normal(loc, scale), obs=x)


def simplices(x: Any = None, *, num_obs: int = 6) -> None:
    with plate("obs", num_obs):
        p = sample("p", dist.Dirichlet(jnp.ones(3)))
        b = sample("b", dist.Beta(2.0, 2.0))
        sample("x", dist.Normal(p @ jnp.arange(3.0) + b, 0.5), obs=x)


def bounded_by_theta(x: Any = None, *, num_obs: int = 6) -> None:
    width = sample("width", dist.LogNormal(0, 1))
    with plate("obs", num_obs):
        z = sample("z", dist.Uniform(0, width))
        sample("x", dist.Normal(z, 1), obs=x)


def schools(y: Any = None, sigma: Any = None) -> None:
    mu, tau = sample("mu", dist.Normal(0, 5)), sample("tau", dist.HalfCauchy(5))
    with plate("J", len(sigma)):
        theta = sample("theta", dist.Normal(mu, tau))
        sample("y", dist.Normal(theta, sigma), obs=y)


def effects(y: Any = None, t: Any = None, w: Any = None) -> None:
    """Regression with a random effect of each row; of w nothing depends."""
    slope = sample("slope", dist.Normal(0, 1))
    with plate("obs", len(t)):
        z = sample("z", dist.Normal(0, 1))
        sample("y", dist.Normal(slope * t + z, 1), obs=y)


def intercepts(y: Any = None, t: Any = None, group: Any = None) -> None:
    """Random intercepts in long format: rows belong to groups, whose number is read off the data."""
    slope = sample("slope", dist.Normal(0, 1))
    with plate("groups", int(group.max()) + 1):
        a = sample("a", dist.Normal(0, 1))
    with plate("obs", len(t)):
        sample("y", dist.Normal(a[group] + slope * t, 1), obs=y)


def nested(y: Any = None, *, num_obs: int = 6) -> None:
    """Latents of groups and of their three members."""
    theta = sample("theta", dist.Normal(0, 1))
    with plate("groups", num_obs, dim=-2):
        g = sample("g", dist.Normal(theta, 1))
        with plate("members", 3, dim=-1):
            m = sample("m", dist.Normal(g, 1))
            sample("y", dist.Normal(m, 1), obs=y)


def members(y: Any = None, *, num_obs: int = 6) -> None:
    """Latents of groups; the data of a group are those of its members."""
    with plate("groups", num_obs, dim=-2):
        g = sample("g", dist.Normal(0, 1))
        with plate("members", 3, dim=-1):
            sample("y", dist.Normal(g, 1), obs=y)


def item_response(y: Any = None, *, num_obs: int = 6) -> None:
    """Two-parameter item response: persons and items are crossed."""
    with plate("persons", num_obs, dim=-2):
        ability = sample("ability", dist.Normal(0, 1))
    with plate("items", 4, dim=-1):
        difficulty, slope = sample("difficulty", dist.Normal(0, 1)), sample("slope", dist.LogNormal(0, 0.5))
    with plate("persons", num_obs, dim=-2), plate("items", 4, dim=-1):
        sample("y", dist.Bernoulli(logits=slope * (ability - difficulty)), obs=y)


def long_responses(y: Any = None, person: Any = None, item: Any = None) -> None:
    with plate("persons", 4):
        ability = sample("ability", dist.Normal(0, 1))
    with plate("items", 3):
        difficulty = sample("difficulty", dist.Normal(0, 1))
    with plate("obs", len(person)):
        sample("y", dist.Bernoulli(logits=ability[person] - difficulty[item]), obs=y)


def volatility(r: Any = None, *, num_obs: int = 6) -> None:
    """Stochastic volatility: a random walk of log variances."""
    step = sample("step", dist.HalfNormal(1))
    h = sample("h", dist.GaussianRandomWalk(scale=step, num_steps=num_obs))
    with plate("obs", num_obs):
        sample("r", dist.Normal(0, jnp.exp(jnp.clip(h / 2, -6, 6))), obs=r)


def autoregression(x: Any = None, *, num_obs: int = 6) -> None:
    """An AR(1) latent, by NumPyro's scan."""
    phi = sample("phi", dist.Uniform(-1, 1))

    def step(previous: Array, current: Any) -> tuple[Array, None]:
        z = sample("z", dist.Normal(phi * previous, 1))
        sample("x", dist.Normal(z, 1), obs=current)
        return z, None

    scan(step, jnp.zeros(()), x, length=num_obs)


def local_scan(x: Any = None, *, num_obs: int = 6) -> None:
    """Independent latents, by NumPyro's scan, on a positive scale."""

    def step(carry: Array, current: Any) -> tuple[Array, None]:
        z = sample("z", dist.LogNormal(0, 1))
        sample("x", dist.Normal(z, 1), obs=current)
        return carry, None

    scan(step, jnp.zeros(()), x, length=num_obs)


def unrolled(x: Any = None, *, num_obs: int = 6) -> None:
    """A Markov chain written as a Python loop."""
    z = 0.0
    for n in range(num_obs):
        z = sample(f"z_{n}", dist.Normal(z, 1))
        sample(f"x_{n}", dist.Normal(z, 1), obs=None if x is None else x[n])


def saw_of_order_2(x: Any = None, *, num_obs: int = 6) -> None:
    xs = [0.0, 0.0]
    for n in range(num_obs):
        z = sample(f"z_{n}", dist.Normal(xs[-2], 1))
        xs.append(sample(f"x_{n}", dist.Normal(z, 1), obs=None if x is None else x[n]))


def future(x: Any = None, *, num_obs: int = 6) -> None:
    """z_n depends on the next datum."""
    after = 0.0
    for n in reversed(range(num_obs)):
        z = sample(f"z_{n}", dist.Normal(after, 1))
        after = sample(f"x_{n}", dist.Normal(z, 1), obs=None if x is None else x[n])


def pairs(x: Any = None, *, num_obs: int = 6) -> None:
    """Neighbours 2k and 2k + 1 are coupled."""
    with plate("obs", num_obs):
        z = sample("z", dist.Normal(0, 1))
        sample("x", dist.Normal(z, 1), obs=x)
    numpyro.factor("pairs", -((z[::2] - z[1::2]) ** 2).sum())


def dense(x: Any = None, *, num_obs: int = 6) -> None:
    """A Gaussian process at fixed places."""
    t = jnp.linspace(0, 1, num_obs)
    kernel = jnp.exp(-((t[:, None] - t) ** 2) / 0.1) + 1e-3 * jnp.eye(num_obs)
    f = sample("f", dist.MultivariateNormal(jnp.zeros(num_obs), kernel))
    with plate("obs", num_obs):
        sample("x", dist.Normal(f, 1), obs=x)


def by_index(x: Any = None, *, num_obs: int = 6) -> None:
    with plate("obs", num_obs):
        z = sample("z", dist.Normal(0, 1.0 + jnp.arange(num_obs)))
        sample("x", dist.Normal(z, 1), obs=x)


def by_index_and_mean(x: Any = None, *, num_obs: int = 6) -> None:
    centre = 0.0 if x is None else x.mean()
    with plate("obs", num_obs):
        z = sample("z", dist.Normal(centre, 1.0 + jnp.arange(num_obs)))
        sample("x", dist.Normal(z, 1), obs=x)


def mean_of_all(x: Any = None, *, num_obs: int = 6) -> None:
    """An empirical prior: a statistic of all data that is common to all n."""
    centre = 0.0 if x is None else x.mean()
    with plate("obs", num_obs):
        z = sample("z", dist.Normal(centre, 1))
        sample("x", dist.Normal(z, 1), obs=x)


def smoothed(x: Any = None, *, num_obs: int = 6) -> None:
    """A prior whose centre is another weighted mean of all data for each n."""
    weights = 1 / (1.0 + jnp.abs(jnp.arange(num_obs)[:, None] - jnp.arange(num_obs)))
    with plate("obs", num_obs):
        z = sample("z", dist.Normal(0.0 if x is None else weights @ x, 1))
        sample("x", dist.Normal(z, 1), obs=x)


def sum_to_zero(x: Any = None, *, num_obs: int = 6) -> None:
    with plate("obs", num_obs):
        z = sample("z", dist.Normal(0, 1))
        sample("x", dist.Normal(z, 1), obs=x)
    numpyro.factor("sum", -0.5 * (z.sum() / 0.1) ** 2)


def of_the_sum(x: Any = None, *, num_obs: int = 6) -> None:
    """Appendix A.3 of the paper: every datum depends on the sum of all latents."""
    with plate("obs", num_obs):
        z = sample("z", dist.Normal(0, 1))
    with plate("obs", num_obs):
        sample("x", dist.Normal(z.sum(), 1), obs=x)


def mixture(x: Any = None, *, num_obs: int = 6) -> None:
    weight = sample("weight", dist.Beta(1, 1))
    with plate("obs", num_obs):
        k = sample("k", dist.Bernoulli(weight), infer={"enumerate": "parallel"})
        z = sample("z", dist.Normal(0, 1))
        sample("x", dist.Normal(3 * k + z, 1), obs=x)


def summed_mixture(x: Any = None, *, num_obs: int = 6) -> None:
    with plate("obs", num_obs):
        z = sample("z", dist.Normal(0, 1))
        parts = dist.Normal(jnp.stack([z, z + 3], axis=-1), 1.0)
        sample("x", dist.MixtureSameFamily(dist.Categorical(probs=jnp.array([0.4, 0.6])), parts), obs=x)


def subsampled(x: Any = None, *, num_obs: int = 6) -> None:
    theta = sample("theta", dist.Normal(0, 1))
    with plate("obs", num_obs, subsample_size=3) as rows:
        z = sample("z", dist.Normal(theta, 1))
        sample("x", dist.Normal(z, 1), obs=None if x is None else x[rows])


def dead_zone(x: Any = None, *, num_obs: int = 6) -> None:
    """Neighbours are coupled only where both are large: a derivative at typical points is zero."""
    with plate("obs", num_obs):
        z = sample("z", dist.Normal(0, 1))
        sample("x", dist.Normal(z, 1), obs=x)
    numpyro.factor("far", -jnp.maximum(z[1:] + z[:-1] - 4, 0).sum())


def ordered(x: Any = None, *, num_obs: int = 6) -> None:
    """Neighbours are coupled by the support alone: no derivative shows it."""
    with plate("obs", num_obs):
        z = sample("z", dist.Normal(0, 1))
        sample("x", dist.Normal(z, 1), obs=x)
    numpyro.factor("order", jnp.where(z[1:] > z[:-1] - 3, 0.0, -jnp.inf).sum())


def steps(x: Any = None, *, num_obs: int = 6) -> None:
    """Neighbours are coupled by a step: the derivative is zero almost everywhere."""
    with plate("obs", num_obs):
        z = sample("z", dist.Normal(0, 1))
        sample("x", dist.Normal(z, 1), obs=x)
    numpyro.factor("step", jnp.where(z[1:] * z[:-1] > 0, 0.0, -1.0).sum())


def data_by_factor(x: Any) -> None:
    """A likelihood that is no sample site; data must be given."""
    with plate("obs", len(x)):
        z = sample("z", dist.Normal(0, 1))
        numpyro.factor("likelihood", -((x - z) ** 2))


def numbered(y: Any = None, t: Any = None) -> None:
    """Coefficients whose names end in numbers, as those of a series of positions would."""
    b0, b1, b2 = (sample(f"b{k}", dist.Normal(0, 1)) for k in range(3))
    with plate("obs", len(t)):
        z = sample("z", dist.Normal(0, 1))
        sample("y", dist.Poisson(jnp.exp(jnp.clip(b0 + b1 * t + b2 * t**2 + z, -8, 8))), obs=y)


def in_a_row(y: Any = None, *, num_obs: int = 6) -> None:
    """A chain inside of each row."""
    with plate("obs", num_obs):
        z1 = sample("z1", dist.Normal(0, 1))
        z2 = sample("z2", dist.Normal(z1, 1))
        z3 = sample("z3", dist.Normal(z2, 1))
        sample("y", dist.Normal(z3, 1), obs=y)


def weekly(x: Any = None, *, num_obs: int = 6) -> None:
    """A chain with a lag of 7, longer than the data that are looked at first."""
    with plate("obs", num_obs):
        z = sample("z", dist.Normal(0, 1))
        sample("x", dist.Normal(z, 1), obs=x)
    numpyro.factor("lag", -((z[7:] - z[:-7]) ** 2).sum() if num_obs > 7 else 0.0)


def moving_mean(x: Any = None, *, num_obs: int = 6) -> None:
    """The prior mean of z_n is that of five data around it."""
    centre = jnp.zeros(num_obs)
    if x is not None:
        centre = centre.at[2:-2].set(jnp.convolve(x, jnp.ones(5) / 5, "valid"))
    with plate("obs", num_obs):
        z = sample("z", dist.Normal(centre, 1))
        sample("x", dist.Normal(z, 1), obs=x)


def panel(y: Any = None, *, num_obs: int = 6) -> None:
    """Chains of three subjects in time, which is N."""

    def step(previous: Array, current: Any) -> tuple[Array, None]:
        with plate("subjects", 3):
            z = sample("z", dist.Normal(previous, 1))
            sample("y", dist.Normal(z, 1), obs=current)
        return z, None

    scan(step, jnp.zeros(3), y, length=num_obs)


def panel_of_data(y: Any) -> None:
    """Three series of data, each prior mean the datum before."""
    with plate("subjects", 3, dim=-1), plate("time", len(y), dim=-2):
        z = sample("z", dist.Normal(jnp.concatenate([jnp.zeros((1, 3)), y[:-1]]), 1))
        sample("y", dist.Normal(z, 1), obs=y)


def short_chains(y: Any = None, *, num_obs: int = 6) -> None:
    """Chains of three members: the middle one differs from the ends."""
    with plate("groups", num_obs, dim=-2), plate("members", 3, dim=-1):
        z = sample("z", dist.Normal(0, 1))
        sample("y", dist.Normal(z, 1), obs=y)
    numpyro.factor("chain", -((z[:, 1:] - z[:, :-1]) ** 2).sum())


def two_plates(y: Any = None, *, num_obs: int = 6) -> None:
    """Latents and data in plates of different names, with a deterministic site between."""
    theta = sample("theta", dist.Normal(0, 1))
    with plate("latents", num_obs):
        e = sample("e", dist.Normal(0, 1))
        z = numpyro.deterministic("z", theta + e)
    with plate("data", num_obs):
        sample("y", dist.StudentT(4.0, z, 1.0), obs=y)


def counties(y: Any = None, floor: Any = None, county: Any = None, soil: Any = None) -> None:
    """Rows in counties, which have a covariate of their own."""
    slope = sample("slope", dist.Normal(0, 1))
    with plate("counties", int(county.max()) + 1) as j:
        a = sample("a", dist.Normal(soil[j], 1))
    with plate("obs", len(floor)):
        sample("y", dist.Normal(a[county] + slope * floor, 1), obs=y)


def lagged(y: Any = None, rain: Any = None) -> None:
    """A covariate acts one row later."""
    with plate("obs", len(rain)):
        z = sample("z", dist.Normal(jnp.concatenate([jnp.zeros(1), jnp.asarray(rain)[:-1]]), 1))
        sample("y", dist.Normal(z, 1), obs=y)


def treated(y: Any = None, treat: Any = None) -> None:
    """A covariate that is the same in the first half of the data."""
    effect = sample("effect", dist.Normal(0, 1))
    with plate("obs", len(treat)):
        z = sample("z", dist.Normal(effect * treat, 1))
        sample("y", dist.Normal(z, 1), obs=y)


def wide(y: Any = None, table: Any = None) -> None:
    """As many coefficients as rows."""
    b = sample("b", dist.Normal(0, 1).expand([6]).to_event(1))
    with plate("obs", len(table)):
        z = sample("z", dist.Normal(0, 1))
        sample("y", dist.Normal(table @ b + z, 1), obs=y)


def summed(y: Any = None, total: Any = None, *, num_obs: int = 6) -> None:
    """A datum of all rows together."""
    with plate("obs", num_obs):
        z = sample("z", dist.Normal(0, 1))
        sample("y", dist.Normal(z, 1), obs=y)
    sample("total", dist.Normal(z.sum(), 1), obs=total)


@handlers.reparam(config={"z": LocScaleReparam(0.0)})
def decorated(y: Any = None, sigma: Any = SCALES) -> None:
    """Scales are a default argument, and a handler decorates the program."""
    mu = sample("mu", dist.Normal(0, 1))
    with plate("obs", len(sigma)):
        z = sample("z", dist.Normal(mu, sigma))
        sample("y", dist.Normal(z, 1), obs=y)


def logarithm(y: Any = None, *, num_obs: int = 6) -> None:
    """No site draws what is given as y."""
    with plate("obs", num_obs):
        z = sample("z", dist.Normal(0, 1))
        sample("log_y", dist.Normal(z, 1), obs=None if y is None else jnp.log(y))


def first(x: Any = None, *, num_obs: int = 6) -> None:
    """The first latent has a wide prior."""
    with plate("obs", num_obs):
        z = sample("z", dist.Normal(0, jnp.where(jnp.arange(num_obs) == 0, 10.0, 1.0)))
        sample("x", dist.Normal(z, 1), obs=x)


def slopes(y: Any = None, t: Any = None, group: Any = None) -> None:
    """Random intercepts in long format, and slopes in a plate of their own."""
    with plate("groups", int(group.max()) + 1):
        a = sample("a", dist.Normal(0, 1))
    with plate("columns", 2):
        b = sample("b", dist.Normal(0, 1))
    with plate("obs", len(t)):
        sample("y", dist.Normal(a[group] + t @ b, 1), obs=y)


def outside(y: Any = None, t: Any = None) -> None:
    """A covariate with which NumPy computes."""
    with plate("obs", len(t)):
        z = sample("z", dist.Normal(np.sqrt(np.asarray(t)), 1))
        sample("y", dist.Normal(z, 1), obs=y)


def lag_and_mean(x: Any = None, *, num_obs: int = 6) -> None:
    """The prior mean of z_n is x_(n-1) and what all data have in common; its own datum says nothing of it."""
    centre = jnp.zeros(num_obs) if x is None else x.mean() + jnp.concatenate([jnp.zeros(1), x[:-1]])
    with plate("obs", num_obs):
        sample("z", dist.Normal(centre, 1))
        sample("x", dist.Normal(0, 1), obs=x)


def mean_covariate(y: Any = None, t: Any = None) -> None:
    """Of a covariate only the mean matters, which is common to all n."""
    with plate("obs", len(t)):
        z = sample("z", dist.Normal(jnp.mean(t), 1))
        sample("y", dist.Normal(z, 1), obs=y)
