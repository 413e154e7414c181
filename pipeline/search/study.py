"""A study of Optuna: it chooses the next trials and records their results.

A trial is a job of the sweep, with the same number.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipeline.errors import PipelineError
from pipeline.search.copies import as_running
from pipeline.search.proposals import REJECTED, RETRIES, Proposals
from pipeline.search.pruning import BatchPruner
from pipeline.search.storage import lock_creation, open_storage
from pipeline.search.window import Window
from pipeline.selection import direction
from pipeline.tracking.provenance import heartbeat_tags, is_dead, provenance
from pipeline.uris import redact

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from pipeline.search.sampling import Search

OPTIONAL = ("pruner", "where", "seeds", "continuous")  # settings that a study may not have
PROCESS = ("host", "boot_id", "pid_namespace", "pid", "pid_started")


@dataclass(frozen=True)
class TrialResult:
    """The result of a trial."""

    value: float | None  # the objective; None: the trial was pruned, has diverged or has failed
    failed: bool = False
    scores: Sequence[float] = ()  # of the epochs 1, 2, …, which become the intermediate values
    attributes: Mapping[str, Any] = field(default_factory=dict)  # of `BatchPruner.attributes`


class Study:
    """The trials of a search, in a storage of Optuna."""

    def __init__(self, search: Search, name: str, storage: str | None) -> None:
        """Open the study, or create it.

        Args:
            search: the space, the sampler and the number of trials.
            name: of the study.
            storage: the URL of a database; None: in memory.

        Raises:
            PipelineError: the storage cannot be opened, another process uses the study, or the
                study belongs to another search.
        """
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        self.search, self.name, self._storage = search, name, storage
        with self._translate_errors(), lock_creation(storage):
            self._study = optuna.create_study(
                storage=open_storage(storage),
                study_name=name,
                direction=direction(search.select_by),
                load_if_exists=True,
            )
            self._proposals = Proposals(self._study, search)
            self._window = Window(self._study, search, self._proposals)
            self._acquire()

    def next_trials(self, after: int) -> list[FrozenTrial]:
        """The next batch: the trials from number `after` on. It is empty at the end of the study.

        A resumed study first returns all of its earlier trials, because all trials are jobs of the
        sweep. Finished trials are not trained again: the sweep reuses their runs.

        Raises:
            PipelineError: the storage cannot be reached.
        """
        with self._translate_errors():
            size = self.search.batch_size
            self._proposals.complete()
            trials = self.trials()
            goal = min(self.search.count, (len(trials) // size + 1) * size)
            if len(trials) % size == 0 and any(not t.state.is_finished() for t in trials):
                goal = 0
            for number in range(len(trials), goal):
                self._proposals.draw(number)
            self._heartbeat()
            return self.trials()[after:]

    def trial(self, index: int) -> FrozenTrial:
        """A trial of a continuous search by its index. The next trial of the study is drawn.

        Raises:
            PipelineError: the storage cannot be reached.
        """
        with self._translate_errors():
            if index == len(self.trials()):
                self._window.draw(index)
                self._heartbeat()
            return self.trials()[index]

    def split(
        self, trials: Sequence[FrozenTrial], *, apart: bool = False
    ) -> list[list[FrozenTrial]]:
        """Divide trials of `next_trials` into finished batches and the last batch.

        With a pruner, each group trains on its own: the trials of an unfinished batch are compared
        with each other, and finished trials keep their outcomes. Without one they stay together,
        unless `apart` is true.
        """
        if self.search.pruning is None and not apart:
            return [list(trials)]
        size, count = self.search.batch_size, len(trials)
        index = len(self.trials()) - count  # of the first one
        last = max(0, (index + count - 1) // size * size - index)
        if all(trial.state.is_finished() for trial in trials[last:]):
            last = 0
        return [list(group) for group in (trials[:last], trials[last:]) if group]

    def pruner(self, batch: Sequence[FrozenTrial]) -> BatchPruner | None:
        """What decides which trials of a batch stop; None: no trial does, or all have ended.

        Raises:
            PipelineError: the storage cannot be reached.
        """
        pruning = self.search.pruning
        if pruning is None or all(trial.state.is_finished() for trial in batch):
            return None
        with self._translate_errors():
            trials = self._study.get_trials(deepcopy=False)[: batch[-1].number + 1]
            first = batch[0].number
            known = [t if t.number < first else as_running(t, {}) for t in trials]
            return BatchPruner(pruning, self.name, direction(self.search.select_by), known)

    def pruner_of(self, index: int) -> BatchPruner:
        """The pruner of one trial of a continuous search.

        Raises:
            PipelineError: the storage cannot be reached.
        """
        with self._translate_errors():
            return self._window.pruner(index)

    def tell(self, trial: FrozenTrial, result: TrialResult) -> None:
        """Record the result of a trial.

        A trial without a value was pruned, or has diverged and has no scores. It becomes PRUNED.
        Samplers treat it as worse than any value. A failed trial becomes FAIL, which samplers
        ignore. If a later start of the command trains it with success, its result becomes an
        additional trial.

        Args:
            trial: of the study.
            result: its result.

        Raises:
            PipelineError: the storage cannot be reached.
        """
        from optuna.samplers import RandomSampler
        from optuna.trial import TrialState, create_trial

        value, failed = result.value, result.failed
        state = TrialState.COMPLETE if value is not None else TrialState.PRUNED
        with self._translate_errors():
            if not trial.state.is_finished():
                self._study.sampler = RandomSampler()  # GridSampler would end the study here
                state = TrialState.FAIL if failed else state
                self._report(trial, result)
                self._study.tell(trial.number, value, state)
            elif trial.state == TrialState.FAIL and not failed and not self._is_repeated(trial):
                self._study.add_trial(
                    create_trial(
                        state=state,
                        value=value,
                        params=trial.params,
                        distributions=trial.distributions,
                        user_attrs={RETRIES: trial.number},
                        system_attrs=dict(result.attributes),
                        intermediate_values=dict(enumerate(result.scores, 1)),
                    )
                )

    def _report(self, trial: FrozenTrial, result: TrialResult) -> None:
        """Store the intermediate values. A killed process may have stored a part already."""
        storage, trial_id = self._study._storage, trial._trial_id
        for epoch, score in enumerate(result.scores, 1):
            storage.set_trial_intermediate_value(trial_id, epoch, score)
        for key, value in result.attributes.items():
            storage.set_trial_system_attr(trial_id, key, value)

    def num_results(self) -> int:
        """The number of trials with a result.

        Raises:
            PipelineError: the storage cannot be reached.
        """
        from optuna.trial import TrialState

        with self._translate_errors():
            states = (TrialState.COMPLETE, TrialState.PRUNED)
            found = self._study.get_trials(deepcopy=False, states=states)
            return sum(REJECTED not in trial.user_attrs for trial in found)

    def best(self) -> tuple[dict[str, Any], float] | None:
        """The values and the result of the best trial; None: no trial has a value.

        Raises:
            PipelineError: the storage cannot be reached.
        """
        from optuna.trial import TrialState

        with self._translate_errors():
            if not self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
                return None
            return self._study.best_params, self._study.best_value

    def trials(self) -> list[FrozenTrial]:
        """The trials that are jobs, without the additional ones of `tell`."""
        return self._proposals.trials()

    def _is_repeated(self, trial: FrozenTrial) -> bool:
        trials = self._study.get_trials(deepcopy=False)
        return any(other.user_attrs.get(RETRIES) == trial.number for other in trials)

    def _acquire(self) -> None:
        """Make this process the owner of the study.

        Raises:
            PipelineError: another process owns it, or it belongs to another search.
        """
        known, identity = self._study.user_attrs, self.search.identity
        before = known.get("search", {} if self._study.trials else identity)
        keys = [*identity, *(key for key in OPTIONAL if key not in identity)]
        other = [key for key in keys if before.get(key) != identity.get(key)]
        if other:
            raise PipelineError(
                f"study {self.name} was started with other settings ({', '.join(other)}): name a "
                "new study with hydra.sweeper.study=…, or omit that value"
            )
        owner, process = known.get("process", {}), provenance()
        mine = all(owner.get(key) == process[key] for key in PROCESS)
        if owner and not mine and not is_dead(owner):
            raise PipelineError(
                f"study {self.name} is locked by process {owner['pid']} on host {owner['host']}: "
                "wait for it to finish, or name another study with hydra.sweeper.study=…"
            )
        self._study.set_user_attr("search", identity)
        self._heartbeat()

    def _heartbeat(self) -> None:
        process = {key: provenance()[key] for key in PROCESS}
        self._study.set_user_attr("process", {**process, **heartbeat_tags()})

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Turn errors of the storage into one sentence.

        Raises:
            PipelineError: the storage cannot be reached.
        """
        from optuna.exceptions import OptunaError
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except (OptunaError, SQLAlchemyError, OSError, ImportError, RuntimeError) as error:
            reason = next(iter(str(error.__cause__ or error).splitlines()), type(error).__name__)
            shown, reason = redact(str(self._storage)), redact(reason)
            raise PipelineError(
                f"the study {self.name} at hydra.sweeper.storage={shown} cannot be read or "
                f"written ({reason}): make it available, then rerun the same command"
            ) from error
