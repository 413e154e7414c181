"""Wide models are computed in tiles of columns, and threads do not change a bit."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.dataset import Dataset
from pipeline.execution.fingerprint import fingerprint
from pipeline.hyperparameters import Hyperparameters
from pipeline.nn import model, tile
from pipeline.nn.history import Checkpoint, EpochEnd, Snapshot
from pipeline.nn.population import TILE_WIDTH, tile_columns, trainer_version
from pipeline.nn.train import train
from tests.nn.conftest import best_of, run, same_bits

Hyper = Callable[..., Hyperparameters]


@given(st.integers(1, 10_000))
def test_tiles_cover_all_hidden_units_in_nearly_equal_widths(hidden_size: int) -> None:
    columns = tile_columns(hidden_size)
    units = [unit for part in columns for unit in range(part.start, part.stop)]
    assert units == list(range(hidden_size))
    widths = [part.stop - part.start for part in columns]
    assert max(widths) <= TILE_WIDTH
    assert max(widths) - min(widths) <= 1
    assert (len(columns) - 1) * TILE_WIDTH < hidden_size


def test_models_of_one_tile_keep_their_version_and_wider_ones_have_another(hyper: Hyper) -> None:
    assert trainer_version(TILE_WIDTH) == trainer_version(1) == 2
    assert trainer_version(TILE_WIDTH + 1) == 3
    narrow, wide = (
        fingerprint(hyper(hidden_size=H), "digest") for H in (TILE_WIDTH, TILE_WIDTH + 1)
    )
    assert narrow == "d930ef7608a4345ff9f82f0cf2c9ee18"
    assert wide == "6895d76920c68e30b4e324207b47a03c"


@pytest.mark.parametrize("options", [{}, {"momentum": 0.9}, {"dropout": 0.3}])
def test_a_wide_model_equals_the_equations_up_to_rounding(
    digits: Dataset, hyper: Hyper, options: dict[str, Any]
) -> None:
    job = hyper(hidden_size=700, dtype="float64", num_epochs=1, learning_rate=0.01, **options)
    few = slice(0, 100)
    data = replace(
        digits,
        X_train=digits.X_train[few].astype(float),
        y_train=digits.y_train[few],
        X_val=digits.X_val.astype(float),
    )
    end = run([job], data)[0][0]
    X, y = data.X_train, data.y_train
    order = np.random.default_rng([job.seed, 1]).permutation(len(y))
    params = model.init_params(X.shape[1], 700, 10, job.weight_std, job.seed, "float64")
    mask = None
    if job.dropout:
        noise = np.random.default_rng([job.seed, 1, 1]).random((len(y), 700), np.float32)
        mask = model.dropout_mask(noise, np.full((1, 1, 1), job.dropout))
    l2_reg = np.full((1, 1, 1), job.l2_reg)
    loss, grads, _ = model.loss_and_grads(params, X[order], y[order], l2_reg, mask)
    assert end.row.metrics.train_loss == pytest.approx(loss[0], rel=1e-12)
    best = best_of([end])
    assert best is not None
    for got, before, grad in zip(best, params, grads, strict=True):
        np.testing.assert_allclose(got, before - job.learning_rate * grad, rtol=1e-9, atol=1e-12)


def wide_and_narrow(hyper: Hyper) -> list[Hyperparameters]:
    return [
        hyper(hidden_size=1100, num_epochs=2),
        hyper(hidden_size=600, num_epochs=2, momentum=0.9, learning_rate=0.05),
        hyper(hidden_size=513, num_epochs=1, dropout=0.5, l2_reg=0),
        hyper(hidden_size=600, learning_rate=1e8),  # diverges
        hyper(),
        hyper(momentum=0.9, learning_rate=0.05),
        hyper(hidden_size=600, num_epochs=2, momentum=0.5, ema=0.9),
        hyper(hidden_size=600, num_epochs=2, ema=0.9, weight_std="he"),
    ]


@pytest.mark.parametrize("threads", [2, 3, 16])
def test_a_model_has_the_same_bits_with_any_number_of_threads(
    digits: Dataset, hyper: Hyper, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    # Small blocks of W1, so that threads share the backward pass of a tile.
    monkeypatch.setattr(tile, "BLOCK_SIZE", 8192)
    monkeypatch.setattr(tile, "MIN_ROWS", 8)
    jobs = wide_and_narrow(hyper)
    alone = [run([job], digits)[0] for job in jobs]
    for few in (jobs, jobs[:1]):
        together = run(few, digits, threads)
        for i in range(len(few)):
            assert same_bits(together[i], alone[i]), jobs[i]


def test_a_wide_model_resumes_with_other_threads_to_the_same_bits(
    digits: Dataset, hyper: Hyper
) -> None:
    jobs = wide_and_narrow(hyper)[:2]
    whole = run(jobs, digits)
    steps = itertools.count()
    ends: list[list[EpochEnd]] = [[], []]
    saved: list[Checkpoint] = [None, None]  # type: ignore[list-item]
    for event in train(jobs, digits, (), lambda: next(steps) == 7, threads=2):
        if isinstance(event, Snapshot):
            saved[event.model] = copy.deepcopy(event.checkpoint)
        else:
            ends[event.model].append(event)
    assert saved[0].step == 7
    for event in train(jobs, digits, saved, threads=1):
        assert isinstance(event, EpochEnd)
        ends[event.model].append(event)
    for i in range(2):
        assert same_bits(ends[i], whole[i])


def test_the_penalty_counts_all_blocks_of_the_weights(
    digits: Dataset, hyper: Hyper, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [hyper(l2_reg=0.1, momentum=momentum, num_epochs=1) for momentum in (0, 0.9)]
    whole = run(jobs, digits)
    monkeypatch.setattr(tile, "BLOCK_SIZE", 256)  # blocks of 16 of the 64 rows of W1
    monkeypatch.setattr(tile, "MIN_ROWS", 8)
    divided = run(jobs, digits)
    for i in range(2):
        expected, got = whole[i][0].row.metrics, divided[i][0].row.metrics
        assert got[:3] == pytest.approx(expected[:3], rel=1e-4)
