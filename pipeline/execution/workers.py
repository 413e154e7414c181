"""The worker processes that train the shards of a wave side by side."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.resource_tracker import ensure_running
from pathlib import Path

# The thread that starts the workers must find these modules imported: if a signal interrupts an
# import in the main thread, Python may keep its lock, and the thread would wait for it forever.
import joblib.externals.loky.backend.fork_exec
import joblib.externals.loky.backend.popen_loky_posix
import joblib.externals.loky.backend.synchronize  # noqa: F401
import numpy as np
from joblib import Parallel, delayed
from joblib.externals.loky import get_reusable_executor

from pipeline import shutdown
from pipeline.blas import one_thread
from pipeline.data.dataset import Dataset
from pipeline.execution.checkpoints import Checkpoints
from pipeline.execution.failure import Failure
from pipeline.execution.plan import ShardPlan
from pipeline.execution.shard_trainer import ShardTrainer
from pipeline.execution.shared_metrics import SharedMetrics
from pipeline.hyperparameters import Hyperparameters


def share_dataset(data: Dataset, folder: Path) -> Dataset:
    """Write the images to files that all processes map, so that they are in memory once.

    Raises:
        OSError: the disk is full.
    """
    arrays = {}
    for name in ("X_train", "X_val"):
        path = folder / f"{name}.npy"
        np.save(path, getattr(data, name))
        try:
            arrays[name] = np.load(path, mmap_mode="r")
        except ValueError as error:  # np.save does not notice that the last bytes are missing
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
    return replace(data, **arrays)


def train_wave(
    shards: Sequence[ShardPlan],
    jobs: Sequence[Hyperparameters],
    checkpoint_names: Sequence[str],
    data: Dataset,
    checkpoints: Checkpoints,
    metrics: SharedMetrics,
    cores: int,
    until: int | None = None,
    *,
    is_shared: bool = False,
) -> dict[int, Failure]:
    """Train shards side by side, each in a process with the threads of its plan. BLAS uses one.

    A single shard is trained in the calling thread, unless `is_shared` is true. A model resumes
    from its checkpoint if there is one, and its result is written as a checkpoint.

    Args:
        shards: what to train.
        jobs: all jobs of the plan.
        checkpoint_names: the name of each job's checkpoint.
        data: shared by `share_dataset` if there is more than one shard.
        checkpoints: the folder of the checkpoints.
        metrics: where the workers publish each epoch.
        cores: threads that train at the same time.
        until: the epoch after which training pauses; None: train to the end.
        is_shared: whether other threads train their shards with the same processes.

    Returns:
        The failure of each job that failed, by its index.
    """
    threads = shards[0].threads
    data = replace(data, scaler=replace(data.scaler, whitening=None))  # a large matrix
    count = cores // threads
    with _worker_pool(count if is_shared else min(count, len(shards))) as pool:
        failures = pool(
            delayed(_train_shard)(
                {i: jobs[i] for i in shard.jobs},
                {i: checkpoint_names[i] for i in shard.jobs},
                data,
                checkpoints,
                metrics,
                until,
                threads,
            )
            for shard in shards
        )
    return {i: failure for each in failures for i, failure in each.items()}


def start_workers(count: int) -> None:
    """Start the processes that `train_wave` will use, and wait for them."""
    if count > 1:
        with _worker_pool(count) as pool:
            pool(delayed(os.getpid)() for _ in range(count))


def stop_workers() -> None:
    """Shut down idle workers and release their mapping of the data."""
    with shutdown.defer_signals():  # an interrupted shutdown would wait for the workers forever
        get_reusable_executor().shutdown(wait=True)


@contextmanager
def _worker_pool(count: int) -> Iterator[Parallel]:
    """A pool of processes that stay alive for the next call; for a count of 1, this process."""
    ensure_running()  # the resource tracker: starting it later would unblock the signals
    with shutdown.block_signals():  # workers inherit this: only `SharedMetrics.stop` stops them
        yield Parallel(
            n_jobs=count,
            batch_size=1,
            max_nbytes=None,  # the large arrays are files that all processes map
            initializer=_exit_with_parent,
            initargs=(os.getpid(),),
        )


def _train_shard(
    jobs: Mapping[int, Hyperparameters],
    checkpoint_names: Mapping[int, str],
    data: Dataset,
    checkpoints: Checkpoints,
    metrics: SharedMetrics,
    until: int | None,
    threads: int,
) -> dict[int, Failure]:
    with one_thread(), _training:
        trainer = ShardTrainer(jobs, checkpoint_names, data, checkpoints, metrics, until, threads)
        trainer.train(list(jobs))
        return trainer.failures


_training = threading.Lock()  # held while this process trains a shard


def _exit_with_parent(parent: int) -> None:
    """End this worker when its parent has died; loky would keep it for minutes.

    It is the initializer of a worker, because the parent may die before it sends the first task.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        with _training:  # the shard notices the death, writes its checkpoints and releases the lock
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
