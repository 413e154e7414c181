"""Searches of the command in tests: their trials, and searches that are killed."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial


def trials_of(outputs: Path) -> list[FrozenTrial]:
    """The trials of the only study of an outputs folder."""
    storage = f"sqlite:///{outputs}/optuna.db"
    (name,) = optuna.get_all_study_names(storage)
    return optuna.load_study(study_name=name, storage=storage).trials


def trial_facts(outputs: Path) -> list[tuple[Any, ...]]:
    """All that two runs of one search must share."""
    return [
        (t.number, t.params, t.state.name, t.value, t.intermediate_values, t.system_attrs)
        for t in trials_of(outputs)
    ]


def kill_search(outputs: Path, arguments: Sequence[str], after: int) -> None:
    """Start a search, and kill -9 it when some of its trials have ended, but not all."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline", *arguments],
        env=os.environ | {"PIPELINE_OUTPUTS": str(outputs)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=outputs.parent,
    )
    while process.poll() is None and num_ended_trials(outputs) < after:
        time.sleep(0.002)
    assert process.poll() is None
    process.kill()
    process.wait()
    assert num_ended_trials(outputs) >= after


def num_ended_trials(outputs: Path) -> int:
    """The number of trials that have ended in the study of a process that runs."""
    if not (outputs / "optuna.db").exists():
        return 0
    with closing(sqlite3.connect(outputs / "optuna.db", timeout=10)) as database:
        try:
            query = "SELECT count(*) FROM trials WHERE state NOT IN ('RUNNING', 'WAITING')"
            return int(database.execute(query).fetchone()[0])
        except sqlite3.OperationalError:  # there is no such table yet
            return 0
