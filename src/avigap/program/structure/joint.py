"""The log joint of a program as a jaxpr of its latents and its data, whatever Python asks of their values.

Checks of supports are left out: one of a whole vector is a function of all of its elements. Where Python asks for a
value (:mod:`avigap.program.marks`) it gets that of the reference, and the request is noted; all other uses of the same
argument stay traced. Where the value of an observed site was computed outside of JAX, the site itself is an input.
"""

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from typing import Any, NamedTuple

import jax
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.primitives import Messenger

from avigap.program.marks import Marked, mark_of, plain, run_marked
from avigap.program.tracing import WholePlates, log_prob_of, scored


class Asked(NamedTuple):
    """A value that Python asked for: how, of which arguments it is made, and the line of the program."""

    how: str
    names: frozenset[str]
    line: str


class TracedJoint(NamedTuple):
    """The log joint of a program for arguments of one shape.

    Attributes
    ----------
    closed
        The jaxpr: of the latents, the data and the values of ``outside``, in the order of :attr:`inputs`; its results
        are the unsummed log densities of the sites.
    latents, data
        Values of the reference.
    outside
        Values of observed sites that were computed outside of JAX.
    sites
        Names of the sites, in the order of the results.
    asked
        What Python asked for.
    """

    closed: Any
    latents: Mapping[str, np.ndarray]
    data: Mapping[str, np.ndarray]
    outside: Mapping[str, np.ndarray]
    sites: tuple[str, ...]
    asked: tuple[Asked, ...]

    @property
    def inputs(self) -> list[tuple[str, np.ndarray]]:
        """Names and values of the inputs of the jaxpr."""
        return [*sorted(self.latents.items()), *sorted(self.data.items()), *sorted(self.outside.items())]


class _Unchecked(Messenger):
    """Runs a program without checks of supports."""

    def process_message(self, msg: dict[str, Any]) -> None:
        if msg["type"] == "sample":
            msg["fn"] = _unchecked(msg["fn"])


def _unchecked(own: Any) -> Any:
    """Return a distribution that does not check its arguments or values, nor do those that it is made of."""
    if not isinstance(own, dist.Distribution):
        return own
    found = copy(own)
    found._validate_args = False
    for name, part in vars(own).items():
        if isinstance(part, dist.Distribution):
            object.__setattr__(found, name, _unchecked(part))
    return found


class _Observed(Messenger):
    """Puts other values in place of those of observed sites, and notes what these are made of."""

    def __init__(self, function: Callable[..., Any], values: Mapping[str, Any], seen: dict[str, Any]) -> None:
        super().__init__(function)
        self.values, self.seen = values, seen

    def process_message(self, msg: dict[str, Any]) -> None:
        if msg["type"] == "sample" and msg["is_observed"] and np.size(msg["value"]):
            self.seen[msg["name"]] = msg["value"]
            msg["value"] = self.values.get(msg["name"], msg["value"])


def trace_joint(
    function: Callable[..., Any],
    arguments: Mapping[str, Any],
    latents: Mapping[str, np.ndarray],
    names: Sequence[str],
    observed: Mapping[str, Sequence[str]] | None = None,
    checked: bool = False,
) -> TracedJoint:
    """Return the log joint of a program as a jaxpr.

    Parameters
    ----------
    arguments
        All of them, with values.
    latents
        Values of the latent sites on the unconstrained space.
    names
        Arguments that are inputs.
    observed
        For each argument that is observed, the sites that condition on it.
    checked
        Whether densities are minus infinity outside of supports.

    Raises
    ------
    Exception
        Whatever the program raises.
    """
    reference = {name: np.asarray(arguments[name]) for name in names}
    found: dict[str, Any] = {}

    def run(latents: Any, data: Any, outside: Any) -> list[Any]:
        seen: dict[str, Any] = {}
        enabled = numpyro.validation_enabled(checked)

        def marked(**own: Any) -> dict[str, Any]:
            whole = _Observed(WholePlates(function if checked else _Unchecked(function)), outside, seen)
            with enabled:
                return {name: log_prob_of(site) for name, site in scored(whole, own, latents).items()}

        terms, trace = run_marked(marked, {**arguments, **data}, reference)
        found.update(
            seen=seen,
            sites=tuple(terms),
            asked=[(*own, line) for own, line in zip(trace.asked, trace.lines, strict=True)],
        )
        return [plain(term) for term in terms.values()]

    closed = jax.make_jaxpr(run)(latents, reference, {})
    outside = _outside(found["seen"], observed or {}, names)
    if outside:
        closed = jax.make_jaxpr(run)(latents, reference, outside)
    asked = tuple(Asked(*own) for own in found["asked"])
    return TracedJoint(closed, dict(latents), reference, outside, found["sites"], asked)


def _outside(
    seen: Mapping[str, Any], observed: Mapping[str, Sequence[str]], names: Sequence[str]
) -> dict[str, np.ndarray]:
    """Return the values of sites that condition on an argument, but not by JAX."""
    own = {site for name, sites in observed.items() if name in names for site in sites}
    return {
        site: np.asarray(value)
        for site, value in seen.items()
        if site in own
        and not (isinstance(value, Marked) and mark_of(value).all)
        and not isinstance(value, jax.core.Tracer)
    }
