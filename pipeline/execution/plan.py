"""Which jobs train together (populations, shards, waves), and their training side by side."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.resource_tracker import ensure_running
from pathlib import Path

import numpy as np
import psutil
from joblib import Parallel, delayed
from joblib.externals.loky import get_reusable_executor
from threadpoolctl import threadpool_limits

from pipeline import shutdown
from pipeline.config import Hyperparameters
from pipeline.data.dataset import Dataset
from pipeline.errors import ConfigError
from pipeline.execution.checkpoints import Checkpoints
from pipeline.execution.shard import ShardTrainer
from pipeline.execution.shared_metrics import SharedMetrics


@dataclass(frozen=True)
class Shard:
    """Models of one population, the share of one core: places in the list of jobs."""

    jobs: tuple[int, ...]
    work: int  # hidden units × epochs: in proportion to its multiply-adds


def plan(
    jobs: Sequence[Hyperparameters], D: int, C: int, cores: int, memory: int
) -> list[list[Shard]]:
    """Split jobs on the same data and dtype into waves of shards.

    Jobs that see the same mini-batches (`batches`) are one population. Jobs are
    taken into a wave while its weights fit the memory. Within a wave each population is
    divided into at most `cores` shards of about equal work. No model's numbers depend on any of it.

    Args:
        jobs: what to train.
        D: features of an image.
        C: classes.
        cores: shards that train at once.
        memory: bytes for the weights of a wave; a model that alone needs more is a wave alone.

    Returns:
        Waves, to be trained one after another; the shards of each, the longest first.
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
    return [_shards(jobs, wave, cores) for wave in waves]


def model_bytes(job: Hyperparameters, D: int, C: int) -> int:
    """Memory of a model in training: its weights now and of its best epoch, and its velocity."""
    H, copies = job.hidden_size, 3 if job.momentum else 2
    return copies * (D * H + H + H * C + C) * np.dtype(job.dtype).itemsize


def check_size(job: Hyperparameters, D: int, C: int) -> None:
    """Refuse a model that this machine has no memory for.

    Raises:
        ConfigError: its weights and those of its best epoch need more than there is.
    """
    need, total = model_bytes(job, D, C), psutil.virtual_memory().total
    if need > total:
        raise ConfigError(
            f"hidden_size={job.hidden_size} needs {need / 1e9:.3g} GB for its weights, and this "
            f"machine has {total / 1e9:.3g} GB: use at most {job.hidden_size * total // need}"
        )


def _shards(jobs: Sequence[Hyperparameters], wave: Iterable[int], cores: int) -> list[Shard]:
    populations = defaultdict(list)
    for i in wave:
        populations[jobs[i].batches].append(i)
    shards = []
    for members in populations.values():
        bins: list[list[int]] = [[] for _ in range(cores)]
        loads = [0] * cores
        # The longest first, each to the core with the least to do.
        for i in sorted(members, key=lambda i: -_work(jobs[i])):
            least = loads.index(min(loads))
            bins[least].append(i)
            loads[least] += _work(jobs[i])
        shards += [Shard(tuple(b), load) for b, load in zip(bins, loads, strict=True) if b]
    return sorted(shards, key=lambda shard: -shard.work)


def _work(job: Hyperparameters) -> int:
    return job.hidden_size * job.num_epochs


def share(data: Dataset, folder: Path) -> Dataset:
    """The same data in files that all processes map: in memory once, whatever their number.

    Raises:
        OSError: the disk is full.
    """
    arrays = {}
    for name in ("X_train", "X_val"):
        path = folder / f"{name}.npy"
        np.save(path, getattr(data, name))
        try:
            arrays[name] = np.load(path, mmap_mode="r")
        except ValueError as error:  # np.save overlooks that the last bytes found no room
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
    return replace(data, **arrays)


def train_wave(
    shards: Sequence[Shard],
    jobs: Sequence[Hyperparameters],
    names: Sequence[str],
    data: Dataset,
    checkpoints: Checkpoints,
    board: SharedMetrics,
    cores: int,
    until: int | None = None,
) -> dict[int, str]:
    """Train shards side by side, each in a process with one BLAS thread; a lone one right here.

    A model goes on from its checkpoint, if it has one; its result is a checkpoint too.

    Args:
        shards: what to train.
        jobs: all jobs of the plan.
        names: of their checkpoints.
        data: shared (`share`) if there is more than one shard.
        checkpoints: where they are.
        board: where the epochs are published.
        cores: shards that train at once.
        until: the epoch after which training pauses; None: it does not.

    Returns:
        Of each job that failed, by its context, the traceback or the reason.
    """
    with _workers(min(cores, len(shards))) as workers:
        failed = workers(
            delayed(_train_shard)(
                {i: jobs[i] for i in shard.jobs},
                {i: names[i] for i in shard.jobs},
                data,
                checkpoints,
                board,
                until,
            )
            for shard in shards
        )
    return {i: reason for reasons in failed for i, reason in reasons.items()}


def start_workers(count: int) -> None:
    """Let the processes that `train_wave` needs start, in a thread that has time to wait."""
    if count > 1:
        with _workers(count) as workers:
            workers(delayed(os.getpid)() for _ in range(count))


def stop_workers() -> None:
    """Let the processes go that wait for the next call, and with them their view of the data."""
    with shutdown.defer_signals():  # half shut down, they would be waited for without end
        get_reusable_executor().shutdown(wait=True)


@contextmanager
def _workers(count: int) -> Iterator[Parallel]:
    """Processes, which stay for the next call; for one alone, this process."""
    ensure_running()  # the tracker of resources, whose start unblocks signals
    with shutdown.block_signals():  # the workers wait for the stop sign
        yield Parallel(n_jobs=count, batch_size=1, initializer=_watch, initargs=(os.getpid(),))


def _train_shard(
    jobs: Mapping[int, Hyperparameters],
    names: Mapping[int, str],
    data: Dataset,
    checkpoints: Checkpoints,
    board: SharedMetrics,
    until: int | None,
) -> dict[int, str]:
    with threadpool_limits(1, "blas"), _training:
        trainer = ShardTrainer(jobs, names, data, checkpoints, board, until)
        trainer.train(list(jobs))
        return trainer.failed


_training = threading.Lock()  # held while a shard trains in this process


def _watch(owner: int) -> None:
    """End this worker when its owner has died: it would wait for work for minutes.

    Before its first task: the owner may die before it has sent one.
    """

    def watch() -> None:
        while os.getppid() == owner:
            time.sleep(1)
        with _training:  # which stops by itself, and leaves a checkpoint
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
