"""How far a sweep is, in one line: a bar in a terminal, now and then a plain line elsewhere."""

from __future__ import annotations

import logging
import sys
from typing import Any

from tqdm import tqdm

LINE_SECONDS = 10  # between plain lines

log = logging.getLogger("pipeline")


class Progress:
    """Counts images seen by models, and jobs that have ended."""

    def __init__(self, jobs: int, images: int) -> None:
        """Begin.

        Args:
            jobs: how many train.
            images: how many images all of them will see together.
        """
        self.jobs = jobs
        self.ended = {"finished": 0, "halted": 0, "diverged": 0, "failed": 0}
        plain: dict[str, Any] = {}
        if not sys.stderr.isatty():
            line = "{percentage:.0f} % trained, {desc}, {rate_fmt}, {remaining} left"
            plain = {
                "file": _LogLines(),
                "mininterval": LINE_SECONDS,
                "delay": LINE_SECONDS,
                "bar_format": line,
            }
        self.bar = tqdm(
            total=images, unit=" images", unit_scale=True, smoothing=0, leave=False, **plain
        )
        self._describe()

    def saw(self, images: int) -> None:
        """A model has passed over so many images."""
        self.bar.update(images)

    def end(self, outcome: str, unseen: int) -> None:
        """A job has ended, `unseen` images before it was due to."""
        self.ended[outcome] += 1
        self.bar.total = (self.bar.total or 0) - unseen
        self._describe()

    def close(self) -> None:
        """Take the bar away."""
        self.bar.close()

    def _describe(self) -> None:
        counts = [f"{self.ended['finished']} of {self.jobs} jobs done"]
        counts += [
            f"{n} {outcome}" for outcome, n in self.ended.items() if n and outcome != "finished"
        ]
        self.bar.set_description_str(", ".join(counts), refresh=False)


class _LogLines:
    """A file for tqdm that makes log lines of what would be redrawn."""

    def write(self, text: str) -> None:
        line = text.strip()
        if line:
            log.info(line)

    def flush(self) -> None:
        pass
