"""Planning: which jobs train together, and in which order.

Jobs that share every mini-batch form a population. Jobs are distributed over *waves*, which are
trained one after another because their weights must fit the memory. The models of a wave that
belong to one population are divided into *shards*. Each shard is trained by a process with one or
more threads. The plan does not influence the numbers of any model.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import psutil

from pipeline.errors import ConfigError
from pipeline.hyperparameters import Hyperparameters
from pipeline.nn.cost import prediction_cost, serial_share

THREAD_OVERHEAD = 1.05  # the time of a shard with several threads, relative to a perfect division
MIN_STEP_COST = 50_000_000  # multiply-adds of a step for each thread, about 1 ms


@dataclass(frozen=True)
class ShardPlan:
    """Models of one population that one process trains."""

    jobs: tuple[int, ...]  # indices into the list of jobs
    work: float  # Σ hidden units × epochs of the busiest thread, in proportion to the time
    threads: int = 1  # equal for all shards of a wave


def plan_waves(
    jobs: Sequence[Hyperparameters],
    D: int,
    C: int,
    cores: int,
    memory: int,
    *,
    threads: bool = True,
) -> list[list[ShardPlan]]:
    """Divide jobs on the same data and dtype into waves of shards.

    If the shards of single threads would leave cores idle, several threads share a shard.

    Args:
        jobs: what to train.
        D: features of an image.
        C: classes.
        cores: threads that train at the same time. Each population of a wave has at most as many
            shards.
        memory: bytes for the weights of a wave. A model that needs more is a wave of its own.
        threads: whether a shard may have several threads.

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
    return [_plan_shards(jobs, wave, D, C, cores, threads) for wave in waves]


def model_bytes(job: Hyperparameters, D: int, C: int) -> int:
    """Memory of a model in training: the weights, the best ones, the velocity and the average."""
    H, copies = job.hidden_size, 2 + (job.momentum > 0) + (job.ema > 0)
    return copies * (D * H + H + H * C + C) * np.dtype(job.dtype).itemsize


def check_size(job: Hyperparameters, D: int, C: int) -> None:
    """Reject a model that does not fit the memory of this machine.

    Raises:
        ConfigError: it does not fit.
    """
    need, total = model_bytes(job, D, C), _total_memory()
    if need > total:
        raise ConfigError(
            f"hidden_size={job.hidden_size} needs {need / 1e9:.3g} GB for its weights, and this "
            f"machine has {total / 1e9:.3g} GB: use at most {job.hidden_size * total // need}"
        )


@functools.cache
def _total_memory() -> int:
    return int(psutil.virtual_memory().total)


def _plan_shards(
    jobs: Sequence[Hyperparameters],
    wave: Iterable[int],
    D: int,
    C: int,
    cores: int,
    threads: bool,
) -> list[ShardPlan]:
    """Divide the populations of a wave into shards, with the number of threads that ends first."""
    populations = defaultdict(list)
    for i in wave:
        populations[jobs[i].batches].append(i)
    groups = list(populations.values())
    best = _divide(jobs, groups, D, cores, 1)
    ideal = sum(shard.work for shard in best) / cores
    if not threads or _duration(best, cores) <= THREAD_OVERHEAD * ideal:
        return best
    for count in _thread_counts(jobs, groups, D, C, cores):
        plan = _divide(jobs, groups, D, cores // count, count)
        if _duration(plan, cores // count) < _duration(best, cores // best[0].threads):
            best = plan
    return best


def _thread_counts(
    jobs: Sequence[Hyperparameters], groups: Sequence[Sequence[int]], D: int, C: int, cores: int
) -> Iterator[int]:
    """Numbers of threads that have enough to do in each step of every population."""
    step = min(
        sum(jobs[i].batch_size * prediction_cost(jobs[i].hidden_size, 2 * D, 3 * C) for i in group)
        for group in groups
    )
    limit = min(cores, step // MIN_STEP_COST)
    count = 2
    while count < limit:
        yield count
        count *= 2
    if limit > 1:
        yield limit


def _divide(
    jobs: Sequence[Hyperparameters],
    groups: Sequence[Sequence[int]],
    D: int,
    shards: int,
    threads: int,
) -> list[ShardPlan]:
    """Divide each population into shards: the longest jobs first, each to the least loaded one."""
    plans = []
    for members in groups:
        shard_jobs: list[list[int]] = [[] for _ in range(shards)]
        loads = [0] * shards
        for i in sorted(members, key=lambda i: -_work(jobs[i])):
            least = loads.index(min(loads))
            shard_jobs[least].append(i)
            loads[least] += _work(jobs[i])
        for one, load in zip(shard_jobs, loads, strict=True):
            if one and threads == 1:
                plans.append(ShardPlan(tuple(one), load))
            elif one:
                longest = max(_serial_work(jobs[i], D, threads) for i in one)
                work = THREAD_OVERHEAD * max(load / threads, longest)
                plans.append(ShardPlan(tuple(one), work, threads))
    return sorted(plans, key=lambda shard: -shard.work)


def makespan(times: Iterable[float], processes: int) -> float:
    """The time of a wave: each process trains the next shard as soon as it is free.

    Args:
        times: of the shards, in their order.
        processes: that train at the same time.
    """
    busy = [0.0] * processes
    for time in times:
        busy[busy.index(min(busy))] += time
    return max(busy)


def _duration(shards: Sequence[ShardPlan], processes: int) -> float:
    return makespan((shard.work for shard in shards), processes)


def _work(job: Hyperparameters) -> int:
    return job.hidden_size * job.num_epochs


def _serial_work(job: Hyperparameters, D: int, threads: int) -> float:
    return _work(job) * serial_share(job.hidden_size, D, job.momentum, threads)
