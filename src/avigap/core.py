"""Models and their log joints: with :mod:`avigap.program.tracing` the only module that touches NumPyro's handlers.

A model is one NumPyro program that simulates when ``x`` is None and scores when it is given. Everything else in the
package sees it through three functions of arrays: :func:`simulate`, :func:`log_joint` and :func:`log_rows`.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from math import e, log, pi
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from numpyro import handlers
from numpyro.distributions import biject_to
from numpyro.infer.initialization import init_to_feasible

from avigap.errors import InputError
from avigap.program.tracing import is_latent, log_probs

ENTROPY_OF_STANDARD_NORMAL = 0.5 * log(2 * pi * e)

Latents = dict[str, Array]
"""Values of the latents on the unconstrained space, keyed by site."""


class Model(NamedTuple):
    """One latent variable model of the study; ``models/<name>.py`` exports one as ``MODEL``.

    Attributes
    ----------
    program
        ``program(x=None, *, num_obs, **settings) -> x``, a NumPyro program. ``x`` has ``lead + num_obs`` rows.
    truth
        Values of the shared latents (and of ``edge``) with which data are simulated.
    shared, local
        Sites of the shared latents theta and of the local latents z, whose leading axis is the observation.
    edge
        Further sites that have a factor of their own in every family (Remark 3.7), such as z_0 of a Markov chain.
    lead
        Number of rows of ``x`` before the first latent: 1 for the saw series, whose x_0 is data.
    dropped_constants
        ``(num_obs, settings) -> nats`` that the authors' code leaves out of -ELBO, or None where they published none.
    row_shape
        ``settings -> shape`` of a row of ``x``, () for a number.
    """

    program: Callable[..., Array]
    truth: Mapping[str, float]
    shared: tuple[str, ...] = ("theta",)
    local: tuple[str, ...] = ("z",)
    edge: tuple[str, ...] = ()
    lead: int = 0
    dropped_constants: Callable[[int, Mapping[str, Any]], float] | None = None
    row_shape: Callable[[Mapping[str, Any]], tuple[int, ...]] = lambda settings: ()


class Joint(NamedTuple):
    """A program with its settings bound: hashable, so that jitted functions take it as a static argument.

    ``shared`` names every latent with a normal factor of its own in all families, sorted: the shared latents and those
    of ``edge``. ``row_shape`` is the shape of a row of x.
    """

    program: Callable[..., Array]
    settings: tuple[tuple[str, Any], ...]
    shared: tuple[str, ...]
    local: tuple[str, ...]
    edge: tuple[str, ...] = ()
    lead: int = 0
    row_shape: tuple[int, ...] = ()

    def num_obs(self, x: Array) -> int:
        """Return the number of local latents that the data set ``x`` has."""
        return int(x.shape[0]) - self.lead


class MeanField(NamedTuple):
    """q: independent normals on the unconstrained space; loc and standard deviation by site, each of its shape."""

    loc: dict[str, Array]
    scale: dict[str, Array]


class Fit(NamedTuple):
    """What a solver returns.

    Attributes
    ----------
    q
        The fitted variational distribution.
    elbo
        Its ELBO in nats, of the program's density.
    trace
        ELBO after each step.
    status
        ``"converged"``, ``"max_steps"`` or ``"nonfinite"``.
    residual
        Largest stationarity residual in nats: the gradient in loc times scale, and in log scale.
    """

    q: MeanField
    elbo: float
    trace: np.ndarray
    status: str
    residual: float


def bind(model: Model, settings: Mapping[str, Any]) -> Joint:
    """Bind checked settings to a model; latents that the settings switch off are dropped."""
    bound, row_shape = tuple(sorted(settings.items())), model.row_shape(settings)
    joint = Joint(model.program, bound, (), model.local, (), model.lead, row_shape)
    present = latent_shapes(joint, 3)
    edge = tuple(site for site in model.edge if site in present)
    return joint._replace(shared=tuple(sorted(site for site in (*model.shared, *edge) if site in present)), edge=edge)


class SiteLayout(NamedTuple):
    """How a program samples a latent: its plates ``(name, size, dim)``, event dimensions and support.

    ``shape`` is that of its value on the unconstrained space.
    """

    plates: tuple[tuple[str, int, int], ...]
    event_dim: int
    support: Any
    shape: tuple[int, ...]


@lru_cache(maxsize=256)
def latent_layouts(joint: Joint, num_obs: int) -> Mapping[str, SiteLayout]:
    """Return the layout of every latent site for a data set with ``num_obs`` local latents."""
    program = handlers.substitute(handlers.seed(joint.program, 0), substitute_fn=init_to_feasible())
    layouts: dict[str, SiteLayout] = {}

    def visit(x: Array) -> None:
        with handlers.block():  # a guide may call this while NumPyro traces the guide
            trace = handlers.trace(program).get_trace(x, num_obs=num_obs, **dict(joint.settings))
        for name, site in trace.items():
            if is_latent(site):
                plates = tuple((frame.name, frame.size, frame.dim) for frame in site["cond_indep_stack"])
                shape = biject_to(site["fn"].support).inv(site["value"]).shape
                layouts[name] = SiteLayout(plates, site["fn"].event_dim, site["fn"].support, shape)

    jax.eval_shape(visit, jax.ShapeDtypeStruct((joint.lead + num_obs, *joint.row_shape), float))
    return layouts


def latent_shapes(joint: Joint, num_obs: int) -> dict[str, tuple[int, ...]]:
    """Return the shape of every latent site for a data set with ``num_obs`` local latents."""
    return {name: layout.shape for name, layout in latent_layouts(joint, num_obs).items()}


def simulate(model: Model, settings: Mapping[str, Any], num_obs: int, key: PRNGKeyArray) -> tuple[Array, Latents]:
    """Draw a data set, with the shared latents held at ``model.truth``.

    Returns
    -------
    x : Array of shape (lead + num_obs, ...)
    latents : the values of all latent sites that produced it

    Raises
    ------
    InputError
        If ``num_obs`` is below 1.
    """
    x, latents = simulate_many(model, settings, num_obs, key[None])
    return x[0], jax.tree.map(lambda value: value[0], latents)


def simulate_many(model: Model, settings: Mapping[str, Any], num_obs: int, keys: PRNGKeyArray) -> tuple[Array, Latents]:
    """Draw a data set for each of K keys side by side; each is the same as :func:`simulate` draws alone.

    Returns
    -------
    x : Array of shape (K, lead + num_obs, ...)
    latents : as of :func:`simulate`, with a leading axis of length K
    """
    if num_obs < 1:
        raise InputError(f"num_obs must be at least 1, got {num_obs}")
    x, latents = _draw(model.program, tuple(model.truth.items()), tuple(sorted(settings.items())), num_obs, keys)
    names = model.shared + model.edge + model.local
    return x, {name: latents[name] for name in names if name in latents}


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
@partial(jax.vmap, in_axes=(None, None, None, None, 0))
def _draw(
    program: Callable[..., Array],
    truth: tuple[tuple[str, float], ...],
    settings: tuple[tuple[str, Any], ...],
    num_obs: int,
    key: PRNGKeyArray,
) -> tuple[Array, Latents]:
    trace = handlers.trace(handlers.seed(handlers.condition(program, dict(truth)), key))
    x = trace(num_obs=num_obs, **dict(settings))
    return x, {name: jnp.asarray(site["value"]) for name, site in trace.trace.items() if site["type"] == "sample"}


def _log_probs(joint: Joint, x: Array, latents: Latents) -> list[Array]:
    return log_probs(joint.program, {"x": x, "num_obs": joint.num_obs(x), **dict(joint.settings)}, latents)


def log_joint(joint: Joint, x: Float[Array, " M ..."], latents: Latents) -> Float[Array, ""]:
    """Return log p(theta, z, x) in nats at latents on the unconstrained space (Jacobian included)."""
    return sum((jnp.sum(term) for term in _log_probs(joint, x, latents)), jnp.zeros(()))


def log_rows(joint: Joint, x: Array, latents: Latents) -> tuple[Float[Array, " N"], Float[Array, ""]]:
    """Split the log joint into one term per observation and the rest.

    A term belongs to the observations if its leading axis has ``num_obs`` entries. The split says nothing on
    whether row n depends on z_n alone: :func:`avigap.elbo.is_separable` checks that.
    """
    num_obs = joint.num_obs(x)
    rows, rest = jnp.zeros(num_obs), jnp.zeros(())
    for term in _log_probs(joint, x, latents):
        if jnp.ndim(term) and term.shape[0] == num_obs:
            rows = rows + term.reshape(num_obs, -1).sum(-1)
        else:
            rest = rest + jnp.sum(term)
    return rows, rest


def entropy(q: MeanField) -> Float[Array, ""]:
    """Return the entropy of q in nats."""
    scales = jax.tree.leaves(q.scale)
    return sum((jnp.sum(jnp.log(s) + ENTROPY_OF_STANDARD_NORMAL) for s in scales), jnp.zeros(()))


def require_float64() -> None:
    """Raise :class:`InputError` unless JAX computes in float64: sums in float32 lose the gap."""
    if not jax.config.jax_enable_x64:  # type: ignore[attr-defined]
        raise InputError("the amortization gap needs float64: call jax.config.update('jax_enable_x64', True) first")
