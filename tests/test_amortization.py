"""Windows, edges and shared factors: which rows each factor sees, and which are free (Remark 3.7)."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from cases import FAMILIES, bound, data, random_params, start_shapes
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.flatten_util import ravel_pytree

from avigap import families
from avigap.amortization import initial, layout, mean_field, num_params, window_inputs
from avigap.errors import InputError

NUM_OBS = 7
WINDOWED = {"polynomial": FAMILIES["polynomial"], "mlp": {**FAMILIES["mlp"], "activation": "tanh"}}


def polynomial(inputs):
    return families.build({"kind": "polynomial", "degree": 1, "inputs": list(inputs)})


@partial(jax.jit, static_argnums=(0, 1))
def start(joint, family, x, seed=0):
    return initial(joint, family, x, jax.random.key(seed))


@pytest.mark.parametrize(
    ("model", "inputs", "edges"),
    [
        ("saw", [0], []),
        ("saw", [-1, 0], []),
        ("saw", [-2, 0], [0]),
        ("saw", [-1, 0, 1], [NUM_OBS - 1]),
        ("linear", [-1, 0], [0]),
        ("hmm", [-1, 0], [0]),
        ("hmm", [-2, -1, 0, 1, 2], [0, 1, NUM_OBS - 2, NUM_OBS - 1]),
        ("linear", [3], [NUM_OBS - 3, NUM_OBS - 2, NUM_OBS - 1]),
    ],
    ids=str,
)
def test_edges_are_the_positions_whose_window_leaves_the_data(model, inputs, edges):
    """The first row of the saw series is data, so that offset -1 at the first position is no edge."""
    joint, family = bound(model), polynomial(inputs)
    places = layout(joint, family, NUM_OBS)
    assert places.edge.tolist() == edges
    params = start_shapes(joint, family, data(model, {}, NUM_OBS))
    assert num_params(joint, params)[0] == len(inputs) + 2 + 2 * len(edges)


@given(
    st.lists(st.integers(-4, 4), min_size=1, max_size=4, unique=True),
    st.integers(1, 9),
    st.sampled_from(["hmm", "saw"]),
)
@settings(max_examples=60, deadline=None)
def test_every_position_is_either_interior_with_its_own_rows_or_an_edge(inputs, num_obs, model):
    joint, lead = bound(model), {"saw": 1, "hmm": 0}[model]
    interior, edge = oracles.split_positions(num_obs, lead, inputs)
    if not interior:
        with pytest.raises(InputError, match="wider than the data"):
            layout(joint, polynomial(inputs), num_obs)
        return
    places = layout(joint, polynomial(inputs), num_obs)
    assert (np.arange(num_obs)[places.interior].tolist(), places.edge.tolist()) == (interior, edge)
    x = 10.0 * np.arange(lead + num_obs)
    expected = [[x[lead + n + offset] for offset in inputs] for n in interior]
    assert np.asarray(window_inputs(jnp.asarray(x), places)).tolist() == expected


def test_a_row_of_x_with_several_entries_gives_several_inputs():
    x = np.arange(12.0).reshape(6, 2)
    places = layout(bound("linear"), polynomial([-1, 0]), 6)
    assert np.asarray(window_inputs(jnp.asarray(x), places)).tolist() == [[*x[n - 1], *x[n]] for n in range(1, 6)]


def test_a_window_wider_than_the_data_is_refused_with_its_offsets():
    with pytest.raises(InputError, match=r"inputs \[-1, 0, 1\] are wider than the data: no position of 2 has"):
        layout(bound("hmm"), polynomial([-1, 0, 1]), 2)


@pytest.mark.parametrize("config", WINDOWED.values(), ids=list(WINDOWED))
@pytest.mark.parametrize("model", ["hmm", "saw"])
def test_a_factor_changes_with_the_rows_of_its_window_and_with_no_other(model, config):
    joint, family, x = bound(model), families.build(config), data(model, {}, NUM_OBS)
    params, places = random_params(joint, family, x), layout(joint, family, NUM_OBS)
    plain = np.asarray(mean_field(joint, family, params, jnp.asarray(x)).loc["z"])
    seen = {n: [n + offset for offset in places.offsets] for n in range(places.start, places.stop)}
    reacts = np.zeros(NUM_OBS, bool)
    for row in range(len(x)):
        moved = np.asarray(mean_field(joint, family, params, jnp.asarray(x).at[row].add(3.0)).loc["z"])
        for n in np.nonzero(moved != plain)[0]:
            assert row in seen.get(n, []), (row, n)
            reacts[n] = True
    assert reacts[places.interior].all() and not reacts[places.edge].any()


@pytest.mark.parametrize("config", FAMILIES.values(), ids=list(FAMILIES))
def test_every_free_factor_is_moved_by_its_own_parameter_alone(config):
    joint, family, x = bound("hmm", {"initial": "flat"}), families.build(config), data("hmm", {}, NUM_OBS)
    params = random_params(joint, family, x)
    plain = mean_field(joint, family, params, jnp.asarray(x))
    for index, n in enumerate(layout(joint, family, NUM_OBS).edge):
        edge = {**params["edge"], "loc": params["edge"]["loc"].at[index].add(1.0)}
        moved = mean_field(joint, family, {**params, "edge": edge}, jnp.asarray(x))
        change = np.asarray(moved.loc["z"] - plain.loc["z"])
        assert change == pytest.approx(np.eye(NUM_OBS)[n], abs=1e-12)
        assert (moved.scale["z"] == plain.scale["z"]).all() and moved.loc["z0"] == plain.loc["z0"]
    shared = {"z0": {"loc": params["shared"]["z0"]["loc"] + 1.0, "log_scale": jnp.log(2.0)}}
    moved = mean_field(joint, family, {**params, "shared": shared}, jnp.asarray(x))
    assert float(moved.loc["z0"] - plain.loc["z0"]) == pytest.approx(1.0)
    assert float(moved.scale["z0"]) == pytest.approx(2.0)
    assert (moved.loc["z"] == plain.loc["z"]).all()


def test_a_start_sees_positions_from_all_of_the_data():
    """The spread of its inputs is that of the data, wherever in a long series they are spread."""
    family, x = families.build({"kind": "mlp", "width": 3}), np.zeros(5_000)

    def weights(x):
        return np.asarray(start(bound("linear"), family, x)["function"][0]["weight"])

    for part in (slice(0, 100), slice(2_400, 2_500), slice(4_900, 5_000)):
        moved = np.array(x)
        moved[part] = 5.0
        assert weights(moved) == pytest.approx(weights(x) / np.std(moved), rel=0.1)


@pytest.mark.parametrize("config", FAMILIES.values(), ids=list(FAMILIES))
def test_free_factors_start_as_standard_normals(config):
    joint, family, x = bound("linear"), families.build(config), data("linear", {}, NUM_OBS)
    q = mean_field(joint, family, start(joint, family, x), jnp.asarray(x))
    edge = layout(joint, family, NUM_OBS).edge
    assert (np.asarray(q.loc["z"])[edge] == 0).all() and (np.asarray(q.scale["z"])[edge] == 1).all()
    assert q.loc["theta"] == 0 and q.scale["theta"] == 1


def test_a_start_is_decided_by_its_key():
    joint, family, x = bound("linear"), families.build({"kind": "mlp"}), data("linear", {}, NUM_OBS)
    first, again, other = (ravel_pytree(start(joint, family, x, seed))[0] for seed in (0, 0, 1))
    assert (first == again).all() and not np.allclose(first, other)
