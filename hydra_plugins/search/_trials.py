"""Train the trials of a study, batch after batch, and record their results."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn, JobStatus

from hydra_plugins.population.launcher import PopulationLauncher
from hydra_plugins.search._pruning import TrialRule
from pipeline.search.sampling import Search
from pipeline.search.space import as_overrides, exact_values
from pipeline.search.study import Study, TrialResult
from pipeline.selection import describe_score, mean

if TYPE_CHECKING:
    from hydra.plugins.launcher import Launcher
    from optuna.trial import FrozenTrial

    from hydra_plugins.search._ledger import Ledger

log = logging.getLogger("pipeline")


class TrialTrainer:
    """Trains the trials of a study with a launcher.

    Attributes:
        returns: the JobReturns of each call of the launcher.
    """

    def __init__(
        self, launcher: Launcher, study: Study, fixed: Sequence[str], ledger: Ledger | None
    ) -> None:
        """Prepare to train.

        Args:
            launcher: trains the jobs.
            study: chooses the trials.
            fixed: the overrides that all trials share.
            ledger: of the budget; None: there is no limit.
        """
        self._ledger = ledger
        self.returns: list[Sequence[JobReturn]] = []
        self._launcher, self._study, self._fixed = launcher, study, fixed
        self._size = max(1, len(study.search.seeds))  # jobs per trial

    def train(self) -> int | None:
        """Train batch after batch, until the end or until all jobs of a batch fail.

        Returns:
            The number of trials that the budget has ended the search with; None: it has not.

        Raises:
            CompactHydraException: the store or the storage of the study cannot be reached.
        """
        done, search = 0, self._study.search
        while trials := self._study.next_trials(after=done):
            log_state(self._study)
            for batch in self._study.split(trials, apart=self._ledger is not None):
                lines = jobs(search, self._fixed, [trial.params for trial in batch])
                if self._ledger is None:
                    self._train_batch(batch, lines, done)
                else:
                    priced = self._ledger.jobs(lines)
                    if not self._ledger.fits(batch, priced):
                        return done
                    with self._ledger.measured(priced):
                        self._train_batch(batch, lines, done)
                    self._ledger.spend(self._study.trials()[done : done + len(batch)], priced)
                done += len(batch)
            ended = self.returns[-1]
            if len(ended) > 1 and all(job.status != JobStatus.COMPLETED for job in ended):
                log.error("all %d jobs of a batch failed: the search stops", len(ended))
                break
        return None

    def _train_batch(
        self, batch: Sequence[FrozenTrial], lines: Sequence[Sequence[str]], first: int
    ) -> None:
        """Train trials and record the results. The index of the first trial is `first`."""
        rule = None
        search = self._study.search
        if search.pruning is not None:
            assert isinstance(self._launcher, PopulationLauncher)
            pruner = self._study.pruner(batch)
            rule = TrialRule(batch, first, self._size, search.pruning.epochs(), pruner)
            self._launcher.rule = rule
        results = self._launcher.launch(lines, initial_job_idx=first * self._size)
        self.returns.append(results)
        for i, trial in enumerate(batch):
            replicates = results[i * self._size : (i + 1) * self._size]
            failed = any(job.status != JobStatus.COMPLETED for job in replicates)
            value = None if failed else objective([job.return_value for job in replicates])
            result = TrialResult(value, failed)
            if rule is not None:
                result = rule.result(first + i, value, failed)
            self._study.tell(trial, result)


def jobs(
    search: Search, fixed: Sequence[str], trials: Sequence[Mapping[str, Any]]
) -> list[list[str]]:
    """The overrides of each job of some trials: one job per trial, or one per trial and seed."""
    seeds = [[f"seed={seed}"] for seed in search.seeds] or [[]]
    lines = [as_overrides(exact_values(values, search.space)) for values in trials]
    return [[*fixed, *line, *seed] for line in lines for seed in seeds]


def objective(values: Sequence[float | None]) -> float | None:
    """The mean over the seeds of a trial; None if the training of one has no comparable result."""
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    return known[0] if len(known) == 1 else mean(known)


def log_state(study: Study) -> None:
    """Log the number of results and the best one."""
    line = f"study {study.name}: {study.num_results()} of {study.search.count} trials have a result"
    best = study.best()
    if best is not None:
        rounded = {
            key: float(f"{v:.3g}") if isinstance(v, float) else v for key, v in best[0].items()
        }
        score = describe_score(best[1], study.search.select_by)
        line += f", best {score} ({' '.join(as_overrides(rounded))})"
    log.info(line)
