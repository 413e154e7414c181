"""The description of a sweep before it starts: the plan, its memory, its cost and its time."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from pipeline.blas import one_thread
from pipeline.config import Halving
from pipeline.data.dataset import Dataset
from pipeline.execution.backend import Resources
from pipeline.execution.plan import ShardPlan, makespan, model_bytes, plan_waves
from pipeline.hyperparameters import Hyperparameters
from pipeline.nn.cost import training_cost
from pipeline.nn.population import group_into_stacks
from pipeline.nn.train import steps

CALIBRATION_STEPS = 5


def describe(
    jobs: Sequence[Hyperparameters],
    data: Dataset,
    resources: Resources,
    halving: Halving | None = None,
    *,
    alone: bool = False,
) -> Iterator[str]:
    """Describe a sweep in some lines.

    Args:
        jobs: all on this dataset, in its dtype.
        data: the dataset. Some training steps on it are timed.
        resources: the cores and the memory.
        halving: when jobs stop early; None: all train to their end.
        alone: whether each job is a shard of its own, as in a continuous search.
    """
    (num_train, D), C = data.X_train.shape, len(data.classes)
    cores = resources.cores
    waves = plan_waves(jobs, D, C, cores, resources.memory_for_weights(data))
    if alone:
        waves = [[ShardPlan((i,), 1) for i in range(len(jobs))]]
    populations = {job.batches for job in jobs}
    stacks = sum(
        len(group_into_stacks([jobs[i] for i in s.jobs], data, s.threads)) for w in waves for s in w
    )
    data_bytes = data.X_train.nbytes + data.X_val.nbytes
    weights = max(sum(model_bytes(jobs[i], D, C) for s in w for i in s.jobs) for w in waves)
    cost = sum(
        training_cost(job.hidden_size, job.num_epochs, num_train, len(data.y_val), D, C)
        for job in jobs
    )
    seconds = _seconds(jobs, waves, data, cores)
    examples = f"{num_train} training and {len(data.y_val)} validation examples"
    rounds = f", in {len(waves)} rounds that each fit in memory" if len(waves) > 1 else ""
    yield f"{data.name}: {examples} of {D} values"
    yield (
        f"{_count(len(jobs), 'job')}, {_count(len(populations), 'group')} with shared "
        f"mini-batches, {_count(stacks, 'stack')}, {_count(sum(map(len, waves)), 'shard')}, "
        f"{cores} at once{rounds}"
    )
    yield f"memory: {data_bytes / 1e6:.0f} MB of data, up to {weights / 1e6:.0f} MB of weights"
    share = 1.0
    if halving is not None:
        rungs, survivors, share = _halved(jobs, halving)
        steps = ", ".join(
            f"{n} after epoch {rung}" for rung, n in zip(rungs, survivors, strict=True)
        )
        yield f"halving: {_configurations(jobs)} configurations{steps and ', ' + steps}"
    yield f"cost: {cost * share:.2e} multiply-adds"
    yield f"time: about {format_duration(seconds * share)}, if no model diverges"


def _halved(
    jobs: Sequence[Hyperparameters], halving: Halving
) -> tuple[list[int], list[int], float]:
    """The rungs, the number of survivors at each, and the share of all epochs that is trained."""
    longest = max(job.num_epochs for job in jobs)
    rungs, survivors, share = halving.rungs(longest), [], 0.0
    configurations = continuing = _configurations(jobs)
    previous = 0
    for rung in (*rungs, longest):
        share += continuing / configurations * (rung - previous) / longest
        previous, continuing = rung, halving.num_survivors(continuing)
        survivors.append(continuing)
    return rungs, survivors[:-1], share


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _configurations(jobs: Sequence[Hyperparameters]) -> int:
    return len({replace(job, seed=0) for job in jobs})


def _seconds(
    jobs: Sequence[Hyperparameters], waves: Sequence[Sequence[ShardPlan]], data: Dataset, cores: int
) -> float:
    """Estimate the time of all waves from some measured steps per hidden size.

    A wave takes as long as its busiest core.
    """
    per_image = {job.hidden_size: 0.0 for job in jobs}
    with one_thread():
        for H in per_image:
            per_image[H] = seconds_per_image(
                next(job for job in jobs if job.hidden_size == H), data
            )
    images = images_per_epoch(data)
    total = 0.0
    for wave in waves:
        times = (
            sum(jobs[i].num_epochs * images * per_image[jobs[i].hidden_size] for i in shard.jobs)
            / shard.threads
            for shard in wave
        )
        total += makespan(times, cores // wave[0].threads)
    return total


def images_per_epoch(data: Dataset) -> float:
    """The work of an epoch, in training images. Without gradients, an image is a third of one."""
    return len(data.y_train) + len(data.y_val) / 3


def seconds_per_image(job: Hyperparameters, data: Dataset) -> float:
    """Measure the seconds that one model needs for one training image."""
    times: list[float] = []
    start = time.perf_counter()
    for _ in itertools.islice(steps([job], data), CALIBRATION_STEPS + 1):
        end = time.perf_counter()
        times.append((end - start) / job.batch_size)
        start = end
    return float(np.median(times))


def format_duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
