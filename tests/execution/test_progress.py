"""Progress without a terminal: log lines that count jobs."""

from __future__ import annotations

import logging

import pytest

from pipeline.execution import progress
from pipeline.execution.progress import Progress
from pipeline.outcomes import Outcome


def test_plain_lines_count_jobs_and_images(
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
    assert "images/s" in caplog.messages[-1]


def test_a_short_training_prints_no_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "pipeline"):
        bar = Progress(jobs=1, images=10)
        for _ in range(10):
            bar.add_images(1)
        bar.close()
    assert caplog.messages == []
