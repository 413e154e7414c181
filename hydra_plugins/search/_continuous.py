"""The trials of a continuous search: each starts as soon as the results that it knows are there."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from hydra_plugins.search._pruning import TrialRule
from hydra_plugins.search._trials import jobs, log_state, objective
from pipeline.config import Job
from pipeline.execution.stream import Supply
from pipeline.outcomes import Outcome
from pipeline.search.study import Study, TrialResult
from pipeline.session import job_return_value

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from hydra_plugins.population.launcher import OpenJob
    from hydra_plugins.search._ledger import Ledger

log = logging.getLogger("pipeline")


class TrialSource:
    """Supplies the jobs of each trial. It is the `JobSource` of a continuous search.

    With the batch size B, trial n starts as soon as the trials 0 … n − B have ended. At most B
    trials are in flight.

    Attributes:
        num_trials: the number of trials that the budget has ended the search with; None: it has
            not.
    """

    def __init__(
        self,
        study: Study,
        fixed: Sequence[str],
        ledger: Ledger | None,
        job: Job,
        open_job: OpenJob,
    ) -> None:
        """Supply the trials of a study.

        Args:
            study: chooses the trials.
            fixed: the overrides that all trials share.
            ledger: of the budget; None: there is no limit.
            job: any job of the search.
            open_job: opens a job with a number and overrides.
        """
        search = study.search
        self._size = max(1, len(search.seeds))  # jobs per trial
        self.job, self.num_jobs = job, search.count * self._size
        self.max_active = min(search.count, search.batch_size) * self._size
        self.stops_early = search.pruning is not None
        self.num_trials: int | None = None
        self._study, self._fixed, self._ledger, self._open = study, fixed, ledger, open_job
        self._limit = search.count  # no trial with this index or a higher one starts
        self._num_ended = 0  # the trials 0 … num_ended − 1 have ended
        self._num_failed = 0  # of the latest of these trials, one after another
        self._results: dict[int, TrialResult] = {}
        self._rules: dict[int, TrialRule] = {}
        self._supplies: list[Supply] = []
        self._priced: list[list[Job]] = []  # the jobs of each trial, if there is a budget

    def next_supply(self) -> Supply | None:
        """The jobs of the next trial, as in `JobSource`."""
        search, index = self._study.search, len(self._supplies)
        if index >= min(self._limit, self._num_ended + search.batch_size):
            return None
        trial = self._study.trial(index)
        lines = jobs(search, self._fixed, [trial.params])
        if self._ledger is not None and not self._starts(trial, lines):
            self.num_trials = self._limit = index
            return None
        if search.pruning is not None:
            pruner = None
            if trial.state.name not in ("COMPLETE", "PRUNED"):
                pruner = self._study.pruner_of(index)
            epochs = search.pruning.epochs()
            self._rules[index] = TrialRule([trial], index, self._size, epochs, pruner)
        numbered = enumerate(lines, index * self._size)
        specs = [self._open(number, overrides) for number, overrides in numbered]
        self._supplies.append(Supply(specs, self._rules.get(index)))
        return self._supplies[-1]

    def end(self, supply: Supply, original: Supply | None) -> None:
        """Record the result of a trial, as in `JobSource`."""
        search, index = self._study.search, self._index(supply)
        if original is not None:
            result = replace(self._results[self._index(original)], attributes={})
        else:
            failed = any(run.outcome is Outcome.FAILED for run in supply.runs)
            value = None if failed else objective([job_return_value(run) for run in supply.runs])
            result = TrialResult(value, failed)
            if supply.rule is not None:
                result = self._rules[index].result(index, value, failed)
        self._results[index] = result
        self._study.tell(self._study.trial(index), result)
        while self._num_ended in self._results:
            failed = self._results[self._num_ended].failed
            self._num_failed = self._num_failed + 1 if failed else 0
            self._num_ended += 1
            if self._num_failed == max(2, search.batch_size):
                log.error("%d trials in a row failed: the search stops", self._num_failed)
                self._limit = min(self._limit, self._num_ended - 1 + search.batch_size)
            if self._num_ended % search.batch_size == 0 or self._num_ended == search.count:
                log_state(self._study)

    def _index(self, supply: Supply) -> int:
        return supply.specs[0].number // self._size

    def _starts(self, trial: FrozenTrial, lines: Sequence[Sequence[str]]) -> bool:
        """Whether a trial fits into the budget, next to the trials whose results it does not know.

        If the budget is a time, trials that have ended count no longer.
        """
        ledger = self._ledger
        assert ledger is not None
        self._priced.append(ledger.jobs(lines))
        index = len(self._supplies)
        known = index - self._study.search.batch_size
        if known >= 0:
            ledger.spend([self._study.trial(known)], self._priced[known])
        others = range(max(0, known + 1), index)
        in_flight = [i for i in others if not (ledger.is_time and i in self._results)]
        runs = [run for supply in self._supplies for run in supply.runs]
        trained = [(run.job, run.epoch) for run in runs if run.job is not None]
        jobs_in_flight = [job for i in in_flight for job in self._priced[i]]
        return ledger.starts(trial, self._priced[index], jobs_in_flight, trained)
