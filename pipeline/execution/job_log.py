"""The log file of a job."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import suppress

from pipeline.nn.history import Row


class JobLog:
    """Writes lines to a job's log file.

    The file is closed after each group of lines, because a sweep can have more jobs than a process
    may have open files. A full disk loses lines of the log; it does not stop the job.
    """

    def __init__(self, logger: logging.Logger) -> None:
        """Write to the handlers of a logger."""
        self._logger = logger

    def info(self, *lines: str) -> None:
        """Write lines of level INFO."""
        self._write(logging.INFO, lines)

    def epochs(self, rows: Iterable[tuple[int, Row]]) -> None:
        """Write one line per epoch, with its metrics."""
        self.info(
            *(
                f"epoch {epoch}: "
                + " ".join(f"{key} {value:.4f}" for key, value in row.metrics.measured().items())
                for epoch, row in rows
            )
        )

    def error(self, *lines: str) -> None:
        """Write lines of level ERROR."""
        self._write(logging.ERROR, lines)

    def replay(self, records: Iterable[logging.LogRecord]) -> None:
        """Write records that another machine has collected."""
        with suppress(OSError):
            for record in records:
                self._logger.handle(record)
        self._close()

    def _write(self, level: int, lines: Iterable[str]) -> None:
        with suppress(OSError):
            for line in lines:
                self._logger.log(level, "%s", line)
        self._close()

    def _close(self) -> None:
        with suppress(OSError):
            for handler in self._logger.handlers:
                handler.close()
