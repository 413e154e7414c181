"""The load of the machine while a sweep trains: CPU, memory, disk and network.

The values are those of MLflow's `SystemMetricsMonitor`, which would measure and write in a thread
of its own. Here the training loop calls it. No thread can outlive the sweep, and the values are
written together with the metrics of the jobs.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

from mlflow.environment_variables import MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING

from pipeline.tracking import mlflow_compat
from pipeline.tracking.entities import Point
from pipeline.tracking.store import Store

START_SECONDS = 60.0  # after which a sweep is measured, unless MLflow's variable says otherwise

log = logging.getLogger("pipeline")


class SystemMetrics:
    """Measures this machine for the run of a sweep."""

    def __init__(
        self, store: Store, run_id: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Prepare to measure.

        Args:
            store: holds the run.
            run_id: of the sweep.
            clock: the time in seconds.
        """
        self._store, self._run_id, self._clock = store, run_id, clock
        self._next_sample = clock() + _delay()
        self._monitor: mlflow_compat.SystemMonitor | None = None
        self._pending: list[Point] = []

    def sample(self) -> None:
        """Measure if it is time for it. Nothing is written."""
        if self._clock() < self._next_sample:
            return
        try:
            if self._monitor is None:
                self._monitor = mlflow_compat.SystemMonitor(
                    self._run_id, self._store.uri, self._record
                )
            self._monitor.sample()
        except Exception as error:  # psutil raises many types, for example without /proc
            log.warning("the load of the machine is not measured: %s", error)
            self._next_sample = math.inf
        else:
            self._next_sample = self._clock() + self._monitor.sampling_interval

    def flush(self) -> None:
        """Write the pending values.

        Raises:
            TrackingError: the store cannot be reached. The values stay pending.
        """
        if self._pending:
            self._store.log(self._run_id, self._pending)
            self._pending.clear()

    def _record(self, values: Mapping[str, float], step: int) -> None:
        self._pending.append(Point(step, time.time_ns() // 1_000_000, values))


def _delay() -> float:
    """Seconds from the start of a sweep to its first measurement; infinite if it is switched off.

    MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING is MLflow's variable: true measures from the start, and
    false not at all.
    """
    switch: Any = MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING
    if not switch.is_set():
        return START_SECONDS
    try:
        return 0.0 if switch.get() else math.inf
    except ValueError as error:
        log.warning("%s: a sweep of more than a minute is measured", error)
        return START_SECONDS
