"""The plan, and training by it: no shard, wave or process changes a model's numbers."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from pipeline.config import Hyperparameters
from pipeline.data.dataset import Dataset
from pipeline.execution import plan
from pipeline.execution.checkpoint_file import Model
from pipeline.execution.checkpoints import Checkpoints
from pipeline.execution.plan import ShardPlan, model_bytes, plan_waves
from pipeline.execution.shared_metrics import SharedMetrics
from pipeline.execution.workers import share_dataset, train_wave
from pipeline.nn.history import Metrics, Row
from pipeline.nn.stack import Stack

Hyper = Callable[..., Hyperparameters]
PLENTY = 1 << 40
NAMES = [str(i) for i in range(9)]


def test_every_job_is_planned_once_and_work_is_balanced(hyper: Hyper) -> None:
    jobs = [hyper(hidden_size=h) for h in (32, 64, 128, 256) for _ in range(16)]
    (wave,) = plan_waves(jobs, 64, 10, cores=2, memory=PLENTY)
    assert sorted(i for shard in wave for i in shard.jobs) == list(range(64))
    assert len(wave) == 2
    assert wave[0].work == wave[1].work


def test_only_jobs_that_share_their_mini_batches_share_a_shard(hyper: Hyper) -> None:
    jobs = [hyper(seed=s, batch_size=b) for s in (0, 1) for b in (50, 100) for _ in range(3)]
    (wave,) = plan_waves(jobs, 64, 10, cores=2, memory=PLENTY)
    for shard in wave:
        assert len({(jobs[i].seed, jobs[i].batch_size) for i in shard.jobs}) == 1
    assert [shard.work for shard in wave] == sorted((s.work for s in wave), reverse=True)


def test_memory_splits_a_population_into_waves(hyper: Hyper) -> None:
    jobs = [hyper() for _ in range(10)]
    waves = plan_waves(jobs, 64, 10, cores=2, memory=3 * model_bytes(jobs[0], 64, 10))
    assert [sum(len(shard.jobs) for shard in wave) for wave in waves] == [3, 3, 3, 1]


def test_a_model_larger_than_the_memory_is_a_wave_of_its_own(hyper: Hyper) -> None:
    waves = plan_waves([hyper(), hyper()], 64, 10, cores=2, memory=1)
    assert [len(wave) for wave in waves] == [1, 1]


def test_no_shards_waves_or_processes_change_a_bit(
    digits: Dataset, hyper: Hyper, tmp_path: Path
) -> None:
    jobs = [
        hyper(hidden_size=h, learning_rate=rate, seed=seed, num_epochs=epochs)
        for h, rate, seed, epochs in [
            (16, 0.3, 0, 3),
            (32, 0.1, 0, 2),
            (16, 1e9, 0, 3),
            (8, 0.3, 1, 3),
            (32, 0.03, 0, 4),
        ]
    ]
    shared = share_dataset(digits, tmp_path)
    results = []
    for cores, memory in [(1, PLENTY), (2, PLENTY), (3, 2 * model_bytes(jobs[1], 64, 10))]:
        folder = tmp_path / f"{cores}"
        folder.mkdir()
        checkpoints = Checkpoints(folder, minutes=5)
        board = SharedMetrics(folder / "board", len(jobs), 4)
        for wave in plan_waves(jobs, 64, 10, cores, memory):
            data = shared if cores > 1 else digits
            assert train_wave(wave, jobs, NAMES, data, checkpoints, board, cores) == {}
        curves = [list(board.read(i, 0)) for i in range(len(jobs))]
        outcomes = [curve[-1][1] for curve in curves]
        assert outcomes == ["finished", "finished", "diverged", "finished", "finished"]
        best = [
            checkpoints.read(name, Model.of(values, digits)).best
            for name, values in zip(NAMES, jobs, strict=False)
        ]
        assert best[2] is None
        results.append(
            (
                [[row.metrics for row, _ in curve] for curve in curves if len(curve) > 1],
                [[array.tobytes() for array in params] for params in best if params],
            )
        )
    assert results[0] == results[1] == results[2]


def test_few_models_share_all_cores_by_threads(hyper: Hyper) -> None:
    def shards(cores: int, *sizes: int) -> list[ShardPlan]:
        jobs = [hyper(hidden_size=h, batch_size=200) for h in sizes]
        (wave,) = plan_waves(jobs, 3072, 10, cores, PLENTY)
        return wave

    for sizes in [(1024,), (256,), (512, 512, 512), (1024, 256)]:
        (shard,) = shards(2, *sizes)
        assert (shard.threads, len(shard.jobs)) == (2, len(sizes))
    three = shards(2, 512, 512, 512)[0]
    assert three.work <= 1.1 * 3 / 2 * shards(1, 512)[0].work
    assert [shard.threads for shard in shards(16, 512, 512, 512)] == [8, 8]


def test_models_that_fill_all_cores_and_small_models_train_with_one_thread(hyper: Hyper) -> None:
    def threads(sizes: list[int], D: int, cores: int = 2, **values: Any) -> set[int]:
        jobs = [hyper(hidden_size=h, batch_size=200, **values) for h in sizes]
        return {shard.threads for shard in plan_waves(jobs, D, 10, cores, PLENTY)[0]}

    assert threads([512] * 4, D=3072) == {1}
    assert threads([64], D=64) == {1}
    assert threads([512], D=3072, momentum=0.9) == {1}  # nothing of it can be divided
    assert threads([1024], D=3072, cores=1) == {1}
    (wave,) = plan_waves([hyper(hidden_size=1024)], 3072, 10, 2, PLENTY, threads=False)
    assert [shard.threads for shard in wave] == [1]


def test_threads_do_not_change_a_bit(
    digits: Dataset, hyper: Hyper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "MIN_STEP_COST", 1)
    jobs = [
        hyper(hidden_size=600, num_epochs=2, learning_rate=0.05),
        hyper(hidden_size=16, momentum=0.9, learning_rate=0.1),
        hyper(hidden_size=16, learning_rate=1e9),
    ]
    results = []
    for cores, threads in [(1, 1), (2, 2)]:
        folder = tmp_path / f"{cores}"
        folder.mkdir()
        checkpoints = Checkpoints(folder, minutes=5)
        board = SharedMetrics(folder / "board", len(jobs), 3)
        (wave,) = plan_waves(jobs, 64, 10, cores, PLENTY)
        assert [shard.threads for shard in wave] == [threads]
        assert train_wave(wave, jobs, NAMES, digits, checkpoints, board, cores) == {}
        curves = [[row.metrics for row, _ in board.read(i, 0)] for i in range(2)]
        best = [checkpoints.read(name).best for name in NAMES[:2]]
        results.append((curves, [[array.tobytes() for array in params] for params in best]))
        assert [outcome for _, outcome in board.read(2, 0)] == ["diverged"]
    assert results[0] == results[1]


def test_only_the_model_that_raises_fails(
    digits: Dataset, hyper: Hyper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(stack: Stack, *args: Any) -> None:
        if (stack.network.rates.l2_reg == np.float32(0.25)).any():
            raise MemoryError("this one is too large")
        real_step(stack, *args)

    real_step = Stack.begin_step
    monkeypatch.setattr(Stack, "begin_step", step)
    jobs = [hyper(l2_reg=l2_reg) for l2_reg in (0, 0.1, 0.25, 0.3, 0.4)]
    checkpoints, board = Checkpoints(tmp_path, minutes=5), SharedMetrics(tmp_path / "board", 5, 3)
    (wave,) = plan_waves(jobs, 64, 10, cores=1, memory=PLENTY)
    failed = train_wave(wave, jobs, NAMES, digits, checkpoints, board, cores=1)
    assert list(failed) == [2]
    assert "MemoryError: this one is too large" in failed[2]
    outcomes = {i: [outcome for _, outcome in board.read(i, 0)] for i in range(5)}
    finished = [None, None, "finished"]
    assert outcomes == {0: finished, 1: finished, 2: [], 3: finished, 4: finished}


def test_a_result_without_room_on_the_disk_fails_its_job_alone(
    digits: Dataset, hyper: Hyper, tmp_path: Path
) -> None:
    jobs = [hyper(num_epochs=2), hyper()]
    names = ["0" * 300, "1"]  # no file has such a long name
    checkpoints, board = Checkpoints(tmp_path, minutes=5), SharedMetrics(tmp_path / "board", 2, 3)
    (wave,) = plan_waves(jobs, 64, 10, cores=1, memory=PLENTY)
    failed = train_wave(wave, jobs, names, digits, checkpoints, board, cores=1)
    assert list(failed) == [0]
    assert "its result cannot be saved" in failed[0]
    assert [outcome for _, outcome in board.read(1, 0)] == [None, None, "finished"]


def test_the_board_shows_only_what_was_published(tmp_path: Path) -> None:
    board = SharedMetrics(tmp_path / "board", 2, 3)
    row = Row(Metrics(1.0, 0.5, float("nan"), 0.25), 1_700_000_000_000)
    board.write(1, 1, row, "diverged")
    assert list(board.read(0, 0)) == []
    ((got, outcome),) = board.read(1, 0)
    assert (got.milliseconds, outcome) == (row.milliseconds, "diverged")
    np.testing.assert_array_equal(got.metrics, row.metrics)
    assert list(board.read(1, 1)) == []
    board.set_error(OSError(28, "full"))
    assert "No space left" in board.take_error()
    assert board.take_error() == ""


def test_workers_that_start_while_their_owner_dies_end_too() -> None:
    start = "from pipeline.execution.workers import start_workers; start_workers(2)"
    owner = psutil.Popen([sys.executable, "-c", start])
    workers: list[psutil.Process] = []
    while len(workers) < 2:
        assert owner.poll() is None
        workers = [child for child in owner.children() if "LokyProcess" in str(child.cmdline())]
    owner.kill()
    owner.wait()
    _, alive = psutil.wait_procs(workers, timeout=30)
    for worker in alive:
        worker.kill()
    assert not alive
