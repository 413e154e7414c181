"""One sweep of this project with timers inside: python -m benchmarks.phases -m [overrides].

Writes phases.json to the working directory: the seconds of each phase. Training runs in the
background while the main thread logs to MLflow, so the sum may exceed the whole.
"""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import psutil
from hydra.core.plugins import Plugins

STORE_CALLS = ("start_run", "log", "end_run", "flush_to_disk")


class Phases:
    """Seconds by phase."""

    def __init__(self) -> None:
        """Start without measurements."""
        self.seconds: dict[str, float] = defaultdict(float)

    def time(self, phase: str, owner: Any, name: str) -> None:
        """Put a timer around a function or method."""
        function: Callable[..., Any] = getattr(owner, name)

        @wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds[phase] += time.perf_counter() - began

        setattr(owner, name, timed)


def main() -> None:
    """Run the app as python -m pipeline does."""
    Plugins.instance()  # the discovery of plugins imports their modules again

    from hydra_plugins.population import _core
    from pipeline import __main__ as app
    from pipeline.execution import datasets, local, local_trainer
    from pipeline.execution.job import JobRun
    from pipeline.report import write
    from pipeline.session import Session
    from pipeline.tracking.store import Store

    phases = Phases()
    began = psutil.Process().create_time()
    phases.seconds["start and imports"] = time.time() - began
    phases.time("store and sweep's run", Session, "start_sweep")
    phases.time("composing", _core.Composer, "values")
    phases.time("folders and logs", _core.JobOpener, "open")
    phases.time("data", datasets, "load")
    phases.time("data", local, "share_dataset")
    phases.time("training", local_trainer, "train_wave")
    for name in STORE_CALLS:
        phases.time("tracking", Store, name)
    phases.time("tracking", JobRun, "_log_artifacts")
    phases.time("report", write, "write_report")
    try:
        app.main()
    finally:
        phases.seconds["whole"] = time.time() - began
        Path("phases.json").write_text(json.dumps(phases.seconds))


if __name__ == "__main__":
    sys.argv[0] = "pipeline"
    main()
