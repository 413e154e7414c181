"""A study of Optuna: which trials come next, and what has become of them.

A trial is a job of the sweep, with the same number.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from pipeline.errors import PipelineError
from pipeline.tracking.provenance import heartbeat_tags, is_dead, provenance

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from pipeline.search.sampling import Search

LOCK_SECONDS = 60  # to wait for another process that writes to a sqlite file
RETRIES = "retries"  # user attribute of a trial: the number of the failed one that it repeats
PROCESS = ("host", "boot_id", "pid_namespace", "pid", "pid_started")


class Study:
    """The trials of a search, in a storage."""

    def __init__(self, search: Search, name: str, storage: str | None) -> None:
        """Open the study, or make it; None: in memory.

        Raises:
            PipelineError: the storage cannot be opened, another process works on the study, or it
                is of another search.
        """
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        self.search, self.name, self._storage = search, name, storage
        with self._reached(), _alone(storage):
            connect = {"timeout": LOCK_SECONDS} if storage and _is_sqlite(storage) else {}
            self._study = optuna.create_study(
                storage=storage and optuna.storages.RDBStorage(storage, {"connect_args": connect}),
                study_name=name,
                direction="maximize",
                load_if_exists=True,
            )
            self._claim()

    def next_trials(self, after: int) -> list[FrozenTrial]:
        """The trials from number `after` on that are to be trained now; none at the end.

        A batch that was interrupted comes first, with those trials that have a result: what is
        finished costs nothing again, and all of a study's trials are jobs of the sweep.

        Raises:
            PipelineError: the storage is out of reach.
        """
        with self._reached():
            trials, size = self.trials(), self.search.batch_size
            running = [t for t in trials if not t.state.is_finished()]
            for trial in running:
                self._complete(trial)
            goal = min(self.search.count, (len(trials) // size + 1) * size)
            if running and len(trials) % size == 0:
                goal = 0
            for number in range(len(trials), goal):
                self._study.sampler = self.search.sampler_for(number)
                self._study.ask(self.search.space)
            self._say_alive()
            return self.trials()[after:]

    def tell(self, trial: FrozenTrial, value: float | None, *, failed: bool) -> None:
        """Note what has become of a trial: a value, none, or a failure.

        One without a value (it diverged) is PRUNED: a result, worse than any other, from which
        TPE keeps away. One that failed is FAIL: no result, of which no sampler learns; if the same
        command then has more luck with it, that is a trial of its own beside the failed one.

        Raises:
            PipelineError: the storage is out of reach.
        """
        from optuna.samplers import RandomSampler
        from optuna.trial import TrialState, create_trial

        state = TrialState.COMPLETE if value is not None else TrialState.PRUNED
        with self._reached():
            if not trial.state.is_finished():
                self._study.sampler = RandomSampler()  # a grid's would stop what it did not start
                state = TrialState.FAIL if failed else state
                self._study.tell(trial.number, value, state)
            elif trial.state == TrialState.FAIL and not failed and not self._is_repeated(trial):
                self._study.add_trial(
                    create_trial(
                        state=state,
                        value=value,
                        params=trial.params,
                        distributions=trial.distributions,
                        user_attrs={RETRIES: trial.number},
                    )
                )

    def ended(self) -> int:
        """How many trials have a result.

        Raises:
            PipelineError: the storage is out of reach.
        """
        from optuna.trial import TrialState

        with self._reached():
            states = (TrialState.COMPLETE, TrialState.PRUNED)
            return len(self._study.get_trials(deepcopy=False, states=states))

    def best(self) -> tuple[dict[str, Any], float] | None:
        """The values of the best trial, and its result; None: no trial has one.

        Raises:
            PipelineError: the storage is out of reach.
        """
        from optuna.trial import TrialState

        with self._reached():
            if not self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
                return None
            return self._study.best_params, self._study.best_value

    def trials(self) -> list[FrozenTrial]:
        """All trials that are jobs."""
        trials = self._study.get_trials(deepcopy=False)
        return [trial for trial in trials if RETRIES not in trial.user_attrs]

    def _is_repeated(self, trial: FrozenTrial) -> bool:
        trials = self._study.get_trials(deepcopy=False)
        return any(other.user_attrs.get(RETRIES) == trial.number for other in trials)

    def _complete(self, trial: FrozenTrial) -> None:
        """Choose the values that a process could not before it died."""
        from optuna.trial import Trial

        if len(trial.params) < len(self.search.space):
            self._study.sampler = self.search.sampler_for(trial.number)
            opened = Trial(self._study, trial._trial_id)
            for key, over in self.search.space.items():
                opened._suggest(key, over)

    def _claim(self) -> None:
        """Take the study for this process."""
        known, identity = self._study.user_attrs, self.search.identity
        before = known.get("search", {} if self._study.trials else identity)
        other = [key for key in identity if before.get(key) != identity[key]]
        if other:
            raise PipelineError(
                f"study {self.name} was begun with other settings ({', '.join(other)}): name a new "
                "one with hydra.sweeper.study=…, or leave that at null"
            )
        owner, process = known.get("process", {}), provenance()
        mine = all(owner.get(key) == process[key] for key in PROCESS)
        if owner and not mine and not is_dead(owner):
            raise PipelineError(
                f"study {self.name} is in the hands of process {owner['pid']} on {owner['host']}: "
                "wait for it, or name another one with hydra.sweeper.study=…"
            )
        self._study.set_user_attr("search", identity)
        self._say_alive()

    def _say_alive(self) -> None:
        process = {key: provenance()[key] for key in PROCESS}
        self._study.set_user_attr("process", {**process, **heartbeat_tags()})

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """Make one sentence of what the storage complains about."""
        from optuna.exceptions import OptunaError
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except (OptunaError, SQLAlchemyError, OSError, ImportError, RuntimeError) as error:
            reason = next(iter(str(error.__cause__ or error).splitlines()), type(error).__name__)
            raise PipelineError(
                f"the study {self.name} at hydra.sweeper.storage={self._storage} cannot be read or "
                f"written ({reason}): start the same command again when it can"
            ) from error


def _is_sqlite(storage: str) -> bool:
    return storage.startswith("sqlite:///")


@contextmanager
def _alone(storage: str | None) -> Iterator[None]:
    """No other process opens a study in this sqlite file meanwhile: two that make it collide."""
    if storage is None or not _is_sqlite(storage):
        yield
        return
    path = Path(storage.removeprefix("sqlite:///"))
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(path.name + ".lock")):
        yield
