"""Simulated ensembles whose true gain is known, against the interval that the report prints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from pipeline.analysis.ensemble_selection import Probabilities, select
from pipeline.analysis.intervals import paired_interval

C = 4  # classes
FRESH = 10_000  # examples that measure the true gain
SHARPNESS = 2.0  # of the probabilities
LABEL = 0  # the correct class of every example


@dataclass(frozen=True)
class Setting:
    """A kind of sweep whose models are combined."""

    name: str
    models: int
    skill: tuple[float, float]  # the mean score of the correct class, of the worst and best model
    correlation: float  # of the scores of two models for an example
    images: int = 359
    epochs: int = 1  # among which the best one of each model is chosen


SETTINGS = (
    Setting("12 equal models, correlation 0.5", 12, (3.0, 3.0), 0.5),
    Setting("12 equal models, correlation 0.9", 12, (3.0, 3.0), 0.9),
    Setting("12 equal models, correlation 0.99", 12, (3.0, 3.0), 0.99),
    Setting("12 models, 83 to 96 %, correlation 0.8", 12, (2.0, 3.0), 0.8),
    Setting("12 equal models, correlation 0.9, best of 30 epochs", 12, (3.0, 3.0), 0.9, epochs=30),
)


class Repeat(NamedTuple):
    """One ensemble: its gain over the chosen model."""

    truth: float  # on fresh examples
    gain: float  # as reported
    low: float
    high: float


def scores(
    random: np.random.Generator, setting: Setting, images: int, epochs: int
) -> NDArray[np.float32]:
    """Draw the scores (epochs, C, M, images) of models for examples.

    They are normal. `correlation` is the part of the variance that all models share, the difficulty
    of the example. The rest belongs to the model. With several epochs, half of it is drawn anew in
    each epoch.
    """
    M, rest = setting.models, 1 - setting.correlation
    parts = [(setting.correlation, (1, C, 1, images)), (rest, (1, C, M, images))]
    if epochs > 1:
        parts[1:] = [(rest / 2, (1, C, M, images)), (rest / 2, (epochs, C, M, images))]
    drawn = sum(v**0.5 * random.standard_normal(shape, np.float32) for v, shape in parts)
    found = np.asarray(drawn, np.float32)
    found[:, LABEL] += np.linspace(*setting.skill, M, dtype=np.float32)[:, None]
    return found


def best_epochs(drawn: NDArray[np.float32]) -> Probabilities:
    """The probabilities (C, M, images) of each model in its epoch of the highest accuracy."""
    accuracy = (drawn.argmax(axis=1) == LABEL).mean(axis=-1)
    best = drawn[accuracy.argmax(axis=0), :, np.arange(drawn.shape[2])].transpose(1, 0, 2)
    likely = np.exp(SHARPNESS * (best - best.max(axis=0)))
    return np.asarray(likely / likely.sum(axis=0), np.float32)


def repeat(setting: Setting, number: int) -> Repeat:
    """Simulate the models of a sweep, select an ensemble, and compare its gain with the truth."""
    random = np.random.default_rng([number, setting.models, setting.images])
    probs = best_epochs(scores(random, setting, setting.images, setting.epochs))
    labels = np.full(setting.images, LABEL)
    found = select(probs, labels, "val_acc", number)
    covered = found.is_covered
    gain, low, high = paired_interval(found.hits[covered] - found.single_hits[covered])
    hits = (probs.argmax(axis=0) == LABEL).mean(axis=-1)
    losses = -np.log(probs[LABEL]).mean(axis=-1)
    chosen = max(range(setting.models), key=lambda m: (hits[m], -losses[m]))
    fresh = best_epochs(scores(random, setting, FRESH, 1))
    mean = np.tensordot(found.shares.astype(np.float32), fresh, (0, 1))
    truth = (mean.argmax(axis=0) == LABEL).mean() - (
        fresh[:, chosen].argmax(axis=0) == LABEL
    ).mean()
    return Repeat(float(truth), float(gain), float(low), float(high))


def run(setting: Setting, repeats: int) -> NDArray[np.float64]:
    """All repeats of a setting: (repeats, fields of `Repeat`)."""
    with threadpool_limits(1):
        return np.array([repeat(setting, number) for number in range(repeats)], float)


def table(results: Sequence[NDArray[np.float64]]) -> str:
    """The results as a Markdown table, in percentage points."""
    lines = [
        "| sweep | images | true gain | reported gain | width of the interval | coverage |",
        "|" + " --- |" * 6,
    ]
    for setting, found in zip(SETTINGS, results, strict=True):
        truth, gain, low, high = found.T
        covered = 100 * ((low <= truth) & (truth <= high)).mean()
        lines.append(
            f"| {setting.name} | {setting.images:,} | {100 * truth.mean():+.2f} | "
            f"{100 * gain.mean():+.2f} | {100 * (high - low).mean():.2f} | {covered:.1f} % |"
        )
    return "\n".join(lines)
