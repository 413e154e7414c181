"""The worker processes: they change no bit, isolate errors, and exit with their parent."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from pipeline.data.dataset import Dataset
from pipeline.execution import plan
from pipeline.execution.checkpoint_file import Model
from pipeline.execution.checkpoints import Checkpoints
from pipeline.execution.plan import model_bytes, plan_waves
from pipeline.execution.shared_metrics import SharedMetrics
from pipeline.execution.workers import share_dataset, train_wave
from pipeline.hyperparameters import Hyperparameters
from pipeline.nn.stack import Stack

Hyper = Callable[..., Hyperparameters]
PLENTY = 1 << 40  # bytes
NAMES = [str(i) for i in range(9)]


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
        metrics = SharedMetrics(folder / "metrics", len(jobs), 4)
        for wave in plan_waves(jobs, 64, 10, cores, memory):
            data = shared if cores > 1 else digits
            assert train_wave(wave, jobs, NAMES, data, checkpoints, metrics, cores) == {}
        curves = [list(metrics.read(i, 0)) for i in range(len(jobs))]
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
        metrics = SharedMetrics(folder / "metrics", len(jobs), 3)
        (wave,) = plan_waves(jobs, 64, 10, cores, PLENTY)
        assert [shard.threads for shard in wave] == [threads]
        assert train_wave(wave, jobs, NAMES, digits, checkpoints, metrics, cores) == {}
        curves = [[row.metrics for row, _ in metrics.read(i, 0)] for i in range(2)]
        best = [
            checkpoints.read(name, Model.of(values, digits)).best
            for name, values in zip(NAMES, jobs[:2], strict=False)
        ]
        results.append((curves, [[array.tobytes() for array in params] for params in best]))
        assert [outcome for _, outcome in metrics.read(2, 0)] == ["diverged"]
    assert results[0] == results[1]


def test_only_the_model_that_raises_fails(
    digits: Dataset, hyper: Hyper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(stack: Stack, *args: Any) -> None:
        if (stack.network.rates["l2_reg"] == np.float32(0.25)).any():
            raise MemoryError("this one is too large")
        real_step(stack, *args)

    real_step = Stack.begin_step
    monkeypatch.setattr(Stack, "begin_step", step)
    jobs = [hyper(l2_reg=l2_reg) for l2_reg in (0, 0.1, 0.25, 0.3, 0.4)]
    checkpoints, metrics = (
        Checkpoints(tmp_path, minutes=5),
        SharedMetrics(tmp_path / "metrics", 5, 3),
    )
    (wave,) = plan_waves(jobs, 64, 10, cores=1, memory=PLENTY)
    failed = train_wave(wave, jobs, NAMES, digits, checkpoints, metrics, cores=1)
    assert list(failed) == [2]
    assert "MemoryError: this one is too large" in failed[2].trace
    assert failed[2].is_transient
    outcomes = {i: [outcome for _, outcome in metrics.read(i, 0)] for i in range(5)}
    finished = [None, None, "finished"]
    assert outcomes == {0: finished, 1: finished, 2: [], 3: finished, 4: finished}


def test_a_result_that_cannot_be_saved_fails_only_its_job(
    digits: Dataset, hyper: Hyper, tmp_path: Path
) -> None:
    jobs = [hyper(num_epochs=2), hyper()]
    names = ["0" * 300, "1"]  # no file has such a long name
    checkpoints, metrics = (
        Checkpoints(tmp_path, minutes=5),
        SharedMetrics(tmp_path / "metrics", 2, 3),
    )
    (wave,) = plan_waves(jobs, 64, 10, cores=1, memory=PLENTY)
    failed = train_wave(wave, jobs, names, digits, checkpoints, metrics, cores=1)
    assert list(failed) == [0]
    assert "its result cannot be saved" in failed[0].trace
    assert [outcome for _, outcome in metrics.read(1, 0)] == [None, None, "finished"]


def test_workers_exit_when_their_parent_dies_before_the_first_task() -> None:
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


def test_images_that_did_not_fit_on_the_disk_are_noticed(
    digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save_in_part(path: Path, array: np.ndarray[Any, Any]) -> None:
        save(path, array)
        os.truncate(path, path.stat().st_size - 8)

    save = np.save
    monkeypatch.setattr(np, "save", save_in_part)
    with pytest.raises(OSError, match="No space left on device"):
        share_dataset(digits, tmp_path)
