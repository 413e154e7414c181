"""hydra.sweeper.budget of a search: what its trials have cost, and whether the next batch fits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from hydra_plugins.population._budget import open_meter
from hydra_plugins.population._compose import Composer
from pipeline.config import Job, parse_job
from pipeline.errors import ConfigError
from pipeline.execution.budget import KEY
from pipeline.execution.datasets import Datasets
from pipeline.search.sampling import Search
from pipeline.session import current_session

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from hydra_plugins.search.sweeper import OptunaSweeper

Lines = Sequence[Sequence[str]]  # the overrides of some jobs
Trained = Iterable[tuple[Job, int]]  # jobs with numbers of epochs


class Ledger:
    """Compares the trials of a search with its budget, batch by batch.

    With a number of multiply-adds, the search ends at the same trial on every machine, and after
    any number of interruptions: a trial costs the epochs that it has trained, and trials of earlier
    starts count, too. A time starts after the first batch is composed.
    """

    def __init__(self, sweeper: OptunaSweeper, first: Lines, datasets: Datasets) -> None:
        """Check that the first batch fits.

        Args:
            sweeper: with hydra.sweeper.budget.
            first: the overrides of the jobs of the first batch.
            datasets: with the dataset of the jobs.

        Raises:
            ConfigError: the budget is malformed, or the first batch does not fit.
        """
        assert sweeper.budget is not None
        self._composer = Composer(sweeper.hydra_context.config_loader, sweeper.config)
        jobs = self.jobs(first)
        data = datasets.get(jobs[0])
        self._meter = open_meter(sweeper.budget, sweeper.launcher, jobs, data)
        if not self._meter.fits(jobs):
            raise ConfigError(
                f"the first {len(jobs)} jobs do not fit the {self._meter.budget}: raise {KEY}, or "
                "lower hydra.sweeper.batch_size"
            )

    def jobs(self, lines: Lines) -> list[Job]:
        """The jobs with these overrides, which the other methods take."""
        return [parse_job(self._composer.values(line)) for line in lines]

    def fits(self, batch: Sequence[FrozenTrial], jobs: Sequence[Job]) -> bool:
        """Whether a batch fits into the rest of the budget. Finished trials fit in any case."""
        if all(trial.state.is_finished() for trial in batch):
            return True
        return self._meter.fits(jobs)

    def starts(
        self, trial: FrozenTrial, jobs: Sequence[Job], in_flight: Sequence[Job], trained: Trained
    ) -> bool:
        """Whether the next trial of a continuous search starts. Finished trials do in any case.

        Args:
            trial: the next one.
            jobs: its jobs.
            in_flight: jobs of earlier trials that count as if they trained to their end.
            trained: the jobs of this start of the command, with the epochs that they have trained.
        """
        done = sum(self._share(job, epochs) for job, epochs in trained)
        self._meter.correct(done)
        return trial.state.is_finished() or self._meter.fits([*in_flight, *jobs])

    def measured(self, jobs: Sequence[Job]) -> AbstractContextManager[None]:
        """Measure the time of a batch, by which later estimates are corrected."""
        return self._meter.measured(jobs)

    def spend(self, batch: Sequence[FrozenTrial], jobs: Sequence[Job]) -> None:
        """Take the cost of trained trials from the budget."""
        size = len(jobs) // len(batch)  # jobs per trial
        for i, trial in enumerate(batch):
            for job in jobs[i * size : (i + 1) * size]:
                epochs = trial.last_step or job.hyperparameters.num_epochs
                self._meter.spend(self._share(job, epochs))

    @property
    def is_time(self) -> bool:
        """Whether the budget is a time."""
        return self._meter.budget.seconds is not None

    def _share(self, job: Job, epochs: int) -> float:
        """The price of the first epochs of a job."""
        return epochs / job.hyperparameters.num_epochs * self._meter.price(job)

    def report_end(self, num_trials: int, search: Search) -> None:
        """State how many trials the budget leaves out. The sweep is complete without them."""
        session = current_session()
        if session is not None:
            session.end_early(num_trials * max(1, len(search.seeds)))
        print(
            f"the search ends after {num_trials} of {search.count} trials: the next "
            f"{'trial' if search.continuous else 'batch'} does not fit the {self._meter.budget}"
        )
