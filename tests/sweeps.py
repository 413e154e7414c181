"""Small sweeps on the digits for tests: they train real jobs and write to a real store."""

from __future__ import annotations

import logging
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pipeline.config import DataConfig, Halving
from pipeline.execution.spec import JobSpec, RunContext
from pipeline.tracking.entities import Sweep
from pipeline.tracking.store import Store
from tests.conftest import DIGITS, SMALL, TRACKING, train

MARKUP = "<script>alert(1)</script>|`*x*`"  # part of the command of each sweep
BASE = asdict(replace(SMALL, hidden_size=8))


def train_sweep(
    store: Store,
    folder: Path,
    name: str,
    *jobs: dict[str, Any],
    data: DataConfig = DIGITS,
    halving: Halving | None = None,
) -> Sweep:
    """Train a sweep in the experiment "digits".

    Args:
        store: receives the runs.
        folder: receives the output folders of the jobs.
        name: the ID of the sweep.
        jobs: the values of each job that differ from `BASE`.
        data: the dataset, unless a job has a value `data`.
        halving: when jobs stop early.
    """
    experiment = store.ensure_experiment("digits")
    command = f"python -m pipeline -m {MARKUP}"
    sweep = store.start_sweep(experiment, name, command, len(jobs))
    groups = {"data": asdict(data), "tracking": TRACKING | {"reuse": False}}
    specs = [
        JobSpec(i, BASE | groups | job, folder / name / str(i), logging.getLogger("test"))
        for i, job in enumerate(jobs)
    ]
    train(specs, RunContext(store, experiment, sweep), halving=halving)
    return sweep
