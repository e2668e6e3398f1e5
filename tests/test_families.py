"""What every family promises, whatever the model: parameters, shapes, symmetry, and one object per configuration."""

from math import comb

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from cases import FAMILIES, PLAIN, bound, data, label, random_params, start_shapes

from avigap import families
from avigap.amortization import mean_field, num_params
from avigap.core import latent_shapes
from avigap.errors import InputError

NUM_OBS = 7


def size_of_function(config, num_inputs):
    """Parameters of the inference function, by formula."""
    if config["kind"] == "factorized":
        return 0
    if config["kind"] == "constant":
        return 2
    if config["kind"] == "polynomial":
        return comb(num_inputs + config.get("degree", 1), num_inputs) + 1
    width, depth, heads = config.get("width", 8), config.get("depth", 2), config.get("heads", "shared")
    hidden = (num_inputs + 1) * width + (depth - 1) * (width + 1) * width
    return hidden + 2 * (width + 1) if heads == "shared" else 2 * (hidden + width + 1)


def test_the_cases_cover_every_family():
    assert {config["kind"] for config in FAMILIES.values()} == set(families.names())


@pytest.mark.parametrize("config", FAMILIES.values(), ids=list(FAMILIES))
@pytest.mark.parametrize(("name", "settings"), PLAIN, ids=label)
def test_parameters_are_those_of_the_function_its_edges_and_the_shared_factors(name, settings, config):
    joint, x = bound(name, settings), data(name, settings, NUM_OBS)
    params = start_shapes(joint, families.build(config), x)
    inputs = config.get("inputs", [0])
    edges = NUM_OBS
    if config["kind"] != "factorized":
        edges = len(oracles.split_positions(NUM_OBS, {"saw": 1}.get(name, 0), inputs)[1])
    own_start = 2 * (settings.get("initial") == "flat")
    expected = size_of_function(config, len(inputs)) + 2 * edges + own_start
    assert num_params(joint, params) == (expected, 0 if name == "hmm" else 2)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        *(({"kind": "mlp", "width": k, "heads": "separate"}, 2 * (k**2 + 4 * k + 1)) for k in (1, 2, 4, 8, 16, 24, 32)),
        *(({"kind": "mlp", "width": k}, n - 2) for k, n in ((4, 40), (6, 70), (10, 154), (20, 504))),
        *(({"kind": "mlp", "width": k, "inputs": [-1, 0]}, n - 2) for k, n in ((2, 20), (4, 44), (6, 76), (10, 164))),
        ({"kind": "polynomial", "degree": 1}, 3),
    ],
    ids=str,
)
def test_parameter_counts_are_those_of_the_paper(config, expected):
    """Networks of 2.1 of the paper record, q(theta) not counted; Proposition 3.6 has three parameters."""
    joint, x = bound("saw"), np.arange(9.0)
    params = start_shapes(joint, families.build(config), x)
    assert num_params(joint, params) == (expected, 2)


@pytest.mark.parametrize("config", FAMILIES.values(), ids=list(FAMILIES))
@pytest.mark.parametrize(("name", "settings"), PLAIN, ids=label)
def test_q_has_a_finite_loc_and_a_positive_scale_for_every_latent(name, settings, config):
    joint, x = bound(name, settings), data(name, settings, NUM_OBS)
    q = mean_field(joint, families.build(config), random_params(joint, families.build(config), x), jnp.asarray(x))
    for site, shape in latent_shapes(joint, NUM_OBS).items():
        assert q.loc[site].shape == q.scale[site].shape == shape
        assert np.isfinite(q.loc[site]).all() and (np.asarray(q.scale[site]) > 0).all()
    assert set(q.loc) == set(q.scale) == set(latent_shapes(joint, NUM_OBS))


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "tanh", "softplus"])
@pytest.mark.parametrize("heads", ["shared", "separate"])
def test_networks_apply_their_layers_in_order(activation, heads):
    family = families.build(
        {"kind": "mlp", "width": 3, "depth": 2, "activation": activation, "heads": heads, "inputs": [-1, 0]}
    )
    window = np.random.default_rng(0).standard_normal((5, 2))
    params = random_params(bound("saw"), family, np.zeros(9))["function"]
    act = {
        "relu": lambda v: np.maximum(v, 0),
        "leaky_relu": lambda v: np.where(v > 0, v, 0.2 * v),
        "tanh": np.tanh,
        "softplus": lambda v: np.log1p(np.exp(v)),
    }[activation]

    def forward(layers, values):
        layers = jax.tree.map(np.asarray, layers)
        for layer in layers[:-1]:
            values = act(values @ layer["weight"] + layer["bias"])
        return values @ layers[-1]["weight"] + layers[-1]["bias"]

    for row in window:
        if heads == "shared":
            expected = forward(params, row)
        else:
            expected = [forward(params["loc"], row)[0], forward(params["log_scale"], row)[0]]
        assert np.array(family.infer(params, jnp.asarray(row))) == pytest.approx(np.asarray(expected), abs=1e-12)


@pytest.mark.parametrize("depth", [1, 3])
def test_every_hidden_unit_of_a_network_starts_with_its_kink_on_an_observation(depth):
    family = families.build({"kind": "mlp", "width": 4, "depth": depth, "inputs": [-1, 0]})
    data = 30 + 2 * np.random.default_rng(0).standard_normal((50, 2))
    start = jax.jit(family.init)
    for seed in range(10):
        values = data
        for layer in start(jax.random.key(seed), jnp.asarray(data))[:-1]:
            before = values @ np.asarray(layer["weight"]) + np.asarray(layer["bias"])
            assert (np.abs(before).min(0) < 1e-9).all()
            values = np.maximum(before, 0)
            assert values.any()


@pytest.mark.parametrize("num_inputs", [1, 2, 3])
@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_polynomials_have_all_monomials_up_to_their_degree(degree, num_inputs):
    family = families.build({"kind": "polynomial", "degree": degree, "inputs": list(range(num_inputs))})
    window = np.random.default_rng(0).standard_normal((4, num_inputs))
    design = np.asarray(family.design(jnp.asarray(window)))
    assert design == pytest.approx(oracles.polynomial_design(window, degree), abs=1e-14)
    assert design.shape == (4, comb(num_inputs + degree, degree))


@pytest.mark.parametrize("kind", ["constant", "polynomial"])
def test_all_positions_share_one_scale_in_families_with_a_design(kind):
    family = families.build({"kind": kind, "inputs": [-1, 0]})
    joint, x = bound("linear"), data("linear", {}, NUM_OBS)
    q = mean_field(joint, family, random_params(joint, family, x), jnp.asarray(x))
    assert len(set(np.asarray(q.scale["z"])[1:].tolist())) == 1


@pytest.mark.parametrize("name", ["linear", "nonlinear", "hmm"])
@pytest.mark.parametrize("kind", ["constant", "polynomial", "mlp"])
def test_functions_of_the_current_row_follow_a_permutation_of_the_data(kind, name):
    family, joint, x = families.build({"kind": kind, "inputs": [0]}), bound(name), data(name, {}, NUM_OBS)
    params, order = random_params(joint, family, x), np.random.default_rng(0).permutation(NUM_OBS)
    plain, moved = (mean_field(joint, family, params, jnp.asarray(v)) for v in (x, x[order]))
    assert np.asarray(moved.loc["z"]) == pytest.approx(np.asarray(plain.loc["z"])[order], abs=1e-13)
    assert np.asarray(moved.scale["z"]) == pytest.approx(np.asarray(plain.scale["z"])[order], abs=1e-13)


@pytest.mark.parametrize("config", FAMILIES.values(), ids=list(FAMILIES))
def test_equal_configurations_give_the_same_object(config):
    spelled = {**config, "inputs": tuple(config.get("inputs", [0]))}
    assert families.build(config) is families.build(dict(reversed(spelled.items())))
    assert families.build(config) is not families.build({**config, "inputs": [0, 1]})


def test_whole_numbers_and_defaults_may_be_spelled_out():
    assert families.build({"kind": "mlp", "width": 8.0, "depth": 2, "heads": "shared"}) is families.build(
        {"kind": "mlp"}
    )


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"kind": "polynomal"}, "unknown family 'polynomal'; available: constant, factorized, mlp, polynomial"),
        ({"degree": 1}, "a family needs a 'kind'"),
        ({"kind": "mlp", "widht": 3}, "unknown setting of family 'mlp' 'widht'; available:.*width"),
        ({"kind": "mlp", "width": 0}, "width of family 'mlp' must be at least 1, got 0"),
        ({"kind": "mlp", "width": 2.5}, "width of family 'mlp' must be a whole number, got 2.5"),
        ({"kind": "mlp", "activation": "gelu"}, "must be one of 'relu'.* got 'gelu'"),
        ({"kind": "polynomial", "degree": -1}, "degree of family 'polynomial' must be at least 0, got -1"),
        ({"kind": "polynomial", "inputs": []}, "inputs of family 'polynomial' must name at least one offset"),
        ({"kind": "polynomial", "inputs": [0, 0]}, r"must not repeat an offset, got \[0, 0\]"),
        ({"kind": "constant", "inputs": 0}, "inputs of family 'constant' must be a list, got 0"),
    ],
    ids=str,
)
def test_a_wrong_configuration_is_refused_in_a_sentence_that_names_the_culprit(config, words):
    with pytest.raises(InputError, match=words):
        families.build(config)
