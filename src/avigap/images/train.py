"""Training of q for the Bayesian decoder to convergence: cycles of falling rates, each twice as long; checkpoints."""

import hashlib
import time
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, PRNGKeyArray

from avigap.errors import InputError
from avigap.images.inference import Inference, Start
from avigap.images.objective import Decoder, Params, initial
from avigap.images.steps import State, Training, begin, cycle_ends, look, run_steps
from avigap.models import bnn_images
from avigap.paths import replacing

SEEN = ("elbo", "mse_train", "mse_test", "loss")
"""What is seen of every run at a look."""


class Trained(NamedTuple):
    """R runs of one method, one for each seed.

    Attributes
    ----------
    params : at the end, leaves (R, ..)
    elbo : (R, looks) estimate of the ELBO in nats, by the same draws at all looks
    mse_train, mse_test : (R, looks) squared error per pixel of the image decoded from the means of q; that of unseen
        images is NaN for F-VI, whose factors of them do not exist
    loss : (R, looks) mean, since the last look, of the objective that is minimised
    steps, seconds : (looks,) since the start; seconds of all runs together, without looks and compilation
    compile_seconds : wall time of compiling
    status : (R,) ``"converged"``, ``"max_steps"`` or ``"nonfinite"``
    """

    params: Params
    elbo: np.ndarray
    mse_train: np.ndarray
    mse_test: np.ndarray
    loss: np.ndarray
    steps: np.ndarray
    seconds: np.ndarray
    compile_seconds: float
    status: list[str]


class _Course:
    """R runs on their way: where they are, what was seen of them, and their learning rates as parts of the first ones.

    The rate of a run is 0 once it has converged or its ELBO is not finite; ``ended`` has the best ELBO of each at its
    start and at the ends of cycles: a run that ends far below it has not converged, it has diverged.
    """

    def __init__(self, how: Training, num_obs: int, state: State) -> None:
        runs = len(state.params["theta"]["loc"])
        self.how, self.enough, self.state = how, how.tolerance * num_obs, state
        self.looks: list[np.ndarray] = []
        self.seconds: list[float] = []
        self.rate, self.ended = np.ones(runs), np.full(runs, -np.inf)

    def move(self, state: State) -> None:
        """Take the state after further steps; runs that have stopped stay where they are, whatever the steps gave."""
        if not (moves := self.rate > 0).all():
            old = self.state
            state = jax.tree.map(lambda a, b: jnp.where(moves.reshape((-1,) + (1,) * (a.ndim - 1)), b, a), old, state)
        self.state = state

    def see(self, look: Float[np.ndarray, "4 R"], seconds: float) -> None:
        """Take what was seen at a look, so many seconds after the last one."""
        elbo = look[0]
        self.looks.append(look)
        self.seconds.append(seconds)
        if self.how.cycle:
            done = len(self.looks) * self.how.every
            began = cycle_ends(self.how.cycle, done)[-1]
            left: Any = 1 - (done - began) / (began + self.how.cycle)
            if done == began:
                left = np.abs(elbo - self.ended) > self.enough
                self.ended = np.maximum(self.ended, elbo)
            self.rate = np.where(self.rate > 0, left, 0.0)
        self.rate[~np.isfinite(elbo)] = 0.0

    def trained(self, num_obs: int, inference: Inference, compile_seconds: float) -> Trained:
        """Return what became of the runs, with the factors of the images that they were trained with."""
        params = jax.tree.map(np.asarray, self.state.params)
        if inference.infer is None:
            params["local"] = jax.tree.map(lambda leaf: leaf[:, :num_obs], params["local"])
        seen = dict(zip(SEEN, np.stack(self.looks, axis=-1), strict=True))
        status = np.where(self.rate > 0, "max_steps", "converged")
        status = np.where(np.isfinite(seen["elbo"][:, -1]), status, "nonfinite")
        return Trained(
            params=params,
            **seen,
            steps=self.how.every * np.arange(1, len(self.looks) + 1),
            seconds=np.cumsum(self.seconds),
            compile_seconds=compile_seconds,
            status=status.tolist(),
        )


class Checkpoint(NamedTuple):
    """Where runs on their way are kept.

    Attributes
    ----------
    path : of the file
    identity : of data and settings; runs of another identity are not taken up
    resume : called with the step at which runs are taken up
    every : seconds between two copies at least
    """

    path: Path
    identity: str
    resume: Callable[[int], None] = lambda step: None
    every: float = 60.0

    @classmethod
    def of(cls, folder: Path, resume: Callable[[int], None], *what: Any) -> "Checkpoint":
        """Return the checkpoint of what has these representations, trained by this code; others have other names."""
        identity = repr((*what, code()))
        return cls(folder / f"{hashlib.sha256(identity.encode()).hexdigest()[:16]}.npz", identity, resume)

    def keep(self, course: _Course) -> None:
        """Write the runs, whole or not at all."""
        leaves = {f"leaf_{i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(course.state))}
        own: Any = {name: getattr(course, name) for name in ("looks", "seconds", "rate", "ended")}
        with replacing(self.path) as partial, partial.open("wb") as file:
            np.savez(file, **{"identity": np.array(self.identity), **own, **leaves})

    def take_up(self, course: _Course) -> None:
        """Bring runs at their start to where they were kept, if they were.

        Raises
        ------
        InputError
            If the file cannot be read, or is of other data or settings.
        """
        if not self.path.exists():
            return
        try:
            with self.path.open("rb") as file, np.load(file) as arrays:
                kept = dict(arrays)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise InputError(f"the checkpoint {self.path} cannot be read; remove it to start again") from error
        if str(kept["identity"]) != self.identity:
            raise InputError(f"the checkpoint {self.path} is of other data or settings; remove it to start again")
        course.looks, course.seconds = list(kept["looks"]), list(kept["seconds"])
        course.rate, course.ended = kept["rate"], kept["ended"]
        shape = jax.tree.structure(course.state)
        course.state = jax.tree.unflatten(shape, [kept[f"leaf_{i}"] for i in range(len(jax.tree.leaves(course.state)))])
        self.resume(len(course.looks) * course.how.every)


def code() -> str:
    """Return the checksum of the code that trains: runs go on only with the code they began with."""
    names = ("train", "steps", "objective", "inference")
    sources = [Path(bnn_images.__file__), *(Path(__file__).with_name(f"{name}.py") for name in names)]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]


def train(
    decoder: Decoder,
    inference: Inference,
    how: Training,
    x: Float[np.ndarray, "M pixels"],
    num_obs: int,
    test: Float[np.ndarray, "T pixels"],
    keys: PRNGKeyArray,
    start: Params | None = None,
    report: Callable[[int, float], None] = lambda step, elbo: None,
    checkpoint: Checkpoint | None = None,
) -> Trained:
    """Train one run for each of R keys on the first ``num_obs`` images of ``x``.

    Parameters
    ----------
    start
        Parameters (R, ..) to start from instead of those of ``how.start``.
    report
        Called with the step and the best ELBO at each look.
    checkpoint
        Where the runs are kept on their way, and taken up by a second call.
    """
    x = x[:num_obs] if how.objective == "as_coded" else x  # which scores all of x at every step
    images, unseen = jnp.asarray(x, jnp.float32), jnp.asarray(test, jnp.float32)
    if start is None:
        start = _starts(decoder, inference, num_obs, how.start, keys)
    course = _Course(how, num_obs, jax.vmap(lambda own: begin(own, inference))(_padded(start, inference, len(x))))
    if checkpoint is not None:
        checkpoint.take_up(course)
    began, size, rates = time.perf_counter(), jnp.float32(num_obs), jnp.ones(len(keys), jnp.float32)
    rows = jnp.asarray(_batches(keys, 0, num_obs, how))
    advance = run_steps.lower(decoder, inference, how, images, size, course.state, rows, keys, rates).compile()
    measure = look.lower(decoder, inference, course.state.params, images, size, unseen, keys[0]).compile()
    compile_seconds, kept = time.perf_counter() - began, time.monotonic()
    if not course.looks:
        at_start = measure(course.state.params, images, size, unseen, jax.random.key(0))[0]
        course.ended = np.nan_to_num(np.asarray(at_start, float), nan=-np.inf)
    while len(course.looks) * how.every < how.max_steps and course.rate.any():
        began, index = time.perf_counter(), len(course.looks)
        rows, rates = jnp.asarray(_batches(keys, index, num_obs, how)), jnp.asarray(course.rate, jnp.float32)
        state, loss = advance(images, size, course.state, rows, _folded(keys, index), rates)
        course.move(jax.block_until_ready(state))
        seconds = time.perf_counter() - began
        seen = (*measure(course.state.params, images, size, unseen, jax.random.key(0)), loss)
        course.see(np.stack([np.asarray(each, float) for each in seen]), seconds)
        report(len(course.looks) * how.every, float(np.nanmax(course.looks[-1][0], initial=-np.inf)))
        if checkpoint is not None and time.monotonic() - kept >= checkpoint.every:
            checkpoint.keep(course)
            kept = time.monotonic()
    return course.trained(num_obs, inference, compile_seconds)


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
@partial(jax.vmap, in_axes=(None, None, None, None, 0))
def _starts(decoder: Decoder, inference: Inference, num_obs: int, start: Start, key: PRNGKeyArray) -> Params:
    return initial(key, decoder, inference, num_obs, start)


def _folded(keys: PRNGKeyArray, index: int) -> PRNGKeyArray:
    return jax.vmap(lambda key: jax.random.fold_in(key, index))(keys)


def _batches(keys: PRNGKeyArray, index: int, num_obs: int, how: Training) -> Int[np.ndarray, "R steps B"]:
    """Return the rows of each step after look ``index`` of each run: random epochs, cut into equal batches."""
    size = min(how.batch_size, num_obs)
    in_epoch = num_obs // size
    number = -(-how.every // in_epoch)

    def of_run(words: np.ndarray) -> np.ndarray:
        random = np.random.default_rng([*words, index])
        orders = random.permuted(np.tile(np.arange(num_obs, dtype=np.int32), (number, 1)), axis=1)
        return orders[:, : in_epoch * size].reshape(-1, size)[: how.every]

    return np.stack([of_run(words) for words in np.asarray(jax.random.key_data(keys))])


def _padded(params: Params, inference: Inference, number: int) -> Params:
    """Return parameters with free factors of further images, which no step touches."""
    if inference.infer is not None:
        return params
    room = ((0, 0), (0, number - params["local"]["loc"].shape[1]), (0, 0))
    return params | {"local": jax.tree.map(lambda leaf: jnp.pad(leaf, room), params["local"])}
