"""The Bayesian decoder of images: density, mini-batch ELBO, training, refinement, loader, tables and figures."""

import gzip
import hashlib
import http.client
import importlib
import re
import shutil
import struct
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
import pytest
from numpyro.infer import Trace_ELBO
from programs import ROOT, call, succeed
from scipy.stats import norm

from avigap import models
from avigap.config import check_config
from avigap.core import bind, latent_shapes, log_joint, simulate
from avigap.errors import InputError
from avigap.images import idx, steps
from avigap.images.evaluate import free_factors, measure, refine
from avigap.images.files import checksum, read_fits, read_images, write_images
from avigap.images.inference import build
from avigap.images.objective import (
    Decoder,
    batch_elbo,
    initial,
    kl_from_prior,
    kl_theta,
    log_likelihood_rows,
    loss_as_coded,
)
from avigap.images.pictures import image_reconstructions
from avigap.images.plots import broken_note, image_convergence, image_paths, looks_of, unconverged_note
from avigap.images.results import _course, refinement, summarise
from avigap.images.steps import State, adam, begin, cycle_ends, factors, training
from avigap.images.train import Checkpoint, _Course, train
from avigap.models.bnn_images import decode, num_weights
from avigap.plots import save_figure
from avigap.settings import check_settings

SMALL = Decoder(latent=2, hidden=(3, 4), pixels=5, weight_scale=1.3, pixel_scale=0.6)
METHODS = {
    "factorized": {"kind": "factorized"},
    "constant": {"kind": "constant"},
    "encoder": {"kind": "encoder", "width": 3},
}
NUM_OBS = 12
FIGURES = ("paths", "convergence", "gaps", "reconstructions")


def joint_of(decoder):
    program = models.load("bnn_images")
    return bind(program, check_settings("bnn_images", program.program, decoder._asdict()))


def images_of(decoder, number=NUM_OBS, seed=0):
    return np.random.default_rng(seed).uniform(size=(number, decoder.pixels))


def variational(decoder=SMALL, number=NUM_OBS, seed=0):
    """Random loc and log scale of theta and of the factors of all images."""
    random = np.random.default_rng(seed)
    theta = {"loc": random.normal(size=decoder.num_weights), "log_scale": random.normal(size=decoder.num_weights) - 1}
    local = random.normal(size=(2, number, decoder.latent)) - np.array([0, 1])[:, None, None]
    return jax.tree.map(jnp.asarray, theta), *jnp.asarray(local)


# The program


def test_the_dimension_of_theta_follows_from_the_sizes():
    assert num_weights(64, (256, 256), 784) == 64 * 256 + 256**2 + 256 * 784 + 2 * 256 + 784 == 283_920
    assert num_weights(32, (64,), 784) == 64 * 32 + 64 + 64 * 784 + 784
    assert latent_shapes(joint_of(SMALL), 3) == {"theta": (SMALL.num_weights,), "z": (3, SMALL.latent)}


def test_encoders_have_as_many_parameters_as_those_of_the_paper():
    for width, number in {1: 1043, 64: 62_720, 128: 133_504, 256: 299_648}.items():
        params = build({"kind": "encoder", "width": width}).init(jax.random.key(0), 7, 784, 64, "common")
        assert sum(leaf.size for leaf in jax.tree.leaves(params)) == number


def test_density_equals_loops_over_images_and_layers():
    x, random = images_of(SMALL), np.random.default_rng(1)
    theta, z = random.normal(size=SMALL.num_weights), random.normal(size=(NUM_OBS, SMALL.latent))
    total, first, layers = norm.logpdf(theta, 0, SMALL.weight_scale).sum(), 0, []
    for inputs, outputs in [(2, 3), (3, 4), (4, 5)]:
        weight = theta[first : first + inputs * outputs].reshape(inputs, outputs)
        layers.append((weight, theta[first + inputs * outputs : first + (inputs + 1) * outputs]))
        first += (inputs + 1) * outputs
    for n in range(NUM_OBS):
        values = z[n]
        for index, (weight, bias) in enumerate(layers):
            values = np.where(values > 0, values, 0.2 * values) if index else values
            values = weight.T @ values + bias
        total += norm.logpdf(z[n]).sum() + norm.logpdf(x[n], values, SMALL.pixel_scale).sum()
    latents = {"theta": jnp.asarray(theta), "z": jnp.asarray(z)}
    assert float(log_joint(joint_of(SMALL), jnp.asarray(x), latents)) == pytest.approx(total, rel=1e-12)


def test_the_program_simulates_images_with_the_noise_that_it_scores():
    settings = SMALL._asdict()
    x, latents = simulate(models.load("bnn_images"), settings, 4000, jax.random.key(3))
    residual = (x - decode(jnp.asarray(latents["theta"]), latents["z"], SMALL.hidden, SMALL.pixels)) / SMALL.pixel_scale
    assert abs(float(residual.mean())) < 4 / residual.size**0.5
    assert abs(float(residual.var()) - 1) < 4 * (2 / residual.size) ** 0.5


# The objective


def test_kl_equals_that_of_numpyro():
    loc, log_scale = np.random.default_rng(0).normal(size=(2, 9))
    expected = dist.kl_divergence(dist.Normal(loc, np.exp(log_scale)), dist.Normal(0.0, 1.7))
    assert np.allclose(kl_from_prior(loc, log_scale, 1.7), expected, rtol=1e-12)


def test_elbo_agrees_with_draws_of_all_weights_scored_by_the_program():
    theta, loc, log_scale = variational()
    x, joint, draws = jnp.asarray(images_of(SMALL)), joint_of(SMALL), 20_000

    @jax.jit
    def one(key):
        of_theta, of_z = jax.random.split(key)
        weights = theta["loc"] + jnp.exp(theta["log_scale"]) * jax.random.normal(of_theta, theta["loc"].shape)
        z = loc + jnp.exp(log_scale) * jax.random.normal(of_z, loc.shape)
        log_q = dist.Normal(theta["loc"], jnp.exp(theta["log_scale"])).log_prob(weights).sum()
        log_q += dist.Normal(loc, jnp.exp(log_scale)).log_prob(z).sum()
        return log_joint(joint, x, {"theta": weights, "z": z}) - log_q

    ours = jax.jit(lambda key: batch_elbo(key, SMALL, theta, loc, log_scale, x, NUM_OBS))
    by_program = np.asarray(jax.lax.map(one, jax.random.split(jax.random.key(0), draws)))
    by_layers = np.asarray(jax.lax.map(ours, jax.random.split(jax.random.key(1), draws)))
    error = (by_program.var() / draws + by_layers.var() / draws) ** 0.5
    assert abs(by_program.mean() - by_layers.mean()) < 4 * error
    assert by_layers.std() < by_program.std()  # integrated layers and entropies take noise away


def test_elbo_agrees_with_trace_elbo_of_numpyro():
    theta, loc, log_scale = variational(seed=4)
    theta["log_scale"], log_scale = theta["log_scale"] - 3, log_scale - 3  # of little noise: each term is seen
    x, program, settings = jnp.asarray(images_of(SMALL)), models.load("bnn_images").program, SMALL._asdict()

    def guide(x, *, num_obs, **_):
        numpyro.sample("theta", dist.Normal(theta["loc"], jnp.exp(theta["log_scale"])).to_event(1))
        with numpyro.plate("obs", num_obs):
            numpyro.sample("z", dist.Normal(loc, jnp.exp(log_scale)).to_event(1))

    trace = Trace_ELBO(num_particles=500)

    def loss(key):
        return trace.loss(key, {}, program, guide, x, num_obs=NUM_OBS, **settings)

    theirs = -jax.lax.map(loss, jax.random.split(jax.random.key(0), 8))
    keys = jax.random.split(jax.random.key(2), 4000)
    ours = jax.vmap(lambda key: batch_elbo(key, SMALL, theta, loc, log_scale, x, NUM_OBS))(keys)
    error = float(jnp.sqrt(theirs.var(ddof=1) / 8 + ours.var() / 4000))
    assert abs(float(theirs.mean() - ours.mean())) < 4 * error < 3.0 < float(kl_theta(SMALL, theta)) / 10


@pytest.mark.parametrize("size", [1, 5, 12])
def test_elbo_of_a_batch_is_unbiased_for_that_of_all_images(size):
    theta, loc, log_scale = variational(seed=2)
    x = jnp.asarray(images_of(SMALL))

    def of_batch(key):
        order, draw = jax.random.split(key)
        rows = jax.random.permutation(order, NUM_OBS)[:size]
        return batch_elbo(draw, SMALL, theta, loc[rows], log_scale[rows], x[rows], NUM_OBS)

    batches = jax.lax.map(of_batch, jax.random.split(jax.random.key(5), 20_000))
    whole = jax.lax.map(
        lambda key: batch_elbo(key, SMALL, theta, loc, log_scale, x, NUM_OBS),
        jax.random.split(jax.random.key(6), 20_000),
    )
    error = float(jnp.sqrt((batches.var() + whole.var()) / 20_000))
    assert abs(float(batches.mean() - whole.mean())) < 4 * error


def test_likelihood_of_known_weights_and_latents_is_the_normal_density():
    theta, loc, log_scale = variational()
    sure = {"loc": theta["loc"], "log_scale": jnp.full_like(theta["log_scale"], -40.0)}
    x = jnp.asarray(images_of(SMALL))
    ours = log_likelihood_rows(jax.random.key(0), SMALL, sure, loc, jnp.full_like(log_scale, -40.0), x)
    mean = decode(theta["loc"], loc, SMALL.hidden, SMALL.pixels)
    assert np.allclose(ours, norm.logpdf(x, mean, SMALL.pixel_scale).sum(1), rtol=1e-10)


def test_loss_as_coded_has_the_defects_of_the_authors_code():
    theta, loc, log_scale = variational()
    x, rows, key = jnp.asarray(images_of(SMALL)), jnp.array([0, 3, 7]), jax.random.key(1)
    keys = jax.random.split(key)
    noise = jax.random.normal(keys[0], theta["loc"].shape), jax.random.normal(keys[1], loc.shape)
    weights, z = theta["loc"] + jnp.exp(theta["log_scale"]) * noise[0], loc + jnp.exp(log_scale) * noise[1]
    fit = 4 * jnp.sum((x[rows] - decode(weights, z[rows], SMALL.hidden, SMALL.pixels)) ** 2)  # no 1/2
    expected = fit + jnp.sum(weights**2) + 0.5 * jnp.sum(z**2)
    for drawn, centre, log_s in ((weights, theta["loc"], theta["log_scale"]), (z, loc, log_scale)):
        variance = jnp.exp(log_s)  # the scale, where the variance belongs
        expected += jnp.sum(-0.5 * jnp.log(variance) - 0.5 * (drawn - centre) ** 2 / variance)
    assert float(loss_as_coded(key, SMALL, theta, loc, log_scale, x, rows)) == pytest.approx(float(expected), rel=1e-12)


@pytest.mark.parametrize(
    ("part", "best", "right"),
    [("theta", (1 + 17**0.5) / 8, 0.5**0.5), ("local", 1.0, 1.0)],  # 4 s^2 - s - 1 = 0, and 2 s^2 - s - 1 = 0
)
def test_scales_at_the_optimum_as_coded_without_a_likelihood(part, best, right):
    """The weights' prior has variance 1/2 and their scales become too small; z has its prior, and the right scale."""
    size, none = 200, jnp.full(SMALL.num_weights, -40.0)
    x, rows = jnp.zeros((size, SMALL.pixels)), jnp.arange(3)
    no_effect = jnp.arange(SMALL.num_weights) < SMALL.latent * SMALL.hidden[0]  # weights of z, where z is 0

    def slope(log_s, key):
        of_theta, of_z = (log_s, -40.0) if part == "theta" else (-40.0, log_s)

        def loss(theta, local):
            theta = {"loc": jnp.zeros_like(theta), "log_scale": jnp.where(no_effect, theta, none)}
            return loss_as_coded(key, SMALL, theta, jnp.zeros_like(local), local, x, rows)

        at = jnp.full(SMALL.num_weights, of_theta), jnp.full((size, SMALL.latent), of_z)
        theta, local = jax.grad(loss, argnums=(0, 1))(*at)
        return theta[: SMALL.latent * SMALL.hidden[0]].mean() if part == "theta" else local.mean()

    keys = jax.random.split(jax.random.key(0), 400)
    at_best, at_right = (jax.vmap(lambda key, s=s: slope(jnp.log(s), key))(keys) for s in (best, right))
    assert abs(float(at_best.mean())) < 4 * float(at_best.std()) / 400**0.5
    assert (float(at_right.mean()) > 0.1) == (part == "theta")  # it would still shrink there


# Training


@pytest.mark.parametrize("start", ["common", "published"])
@pytest.mark.parametrize("method", METHODS)
def test_every_family_starts_as_stated(method, start):
    inference = build(METHODS[method])
    params = initial(jax.random.key(0), SMALL, inference, NUM_OBS, start)
    loc, log_scale = factors(inference, params["local"], jnp.asarray(images_of(SMALL), jnp.float32))
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(params))
    assert (np.asarray(params["theta"]["log_scale"]) == (-3 if start == "common" else -2)).all()
    assert (not np.asarray(log_scale).any()) == (start == "common")
    assert (not np.asarray(loc).any()) == (start == "common" and METHODS[method]["kind"] != "encoder")
    assert (np.ptp(np.asarray(params["theta"]["loc"])) > 0) == (start == "common")


def test_adam_is_that_of_numpyro():
    params = {"theta": {"a": jnp.array([1.0, -2.0])}, "local": {"b": jnp.array([[3.0]])}}
    optimiser, state = numpyro.optim.Adam(0.1), begin(params, build({"kind": "constant"}))
    theirs, rate = optimiser.init(params), jax.tree.map(lambda _: 0.1, params)
    for step in range(5):
        gradient = jax.tree.map(lambda leaf, step=step: leaf * (step - 2.0) + 1.0, optimiser.get_params(theirs))
        theirs, state = optimiser.update(gradient, theirs), adam(state, gradient, rate, is_clipped=False)
    for ours, other in zip(jax.tree.leaves(state.params), jax.tree.leaves(optimiser.get_params(theirs)), strict=True):
        assert np.allclose(ours, other, rtol=1e-5)


@pytest.mark.parametrize("size", [1e-3, 1.0, 2.0, 1e6])
def test_a_gradient_far_larger_than_those_before_it_makes_no_larger_step_once_clipped(size):
    """Gradients of 1, then larger or smaller ones of one array, whose root mean square over the past is known."""
    params = {"own": jnp.zeros((2, 3)), "other": jnp.zeros(3)}
    rate, ones, moves = jax.tree.map(lambda _: 0.1, params), jax.tree.map(jnp.ones_like, params), {}
    last = {"own": size * jnp.array([[1.0, 2.0, 2.0], [4.0, 1.0, 1.0]]), "other": jnp.ones(3)}
    for is_clipped in (False, True):
        state = begin(params, build({"kind": "constant"}))
        for _ in range(50):
            state = adam(state, ones, rate, is_clipped=is_clipped)
        after = adam(state, last, rate, is_clipped=is_clipped)
        moves[is_clipped] = {name: np.asarray(state.params[name] - after.params[name]) for name in params}
    slope = size * np.array([[1.0, 2.0, 2.0], [4.0, 1.0, 1.0]])
    second = (0.999 * (1 - 0.999**50) + 0.001 * slope**2) / (1 - 0.999**51)
    excess = max(1.0, (slope**2 / second).mean() ** 0.5)
    assert (excess > 1.0) == (size >= 1.0)
    assert np.allclose(moves[True]["own"], moves[False]["own"] / excess, rtol=1e-4)
    assert np.allclose(moves[True]["other"], moves[False]["other"]) and np.allclose(
        moves[True]["other"], 0.1, rtol=1e-3
    )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("objective", ["minibatch", "as_coded"])
def test_steps_are_clipped_but_those_of_the_objective_as_coded(monkeypatch, objective, method):
    seen = []

    def spy(*given, is_clipped):
        seen.append(is_clipped)
        return adam(*given, is_clipped=is_clipped)

    monkeypatch.setattr(steps, "adam", spy)
    how = training(max_steps=2, every=2, batch_size=2, cycle=0, objective=objective, learning_rate=0.0123)
    assert trained(method, how).status == ["max_steps"] * 2
    assert seen and set(seen) == {objective == "minibatch"}


def trained(method, how, num_obs=NUM_OBS, **more):
    x, test = images_of(SMALL, NUM_OBS), images_of(SMALL, 4, seed=9)
    keys = jax.random.split(jax.random.key(0), 2)
    return train(SMALL, build(METHODS[method]), how, x, num_obs, test, keys, **more)


def test_factors_of_images_outside_the_data_are_not_touched_and_those_within_are(tmp_path):
    how = training(max_steps=40, every=20, batch_size=3, cycle=0)
    keeping = Checkpoint(tmp_path / "kept.npz", "these data", every=0.0)
    params = trained("factorized", how, num_obs=8, checkpoint=keeping).params["local"]
    kept = np.load(keeping.path)["leaf_0"]  # loc of the factors of all images, before those outside are cut off
    assert params["loc"].shape == (2, 8, SMALL.latent) and np.array_equal(kept[:, :8], params["loc"])
    assert (np.abs(kept[:, :8]).max(axis=-1) > 0).all() and kept.shape[1] == NUM_OBS and not kept[:, 8:].any()


def test_the_objective_as_coded_moves_the_factors_of_all_images_at_every_step():
    how = training(max_steps=1, every=1, batch_size=3, cycle=0, objective="as_coded")
    params = trained("factorized", how).params["local"]
    assert (np.abs(params["loc"]).max(axis=-1) > 0).all()


class LoweredForAGpu:
    """A compiled function that is also lowered for CUDA, which needs no GPU: an operation that has none raises."""

    def __init__(self, function, texts):
        self.function, self.texts = function, texts

    def lower(self, *given):
        self.texts.append(self.function.trace(*given).lower(lowering_platforms=("cuda",)).as_text())
        return self.function.lower(*given)

    def __call__(self, *given):
        return self.lower(*given).compile()(*(leaf for leaf in given if not isinstance(leaf, Decoder)))


@pytest.mark.parametrize(("method", "objective"), [("factorized", "minibatch"), ("encoder", "as_coded")])
def test_all_that_training_and_measuring_compile_is_lowered_for_a_gpu_and_calls_nothing_back(
    monkeypatch, method, objective
):
    texts = []
    for module, name in (("train", "run_steps"), ("train", "look"), ("evaluate", "_rows"), ("evaluate", "_refine")):
        function = getattr(importlib.import_module(f"avigap.images.{module}"), name)
        monkeypatch.setattr(f"avigap.images.{module}.{name}", LoweredForAGpu(function, texts))
    x = images_of(SMALL)
    runs = trained(method, training(max_steps=2, every=2, batch_size=3, cycle=0, objective=objective))
    local = free_factors(build(METHODS[method]), runs.params, jnp.asarray(x))
    refinement(SMALL, runs.params["theta"], [local], x, jax.random.key(0), (0, 1))
    names = re.findall(r"module @jit_(\w+)", "\n".join(texts))
    assert set(names) == {"run_steps", "look", "_rows", "_refine"}
    assert all("stablehlo" in text and "callback" not in text for text in texts)


@pytest.mark.parametrize("method", METHODS)
def test_the_loss_and_the_elbo_of_a_look_are_the_elbo_that_is_measured(monkeypatch, method):
    """Of 8 of 11 images, of runs that stay where they start; looks take 5 images at once."""
    monkeypatch.setattr("avigap.images.steps.AT_ONCE", 5)
    monkeypatch.setattr("avigap.images.steps.LOOK_DRAWS", 50)
    how = training(max_steps=400, every=400, batch_size=4, cycle=0, learning_rate=1e-9, local_rate=1e-9)
    x, keys = images_of(SMALL, 11), jax.random.split(jax.random.key(0), 2)
    inference = build(METHODS[method])
    runs = train(SMALL, inference, how, x, 8, images_of(SMALL, 3, seed=9), keys)
    local = free_factors(inference, runs.params, jnp.asarray(x[:8]))
    elbo, error = measure(SMALL, runs.params["theta"], *local, x[:8], keys[0], 400).elbo()
    assert (error < 1).all() and np.allclose(runs.elbo[:, 0], elbo, atol=12) and (elbo < -150).all()
    assert np.allclose(-runs.loss[:, 0], elbo, atol=4)  # 8/11 of the images would be 14 nats off, no KL 142
    centre = decode(jnp.asarray(runs.params["theta"]["loc"][0]), local[0][0], SMALL.hidden, SMALL.pixels)
    assert runs.mse_train[0, 0] == pytest.approx(float(((centre - x[:8]) ** 2).mean()), rel=1e-4)


def test_runs_that_have_stopped_stay_where_they_are_whatever_their_steps_give():
    how, leaves = training(max_steps=70, every=5, batch_size=3, cycle=10), {"theta": {"loc": jnp.zeros((2, 3))}}
    course = _Course(how, 4, State(leaves, leaves, leaves, leaves))
    course.rate = np.array([1.0, 0.0])
    broken = {"theta": {"loc": jnp.full((2, 3), jnp.nan)}}
    course.move(State(broken, broken, broken, broken))
    for leaf in jax.tree.leaves(course.state):
        assert np.isnan(leaf[0]).all() and not leaf[1].any()


def test_images_beyond_the_first_ones_have_no_part_in_training():
    how, key = training(max_steps=20, every=10, batch_size=3, cycle=0), jax.random.split(jax.random.key(0), 2)
    x, test, inference = images_of(SMALL), images_of(SMALL, 4, 9), build(METHODS["encoder"])
    other = np.concatenate([x[:8], 1 - x[8:]])
    one, two = (train(SMALL, inference, how, each, 8, test, key) for each in (x, other))
    assert np.array_equal(one.elbo, two.elbo) and np.array_equal(one.mse_train, two.mse_train)


@pytest.mark.parametrize("method", METHODS)
def test_training_raises_the_elbo_until_it_has_converged(method):
    how = training(max_steps=6300, every=100, batch_size=6, learning_rate=0.02, cycle=100, tolerance=0.5)
    runs = trained(method, how)
    assert runs.status == ["converged", "converged"] and runs.steps[-1] < 6300
    assert (runs.elbo[:, -1] > runs.elbo[:, 0] + 1).all()
    assert np.isnan(runs.mse_test).all() == (method == "factorized")


def test_runs_that_are_cut_off_say_so():
    assert trained("constant", training(max_steps=30, every=10, batch_size=6, cycle=10)).status == ["max_steps"] * 2


def test_rates_fall_within_each_cycle_and_stay_0_once_a_cycle_gains_too_little():
    how, num_obs, runs = training(max_steps=70, every=5, batch_size=3, cycle=10, tolerance=0.5), 4, 3
    assert cycle_ends(10, 70) == [0, 10, 30, 70]
    params = {"theta": {"loc": jnp.zeros((runs, 1))}, "local": {"loc": jnp.zeros((runs, 1))}}
    course, rates = _Course(how, num_obs, State(params, params, params, params)), []
    for look in range(1, 15):
        at_end = {2: (0.0, 0.0, 0.0), 6: (2.1, 1.9, np.nan), 14: (4.0, 9.0, np.nan)}  # 0.5 nats of 4 images are 2
        elbo = np.array(at_end.get(look, (-1e3, -1e3, -1e3 if look < 5 else np.nan)))
        course.see(np.stack([elbo] * 4), 1.0)
        rates.append(course.rate.copy())
    rates = np.array(rates)
    assert np.allclose(rates[:6, 0], [0.5, 1, 0.75, 0.5, 0.25, 1]) and np.allclose(
        rates[6:13, 0], 1 - np.arange(1, 8) / 8
    )
    assert np.allclose(rates[:5, 1], rates[:5, 0]) and not rates[5:, 1].any()  # 1.9 nats are too little
    assert np.allclose(rates[:4, 2], rates[:4, 0]) and not rates[4:, 2].any()  # broken
    assert course.trained(num_obs, build({"kind": "constant"}), 0.0).status == ["converged", "converged", "nonfinite"]


def test_a_run_that_ends_a_cycle_far_below_its_best_end_has_not_converged():
    how = training(max_steps=70, every=10, batch_size=3, cycle=10, tolerance=0.5)
    params = {"theta": {"loc": jnp.zeros((3, 1))}, "local": {"loc": jnp.zeros((3, 1))}}
    course = _Course(how, 4, State(params, params, params, params))
    ends = {1: (0.0, 0.0, 0.0), 3: (-1e30, -3.0, -3.0), 7: (-1e30, -1.0, 2.5)}  # 0.5 nats of 4 images are 2
    for look in range(1, 8):
        course.see(np.stack([np.array(ends.get(look, (-9.0, -9.0, -9.0)))] * 4), 1.0)
    status = course.trained(4, build({"kind": "constant"}), 0.0).status
    assert status == ["max_steps", "converged", "max_steps"]


def test_a_run_that_ends_its_first_cycles_below_its_start_has_not_converged():
    """From the optimum, at rates that destroy it: its ends are alike, and far from where it was."""
    good = trained("factorized", training(max_steps=1500, every=100, batch_size=6, cycle=100, learning_rate=0.02))
    wild = training(max_steps=30, every=10, batch_size=6, cycle=10, learning_rate=1.0, local_rate=3.0, tolerance=5.0)
    start = jax.tree.map(jnp.asarray, good.params)
    runs = trained("factorized", wild, start=start)
    assert (runs.elbo[:, -1] < good.elbo[:, -1] - 5.0 * NUM_OBS).all() and runs.status == ["max_steps"] * 2
    still = wild._replace(learning_rate=1e-9, local_rate=1e-9)
    runs = trained("factorized", still, start=start)
    assert runs.status == ["converged"] * 2 and runs.steps[-1] == 10  # at the end of its first cycle


def test_a_run_that_breaks_is_marked_and_the_others_go_on():
    how = training(max_steps=40, every=20, batch_size=6, cycle=0)
    start = jax.vmap(lambda key: initial(key, SMALL, build(METHODS["encoder"]), NUM_OBS, "common"))(
        jax.random.split(jax.random.key(0), 2)
    )
    start["theta"]["loc"] = start["theta"]["loc"].at[0, 0].set(jnp.nan)
    runs = trained("encoder", how, start=start)
    assert runs.status == ["nonfinite", "max_steps"]
    assert not np.isfinite(runs.elbo[0]).any() and np.isfinite(runs.elbo[1]).all()


def test_training_ends_once_every_run_has_broken():
    start = jax.vmap(lambda key: initial(key, SMALL, build(METHODS["constant"]), NUM_OBS, "common"))(
        jax.random.split(jax.random.key(0), 2)
    )
    start["theta"]["loc"] = start["theta"]["loc"].at[:, 0].set(jnp.nan)
    runs = trained("constant", training(max_steps=100, every=10, batch_size=6, cycle=0), start=start)
    assert runs.status == ["nonfinite"] * 2 and runs.steps.tolist() == [10]


def test_the_first_step_of_each_factor_is_a_first_step_of_adam():
    """It moves every entry by the rate, whichever batch of the epoch its image is in."""
    how = training(max_steps=4, every=4, batch_size=3, cycle=0, local_rate=0.01)
    assert np.allclose(np.abs(trained("factorized", how).params["local"]["loc"]), 0.01, rtol=1e-3)


def kill(at, how, keeping):
    """Train F-VI and stop it at a step, as a signal would."""

    def stop(step, _):
        if step == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained("factorized", how, checkpoint=keeping, report=stop)


def test_a_killed_fit_goes_on_from_its_checkpoint_as_if_nothing_had_been(tmp_path):
    how = training(max_steps=60, every=10, batch_size=5, cycle=0)
    whole = trained("factorized", how)
    keeping = Checkpoint(tmp_path / "kept.npz", "these data", every=0.0)
    kill(30, how, keeping)
    seen, taken_up = [], []
    keeping = keeping._replace(resume=taken_up.append)
    resumed = trained("factorized", how, checkpoint=keeping, report=lambda step, _: seen.append(step))
    assert taken_up == [20] and seen == [30, 40, 50, 60]  # what was kept at step 20 is not done again
    assert np.array_equal(resumed.elbo, whole.elbo)
    assert all(map(np.array_equal, jax.tree.leaves(resumed.params), jax.tree.leaves(whole.params)))
    with pytest.raises(InputError, match="other data or settings"):
        trained("factorized", how, checkpoint=keeping._replace(identity="others"))
    content = keeping.path.read_bytes()
    for damaged in (b"PK", content[: len(content) // 2], content[:400] + b"!!!!" + content[404:]):
        keeping.path.write_bytes(damaged)
        with pytest.raises(InputError, match="cannot be read"):
            trained("factorized", how, checkpoint=keeping)


def test_a_fit_goes_on_in_the_cycle_in_which_it_was_killed(tmp_path):
    """Where it was killed after its first cycle, the second is still judged by the end of the first."""
    how = training(max_steps=70, every=5, batch_size=5, cycle=10, learning_rate=0.02, local_rate=0.2, tolerance=2.2)
    whole = trained("factorized", how)  # cycles gain 2.4 to 3.4 nats per image, and then 1.4 to 2.1
    assert whole.status == ["converged", "converged"] and whole.steps[-1] == 30
    keeping = Checkpoint(tmp_path / "kept.npz", "these data", every=0.0)
    kill(20, how, keeping)
    resumed = trained("factorized", how, checkpoint=keeping)
    assert resumed.status == whole.status and np.array_equal(resumed.elbo, whole.elbo)


def test_the_objective_as_coded_is_what_its_runs_minimise():
    how = training(max_steps=400, every=100, batch_size=4, cycle=0, objective="as_coded", start="published")
    for method in METHODS:
        runs = trained(method, how)
        assert np.isfinite(runs.loss).all() and (runs.loss[:, -1] < runs.loss[:, 0]).all()


# Measures


def linear_decoder():
    """A decoder without hidden layers and known weights: the best factors of all images are in closed form."""
    decoder = Decoder(latent=2, hidden=(), pixels=5, pixel_scale=0.7)
    weights = jnp.asarray(np.random.default_rng(3).normal(size=decoder.num_weights))
    return decoder, {"loc": weights, "log_scale": jnp.full_like(weights, -30.0)}


def best_factors(decoder, theta, x):
    """F-VI's optimum of each image of a linear decoder, by linear algebra."""
    layer = np.asarray(theta["loc"]).reshape(3, 5)
    precision = np.eye(2) + layer[:2] @ layer[:2].T / decoder.pixel_scale**2
    loc = np.linalg.solve(precision, layer[:2] @ (x - layer[2]).T / decoder.pixel_scale**2).T
    return loc, np.broadcast_to(-0.5 * np.log(np.diag(precision)), loc.shape)


def test_refinement_finds_the_best_factors_of_a_linear_decoder():
    decoder, theta = linear_decoder()
    x = images_of(decoder, 7)
    loc, log_scale = best_factors(decoder, theta, x)
    both = jax.tree.map(lambda leaf: leaf[None], theta)
    path = refine(decoder, (0, 20, 200), both, jnp.zeros((1, 2, 7, 2)), x, jax.random.key(0))
    assert path.shape == (3, 1, 2, 7, 2) and not path[0].any()
    alone = refine(decoder, (20,), both, jnp.zeros((1, 2, 7, 2)), x, jax.random.key(0))
    assert np.array_equal(alone[0], path[1])  # an ascent of its own, at rates that fall to 0
    assert np.abs(path[2, 0, 0] - loc).max() < 0.1 * np.exp(log_scale).min()
    assert np.abs(path[2, 0, 1] - log_scale).max() < 0.1


def test_a_refinement_of_a_few_steps_ends_with_little_noise():
    """From the best factors of 400 images: noise of rates that fall to 0 within the 8 steps."""
    decoder, theta = linear_decoder()
    x, both = images_of(decoder, 400), jax.tree.map(lambda leaf: leaf[None], theta)
    best = np.stack(best_factors(decoder, theta, x))
    (end,) = refine(decoder, (8,), both, jnp.asarray(best)[None], x, jax.random.key(0))
    away = (end[0, 0] - best[0]) / np.exp(best[1])
    assert (away**2).mean() < 0.003  # 0.0044 at a constant rate


def test_refinement_takes_images_in_chunks(monkeypatch):
    monkeypatch.setattr("avigap.images.evaluate.CHUNK", 3)
    decoder, theta = linear_decoder()
    x = images_of(decoder, 8)
    loc, log_scale = best_factors(decoder, theta, x)
    both = jax.tree.map(lambda leaf: leaf[None], theta)
    path = refine(decoder, (0, 200), both, jnp.zeros((1, 2, 8, 2)), x, jax.random.key(0))
    assert path.shape == (2, 1, 2, 8, 2) and np.abs(path[1, 0, 0] - loc).max() < 0.2 * np.exp(log_scale).min()


def test_an_image_that_breaks_on_the_way_does_not_break_the_gap(monkeypatch):
    decoder, theta = linear_decoder()
    x, both = images_of(decoder, 3), jax.tree.map(lambda leaf: leaf[None], theta)
    best, log_scale = (jnp.asarray(part)[None] for part in best_factors(decoder, theta, x))
    path = np.stack([np.stack([best, log_scale], axis=1), np.full((1, 2, 3, 2), np.nan)])
    monkeypatch.setattr("avigap.images.results.refine", lambda *_: path)
    gap, error = refinement(decoder, both, [(best, log_scale)], x, jax.random.key(0), (0, 1)).gap()
    assert gap[0] == 0.0 and error[0] == 0.0


def test_steps_and_seconds_of_a_run_end_where_it_stopped():
    elbo = np.array([[1.0, 2.0, 2.0, 2.0], [1.0, 2.0, 3.0, 4.0]])
    rest = dict.fromkeys(("mse_train", "mse_test", "loss"), elbo)
    own = SimpleNamespace(elbo=elbo, steps=np.array([5, 10, 15, 20]), seconds=np.arange(1.0, 5.0), **rest)
    course = _course(SimpleNamespace(trained=SimpleNamespace(**vars(own), compile_seconds=0.0), seeds=[0, 1]), 0.5)
    assert course["steps"].tolist() == [10, 20] and course["seconds"].tolist() == [1.0, 2.0]


def test_the_gap_of_a_linear_decoder_is_the_closed_form():
    """The ELBO of an image is quadratic in loc: half the squared distance to the best, in the posterior's precision."""
    decoder, theta = linear_decoder()
    x = images_of(decoder, 7)
    best, log_scale = best_factors(decoder, theta, x)
    layer = np.asarray(theta["loc"]).reshape(3, 5)[:2]
    precision = np.eye(2) + layer @ layer.T / decoder.pixel_scale**2
    off = 0.3 * np.random.default_rng(1).normal(size=best.shape)
    expected = 0.5 * np.einsum("nd,de,ne->n", off, precision, off).mean()
    both = jax.tree.map(lambda leaf: leaf[None], theta)
    start = (jnp.asarray(best + off)[None], jnp.asarray(log_scale)[None])
    found = refinement(decoder, both, [start], x, jax.random.key(0), (0, 200))
    gap, error = found.gap()
    assert gap[0] == pytest.approx(expected, abs=4 * error[0] + 0.02 * expected)
    assert found.gap(1)[0][0] == pytest.approx(0.0, abs=1e-12)


def test_choosing_the_best_of_several_starts_does_not_flatter_it():
    decoder, theta = linear_decoder()
    x = images_of(decoder, 3)
    best, log_scale = (jnp.asarray(part)[None] for part in best_factors(decoder, theta, x))
    both = jax.tree.map(lambda leaf: leaf[None], theta)
    found = refinement(decoder, both, [(best, log_scale), (best, log_scale)], x, jax.random.key(0), (0,))
    assert found.gap()[0][0] == 0.0


def test_measures_do_not_depend_on_chunks_but_for_their_draws(monkeypatch):
    theta, loc, log_scale = variational()
    one = jax.tree.map(lambda leaf: leaf[None], theta)
    x, values = images_of(SMALL), []
    for chunk in (5, 500):
        monkeypatch.setattr("avigap.images.evaluate.CHUNK", chunk)
        values.append(measure(SMALL, one, loc[None], log_scale[None], x, jax.random.key(0), 4000))
    (first, first_error), (second, second_error) = (each.elbo() for each in values)
    assert values[0].rows.shape == (1, 4000, NUM_OBS)
    assert abs(first - second) < 4 * (first_error**2 + second_error**2) ** 0.5
    assert values[0].kl_theta[0] == pytest.approx(float(kl_theta(SMALL, theta)))


def test_looks_are_those_of_the_methods_that_were_fitted():
    assert list(looks_of(["width_64", "factorized"])) == ["width_64", "factorized"]


def test_a_download_that_breaks_off_is_a_sentence(tmp_path, monkeypatch):
    def broken(*_, **__):
        raise http.client.IncompleteRead(b"half")

    monkeypatch.setattr(idx.urllib.request, "urlopen", broken)
    with pytest.raises(InputError, match="could not be loaded"):
        idx.download("https://example.invalid/images", tmp_path / "images")
    assert list(tmp_path.iterdir()) == []


def test_gaps_are_to_the_best_refined_run_of_the_same_experiment_and_size():
    runs = pd.DataFrame(
        {
            "experiment": ["a", "a", "a", "b"],
            "method": ["factorized", "encoder", "encoder", "factorized"],
            "num_obs": [10, 10, 20, 10],
            "elbo": [-5.0, -9.0, np.nan, 3.0],
            "elbo_refined": [-5.0, -3.0, np.nan, 3.0],
        }
    )
    table = summarise(runs, {"a": "corrected", "b": "as_coded"})
    assert np.allclose(table.gap_per_obs, [0.2, 0.6, np.nan, 0.0], equal_nan=True)
    assert table.best_method.fillna("none").tolist() == ["encoder", "encoder", "none", "factorized"]
    assert table["mode"].tolist() == ["corrected"] * 3 + ["as_coded"]


# The loader


def idx_bytes(images, kind=8, magic=b"\0\0"):
    header = struct.pack(f">{images.ndim}I", *images.shape)
    return magic + bytes([kind, images.ndim]) + header + images.tobytes()


IMAGES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_idx_files_come_back_compressed_or_not(tmp_path, pack):
    content = idx_bytes(IMAGES)
    (tmp_path / "images").write_bytes(pack(content))
    found = idx.read_idx(tmp_path / "images", hashlib.md5(content).hexdigest())
    assert found.dtype == np.uint8 and np.array_equal(found, IMAGES)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (idx_bytes(IMAGES)[:-1], "is truncated: it has 23 values, 24 belong to 2 images"),
        (idx_bytes(IMAGES)[:9], "is truncated: its header has 9 of 16 bytes"),
        (idx_bytes(IMAGES) + b"!", "is longer than its header says"),
        (gzip.compress(idx_bytes(IMAGES), mtime=0)[:-12], "is truncated or damaged"),
        (idx_bytes(IMAGES, magic=b"\1\0"), "is not an IDX file: it starts with 01 00 08 03"),
        (b"\0", "is not an IDX file"),
        (idx_bytes(IMAGES, kind=13), "must hold unsigned bytes in 3 dimensions"),
        (idx_bytes(IMAGES[0]), "got type 8 in 2 dimensions"),
        (idx_bytes(IMAGES[:0]), "has no image"),
        (b"", "is empty"),
    ],
)
def test_files_that_are_not_whole_idx_files_are_refused(tmp_path, content, sentence):
    (tmp_path / "images").write_bytes(content)
    with pytest.raises(InputError, match=sentence):
        idx.read_idx(tmp_path / "images")


def test_published_files_are_loaded_once_and_checked(tmp_path, monkeypatch):
    site = tmp_path / "site"
    site.mkdir()
    sums = []
    for name, images in ((idx.TRAIN, IMAGES), (idx.TEST, IMAGES[:1])):
        (site / name).write_bytes(gzip.compress(content := idx_bytes(images)))
        sums.append((name, hashlib.md5(content).hexdigest()))
    monkeypatch.setitem(idx.PUBLISHED, "mnist", idx.Published(site.as_uri(), *sums))
    images = idx.load("mnist", 1, tmp_path / "kept")
    assert np.array_equal(images.train, IMAGES.reshape(2, 12) / 255) and images.shape == (3, 4)
    (site / idx.TRAIN).unlink()
    assert np.array_equal(idx.load("mnist", 1, tmp_path / "kept").train, images.train)
    (tmp_path / "kept" / idx.TRAIN).unlink()
    (tmp_path / "kept" / idx.TRAIN.removesuffix(".gz")).write_bytes(idx_bytes(IMAGES))
    assert np.array_equal(idx.load("mnist", 1, tmp_path / "kept").train, images.train)
    (tmp_path / "kept" / idx.TRAIN).write_bytes(gzip.compress(idx_bytes(IMAGES[::-1])))
    with pytest.raises(InputError, match="the MD5 sum of its content is"):
        idx.load("mnist", 1, tmp_path / "kept")
    with pytest.raises(InputError, match="without a connection, put the file train-images"):
        idx.load("mnist", 1, tmp_path / "empty")
    assert not list((tmp_path / "empty").glob("*"))


def test_digits_are_split_without_overlap():
    images = idx.load("digits", 97)
    assert len(images.train) == idx.most_images("digits", 97)[0] == 1700
    assert images.train.shape == (1700, 64) and images.test.shape == (97, 64)
    assert images.train.min() == 0 and images.train.max() == 1
    both = np.concatenate([images.train, images.test])
    from sklearn.datasets import load_digits

    assert np.allclose(np.sort(both.sum(1)), np.sort(load_digits().data.sum(1) / 16))


@pytest.mark.parametrize(
    ("source", "held_out", "more", "sentence"),
    [
        ("cifar", 1, {}, "unknown source of images 'cifar'; available: digits"),
        ("digits", 1797, {}, "held_out must be below the 1797 digits"),
        ("mnist", 1, {}, "needs a 'folder'"),
        ("idx", 1, {}, "needs two files"),
    ],
)
def test_sources_that_cannot_be_loaded_are_refused(source, held_out, more, sentence):
    with pytest.raises(InputError, match=sentence):
        idx.load(source, held_out, **more)


def test_images_that_are_not_finite_are_not_written(tmp_path):
    x = np.full((2, 4), np.nan)
    with pytest.raises(InputError, match="not finite numbers"):
        write_images(tmp_path / "i.nc", idx.Images(x, x, (2, 2)), "digits")


# Programs, tables and figures


@pytest.fixture(scope="module")
def small_chunks():
    """Images are taken in parts, and padded to one size; by default that is far more than the tests have."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("avigap.images.evaluate.CHUNK", 16)
        yield


@pytest.fixture(scope="module")
def chain(small_chunks, tmp_path_factory):
    """Every program on two IDX files of 4 x 4 pixels."""
    folder = tmp_path_factory.mktemp("images")
    images = np.random.default_rng(0).integers(0, 256, (30, 4, 4), dtype=np.uint8)
    (folder / "train.idx").write_bytes(idx_bytes(images))
    (folder / "test.idx").write_bytes(idx_bytes(images[:8]))
    succeed(folder, "prepare_images", "--source", "idx", "--train", "train.idx", "--test", "test.idx", "--held-out", 6,
            "--output", "small/images.nc")  # fmt: skip
    fit = '{"max_steps": 60, "every": 20, "batch_size": 8, "cycle": 20}'
    runs = {"factorized": [], "width_2": [], "semi": ["--start", "small/fits/width_2_0.nc"]}
    for name in ("width_2", "factorized", "semi"):
        method = '{"kind": "encoder", "width": 2}' if name == "width_2" else '{"kind": "factorized"}'
        succeed(folder, "fit_images", "--data", "small/images.nc", "--method", method, "--fit", fit,
                "--num-obs", 10, 30, "--settings", '{"latent": 2, "hidden": [3]}', "--seed", 0, 1, *runs[name],
                "--output", f"small/fits/{name}_0.nc")  # fmt: skip
        succeed(folder, "measure_images", "--data", "small/images.nc", "--fits", f"small/fits/{name}_0.nc",
                "--tolerance", 0.2, "--output", f"small/runs/{name}_0.csv",
                f"small/refinement/{name}_0.csv")  # fmt: skip
    every = [f"{name}_0" for name in runs]
    succeed(folder, "summarise_images", "--runs", *(f"small/runs/{n}.csv" for n in every), "--refinement",
            *(f"small/refinement/{n}.csv" for n in every), "--fits", *(f"small/fits/{n}.nc" for n in every),
            "--modes", '{"small": "corrected"}', "--output", "images.csv", "refinement.csv",
            "--provenance", "provenance.json")  # fmt: skip
    return folder, every


def test_tables_have_a_row_for_each_run(chain):
    folder, every = chain
    table = pd.read_csv(folder / "images.csv")
    assert len(table) == len(every) * 2 * 2
    assert (table.groupby("num_obs").gap_per_obs.min() > -0.1).all()
    assert table.held_out_gap_per_obs.isna().eq(table.method != "width_2").all()
    assert set(table.is_continued[table.method == "semi"]) == {True}
    assert table.num_weights.eq(3 * 3 + 4 * 16).all()
    curve = pd.read_csv(folder / "refinement.csv")
    assert set(curve.split) == {"train", "held_out"} and curve.gap_per_obs.notna().all()


def test_a_part_that_is_refined_stands_for_all(chain):
    folder, _ = chain
    for refined in (4, 30):
        succeed(folder, "measure_images", "--data", "small/images.nc", "--fits", "small/fits/width_2_0.nc",
                "--tolerance", 0.2, "--refined", refined, "--output", f"runs_{refined}.csv",
                f"refinement_{refined}.csv")  # fmt: skip
    every, of_all, part = (pd.read_csv(folder / f) for f in ("small/runs/width_2_0.csv", "runs_30.csv", "runs_4.csv"))
    alike = [name for name in every if "seconds" not in name]
    pd.testing.assert_frame_equal(of_all[alike], every[alike])
    assert np.array_equal(part.elbo, every.elbo)
    for table in (part, every):
        assert np.allclose(table.elbo_refined - table.elbo, table.num_obs * table.local_gap_per_obs)
    assert (part.local_gap_per_obs != every.local_gap_per_obs).all() and (part.local_gap_per_obs > 0).all()
    for name in ("held_out_elbo_fvi_per_obs", "held_out_gap_per_obs", "mse_test_refit"):  # of 4 and of 6 unseen images
        assert (part[name] != every[name]).all()


@pytest.mark.parametrize("looks", [(1, 4), (0, 4, 4), (0, 4, 1)])
def test_looks_of_a_refinement_must_rise_from_0(chain, looks):
    failed = call(chain[0], "measure_images", "--data", "small/images.nc", "--fits", "small/fits/width_2_0.nc",
                  "--tolerance", 0.2, "--looks", *looks, "--output", "a.csv", "b.csv")  # fmt: skip
    assert failed.code and "--looks must rise from 0" in failed.err


def test_fits_started_from_another_method_begin_where_it_ended(chain):
    folder, _ = chain
    still = '{"max_steps": 1, "every": 1, "cycle": 0, "learning_rate": 1e-12, "local_rate": 1e-12}'
    succeed(folder, "fit_images", "--data", "small/images.nc", "--method", '{"kind": "factorized"}', "--fit", still,
            "--settings", '{"latent": 2, "hidden": [3]}', "--seed", 0, 1, "--start", "small/fits/width_2_0.nc",
            "--checkpoint", "kept", "--output", "still.nc")  # fmt: skip
    data = checksum(read_images(folder / "small/images.nc")[0].train)
    encoder, still = read_fits(folder / "small/fits/width_2_0.nc", data)[-1], read_fits(folder / "still.nc", data)[0]
    assert np.allclose(still.trained.elbo[:, 0], encoder.trained.elbo[:, -1], rtol=1e-5)
    assert not list((folder / "kept").glob("*"))
    failed = call(folder, "fit_images", "--data", "small/images.nc", "--method", '{"kind": "constant"}', "--start",
                  "small/fits/width_2_0.nc", "--output", "no.nc")  # fmt: skip
    assert failed.code and "only a factorized method starts from other fits" in failed.err


def test_a_killed_program_goes_on_where_it_was_with_the_same_images_alone(chain, tmp_path, monkeypatch):
    folder, _ = chain
    of, keep, taken_up = Checkpoint.of, Checkpoint.keep, []
    monkeypatch.setattr(Checkpoint, "of", lambda *what: of(*what)._replace(every=0.0))
    monkeypatch.setattr("avigap.cli.Progress.resume", lambda _, step: taken_up.append(step))

    def stop(own, course):
        keep(own, course)
        if len(course.looks) == 2:
            raise KeyboardInterrupt

    def fit(data, checkpoint):
        return call(folder, "fit_images", "--data", data, "--method", '{"kind": "encoder", "width": 2}', "--fit",
                    '{"max_steps": 60, "every": 20, "batch_size": 8, "cycle": 20}', "--num-obs", 10, "--settings",
                    '{"latent": 2, "hidden": [3]}', "--seed", 0, 1, "--checkpoint", tmp_path / checkpoint,
                    "--output", tmp_path / "fit.nc").code  # fmt: skip

    monkeypatch.setattr(Checkpoint, "keep", stop)
    assert fit("small/images.nc", "kept") == 130
    shutil.copytree(tmp_path / "kept", tmp_path / "copy")
    monkeypatch.setattr(Checkpoint, "keep", keep)
    images = read_images(folder / "small/images.nc")[0]
    write_images(tmp_path / "other.nc", images._replace(test=images.test[::-1]), "idx")
    assert fit(tmp_path / "other.nc", "copy") == 0 and not taken_up  # errors of these unseen images were never seen
    assert fit("small/images.nc", "kept") == 0 and taken_up == [40]
    whole, resumed = (
        read_fits(p, checksum(images.train))[0] for p in (folder / "small/fits/width_2_0.nc", tmp_path / "fit.nc")
    )
    assert np.array_equal(resumed.trained.elbo, whole.trained.elbo)
    assert np.array_equal(resumed.trained.mse_test, whole.trained.mse_test)


def test_checkpoints_of_other_settings_or_of_other_code_have_other_names(tmp_path, monkeypatch):
    one, same, other = (Checkpoint.of(tmp_path, print, *what) for what in (("a", 1), ("a", 1), ("a", 2)))
    assert one == same and one.path != other.path and one.path.parent == tmp_path
    monkeypatch.setattr("avigap.images.train.code", lambda: "edited")
    assert Checkpoint.of(tmp_path, print, "a", 1).path != one.path


def test_figures_are_drawn_and_a_broken_run_is_named(chain):
    folder, every = chain
    succeed(folder, "plot_images", "--runs", "images.csv", "--refinement", "refinement.csv",
            "--data", "small/images.nc", "--fits", *(f"small/fits/{n}.nc" for n in every),
            "--tolerances", '{"small": 0.2}', "--output",
            *(f"figures/image_{name}.png" for name in FIGURES))  # fmt: skip
    names = {path.name for path in (folder / "figures").iterdir()}
    assert names == {f"image_{name}.png" for name in FIGURES}
    runs = pd.read_csv(folder / "images.csv")
    assert broken_note(runs) == ""
    runs.loc[0, "status"] = "nonfinite"
    assert "factorized: 1 of 4" in broken_note(runs) and unconverged_note(runs.assign(status="converged")) == ""
    runs["status"] = ["converged"] * (len(runs) - 1) + ["max_steps"]
    assert f"before they converged ({runs.method.iloc[-1]}: 1 of " in unconverged_note(runs)
    assert unconverged_note(runs.assign(mode="as_coded")) == ""


def test_paths_have_logarithmic_steps_and_name_the_runs_that_were_cut_off(chain):
    folder, _ = chain
    runs, data = pd.read_csv(folder / "images.csv"), checksum(read_images(folder / "small/images.nc")[0].train)
    fits = {("small", name): read_fits(folder / f"small/fits/{name}_0.nc", data) for name in ("factorized", "width_2")}
    runs["status"] = np.where((runs.method == "factorized") & (runs.num_obs == 30), "max_steps", "converged")
    runs.loc[runs.num_obs == 10, "status"] = "max_steps"  # of these nothing is drawn
    for fig in (image_paths(runs, fits), image_convergence(runs, {"small": 0.2})):
        assert all(ax.get_xscale() == "log" for ax in fig.axes if ax.lines)
        assert "30 images\nruns cut off before they converged (factorized: 2 of 2)" in fig.axes[0].get_title()
    elbo, ends = (
        image_paths(runs, fits).axes[0],
        [line.get_ydata()[-1] for line in image_paths(runs, fits).axes[0].lines],
    )
    assert np.ptp(elbo.get_ylim()) >= 10 and elbo.get_ylim()[0] < min(ends) and elbo.get_ylim()[1] > max(ends)


def test_convergence_is_drawn_where_no_run_gets_there(chain, tmp_path):
    runs = pd.read_csv(chain[0] / "images.csv").assign(steps_to_mse=np.inf, seconds_to_mse=np.inf)
    fig = image_convergence(runs, {"small": 0.2})
    assert all((line.get_ydata() == 1).all() and np.isfinite(line.get_xdata()).all() for line in fig.axes[0].lines)
    save_figure(fig, tmp_path / "figure.png")


def test_a_reconstruction_that_is_not_finite_is_no_figure():
    with pytest.raises(InputError, match="not finite numbers"):
        image_reconstructions({"a": (2, 2)}, {"a": {"data": np.full((3, 4), np.nan)}})


def test_fits_of_other_images_are_refused(chain, tmp_path):
    folder, _ = chain
    images = np.random.default_rng(1).uniform(size=(30, 16))
    write_images(tmp_path / "images.nc", idx.Images(images, images[:3], (4, 4)), "idx")
    failed = call(tmp_path, "measure_images", "--data", tmp_path / "images.nc",
                  "--fits", folder / "small/fits/semi_0.nc", "--tolerance", 1, "--output", "o.csv",
                  "r.csv")  # fmt: skip
    assert failed.code and "is of other images than the data" in failed.err


# The configuration


def config_of(**change):
    entry = {"data": {"source": "digits", "held_out": 9}, "num_obs": [10], "mse_tolerance": 0.1}
    entry["methods"] = {"factorized": {"kind": "factorized"}, "w": {"kind": "encoder", "width": 2}}
    return {"experiments": {}, "images": {"small": {**entry, **change}}}


def test_an_images_block_is_filled_in():
    check_config(config := config_of(), ROOT / "workflow/schemas/config.schema.yaml", ROOT)
    assert config["images"]["small"]["seeds_per_job"] == config["images"]["small"]["seeds"] == 2


def test_a_method_has_the_fit_of_all_but_for_what_is_its_own():
    w = {"kind": "encoder", "width": 2, "fit": {"learning_rate": 0.5, "cycle": 3000}}
    methods = {"factorized": {"kind": "factorized"}, "w": w}
    config = config_of(methods=methods, fit={"cycle": 1000, "tolerance": 0.3, "max_steps": 3000})
    check_config(config, ROOT / "workflow/schemas/config.schema.yaml", ROOT)
    fits = {name: method["fit"] for name, method in config["images"]["small"]["methods"].items()}
    assert fits["w"] == {"cycle": 3000, "tolerance": 0.3, "max_steps": 3000, "learning_rate": 0.5}
    assert fits["factorized"] == {"cycle": 1000, "tolerance": 0.3, "max_steps": 3000}
    assert "fit" not in methods["factorized"]  # which another experiment may share, by an anchor of YAML


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"data": {"source": "digit", "held_out": 9}}, "unknown source of images 'digit'"),
        ({"data": {"source": "mnist", "held_out": 9}}, "source 'mnist' needs folder, got none"),
        ({"data": {"source": "idx", "held_out": 9, "train": "no", "test": "no"}}, "does not exist"),
        ({"settings": {"pixels": 4}}, "pixels follow from the images"),
        ({"settings": {"latent": 0}}, "latent of model 'bnn_images' must be at least 1"),
        ({"fit": {"cycle": -1}}, "cycle must be 0 or a multiple of every = 200"),
        ({"fit": {"cycle": 250}}, "a multiple of every = 200, got 250"),
        ({"fit": {"max_steps": 3100}}, "where a cycle ends, one of 1000, 3000, 7000, ..; got 3100"),
        ({"methods": {"w": {"kind": "constant"}}}, "a method named 'factorized' is needed"),
        ({"methods": {"factorized": {"kind": "factorised"}}}, "unknown kind of method"),
        ({"methods": {"factorized": {"kind": "factorized", "start": "w"}}}, "unknown method to start from 'w'"),
        (
            {"methods": {"factorized": {"kind": "factorized", "fit": {"cycle": 250}}}},
            "method 'factorized': cycle must be 0 or a multiple of every = 200, got 250",
        ),
        (
            {"methods": {"factorized": {"kind": "factorized", "fit": {"rate": 1}}}},
            "method 'factorized': unknown setting of fit 'rate'",
        ),
        ({"mse_tolerance": 0}, "mse_tolerance must be greater than 0"),
        ({"num_obs": [10], "data": {"source": "digits", "held_out": 9, "num_train": 5}}, "at most num_train = 5"),
        (
            {"data": {"source": "digits", "held_out": 2000}},
            "held_out must be at most 1796 of the images of 'digits', got 2000",
        ),
        (
            {"data": {"source": "mnist", "held_out": 20000, "folder": "m"}},
            "held_out must be at most 10000 of the images of 'mnist', got 20000",
        ),
        ({"fit": {"objective": "as_coded"}}, "objective and mode must both be 'as_coded' or neither"),
        ({"mode": "as_coded"}, "objective and mode must both be 'as_coded' or neither"),
        (
            {"methods": {"factorized": {"kind": "factorized", "fit": {"objective": "as_coded"}}}},
            "method 'factorized': objective belongs to the fit of all methods",
        ),
        ({"num_obs": [10, 1789]}, "num_obs must be at most the images of 'digits' to train with, 1788, got 1789"),
        (
            {"num_obs": [60001], "data": {"source": "mnist", "held_out": 9, "folder": "m"}},
            "num_obs must be at most the images of 'mnist' to train with, 60000, got 60001",
        ),
    ],
)
def test_an_images_block_that_cannot_run_is_refused(change, sentence):
    with pytest.raises(InputError, match=sentence):
        check_config(config_of(**change), ROOT / "workflow/schemas/config.schema.yaml", ROOT)


def test_images_are_no_model_of_an_experiment_with_numbers_for_rows():
    experiment = {
        "model": "bnn_images",
        "data": {"simulate": {"num_obs": [5]}},
        "families": {"c": {"kind": "constant"}},
    }
    with pytest.raises(InputError, match="it belongs under 'images'"):
        check_config({"experiments": {"a": experiment}}, ROOT / "workflow/schemas/config.schema.yaml", ROOT)
