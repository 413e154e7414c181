"""Which jobs train together (populations, shards, waves), and their training side by side."""

from __future__ import annotations

import time
import traceback
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits

from pipeline.config import Hyperparameters
from pipeline.data import Dataset
from pipeline.model import Params
from pipeline.train import EpochEnd, Metrics, train

OUTCOMES = ("", "finished", "diverged")


@dataclass(frozen=True)
class Shard:
    """Models of one population, the share of one core: places in the list of jobs."""

    jobs: tuple[int, ...]
    work: int  # hidden units × epochs: in proportion to its multiply-adds


def plan(
    jobs: Sequence[Hyperparameters], D: int, C: int, cores: int, memory: int
) -> list[list[Shard]]:
    """Split jobs on the same data and dtype into waves of shards.

    Jobs of equal batch size and seed see the same mini-batches: they are one population. Jobs are
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
    order = sorted(range(len(jobs)), key=lambda i: (jobs[i].batch_size, jobs[i].seed))
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
    """Memory of a model in training: its weights now, and those of its best epoch."""
    H = job.hidden_size
    return 2 * (D * H + H + H * C + C) * np.dtype(job.dtype).itemsize


def _shards(jobs: Sequence[Hyperparameters], wave: Iterable[int], cores: int) -> list[Shard]:
    populations = defaultdict(list)
    for i in wave:
        populations[jobs[i].batch_size, jobs[i].seed].append(i)
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


class Board:
    """What the models of a wave have measured so far, in a file that every process maps."""

    def __init__(self, path: Path, jobs: int, epochs: int) -> None:
        """Create the file: per job and epoch the metrics, the time, and how the job stands."""
        shape = (jobs + 1, epochs, len(Metrics._fields) + 2)  # the last row holds the stop sign
        self.rows = np.memmap(path, np.float64, "w+", shape=shape)

    def stop(self) -> None:
        """Ask all shards to stop before their next step."""
        self.rows[-1, 0, 0] = 1

    def stopped(self) -> bool:
        """Whether they were asked to."""
        return bool(self.rows[-1, 0, 0])

    def write(self, job: int, end: EpochEnd) -> None:
        """Publish an epoch; its state comes last, so that no reader sees half a row."""
        row = self.rows[job, end.epoch - 1]
        row[:-2] = end.metrics
        row[-2] = time.time() * 1000
        row[-1] = 1 + OUTCOMES.index(end.outcome or "")

    def read(self, job: int, epoch: int) -> Iterator[tuple[EpochEnd, int]]:
        """The epochs of a job after `epoch`, each with its time in milliseconds since 1970."""
        for row in self.rows[job, epoch:]:
            if row[-1] == 0:
                return
            epoch += 1
            outcome = OUTCOMES[int(row[-1]) - 1] or None
            yield EpochEnd(job, epoch, Metrics(*map(float, row[:-2])), outcome, None), int(row[-2])


def share(data: Dataset, folder: Path) -> Dataset:
    """The same data in files that all processes map: in memory once, whatever their number."""
    arrays = {}
    for name in ("X_train", "X_val"):
        np.save(folder / f"{name}.npy", getattr(data, name))
        arrays[name] = np.load(folder / f"{name}.npy", mmap_mode="r")
    return replace(data, **arrays)


def train_wave(
    shards: Sequence[Shard],
    jobs: Sequence[Hyperparameters],
    data: Dataset,
    folders: Sequence[Path],
    board: Board,
    cores: int,
) -> list[str | None]:
    """Train shards side by side, each in a process with one BLAS thread; a lone one right here.

    Args:
        shards: what to train.
        jobs: all jobs of the plan.
        data: shared (`share`) if there is more than one shard.
        folders: per job, where `weights.npz` of its best epoch goes.
        board: where the epochs are published.
        cores: shards that train at once.

    Returns:
        Per shard the traceback of what stopped it, or None.
    """
    workers = Parallel(n_jobs=min(cores, len(shards)), batch_size=1)
    return list(
        workers(
            delayed(_train_shard)(
                [jobs[i] for i in shard.jobs],
                shard.jobs,
                data,
                [folders[i] for i in shard.jobs],
                board,
            )
            for shard in shards
        )
    )


def _train_shard(
    jobs: Sequence[Hyperparameters],
    places: Sequence[int],
    data: Dataset,
    folders: Sequence[Path],
    board: Board,
) -> str | None:
    try:
        with threadpool_limits(1, "blas"):
            for end in train(jobs, data, board.stopped):
                if end.best is not None:
                    save_weights(folders[end.model] / "weights.npz", end.best)
                board.write(places[end.model], end)
    except Exception:
        return traceback.format_exc()
    return None


def save_weights(path: Path, params: Params) -> None:
    """Write one model's W1 (D, H), b1 (H,), W2 (H, C) and b2 (C,) as .npz."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, W1=params.W1[0], b1=params.b1[0, 0], W2=params.W2[0], b2=params.b2[0, 0])
