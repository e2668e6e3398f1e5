"""Replays: runs from named seeds, on file and back, and one honest row for each run."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from cases import bound, data, optimum

from avigap import io, models
from avigap.core import MeanField
from avigap.data import DataSet
from avigap.errors import InputError
from avigap.families import build
from avigap.optimum import fit_factorized
from avigap.paths import write_text
from avigap.plots_explain import noise_law
from avigap.replay import exact_elbo, is_dead, protocol, replay
from avigap.replay_files import Recorded, group_of, read_replay, write_replay
from avigap.replay_summary import certified_loss, coded_loss, dropped_constants, mark_best_rates, table_of
from avigap.settings import check_settings
from avigap.starts import Problem

SETTINGS = check_settings("saw", models.load("saw").program, {})
DATA = DataSet("saw", SETTINGS, np.asarray(data("saw", {}, 12)), 0)
PAIR = {"kind": "mlp", "width": 2, "inputs": [-1, 0]}


def problem():
    return Problem(DATA.joint, jnp.asarray(DATA.x), optimum("saw", {}, 12).fit.q)


def short(**settings):
    return protocol(**{"steps": 20, "every": 10, "learning_rates": (0.01, 0.1), "draws": "moments"} | settings)


def alone(family, how, *seeds, of=None):
    """Runs of one method."""
    keys = [jax.random.key(seed) for seed in seeds]
    return replay(problem() if of is None else of, {"it": (family, how)}, keys)["it"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 25}, "steps must be a multiple of every = 10, got 25"),
        ({"learning_rates": ()}, "at least one learning rate"),
        ({"cap": 21}, "at most steps = 20"),
        ({"target_at": 30}, "at most steps = 20"),
    ],
)
def test_a_protocol_that_cannot_run_is_refused(settings, message):
    with pytest.raises(InputError, match=message):
        short(**settings)


@pytest.fixture(scope="module")
def both():
    """Two seeds at two rates."""
    return alone(build(PAIR), short(), 3, 5)


def test_runs_depend_on_their_seed_and_rate_alone(both):
    one = alone(build(PAIR), short(learning_rates=(0.1,)), 5)
    assert both.seed.tolist() == [0, 0, 1, 1] and both.learning_rate.tolist() == [0.01, 0.1, 0.01, 0.1]
    assert np.allclose(both.runs.loss[3], one.runs.loss[0], rtol=1e-4)
    assert np.allclose(both.runs.elbo[3], one.runs.elbo[0], rtol=1e-4)
    assert both.runs.loss[2, 0] == both.runs.loss[3, 0] != both.runs.loss[0, 0]  # one start and one draw for a seed
    assert both.num_params == (2 * 2 + 2 + 2 * 2 + 2 + 2 * 2 + 2, 2)


def test_runs_do_not_depend_on_the_methods_beside_them(both):
    """Methods that agree on steps and draws take the same draws; others run apart, and all come back in order."""
    keys, network = [jax.random.key(seed) for seed in (3, 5)], build({"kind": "constant"})
    longer = short(steps=30)
    several = {"a": (network, short()), "long": (build(PAIR), longer), "pair": (build(PAIR), short())}
    found = replay(problem(), several, keys)
    assert list(found) == list(several)
    assert np.allclose(found["pair"].runs.loss, both.runs.loss, rtol=1e-5)
    assert np.allclose(found["pair"].runs.elbo_averaged, both.runs.elbo_averaged, rtol=1e-5)
    assert np.allclose(found["long"].runs.loss[:, :20], both.runs.loss, rtol=1e-5)
    assert found["a"].runs.loss.shape == (4, 20) and found["long"].runs.elbo.shape == (4, 3)


def test_where_a_run_ends_is_its_elbo(both):
    elbo = exact_elbo(DATA.joint, jnp.asarray(DATA.x))
    q = jax.tree.map(lambda leaf: leaf[1], both.runs.q)
    assert float(elbo(q)) == pytest.approx(both.runs.elbo[1, -1], rel=1e-12)


def test_runs_from_the_optimum_start_there_and_a_decay_ends_there():
    fit = optimum("saw", {}, 12).fit
    for family in ({"kind": "factorized"}, {"kind": "polynomial", "inputs": [-1, 0]}):
        how = short(start="optimum", steps=400, learning_rates=(0.05,), schedule="linear")
        decayed = alone(build(family), how, 0)
        constant = alone(build(family), how._replace(schedule="constant"), 0)
        assert abs(decayed.runs.loss[0, 0] + fit.elbo) < 3.0
        late = fit.elbo - constant.runs.elbo[0, 20:].mean()
        assert 0 < fit.elbo - decayed.runs.elbo[0, -1] < late / 3  # less than a third of the noise floor
        assert 0 < fit.elbo - constant.runs.elbo_averaged[0] < late / 2


def test_adams_noise_floor_is_the_predicted_one():
    """Excess of N rate / 4 (noise of both gradients), from first principles."""
    x = np.asarray(data("linear", {}, 400))
    problem_of = Problem(bound("linear"), jnp.asarray(x), fit_factorized(bound("linear"), jnp.asarray(x)).fit.q)
    best = float(exact_elbo(problem_of.joint, problem_of.x)(problem_of.optimum))
    how = short(start="optimum", steps=600, learning_rates=(0.003, 0.01))
    runs = alone(build({"kind": "factorized"}), how, 0, of=problem_of).runs
    found = best - runs.elbo[:, 30:].mean(axis=1)
    law = [noise_law(np.array([400.0]), rate, 100, 1 + (1.155 / 2.43) ** 2)[0] for rate in (0.003, 0.01)]
    assert np.allclose(found, law, rtol=0.12)


def test_files_give_back_what_was_written(tmp_path, both):
    path = tmp_path / "coded" / "part_0.nc"
    stats = {"elbo": -20.0, "elbo_local": -21.0, "residual": 0.0}
    fvi = io.FactorizedResult(optimum("saw", {}, 12).fit.q, None, None, stats)
    write_replay(path, {("pair", DATA.name): group_of(DATA, fvi, PAIR, short(), [7, 8], both)}, [])
    (record,) = read_replay(path)
    assert record.method == "pair"
    assert np.array_equal(record.loss, both.runs.loss) and np.array_equal(record.elbo, both.runs.elbo)
    assert record.seed.tolist() == [7, 7, 8, 8] and record.protocol == short() and record.family == PAIR
    assert (record.elbo_fvi, record.elbo_local, record.num_obs, record.model) == (-20.0, -21.0, 12, "saw")
    assert np.array_equal(record.q["loc_z"].values, both.runs.q.loc["z"])
    write_text(path, "no netCDF")
    with pytest.raises(InputError, match="not a readable netCDF file"):
        read_replay(path)


def recorded(loss, elbo=None, **changes):
    loss = np.atleast_2d(np.asarray(loss, np.float32))
    runs, steps = loss.shape
    how = protocol(steps=steps, every=10, learning_rates=(0.01,), target_at=steps - 20)
    base = {
        "method": "factorized",
        "loss": loss,
        "elbo": -loss[:, 9::10].astype(float) if elbo is None else np.atleast_2d(elbo),
        "seconds": np.full(steps // 10, 0.5),
        "compile_seconds": 2.0,
        "seed": np.arange(runs),
        "learning_rate": np.full(runs, 0.01),
        "dead": np.zeros(runs, bool),
        "elbo_averaged": np.full(runs, -99.0),
        "q": xr.Dataset(),
        "model": "hmm",
        "settings": {},
        "num_obs": 10,
        "family": {},
        "protocol": how,
        "elbo_fvi": -98.0,
        "elbo_local": -98.0,
        "num_params": 3,
    }
    return Recorded(**base | changes)


def falling(steps, when, start=500.0, end=100.0):
    return np.where(np.arange(steps) < when, start, end)


def test_a_row_counts_by_both_rules():
    """A run that converges, one that never does, one that breaks."""
    broken = falling(200, 999)
    broken[65:] = np.nan
    own = recorded([falling(200, 100), falling(200, 999), broken], method="pair")
    parts = [recorded(falling(200, 50), seed=np.array([seed])) for seed in (2, 0, 1)]
    elsewhere = recorded([falling(200, 50, end=5.0)] * 3, num_obs=11)
    table = table_of([own, elsewhere, *parts], "as_coded").iloc[:3]
    assert set(table.method) == {"pair"}
    assert table.it_1.tolist() == [110.0, 200.0, 60.0]  # the broken run counts as converged as published
    assert table.it_1_honest.tolist() == [110.0, np.inf, np.inf]
    assert table.nan_at.tolist() == [np.inf, np.inf, 65.0]
    assert table.is_false_convergence.tolist() == [False, False, True]
    assert table.status.tolist() == ["converged", "not_converged", "broken"]
    assert table.target_loss.tolist() == [100.0] * 3 and table.final_loss[0] == 100.0
    assert table.excess_loss[0] == pytest.approx(2.0) and table.gap[0] == pytest.approx(2.0)
    assert table.steps_to_gap_1e1.tolist() == [np.inf] * 3 and table.gap_averaged.tolist() == [1.0] * 3
    assert table.seconds_per_step.tolist() == [0.05] * 3


def test_steps_to_a_gap_are_the_first_look_below_it():
    elbo = -98.0 - 10 * np.array([0.5, 0.09, 0.3, 0.019, 0.0005])
    table = table_of([recorded(falling(50, 0), elbo, protocol=short(steps=50, target="certified"))], "fair")
    assert table[["steps_to_gap_1e1", "steps_to_gap_2e2", "steps_to_gap_1e3"]].iloc[0].tolist() == [20.0, 40.0, 50.0]
    assert table.gap_lowest[0] == pytest.approx(0.005) and table.target_loss[0] == 98.0


def test_losses_as_coded_lack_the_constants():
    linear = {"model": "linear", "settings": {"sigma": 2.43, "tau": 1.155, "theta_scale": None}}
    record = recorded(falling(40, 10), **linear)
    dropped = 9 / 2 * np.log(2 * np.pi) + 10 * np.log(2.43)
    assert dropped_constants(record, "as_coded") == pytest.approx(dropped)
    assert dropped_constants(record, "fair") == 0.0
    assert np.allclose(coded_loss(record, "as_coded"), record.loss - dropped)
    assert np.array_equal(coded_loss(record, "fair"), record.loss)
    assert certified_loss(record, "as_coded") == pytest.approx(98.0 - dropped)
    table = table_of([record], "as_coded")
    assert table.it_1_honest[0] == 20.0 and table.final_loss[0] == pytest.approx(100.0 - dropped)


def test_the_published_rule_needs_one_run_of_fvi_from_each_seed():
    own = recorded([falling(40, 10)] * 2, method="pair")
    twice = recorded([falling(40, 10)] * 2, seed=np.zeros(2, int))
    for others in ([], [recorded(falling(40, 10))], [twice, recorded(falling(40, 10), seed=np.ones(1, int))]):
        with pytest.raises(InputError, match="one run of the method 'factorized' from each seed"):
            table_of([own, *others], "as_coded")


def test_the_best_rate_gets_there_first_and_then_nearest():
    rows = [("a", 0.1, 30, 5), ("a", 0.1, np.inf, 5), ("a", 0.01, 40, 1), ("a", 0.01, 60, 1)]
    rows += [("b", 0.1, np.inf, np.nan), ("b", 0.01, np.inf, 9), ("c", 0.1, 10, 9), ("c", 0.01, 10, 3)]
    table = pd.DataFrame(rows, columns=["method", "learning_rate", "steps_to_gap_2e2", "gap"])
    best = mark_best_rates(table.assign(replay="r", num_obs=10))
    assert table.learning_rate[best].tolist() == [0.01, 0.01, 0.01, 0.01]
    assert table.method[best].tolist() == ["a", "a", "b", "c"]
    near = table.assign(replay="r", num_obs=10, steps_to_gap_1e3=1 / table.learning_rate)
    assert set(table.learning_rate[mark_best_rates(near, "steps_to_gap_1e3")]) == {0.1}


@pytest.mark.parametrize(
    ("family", "loc", "dead"),
    [
        (PAIR, [[1.0, 1.0, 1.0], [1.0, 1.0, 1.001]], [True, False]),
        ({"kind": "factorized"}, [[1.0, 1.0, 1.0]], [False]),
        ({"kind": "mlp", "width": 2, "inputs": [0, 1]}, [[1.0, 1.0, 5.0], [1.0, 2.0, 2.0]], [True, False]),
    ],
    ids=str,
)
def test_a_function_that_is_a_constant_is_dead(family, loc, dead):
    """The last position of a window that looks ahead has a factor of its own, which tells nothing."""
    q = MeanField({"z": np.array(loc)}, {"z": np.ones((len(loc), 3))})
    assert is_dead(DATA.joint, build(family), 3, q).tolist() == dead
