"""Measurements of ``make bench``: our solvers beside NumPyro's SVI, each in a process of its own."""

import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpyro
from jaxtyping import Array

from avigap import families, models
from avigap.amortization import initial
from avigap.ascend import Objective, ascend
from avigap.core import Joint, bind, simulate
from avigap.elbo import supports
from avigap.gap import fit_amortized
from avigap.optimum import fit_factorized
from avigap.settings import check_settings
from avigap.starts import Problem

MEMORY_LIMIT = 4 * 2**30
ARRAYS_PER_PARTICLE = 12
"""Vectors of N doubles that one particle of a reparameterised gradient keeps alive, roughly."""

NETWORK = {"kind": "mlp", "width": 8, "heads": "separate"}
CHAIN_FAMILY = {"linear": {"kind": "polynomial", "degree": 1}, "nonlinear": NETWORK}


def _data(name: str, num_obs: int) -> tuple[Joint, Array]:
    model = models.load(name)
    settings = check_settings(f"model {name!r}", model.program, {})
    return bind(model, settings), simulate(model, settings, num_obs, jax.random.key(0))[0]


def _seconds(function: Callable[[], Any], repeats: int = 1) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        jax.block_until_ready(function())
    return (time.perf_counter() - start) / repeats


def measure_optimum(model: str, num_obs: int) -> dict[str, float]:
    """Return seconds to the certified F-VI optimum, compilation included, and the fit's residual in nats."""
    joint, x = _data(model, num_obs)
    optimum = fit_factorized(joint, x)
    return {"seconds": optimum.seconds, "residual": optimum.fit.residual}


def measure_step(model: str, num_obs: int) -> dict[str, float]:
    """Return seconds of one Levenberg-Marquardt step of a network of width 8, compiled before."""
    joint, x = _data(model, num_obs)
    family = families.build(NETWORK)
    params = initial(joint, family, x, jax.random.key(1))
    objective = Objective("separable", 8 if supports("quadratic", joint, x).ok else 32)
    ascend(objective, joint, family, params, x, max_steps=1)
    steps = 3
    start = time.perf_counter()
    done = len(ascend(objective, joint, family, params, x, max_steps=steps, tolerance=1e-300).trace) - 1
    return {"seconds": (time.perf_counter() - start) / max(done, 1)}


def measure_chain(model: str, num_obs: int) -> dict[str, float]:
    """Return seconds from nothing to the gap: simulate, F-VI optimum, A-VI fit, compilation included."""
    start = time.perf_counter()
    joint, x = _data(model, num_obs)
    optimum = fit_factorized(joint, x)
    fit = fit_amortized(Problem(joint, x, optimum.fit.q), families.build(CHAIN_FAMILY[model]), jax.random.key(1))
    return {"seconds": time.perf_counter() - start, "gap_per_obs": fit.best.gap / num_obs}


def measure_svi(model: str, num_obs: int) -> dict[str, float]:
    """Return seconds of one NumPyro SVI step (AutoNormal, Adam, float64), compiled before, and its particles."""
    joint, x = _data(model, num_obs)
    particles = max(1, min(100, MEMORY_LIMIT // (8 * ARRAYS_PER_PARTICLE * num_obs)))
    svi = numpyro.infer.SVI(
        joint.program,
        numpyro.infer.autoguide.AutoNormal(joint.program),
        numpyro.optim.Adam(1e-2),
        numpyro.infer.Trace_ELBO(num_particles=particles),
    )
    arguments = {"num_obs": num_obs, **dict(joint.settings)}
    state = svi.init(jax.random.key(2), x, **arguments)
    update = jax.jit(lambda state, x: svi.update(state, x, **arguments)[0])
    state = update(state, x)
    jax.block_until_ready(state)
    steps = max(1, min(50, 10**7 // (particles * num_obs)))
    return {"seconds": _seconds(lambda: update(state, x), steps), "particles": float(particles)}


MEASUREMENTS = {
    "optimum": measure_optimum,
    "step": measure_step,
    "chain": measure_chain,
    "svi": measure_svi,
}


def peak_memory() -> float:
    """Return the largest resident memory of this process so far, in GiB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * unit / 2**30


def jax_ready() -> float:
    """Start the backend, so that no measurement pays for it; return the seconds it took."""
    return _seconds(lambda: jnp.zeros(1) + 1)
