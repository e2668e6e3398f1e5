"""Starts of F-VI on data with a far mode: what each reaches, and which factors count as found."""

import jax.numpy as jnp
import numpy as np
import pytest
from cases import bound

from avigap.missed_mode import try_starts
from avigap.optimum import fit_factorized


def test_starts_are_told_apart_by_the_far_factors_that_they_find():
    joint = bound("nonlinear", {"normalised": False})
    x = jnp.asarray(np.r_[np.random.default_rng(0).normal(scale=3, size=28), 32.0, -29.0])
    best = fit_factorized(joint, x)
    assert best.other_basin == pytest.approx(2 / 30) and best.elbo_finer - best.elbo_local > 1
    table = try_starts(joint, x, best.fit.q, best.local_q, best.elbo_finer).set_index("start")
    assert (table.far == 2).all() and (table.gap > -1e-6).all()
    certified, plain = table.loc["the certified optimum"], table.loc["loc 0, scale 1"]
    assert certified.gap == pytest.approx(0.0, abs=1e-6) and (certified.found, certified.lost) == (1.0, 0)
    assert plain.gap == pytest.approx(best.elbo_finer - best.elbo_local, rel=1e-6)
    assert (plain.found, plain.lost) == (0.0, 0)
    informed = table.loc["loc 6 where x is beyond 20, else 0"]
    assert informed.found == 1.0 and informed.gap < plain.gap
