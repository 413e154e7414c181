"""Training: the loop of the equations, outcomes, the best epoch, identity and interruptions."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pipeline.data.dataset import Dataset
from pipeline.hyperparameters import Hyperparameters
from pipeline.nn import model, population
from pipeline.nn.history import Checkpoint, EpochEnd, Snapshot, selection_key
from pipeline.nn.model import Params
from pipeline.nn.train import train
from pipeline.outcomes import Outcome
from tests.nn.conftest import best_of, run, same_bits

Hyper = Callable[..., Hyperparameters]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"momentum": 0.9, "learning_rate": 0.05},
        {"momentum": 0.9, "learning_rate": 0.05, "nesterov": True},
        {"momentum": 0.9, "learning_rate": 0.05, "nesterov": True, "l2_reg": 0},
        {"nesterov": True},  # without momentum it is plain SGD
        {"dropout": 0.3},
        {"flip": True},
        {"shift": 2, "flip": True},
        {"label_smoothing": 0.1, "dropout": 0.3},
        {"schedule": "cosine"},
        {"schedule": "cosine", "warmup_epochs": 1},
        {"weight_std": "he"},
        {"ema": 0.95},
        {"ema": 0.9, "momentum": 0.9, "learning_rate": 0.05, "nesterov": True},
        {"mixup": 0.4},
        {"mixup": 1, "label_smoothing": 0.1, "flip": True, "shift": 1, "ema": 0.5},
    ],
)
def test_training_equals_a_plain_loop_over_the_equations(
    digits: Dataset, hyper: Hyper, options: dict[str, Any]
) -> None:
    job = hyper(**{"num_epochs": 2, "dtype": "float64", "l2_reg": 0.01} | options)
    data = replace(digits, X_train=digits.X_train.astype(float), X_val=digits.X_val.astype(float))
    got = run([job], data)[0]

    X, y, l2_reg = data.X_train, data.y_train, np.full((1, 1, 1), job.l2_reg)
    params = model.init_params(X.shape[1], 16, 10, job.weight_std, job.seed, "float64")
    velocity = Params(*map(np.zeros_like, params))
    history: list[Params] = []  # the weights after each step
    for epoch in (1, 2):
        loss = hits = 0.0
        rng = np.random.default_rng([job.seed, epoch])
        order = rng.permutation(len(y))
        seen = X.reshape(-1, 8, 8).copy()
        if job.flip:
            mirrored = order[rng.random(len(y)) < 0.5]
            seen[mirrored] = seen[mirrored][:, :, ::-1]
        if job.shift:
            shifts = rng.integers(-job.shift, job.shift + 1, (len(y), 2))
            for row, (down, right) in zip(order, shifts, strict=True):
                image = np.zeros_like(seen[row])
                for i in range(max(0, down), 8 + min(0, down)):
                    for j in range(max(0, right), 8 + min(0, right)):
                        image[i, j] = seen[row][i - down, j - right]
                seen[row] = image
        mixed = rng.beta(job.mixup, job.mixup, -(-len(y) // job.batch_size)) if job.mixup else None
        batches = np.split(order, range(job.batch_size, len(y), job.batch_size))
        for step, rows in enumerate(batches, 1):
            batch, mask = seen[rows].reshape(len(rows), -1), None
            if job.dropout:
                noise = np.random.default_rng([job.seed, epoch, step])
                mask = model.dropout_mask(
                    noise.random((len(rows), 16), np.float32), np.full((1, 1, 1), job.dropout)
                )
            ε, mixture = np.full((1, 1, 1), job.label_smoothing), None
            if mixed is not None:
                share = max(mixed[step - 1], 1 - mixed[step - 1])
                others = np.roll(np.arange(len(rows)), 1)
                batch = share * batch + (1 - share) * batch[others]
                mixture = model.Mixture(y[rows][others], share)
            scores = model.forward(params, batch, mask=mask)[1]
            hits += (scores[0].argmax(axis=1) == y[rows]).sum()
            batch_loss, gradients, _ = model.loss_and_grads(
                params, batch, y[rows], l2_reg, mask, ε, mixture
            )
            loss += batch_loss[0] * len(rows)
            rate = job.learning_rate * job.learning_rate_decay ** (epoch - 1)
            if job.schedule == "cosine":
                rate *= {1: 1.0, 2: 0.5}[epoch]  # of 2 epochs
            if job.warmup_epochs:
                rate *= {1: 0.5, 2: 1.0}[epoch]
            before = velocity
            velocity = Params(
                *(job.momentum * v - rate * g for v, g in zip(velocity, gradients, strict=True))
            )
            if job.nesterov:  # as in the notes of CS231n: x += −μ v_before + (1 + μ) v
                μ = job.momentum
                steps = [(1 + μ) * v - μ * old for old, v in zip(before, velocity, strict=True)]
            else:
                steps = [*velocity]
            params = Params(*(w + step for w, step in zip(params, steps, strict=True)))
            history.append(params)
        if job.ema:  # the mean of all weights so far, each step older counts β times as much
            ages = len(history) - 1 - np.arange(len(history))
            counts = job.ema**ages / (job.ema**ages).sum()
            evaluated = Params(
                *(
                    np.tensordot(counts, np.stack(arrays), 1)
                    for arrays in zip(*history, strict=True)
                )
            )
        else:
            evaluated = params
        metrics = got[epoch - 1].row.metrics
        assert metrics.train_loss == pytest.approx(loss / len(y), rel=1e-10)
        assert metrics.train_acc == hits / len(y)
        val_loss, _, _ = model.loss_and_grads(evaluated, data.X_val, data.y_val, 0 * l2_reg)
        assert metrics.val_loss == pytest.approx(val_loss[0], rel=1e-10)
        val_acc = (model.predict(evaluated, data.X_val) == data.y_val).mean()
        assert metrics.val_acc == pytest.approx(val_acc)
    best = best_of(got)
    assert best is not None
    for kept, expected in zip(best, evaluated, strict=True):  # the last epoch was the best
        np.testing.assert_allclose(kept, expected, rtol=1e-9, atol=1e-12)


def test_a_model_can_memorise_twenty_images(digits: Dataset, hyper: Hyper) -> None:
    few = replace(digits, X_train=digits.X_train[:20], y_train=digits.y_train[:20])
    job = hyper(batch_size=20, num_epochs=300, l2_reg=0, learning_rate_decay=1)
    assert run([job], few)[0][-1].row.metrics.train_acc == 1


@pytest.mark.parametrize("stack_bytes", [1, 1 << 17, 1 << 30])
def test_a_model_has_the_same_bits_alone_and_in_any_population(
    digits: Dataset, hyper: Hyper, monkeypatch: pytest.MonkeyPatch, stack_bytes: int
) -> None:
    jobs = [
        hyper(),
        hyper(hidden_size=5, l2_reg=0.01),
        hyper(learning_rate=1e8, num_epochs=4),  # diverges
        hyper(num_epochs=1),
        hyper(learning_rate=0.05, learning_rate_decay=0.5, num_epochs=4),
        hyper(hidden_size=64, weight_std=0.01),
        hyper(momentum=0.9, learning_rate=0.1),
        hyper(momentum=0.5, dropout=0.2),
        hyper(dropout=0.5),
        hyper(dropout=0.1),
        hyper(ema=0.9),
        hyper(ema=0.99, momentum=0.9, learning_rate=0.1, weight_std="he", num_epochs=2),
        hyper(ema=0.9, learning_rate=1e8),  # diverges
    ]
    alone = [run([job], digits)[0] for job in jobs]
    monkeypatch.setattr(population, "STACK_BYTES", stack_bytes)
    for order in (range(13), reversed(range(13)), [2, 0, 4, 8, 12, 10]):
        order = list(order)
        together = run([jobs[i] for i in order], digits)
        for place, i in enumerate(order):
            assert same_bits(together[place], alone[i]), jobs[i]


def test_a_diverged_model_stops_and_the_others_continue(digits: Dataset, hyper: Hyper) -> None:
    ends = run([hyper(learning_rate=1e8), hyper()], digits)
    assert [end.outcome for end in ends[0]] == [Outcome.DIVERGED]
    assert best_of(ends[0]) is None
    assert [end.outcome for end in ends[1]] == [None, None, Outcome.FINISHED]


def test_a_finite_train_loss_does_not_hide_an_infinite_val_loss(
    digits: Dataset, hyper: Hyper
) -> None:
    huge = replace(digits, X_val=digits.X_val * np.float32(1e38))  # finite images, infinite scores
    (end,) = run([hyper()], huge)[0]
    assert np.isfinite(end.row.metrics.train_loss)
    assert not np.isfinite(end.row.metrics.val_loss)
    assert end.outcome == Outcome.DIVERGED
    assert best_of([end]) is None


def test_a_model_that_diverges_late_keeps_its_best_weights(digits: Dataset, hyper: Hyper) -> None:
    job = hyper(learning_rate=0.1, learning_rate_decay=1e6, num_epochs=5)
    ends = run([job], digits)[0]
    assert ends[-1].outcome == Outcome.DIVERGED
    assert 1 < len(ends) < 5
    kept = best_of(ends)
    assert kept is not None
    assert all(np.isfinite(array).all() for array in kept)


def test_the_result_holds_the_weights_of_the_best_epoch(digits: Dataset, hyper: Hyper) -> None:
    job = hyper(learning_rate=1.0, learning_rate_decay=1.3, num_epochs=12)  # wild at the end
    ends = run([job], digits)[0]
    best = max(ends, key=lambda end: selection_key(end.row.metrics))
    assert best.epoch < ends[-1].epoch
    kept, result = best_of(ends), ends[-1].result
    assert kept is not None and result is not None
    hits = model.predict(kept, digits.X_val)[0] == digits.y_val
    assert hits.mean() == pytest.approx(best.row.metrics.val_acc)
    np.testing.assert_array_equal(np.unpackbits(result.best_hits, count=len(hits)), hits)


def test_equal_seeds_give_equal_bits_and_other_seeds_do_not(digits: Dataset, hyper: Hyper) -> None:
    first, again, other = (run([hyper(seed=s)], digits)[0] for s in (1, 1, 2))
    assert same_bits(first, again)
    assert not same_bits(first, other)


def test_equal_scores_count_as_the_first_class(digits: Dataset, hyper: Hyper) -> None:
    whole = hyper(weight_std=0, batch_size=len(digits.y_train), num_epochs=1)
    ends = run([whole], digits)[0]
    assert ends[0].row.metrics.train_acc == pytest.approx((digits.y_train == 0).mean())


@pytest.mark.parametrize(
    ("interrupts", "mixup"), [([7], 0.0), ([1, 2, 3], 0.5), ([11, 12, 30], 0.0), ([40], 0.5)]
)
def test_an_interrupted_model_resumes_to_the_same_bits(
    digits: Dataset, hyper: Hyper, interrupts: list[int], mixup: float
) -> None:
    jobs = [
        hyper(),
        hyper(hidden_size=5, learning_rate_decay=0.5, num_epochs=4),
        hyper(learning_rate=0.1, learning_rate_decay=1e6, num_epochs=4),  # diverges late
        hyper(momentum=0.9, learning_rate=0.1),
        hyper(momentum=0.5, dropout=0.5),
        hyper(ema=0.95, momentum=0.9, learning_rate=0.1, num_epochs=4),
    ]
    jobs = [replace(job, mixup=mixup) for job in jobs]
    whole = run(jobs, digits)
    ends: dict[int, list[EpochEnd]] = {k: [] for k in range(len(jobs))}
    left, saved, step = list(range(len(jobs))), list[Checkpoint](), 0
    for stop in [*interrupts, 1000]:

        def stopped(stop: int = stop) -> bool:
            nonlocal step
            step += 1
            return step > stop

        resumed: dict[int, Checkpoint] = {}
        for event in train([jobs[i] for i in left], digits, saved, stopped):
            if isinstance(event, Snapshot):
                resumed[left[event.model]] = copy.deepcopy(event.checkpoint)
            else:
                ends[left[event.model]].append(event)
        step -= 1  # the step before which training stopped is still to be made
        left, saved = list(resumed), list(resumed.values())
    assert not left
    for i in range(len(jobs)):
        assert same_bits(ends[i], whole[i])


def test_an_epoch_has_its_time_in_milliseconds(
    digits: Dataset, hyper: Hyper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.nn.stack.time.time_ns", lambda: 1_700_000_000_123_456_789)
    ends = run([hyper(num_epochs=1)], digits)[0]
    assert [end.row.milliseconds for end in ends] == [1_700_000_000_123]
