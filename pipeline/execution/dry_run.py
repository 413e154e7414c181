"""What a sweep would do: the plan, its memory, its cost, and about how long it will take."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from threadpoolctl import threadpool_limits

from pipeline.config import Halving, Hyperparameters
from pipeline.data.dataset import Dataset
from pipeline.execution.plan import Shard, model_bytes, plan
from pipeline.nn.batches import mini_batches
from pipeline.nn.cost import training_cost
from pipeline.nn.stack import Stack
from pipeline.nn.workspace import Workspace, group_into_stacks

CALIBRATION_STEPS = 5


def describe(
    jobs: Sequence[Hyperparameters],
    data: Dataset,
    cores: int,
    memory: int,
    halving: Halving | None = None,
) -> Iterator[str]:
    """Lines that say what a sweep would train together.

    Args:
        jobs: all on this data, in its dtype.
        data: read already, for its sizes and to time a few steps on it.
        cores: shards that train at once.
        memory: bytes for the weights of a wave.
        halving: which jobs stop early, if some do.
    """
    (num_train, D), C = data.X_train.shape, len(data.classes)
    waves = plan(jobs, D, C, cores, memory)
    populations = {job.batches for job in jobs}
    stacks = sum(len(group_into_stacks([jobs[i] for i in s.jobs], data)) for w in waves for s in w)
    data_bytes = data.X_train.nbytes + data.X_val.nbytes
    weights = max(sum(model_bytes(jobs[i], D, C) for s in w for i in s.jobs) for w in waves)
    adds = sum(
        training_cost(job.hidden_size, job.num_epochs, num_train, len(data.y_val), D, C)
        for job in jobs
    )
    seconds = _seconds(jobs, waves, data, cores)
    yield f"{data.name}: {num_train} training and {len(data.y_val)} validation images of {D} values"
    yield (
        f"{len(jobs)} jobs, {len(populations)} population(s), {stacks} stacks, "
        f"{sum(map(len, waves))} shards in {len(waves)} wave(s), {cores} at once"
    )
    yield f"memory: {data_bytes / 1e6:.0f} MB of data, up to {weights / 1e6:.0f} MB of weights"
    share = 1.0
    if halving is not None:
        rungs, left, share = _halved(jobs, halving)
        steps = ", ".join(f"{n} after epoch {rung}" for rung, n in zip(rungs, left, strict=True))
        yield f"halving: of {_configurations(jobs)} configurations stay {steps or 'all'}"
    yield f"cost: {2 * adds * share:.2e} FLOPs"
    yield f"time: about {_duration(seconds * share)}, if no model diverges"


def _halved(
    jobs: Sequence[Hyperparameters], halving: Halving
) -> tuple[list[int], list[int], float]:
    """The rungs, how many configurations stay at each, and the share of all epochs that is left."""
    most = max(job.num_epochs for job in jobs)
    rungs, left, share = halving.rungs(most), [], 0.0
    configurations = staying = _configurations(jobs)
    before = 0
    for rung in (*rungs, most):
        share += staying / configurations * (rung - before) / most
        before, staying = rung, halving.num_survivors(staying)
        left.append(staying)
    return rungs, left[:-1], share


def _configurations(jobs: Sequence[Hyperparameters]) -> int:
    return len({replace(job, seed=0) for job in jobs})


def _seconds(
    jobs: Sequence[Hyperparameters], waves: Sequence[Sequence[Shard]], data: Dataset, cores: int
) -> float:
    """Time of all waves, each as long as its busiest core, from a few measured steps per H."""
    per_image = {job.hidden_size: 0.0 for job in jobs}
    with threadpool_limits(1, "blas"):
        for H in per_image:
            per_image[H] = _time_image(next(job for job in jobs if job.hidden_size == H), data)
    images = len(data.y_train) + len(data.y_val) / 3  # no gradients there: a third of the work
    total = 0.0
    for wave in waves:
        busy = [0.0] * cores
        for shard in wave:
            busy[busy.index(min(busy))] += sum(
                jobs[i].num_epochs * images * per_image[jobs[i].hidden_size] for i in shard.jobs
            )
        total += max(busy)
    return total


def _time_image(job: Hyperparameters, data: Dataset) -> float:
    """Seconds that a model needs for a training image."""
    work, stack = Workspace([job], data), Stack([job], [0], data)
    times: list[float] = []
    for X, y in mini_batches(data, job, 1, 0, work.X):
        began = time.perf_counter()
        stack.step(X, y, work, 1, len(times) + 1)
        times.append((time.perf_counter() - began) / len(y))
        if len(times) > CALIBRATION_STEPS:
            break
    return float(np.median(times))


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
