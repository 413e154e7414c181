"""The plan, and training by it: no shard, wave or process changes a model's numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from pipeline.config import Hyperparameters
from pipeline.data import Dataset
from pipeline.population import Board, model_bytes, plan, share, train_wave
from pipeline.train import Metrics

Hyper = Callable[..., Hyperparameters]
PLENTY = 1 << 40


def test_every_job_is_planned_once_and_work_is_balanced(hyper: Hyper) -> None:
    jobs = [hyper(hidden_size=h) for h in (32, 64, 128, 256) for _ in range(16)]
    (wave,) = plan(jobs, 64, 10, cores=2, memory=PLENTY)
    assert sorted(i for shard in wave for i in shard.jobs) == list(range(64))
    assert len(wave) == 2
    assert wave[0].work == wave[1].work


def test_only_jobs_that_share_their_mini_batches_share_a_shard(hyper: Hyper) -> None:
    jobs = [hyper(seed=s, batch_size=b) for s in (0, 1) for b in (50, 100) for _ in range(3)]
    (wave,) = plan(jobs, 64, 10, cores=2, memory=PLENTY)
    for shard in wave:
        assert len({(jobs[i].seed, jobs[i].batch_size) for i in shard.jobs}) == 1
    assert [shard.work for shard in wave] == sorted((s.work for s in wave), reverse=True)


def test_memory_splits_a_population_into_waves(hyper: Hyper) -> None:
    jobs = [hyper() for _ in range(10)]
    waves = plan(jobs, 64, 10, cores=2, memory=3 * model_bytes(jobs[0], 64, 10))
    assert [sum(len(shard.jobs) for shard in wave) for wave in waves] == [3, 3, 3, 1]


def test_a_model_larger_than_the_memory_is_a_wave_of_its_own(hyper: Hyper) -> None:
    waves = plan([hyper(), hyper()], 64, 10, cores=2, memory=1)
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
    shared = share(digits, tmp_path)
    results = []
    for cores, memory in [(1, PLENTY), (2, PLENTY), (3, 2 * model_bytes(jobs[1], 64, 10))]:
        folder = tmp_path / f"{cores}"
        folder.mkdir()
        folders = [folder / str(i) for i in range(len(jobs))]
        board = Board(folder / "board", len(jobs), 4)
        for wave in plan(jobs, 64, 10, cores, memory):
            data = shared if cores > 1 else digits
            assert train_wave(wave, jobs, data, folders, board, cores) == [None] * len(wave)
        metrics = [list(board.read(i, 0)) for i in range(len(jobs))]
        outcomes = [ends[-1][0].outcome for ends in metrics]
        assert outcomes == ["finished", "finished", "diverged", "finished", "finished"]
        weights = [np.load(f / "weights.npz") for i, f in enumerate(folders) if i != 2]
        results.append(
            (
                [[end.metrics for end, _ in ends] for ends in metrics if ends[-1][0].epoch > 1],
                [{name: file[name].tobytes() for name in file} for file in weights],
            )
        )
        assert not (folders[2] / "weights.npz").exists()
    assert results[0] == results[1] == results[2]


def test_a_shard_that_raises_says_why_and_the_others_finish(
    digits: Dataset, hyper: Hyper, tmp_path: Path
) -> None:
    jobs = [hyper(), hyper(seed=1)]
    (tmp_path / "file").write_text("in the way of a folder")
    folders = [tmp_path / "file", tmp_path / "fine"]
    board = Board(tmp_path / "board", 2, 3)
    (wave,) = plan(jobs, 64, 10, cores=1, memory=PLENTY)
    traces = dict(
        zip(
            (shard.jobs[0] for shard in wave),
            train_wave(wave, jobs, digits, folders, board, 1),
            strict=True,
        )
    )
    assert "FileExistsError" in (traces[0] or "")
    assert traces[1] is None
    assert (tmp_path / "fine" / "weights.npz").exists()


def test_the_board_shows_only_what_was_published(tmp_path: Path) -> None:
    from pipeline.train import EpochEnd

    board = Board(tmp_path / "board", 2, 3)
    metrics = Metrics(1.0, 0.5, float("nan"), 0.25)
    board.write(1, EpochEnd(0, 1, metrics, "diverged", None))
    assert list(board.read(0, 0)) == []
    ((end, milliseconds),) = board.read(1, 0)
    assert (end.epoch, end.outcome) == (1, "diverged")
    np.testing.assert_array_equal(end.metrics, metrics)
    assert milliseconds > 1e12
    assert list(board.read(1, 1)) == []
