"""The progress of a sweep: a bar in a terminal, a log line every ten seconds elsewhere."""

from __future__ import annotations

import logging
import sys
from typing import Any

from tqdm import tqdm

from pipeline.outcomes import Outcome

LINE_SECONDS = 10  # between log lines
BAR = "{desc}: {percentage:.0f}%|{bar}| {elapsed}<{remaining}, {rate_fmt}"

log = logging.getLogger("pipeline")


class Progress:
    """Counts the images that models have trained on, and the jobs that have ended."""

    def __init__(self, jobs: int, images: int) -> None:
        """Show the progress.

        Args:
            jobs: the number of jobs that train.
            images: the number of images that they will train on: images × epochs of all jobs. 0:
                unknown, because `add_job` adds the jobs.
        """
        self._jobs = jobs
        self._known_jobs, self._known_images = (jobs, images) if images else (0, 0)
        self._ended = dict.fromkeys(Outcome, 0)
        options: dict[str, Any] = {"bar_format": BAR, "dynamic_ncols": True}
        if not sys.stderr.isatty():
            options = {
                "file": _LogLines(),
                "mininterval": LINE_SECONDS,
                "miniters": 1,  # tqdm would skip updates, and so delay a line or lose the last one
                "delay": LINE_SECONDS,
                "bar_format": "{percentage:.0f} % trained, {desc}, {rate_fmt}, {remaining} left",
            }
        self._bar = tqdm(
            total=images, unit=" examples", unit_scale=True, smoothing=0, leave=False, **options
        )
        self._best = ""  # the best score so far and the name of its run
        self._update_description()

    def add_images(self, images: int) -> None:
        """Count images that a model has trained on."""
        self._bar.update(images)

    def add_job(self, images: int) -> None:
        """Add a job that will train on these images. Later jobs count as the mean of known ones."""
        self._known_jobs += 1
        self._known_images += images
        self._update_total()

    def skip_job(self) -> None:
        """Leave out a job that needs no training."""
        self._jobs -= 1
        self._update_total()

    def end_job(self, outcome: Outcome, images_left: int) -> None:
        """Count a job that has ended, perhaps before it has trained on all of its images."""
        self._ended[outcome] += 1
        self._known_images -= images_left
        self._update_total()

    def set_best(self, score: str, name: str) -> None:
        """Show the best score so far, with the name of its metric, and the name of its run."""
        self._best = f", best {score} ({name})"
        self._update_description()

    def close(self) -> None:
        """Remove the bar."""
        self._bar.close()

    def _update_total(self) -> None:
        if self._known_jobs:
            self._bar.total = self._known_images * self._jobs // self._known_jobs
        self._update_description()

    def _update_description(self) -> None:
        counts = [f"{self._ended[Outcome.FINISHED]} of {self._jobs} jobs finished"]
        counts += [
            f"{n} {outcome}"
            for outcome, n in self._ended.items()
            if n and outcome is not Outcome.FINISHED
        ]
        self._bar.set_description_str(", ".join(counts) + self._best, refresh=False)


class _LogLines:
    """A file for tqdm that turns each redrawn bar into a log line."""

    def write(self, text: str) -> None:
        line = text.strip()
        if line:
            log.info(line)

    def flush(self) -> None:
        pass
