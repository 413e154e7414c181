"""hydra.sweeper.budget: train the jobs that fit, and list the others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import joblib
from hydra.core.utils import JobReturn

from hydra_plugins.population.launcher import PopulationLauncher
from pipeline.config import Job
from pipeline.data.dataset import Dataset
from pipeline.errors import ConfigError
from pipeline.execution.budget import KEY, Meter, parse_budget
from pipeline.session import current_session

if TYPE_CHECKING:
    from hydra.plugins.launcher import Launcher

SKIPPED = "skipped.txt"  # in the folder of the sweep
SHOWN = 10  # skipped jobs that the terminal shows

Lines = Sequence[Sequence[str]]  # the overrides of some jobs


def open_meter(value: str | float, launcher: Launcher, jobs: Sequence[Job], data: Dataset) -> Meter:
    """Start the clock of a budget, and check that it is large enough for a job.

    Args:
        value: hydra.sweeper.budget.
        launcher: trains the jobs.
        jobs: some jobs of the sweep.
        data: their dataset.

    Raises:
        ConfigError: the budget is malformed, or no job fits.
    """
    budget = parse_budget(value)
    cores = 1
    if isinstance(launcher, PopulationLauncher):
        cores = launcher.shards or joblib.cpu_count()
    meter = Meter(budget, data, cores)
    if not meter.affordable(jobs):
        least = meter.describe(min(map(meter.price, jobs)))
        raise ConfigError(f"no job fits the {budget}: the smallest job needs {least}; raise {KEY}")
    return meter


def train_within(
    meter: Meter, launcher: Launcher, lines: Lines, jobs: Sequence[Job], size: int, folder: Path
) -> list[Sequence[JobReturn]]:
    """Train the jobs of a grid that fit a budget; returns the JobReturns of each group.

    Args:
        meter: of the budget.
        launcher: trains the jobs.
        lines: the overrides of each job.
        jobs: the values of each job.
        size: jobs per call of the launcher, at most.
        folder: of the sweep.

    Raises:
        CompactHydraException: a job failed. All other jobs that fit have ended before.
    """
    returns: list[Sequence[JobReturn]] = []
    rest = list(range(len(jobs)))
    about = "about " if meter.budget.seconds is not None else ""
    print(f"{meter.budget}: {about}{len(meter.affordable(jobs))} of {len(jobs)} jobs fit")
    if isinstance(launcher, PopulationLauncher) and launcher.dry_run:
        return [launcher.launch([lines[i] for i in meter.affordable(jobs)], initial_job_idx=0)]
    while group := [rest[i] for i in meter.next_group([jobs[i] for i in rest])][:size]:
        members = [jobs[i] for i in group]
        with meter.measured(members):
            done = sum(map(len, returns))
            returns.append(launcher.launch([lines[i] for i in group], initial_job_idx=done))
        meter.spend(sum(map(meter.price, members)))
        rest = [i for i in rest if i not in group]
    report_skipped([lines[i] for i in rest], sum(map(len, returns)), f"the {meter.budget}", folder)
    for result in (result for batch in returns for result in batch):
        _ = result.return_value  # raises the error of a failed job
    return returns


def report_skipped(skipped: Lines, num_jobs: int, reason: str, folder: Path) -> None:
    """State which jobs were not trained. The sweep is complete without them.

    Args:
        skipped: the overrides of these jobs.
        num_jobs: the number of jobs that were trained.
        reason: for the message.
        folder: of the sweep.
    """
    if not skipped:
        return
    session = current_session()
    if session is not None:
        session.end_early(num_jobs)
    texts = [" ".join(line) for line in skipped]
    (folder / SKIPPED).write_text("\n".join(texts) + "\n", encoding="utf-8")
    print(f"{len(skipped)} jobs do not fit {reason} and are skipped (all: {folder / SKIPPED}):")
    print(*[f"  {text}" for text in texts[:SHOWN]], sep="\n")
