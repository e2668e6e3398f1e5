"""Programs as people write them: sites, arguments and idioms of tutorials and threads, for the tests of answers."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.contrib.control_flow import scan

sample, plate = numpyro.sample, numpyro.plate


def eight_schools(J: int, sigma: Any, y: Any = None) -> None:
    """The site of the data has a name of its own, and the number of schools is an argument."""
    mu, tau = sample("mu", dist.Normal(0, 5)), sample("tau", dist.HalfCauchy(5))
    with plate("J", J):
        theta = sample("theta", dist.Normal(mu, tau))
        sample("obs", dist.Normal(theta, sigma), obs=y)


def baseball(at_bats: Any, hits: Any = None) -> None:
    """Partial pooling of success rates."""
    m, kappa = sample("m", dist.Uniform(0, 1)), sample("kappa", dist.Pareto(1, 1.5))
    with plate("num_players", at_bats.shape[0]):
        phi = sample("phi", dist.Beta(m * kappa, (1 - m) * kappa))
        sample("obs", dist.Binomial(at_bats, probs=phi), obs=hits)


def lungs(patient_code: Any, weeks: Any, fvc_obs: Any = None) -> None:
    """Random intercepts and slopes of patients, in long format; the number of patients is counted by NumPy."""
    centre = sample("centre", dist.Normal(0, 10).expand([2]).to_event(1))
    spread = sample("spread", dist.HalfNormal(10).expand([2]).to_event(1))
    with plate("plate_i", len(np.unique(patient_code))):
        alpha, beta = (sample(name, dist.Normal(centre[k], spread[k])) for k, name in enumerate(("alpha", "beta")))
    noise = sample("noise", dist.HalfNormal(10))
    with plate("data", len(patient_code)):
        sample("obs", dist.Normal(alpha[patient_code] + beta[patient_code] * weeks, noise), obs=fvc_obs)


def mixture(data: Any, K: int = 2) -> None:
    """Assignments are discrete, and the data are an argument that must be given."""
    weights = sample("weights", dist.Dirichlet(jnp.ones(K)))
    with plate("components", K):
        locs = sample("locs", dist.Normal(0, 10))
    with plate("data", len(data)):
        assignment = sample("assignment", dist.Categorical(weights), infer={"enumerate": "parallel"})
        shift = sample("shift", dist.Normal(0, 1))
        sample("obs", dist.Normal(locs[assignment] + shift, 1), obs=data)


def annotated(annotations: Any) -> None:
    """Answers of annotators on items, which are crossed; plates are kept and entered again."""
    items = plate("item", annotations.shape[0], dim=-2)
    annotators = plate("annotator", annotations.shape[1], dim=-1)
    with annotators:
        skill = sample("skill", dist.Normal(0, 1))
    with items:
        difficulty = sample("difficulty", dist.Normal(0, 1))
    with items, annotators:
        sample("y", dist.Bernoulli(logits=skill - difficulty), obs=annotations)


def prices(returns: Any) -> None:
    """Stochastic volatility: the data set the length of a walk, and nothing lies in a plate."""
    step, nu = sample("sigma", dist.Exponential(50.0)), sample("nu", dist.Exponential(0.1))
    s = sample("s", dist.GaussianRandomWalk(scale=step, num_steps=returns.shape[0]))
    sample("r", dist.StudentT(df=nu, loc=0, scale=jnp.exp(jnp.clip(s, -8, 8))), obs=returns)


def regression(marriage: Any, age: Any, divorce: Any = None) -> None:
    """No latent has a row."""
    a, b, c = (sample(name, dist.Normal(0, 1)) for name in ("a", "bM", "bA"))
    sample("obs", dist.Normal(a + b * marriage + c * age, 1), obs=divorce)


def clusters(v: Any = None, *, num_obs: int = 6) -> None:
    """A mixture summed out: its parts lie in a plate of their own."""
    with plate("parts", 3):
        at = sample("at", dist.Normal(0, 3))
    with plate("rows", num_obs):
        sample("w", dist.MixtureSameFamily(dist.Categorical(probs=jnp.ones(3) / 3), dist.Normal(at, 1.0)), obs=v)


def shrunk(target: Any = None, *, table: Any) -> None:
    """Coefficients with a scale each, in a plate of columns."""
    with plate("columns", table.shape[1]):
        own = sample("own", dist.HalfCauchy(1))
        b = sample("b", dist.Normal(0, own))
    with plate("rows", len(table)):
        sample("seen", dist.Normal(table @ b, 1), obs=target)


def counted(found: Any, *, tries: int = 3) -> None:
    """A likelihood by hand, as a factor."""
    a = sample("a", dist.Normal(0, 1))
    with plate("rows", len(found)):
        z = sample("z", dist.Normal(a, 1))
    numpyro.factor("likelihood", dist.Binomial(tries, logits=z).log_prob(found).sum())


def whole_table(frame: Any, observed: bool = True) -> None:
    with plate("rows", len(frame["x"])):
        z = sample("z", dist.Normal(jnp.asarray(frame["x"]), 1))
        sample("y", dist.Normal(z, 1), obs=frame["y"] if observed else None)


BORDERS = (np.array([0, 1, 2, 3, 4, 5, 6]), np.array([1, 2, 3, 4, 5, 6, 7]))


def on_a_map(cases: Any = None, *, expected: Any) -> None:
    """The neighbours of eight regions are constants."""
    with plate("regions", len(expected)):
        phi = sample("phi", dist.Normal(0, 3))
        sample("cases", dist.Poisson(expected * jnp.exp(jnp.clip(phi, -8, 8))), obs=cases)
    numpyro.factor("smooth", -0.5 * jnp.sum((phi[BORDERS[0]] - phi[BORDERS[1]]) ** 2))


def partly_seen(y: Any = None, *, seen: Any) -> None:
    with plate("rows", len(seen)):
        z = sample("z", dist.Normal(0, 1))
        sample("y", dist.Normal(z, 0.5), obs=y, obs_mask=seen)


def any_features(y: Any = None, **features: Any) -> None:
    eta = sum(sample(f"slope_{name}", dist.Normal(0, 1)) * column for name, column in sorted(features.items()))
    with plate("rows", len(eta)):
        z = sample("z", dist.Normal(eta, 1))
        sample("out", dist.Normal(z, 1), obs=y)


def dosed(y: Any = None, *, base: Any, dose: Any = None) -> None:
    """A covariate that may be left out."""
    with plate("rows", len(base)):
        z = sample("z", dist.Normal(base if dose is None else base + dose, 1))
        sample("seen", dist.Normal(z, 1), obs=y)


def checked(y: Any = None, *, total: Any) -> None:
    """Refuses bad data by their values."""
    if y is not None and bool((y > total).any()):
        raise ValueError("more successes than trials")
    assert not np.isnan(np.asarray(total, float)).any()
    with plate("rows", len(total)):
        z = sample("z", dist.Normal(0, 1))
        sample("y", dist.Binomial(total, logits=z), obs=y)


def looked_at(y: Any = None, *, t: Any) -> None:
    """A prior that depends on a choice by Python, of the values of the data."""
    shift = np.array([1.0 if y is not None and y[n] > 0 else 0.0 for n in range(len(t))])
    with plate("rows", len(t)):
        z = sample("z", dist.Normal(shift, 1))
        sample("y", dist.Normal(z, t), obs=y)


def branching(y: Any = None, *, num_obs: int = 6) -> None:
    z = sample("z", dist.Normal(0, 1))
    spread = 1.0 if z > 0 else 2.0
    with plate("rows", num_obs):
        w = sample("w", dist.Normal(0, spread))
        sample("y", dist.Normal(w, 1), obs=y)


def in_groups(y: Any = None, *, group: Any, num_groups: int) -> None:
    with plate("groups", num_groups):
        a = sample("a", dist.Normal(0, 1))
    with plate("rows", len(group)):
        sample("y", dist.Normal(a[group], 1), obs=y)


def five_rows(y: Any = None) -> None:
    with plate("rows", 5):
        z = sample("z", dist.Normal(0, 1))
        sample("y", dist.Normal(z, 1), obs=y)


four_groups = partial(in_groups, num_groups=4)


class Study:
    """An object that holds a setting."""

    def __init__(self, num_groups: int) -> None:
        self.num_groups = num_groups

    def program(self, y: Any = None, *, group: Any) -> None:
        in_groups(y, group=group, num_groups=self.num_groups)


study = Study(4)


def logarithm(amount: Any, rate: Any) -> None:
    with plate("rows", len(rate)):
        z = sample("z", dist.Normal(rate, 1))
        sample("log", dist.Normal(z, 1), obs=jnp.log(amount))


def two_parts(both: Any = None, *, num_obs: int = 6) -> None:
    first, second = (None, None) if both is None else (both[:, 0], both[:, 1])
    with plate("rows", num_obs):
        z = sample("z", dist.Normal(0, 1))
        sample("one", dist.Normal(z, 1), obs=first)
        sample("two", dist.Normal(z, 2), obs=second)


def halves(y: Any) -> None:
    number = len(y) // 2
    with plate("rows", number):
        z = sample("z", dist.Normal(0, 1))
        sample("before", dist.Normal(z, 1), obs=y[:number])
        sample("after", dist.Normal(z, 2), obs=y[number:])


def backwards(y: Any, t: Any) -> None:
    with plate("rows", len(t)):
        z = sample("z", dist.Normal(t, 1))
        sample("y", dist.Normal(z, 1), obs=y[::-1])


@numpyro.handlers.reparam(config={})
def less_an_offset(y: Any = None, *, offset: Any) -> None:
    """The value of the site is made of both, y may be None but is not drawn then, and a handler decorates it."""
    with plate("rows", len(offset)):
        z = sample("z", dist.Normal(offset, 1))
        sample("change", dist.Normal(z, 2), obs=y - offset)


def shows_latents(x: Any, y: Any = None) -> Any:
    """Returns its latents, which are as many as its data."""
    with plate("rows", len(x)):
        z = sample("z", dist.Normal(x, 1))
        sample("y", dist.Normal(z, 1), obs=y)
    return z


def selected(y: Any, seen: Any) -> None:
    """A mask chooses values: it is no datum itself."""
    with plate("rows", len(seen)), numpyro.handlers.mask(mask=seen):
        z = sample("z", dist.Normal(0, 1))
        sample("k", dist.Normal(z, 1), obs=jnp.where(seen, y, 0.0))


def exchanged(x: Any = None, y: Any = None, *, num_obs: int = 6) -> None:
    """Each argument is observed at the site of the other's name."""
    with plate("rows", num_obs):
        z = sample("z", dist.Normal(0, 1))
        sample("y", dist.Normal(z, 1), obs=x)
        sample("x", dist.Normal(z, 2), obs=y)


def smooth_counts(k: Any = None, *, num_obs: int = 6) -> None:
    """A scan that carries the latent."""

    def step(level: jax.Array, current: Any) -> tuple[jax.Array, None]:
        level = sample("level", dist.Normal(level, 0.5))
        sample("count", dist.Poisson(jnp.exp(jnp.clip(level, -8, 8))), obs=current)
        return level, None

    scan(step, jnp.zeros(()), k, length=num_obs)


def exact(n: Any = None, *, num_obs: int = 6) -> None:
    with plate("rows", num_obs):
        z = sample("z", dist.Normal(0, 1))
        sample("n", dist.Poisson(jnp.exp(jnp.clip(z, -8, 8))), obs=n)


def shifted(y: Any, x: Any) -> None:
    """Data that must be given, and so are not drawn near the covariate."""
    with plate("rows", len(y)):
        z = sample("z", dist.Normal(0, 1))
        sample("o", dist.Normal(z + x, 1), obs=y)


def echoed(y: Any = None, *, num_obs: int = 6) -> None:
    """Data that hardly ever differ from the latents."""
    with plate("rows", num_obs):
        k = sample("k", dist.Bernoulli(0.5))
        sample("y", dist.Bernoulli(jnp.where(k == 1, 0.999, 0.001)), obs=y)
