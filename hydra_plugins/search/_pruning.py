"""The stopping rule of a search: the pruner of the study decides which trials stop."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.execution.job import JobRun
from pipeline.outcomes import Outcome
from pipeline.search.pruning import BatchPruner
from pipeline.search.study import TrialResult
from pipeline.selection import mean

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


class TrialRule:
    """Stops the jobs of pruned trials. It is the `StoppingRule` of one call of the launcher.

    Attributes:
        pruned: the epoch after which a trial was pruned, by its index.
    """

    def __init__(
        self,
        trials: Sequence[FrozenTrial],
        first: int,
        jobs_per_trial: int,
        epochs: Sequence[int],
        pruner: BatchPruner | None,
    ) -> None:
        """Describe the trials.

        Args:
            trials: that are launched.
            first: the index of the first one: trial i has the jobs i·n, …, i·n + n − 1.
            jobs_per_trial: n, one job per seed.
            epochs: after which the pruner can stop a trial.
            pruner: of the batch; None: all trials have ended before, and pruned ones stop where
                they stopped then.
        """
        self.pruned: dict[int, int] = {}
        self._trials = dict(enumerate(trials, first))
        self._pruner, self._epochs, self._size = pruner, epochs, jobs_per_trial
        self._runs: dict[int, list[JobRun]] = defaultdict(list)  # of each trial, by its index
        self._known = {
            index: trial.last_step
            for index, trial in self._trials.items()
            if trial.state.name == "PRUNED" and trial.last_step is not None
        }
        # The replicates of a model that diverged in an earlier start stop where they stopped then.
        has_diverged = any(t.state.name == "PRUNED" and t.last_step is None for t in trials)
        self._is_live = pruner is not None or (has_diverged and jobs_per_trial > 1)
        # A trial that is equal to an earlier one of the batch is not trained, and ends like it.
        self._originals: dict[int, int] = {}
        by_values: dict[str, int] = {}
        for index, trial in self._trials.items():
            values = repr(sorted(trial.params.items()))
            self._originals[index] = by_values.setdefault(values, index)

    def rungs(self, candidates: Sequence[JobRun]) -> list[int]:
        """The epochs of the comparisons, as in `StoppingRule`."""
        for run in candidates:
            self._runs[run.spec.number // self._size].append(run)
        live = self._epochs if self._is_live else []
        return sorted({*live, *self._known.values()})

    def select_halted(self, candidates: Sequence[JobRun], rung: int) -> list[JobRun]:
        """Choose the jobs of the trials that stop, as in `StoppingRule`."""
        replicates: dict[int, list[JobRun]] = defaultdict(list)
        for run in candidates:
            replicates[run.spec.number // self._size].append(run)
        stopped = [i for i in sorted(replicates) if self._stops(i, replicates[i], rung)]
        return [run for index in stopped for run in replicates[index]]

    def scores(self, index: int) -> list[float]:
        """The mean over the seeds in each epoch that all of them have completed.

        A pruned trial has no scores after its last comparison.
        """
        histories = [run.best.scores() for run in self._runs[self._originals[index]]]
        return mean_scores(histories)[: self.pruned.get(index)]

    def result(self, index: int, value: float | None, failed: bool) -> TrialResult:
        """The result of a trial.

        Args:
            index: of the trial.
            value: the objective of a trial that was trained to its end.
            failed: whether a job of it failed.
        """
        if self._pruner is None:
            return TrialResult(value, failed)
        value = None if index in self.pruned else value
        has_scores = index in self.pruned or value is not None
        scores = self.scores(index) if has_scores else []
        attributes = self._pruner.attributes(self._trials[index].number)
        return TrialResult(value, failed, scores, attributes)

    def _stops(self, index: int, runs: Sequence[JobRun], rung: int) -> bool:
        if self._known.get(index) == rung or self._is_pruned(index, runs, rung):
            self.pruned[index] = rung
            return True
        # The other seeds of a model that has diverged cannot improve the objective.
        return any(run.outcome is Outcome.DIVERGED for run in runs)

    def _is_pruned(self, index: int, runs: Sequence[JobRun], rung: int) -> bool:
        if (original := self._originals[index]) != index:
            return self.pruned.get(original) == rung
        if self._pruner is None or index in self._known:
            return False
        histories = [run.best.scores()[:rung] for run in runs]
        if any(run.outcome in (Outcome.FAILED, Outcome.DIVERGED) for run in runs):
            return False
        if min(map(len, histories)) < rung or runs[0].hyperparameters.num_epochs <= rung:
            return False
        return self._pruner.prunes(self._trials[index].number, mean_scores(histories))


def mean_scores(histories: Sequence[Sequence[float]]) -> list[float]:
    """The mean over the seeds in each epoch that all of them have completed."""
    if len(histories) == 1:
        return list(histories[0])
    return [mean(scores) for scores in zip(*histories, strict=False)]
