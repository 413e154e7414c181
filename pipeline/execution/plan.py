"""Planning: which jobs train together, and in which order.

Jobs that share every mini-batch form a population. Jobs are distributed over *waves*, which are
trained one after another because their weights must fit the memory. The models of a wave that
belong to one population are divided into *shards*, and each shard is trained by one core. The plan
does not influence the numbers of any model.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import psutil

from pipeline.config import Hyperparameters
from pipeline.errors import ConfigError


@dataclass(frozen=True)
class ShardPlan:
    """Models of one population that one core trains."""

    jobs: tuple[int, ...]  # indices into the list of jobs
    work: int  # Σ hidden units × epochs, which is proportional to the multiply-adds


def plan_waves(
    jobs: Sequence[Hyperparameters], D: int, C: int, cores: int, memory: int
) -> list[list[ShardPlan]]:
    """Divide jobs on the same data and dtype into waves of shards.

    Args:
        jobs: what to train.
        D: features of an image.
        C: classes.
        cores: shards that train at the same time. A population has at most so many shards per wave.
        memory: bytes for the weights of a wave. A model that needs more is a wave of its own.

    Returns:
        The waves in their order, each with its longest shards first.
    """
    order = sorted(range(len(jobs)), key=lambda i: jobs[i].batches)
    waves: list[list[int]] = []
    free = 0
    for i in order:
        size = model_bytes(jobs[i], D, C)
        if size > free or not waves:
            waves.append([])
            free = memory
        waves[-1].append(i)
        free -= size
    return [_plan_shards(jobs, wave, cores) for wave in waves]


def model_bytes(job: Hyperparameters, D: int, C: int) -> int:
    """Memory of a model in training: the current weights, the best ones, and the velocity."""
    H, copies = job.hidden_size, 3 if job.momentum else 2
    return copies * (D * H + H + H * C + C) * np.dtype(job.dtype).itemsize


def check_size(job: Hyperparameters, D: int, C: int) -> None:
    """Reject a model that does not fit the memory of this machine.

    Raises:
        ConfigError: it does not fit.
    """
    need, total = model_bytes(job, D, C), psutil.virtual_memory().total
    if need > total:
        raise ConfigError(
            f"hidden_size={job.hidden_size} needs {need / 1e9:.3g} GB for its weights, and this "
            f"machine has {total / 1e9:.3g} GB: use at most {job.hidden_size * total // need}"
        )


def _plan_shards(
    jobs: Sequence[Hyperparameters], wave: Iterable[int], cores: int
) -> list[ShardPlan]:
    """Divide each population of a wave: the longest jobs first, each to the least loaded shard."""
    populations = defaultdict(list)
    for i in wave:
        populations[jobs[i].batches].append(i)
    shards = []
    for members in populations.values():
        shard_jobs: list[list[int]] = [[] for _ in range(cores)]
        loads = [0] * cores
        for i in sorted(members, key=lambda i: -_work(jobs[i])):
            least = loads.index(min(loads))
            shard_jobs[least].append(i)
            loads[least] += _work(jobs[i])
        shards += [
            ShardPlan(tuple(one), load) for one, load in zip(shard_jobs, loads, strict=True) if one
        ]
    return sorted(shards, key=lambda shard: -shard.work)


def _work(job: Hyperparameters) -> int:
    return job.hidden_size * job.num_epochs
