"""Kills at random moments of a continuous search with a pruner, then the same command again."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL
from threading import Lock
from typing import Any

from tests.torture.command import Command, Ended, run
from tests.torture.kill import VANISH, phase
from tests.torture.lab import Lab, not_well
from tests.torture.results import Job, broken_checkpoints, problems, results
from tests.torture.trials import Kind, Outcome, Spot

SEARCH = (
    "-m",
    "hydra/sweeper=optuna",
    "hydra.sweeper.continuous=true",
    "hydra.sweeper.n_trials=24",
    "hydra.sweeper.batch_size=4",
    "hydra.sweeper.pruner=successive_halving",
    "hydra.sweeper.pruner_params={reduction_factor: 2}",
    "num_epochs=5,10,20,40",
    "hidden_size=16,96",
    "batch_size=20",
    "learning_rate=tag(log, interval(0.001, 1e3))",
    "tracking.checkpoint_minutes=0.005",
)
# Rows of these tables are equal for equal studies, apart from their identifiers and times.
QUERIES = (
    "SELECT number, state, NULL FROM trials",
    "SELECT number, param_name, param_value FROM trial_params JOIN trials USING (trial_id)",
    "SELECT number, objective, value FROM trial_values JOIN trials USING (trial_id)",
    "SELECT number, step, intermediate_value FROM trial_intermediate_values "
    "JOIN trials USING (trial_id)",
)
Rows = tuple[tuple[tuple[Any, ...], ...], ...]


@dataclass(frozen=True)
class Undisturbed:
    """A search without a disturbance."""

    seconds: float
    trials: Rows
    jobs: Mapping[str, Job]
    problems: tuple[str, ...]


_lock = Lock()  # trials run at the same time; the first one runs the undisturbed search
_undisturbed: dict[Path, Undisturbed] = {}  # by the root of the laboratory


def kill_search(lab: Lab, spot: Spot) -> Outcome:
    """SIGKILL to all processes of a search, up to four times, on one core or two."""
    with _lock:
        if lab.root not in _undisturbed:
            _undisturbed[lab.root] = _run_undisturbed(lab)
    expected = _undisturbed[lab.root]
    outputs = lab.outputs(spot.folder)
    points, phases, found = [], [], list(expected.problems)
    for _ in range(spot.rng.randint(1, 4)):
        at = spot.rng.uniform(0, expected.seconds)
        command = Command(outputs, *SEARCH, f"hydra.launcher.shards={spot.rng.randint(1, 2)}")
        command.runs_for(at)
        phases.append(phase(outputs))
        points.append(f"{at:.2f} s, {phases[-1]}")
        command.signal(SIGKILL, group=True)
        command.end()
        found += [f"outlived its parent: {name}" for name in command.survivors(VANISH)]
        found += broken_checkpoints(outputs)
    found += not_well(run(outputs, *SEARCH))
    found += _differences(_trials(outputs), expected.trials)
    found += problems(outputs, expected.jobs)
    return Outcome("; ".join(points), found, phases)


def _run_undisturbed(lab: Lab) -> Undisturbed:
    outputs = lab.root / "search" / "outputs"
    outputs.parent.mkdir()
    shutil.copytree(lab.root / "template", outputs)
    ended: Ended = run(outputs, *SEARCH)
    jobs = results(outputs / "mlflow.db")
    return Undisturbed(ended.seconds, _trials(outputs), jobs, tuple(not_well(ended)))


def _trials(outputs: Path) -> Rows:
    with closing(sqlite3.connect(outputs / "optuna.db", timeout=60)) as study:
        return tuple(tuple(sorted(study.execute(query), key=repr)) for query in QUERIES)


def _differences(trials: Rows, expected: Rows) -> Iterator[str]:
    for query, rows, others in zip(QUERIES, trials, expected, strict=True):
        if rows != others:
            differ = sorted(set(rows) ^ set(others), key=repr)
            yield f"the study differs in {len(differ)} rows of {query.split()[-1]}: {differ[:2]}"


KINDS = [
    Kind("search", "SIGKILL to all processes of a continuous search with a pruner, up to four "
         "times, on one core or two; then the same command", "the trials, values and prunes of "
         "the study and all runs equal an undisturbed search", kill_search, 10, 1),
]  # fmt: skip
