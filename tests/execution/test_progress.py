"""Progress without a terminal: log lines that count jobs."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from tqdm import tqdm

from pipeline.data.dataset import Dataset
from pipeline.execution import progress
from pipeline.execution.progress import Progress
from pipeline.execution.spec import RunContext
from pipeline.hyperparameters import Hyperparameters
from pipeline.outcomes import Outcome
from tests.conftest import job, train


def test_plain_lines_count_jobs_and_examples(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LINE_SECONDS", 0)
    with caplog.at_level(logging.INFO, "pipeline"):
        bar = Progress(jobs=3, images=3000)
        bar.end_job(Outcome.DIVERGED, images_left=1000)
        bar.end_job(Outcome.FINISHED, images_left=0)
        bar.add_images(1000)
        bar.close()
    assert "50 % trained, 1 of 3 jobs finished, 1 diverged" in caplog.messages[-1]
    assert "examples/s" in caplog.messages[-1]


def test_lines_name_the_best_model_that_can_still_be_chosen(
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    place: RunContext,
    hyper: Callable[..., Hyperparameters],
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(progress, "LINE_SECONDS", 0)
    values = [hyper(learning_rate=rate, num_epochs=6) for rate in (0.01, 1.0, 1e9)]
    with caplog.at_level(logging.INFO, "pipeline"):
        runs = train([job(i, tmp_path / str(i), v) for i, v in enumerate(values)], place)
    assert [run.outcome for run in runs] == ["finished", "finished", "diverged"]
    last = [line for line in caplog.messages if "% trained" in line][-1]
    assert runs[1].score is not None
    assert f"best val_acc {100 * runs[1].score:.1f} % (H=16 lr=1 λ=1e-4 s0)" in last


def test_a_terminal_shows_the_best_accuracy_beside_the_bar(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(screen, "isatty", lambda: True)
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setattr(progress, "tqdm", partial(tqdm, mininterval=0))
    bar = Progress(jobs=2, images=100)
    bar.set_best("val_acc 97.9 %", "H=8 lr=1 λ=0 s0")
    bar.end_job(Outcome.FINISHED, images_left=50)
    bar.add_images(50)
    shown = screen.getvalue().split("\r")[-1]
    bar.close()
    assert "1 of 2 jobs finished, best val_acc 97.9 % (H=8 lr=1 λ=0 s0): 100%" in shown


def test_a_short_training_prints_no_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "pipeline"):
        bar = Progress(jobs=1, images=10)
        for _ in range(10):
            bar.add_images(1)
        bar.close()
    assert caplog.messages == []


def test_the_rate_is_the_mean_since_the_start(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])
    monkeypatch.setattr(progress, "LINE_SECONDS", 0)
    with caplog.at_level(logging.INFO, "pipeline"):
        bar = Progress(jobs=1, images=10_000)
        for images in (1000, 5000):  # 100 examples/s, then 500
            now[0] += 10
            bar.add_images(images)
        bar.close()
    assert "300 examples/s" in caplog.messages[-1]


@pytest.mark.usefixtures("outputs")
def test_a_diverged_job_leaves_nothing_to_train(
    place: RunContext,
    digits: Dataset,
    hyper: Callable[..., Hyperparameters],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def end_job(_: Progress, outcome: Outcome, images_left: int) -> None:
        left[outcome] = images_left

    left: dict[Outcome, int] = {}
    monkeypatch.setattr(Progress, "end_job", end_job)
    jobs = [hyper(learning_rate=rate) for rate in (0.3, 1e9)]
    runs = train([job(i, tmp_path / str(i), values) for i, values in enumerate(jobs)], place)
    epochs = 3 - runs[1].epoch
    assert epochs > 0
    assert left == {Outcome.FINISHED: 0, Outcome.DIVERGED: epochs * len(digits.y_train)}
