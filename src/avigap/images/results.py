"""Rows of the tables of images: what each run of a method reached, and how the gap closes by refinement."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Float, PRNGKeyArray

from avigap.convergence import first_below
from avigap.images.evaluate import errors, free_factors, measure, refine
from avigap.images.files import ImageFit
from avigap.images.idx import Images
from avigap.images.objective import Decoder, Params

REFINEMENT = (0, 1, 4, 16, 64)
"""Steps after which a refinement is looked at."""


class Refinement(NamedTuple):
    """Terms of the ELBO of images on the way of a refinement with the decoder held, in nats.

    Attributes
    ----------
    rows : (looks, R, draws, N) from fresh draws, the same at all looks
    best : (R, draws, N) of the best factors of each run
    loc : (R, N, D) at the end
    """

    rows: Float[np.ndarray, "looks R draws N"]
    best: Float[np.ndarray, "R draws N"]
    loc: Array

    def gap(self, look: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Return the gap (R,) in nats per image at a look, and the standard error of the draws."""
        each = (self.best - self.rows[look]).mean(-1)
        return each.mean(1), each.std(1, ddof=1) / each.shape[1] ** 0.5


def refinement(
    decoder: Decoder,
    theta: Params,
    starts: Sequence[tuple[Array, Array]],
    x: np.ndarray,
    key: PRNGKeyArray,
    looks: Sequence[int] = REFINEMENT,
) -> Refinement:
    """Refine free factors from each start; ``rows`` and ``loc`` are those from the first.

    From further starts only the end is looked at. The best look of all starts is chosen by one half of the draws and
    judged by the other, so that choosing it does not flatter it.
    """
    ascent, judge = jax.random.split(key)
    every: list[np.ndarray] = []
    ends: list[Array] = []
    for start in starts:
        looks = looks[-1:] if every else looks
        path = refine(decoder, looks, theta, jnp.stack(start, axis=1), x, ascent)
        every.append(np.stack([measure(decoder, theta, own[:, 0], own[:, 1], x, judge).rows for own in path]))
        ends.append(jnp.asarray(path[-1][:, 0]))
    rows = np.concatenate(every)
    half = rows.shape[2] // 2
    sums = rows[:, :, :half].sum(axis=(2, 3))
    chosen = np.where(np.isnan(sums), -np.inf, sums).argmax(axis=0)
    best = rows[chosen, np.arange(rows.shape[1]), half:]
    return Refinement(every[0][:, :, half:], best, ends[0])


def run_rows(
    fit: ImageFit,
    decoder: Decoder,
    images: Images,
    key: PRNGKeyArray,
    tolerance: float,
    looks: Sequence[int] = REFINEMENT,
    refined: int | None = None,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return a row for each run of a method, and a row for each run, split of the data and look of its refinement.

    Unseen images are encoded, and refitted by F-VI from the encoder's factors and from the prior; F-VI has none but the
    latter. ``elbo_refined`` is the ELBO with refined factors of all images, estimated from those that were refined, as
    ``local_gap_per_obs`` is. Steps and seconds of a run end where it stopped.

    Parameters
    ----------
    tolerance
        Squared error per pixel of the training images, to which steps and seconds are counted.
    looks
        Steps of F-VI at which the refinement is looked at.
    refined
        Images of each split whose factors are refined, the first ones; all if left out.
    """
    x, own = images.train[: fit.num_obs], fit.trained
    some, unseen = x[:refined], images.test[:refined]
    theta, keys = own.params["theta"], jax.random.split(key, 3)
    factors = free_factors(fit.inference, own.params, jnp.asarray(x))
    elbo, elbo_error = measure(decoder, theta, *factors, x, keys[0]).elbo()
    prior = (jnp.zeros((len(elbo), len(unseen), decoder.latent)),) * 2
    starts = [prior]
    if fit.inference.infer is not None:
        starts = [free_factors(fit.inference, own.params, jnp.asarray(unseen)), prior]
    splits = {
        "train": refinement(decoder, theta, [(factors[0][:, :refined], factors[1][:, :refined])], some, keys[1], looks),
        "held_out": refinement(decoder, theta, starts, unseen, keys[2], looks),
    }
    measured = {"elbo": elbo, "elbo_error": elbo_error}
    measured["elbo_refined"] = elbo + splits["train"].gap()[0] * fit.num_obs
    measured["mse_test_refit"] = errors(decoder, theta, splits["held_out"].loc, jnp.asarray(unseen))
    measured["held_out_elbo_fvi_per_obs"] = splits["held_out"].best.mean((1, 2))
    for (name, split), prefix in zip(splits.items(), ("local_gap", "held_out_gap"), strict=True):
        is_known = name == "train" or fit.inference.infer is not None
        gap = split.gap() if is_known else (np.full(len(elbo), np.nan),) * 2
        measured |= {f"{prefix}_per_obs": gap[0], f"{prefix}_error": gap[1]}
    measured |= _course(fit, tolerance)
    alike = {"num_obs": fit.num_obs, "num_params": fit.num_params, "num_weights": decoder.num_weights}
    alike["is_continued"] = fit.is_continued
    runs = pd.DataFrame({**measured, "seed": fit.seeds, "status": own.status}).assign(**alike)
    rows: Any = runs.to_dict("records")
    return rows, [row for name, split in splits.items() for row in _curve(fit, name, split, looks)]


def _course(fit: ImageFit, tolerance: float) -> dict[str, Any]:
    """Return what the runs went through; seconds are those of one run among its seeds.

    A run that has stopped does not move: its ELBO, by the same draws at all looks, stays the same to the last digit.
    """
    own, each = fit.trained, len(fit.seeds)
    ends = [np.flatnonzero(np.r_[True, elbo[1:] != elbo[:-1]])[-1] for elbo in own.elbo]
    return {
        "steps": own.steps[ends],
        "seconds": own.seconds[ends] / each,
        "compile_seconds": own.compile_seconds,
        **{name: getattr(own, name)[:, -1] for name in ("mse_train", "mse_test", "loss")},
        "steps_to_mse": first_below(own.mse_train, tolerance, own.steps),
        "seconds_to_mse": first_below(own.mse_train, tolerance, own.seconds / each),
    }


def _curve(fit: ImageFit, split: str, found: Refinement, looks: Sequence[int]) -> list[dict[str, Any]]:
    return [
        {
            "num_obs": fit.num_obs,
            "seed": seed,
            "split": split,
            "refine_steps": step,
            "gap_per_obs": gap,
            "gap_error": error,
        }
        for look, step in enumerate(looks)
        for seed, gap, error in zip(fit.seeds, *found.gap(look), strict=True)
    ]


def summarise(runs: pd.DataFrame, modes: Mapping[str, str]) -> pd.DataFrame:
    """Return the runs of all experiments with their mode, and their gap to the best F-VI found for as many images.

    The best is that of any run of any method after its factors were refined: each is a member of F-VI's family. Runs
    whose ELBO is not finite have none, and no gap.
    """
    best = runs.groupby(["experiment", "num_obs"]).elbo_refined.transform("max")
    rows = runs.assign(gap_per_obs=(best - runs.elbo) / runs.num_obs, mode=runs.experiment.map(modes))
    winners = rows[rows.elbo_refined == best].drop_duplicates(["experiment", "num_obs"])
    return rows.merge(
        winners[["experiment", "num_obs", "method"]].rename(columns={"method": "best_method"}),
        how="left",
        on=["experiment", "num_obs"],
    )
