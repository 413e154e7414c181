"""A continuous search: the results that a trial knows.

With the batch size B, trial n knows exactly the results of the trials 0 … n − B. The trials
n − B + 1 … n − 1 count as running, even if they have ended. The proposals and the prunes of a
search are therefore the same for any number of cores, and after any number of interruptions.

Proposals and prunes are computed in a copy of the study in memory, which holds only these results.
A trial enters the storage in one transaction.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from pipeline.search.copies import as_running, copy_study
from pipeline.search.proposals import REJECTED, RETRIES, Proposals
from pipeline.search.pruning import BatchPruner
from pipeline.selection import direction

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

    from pipeline.search.sampling import Search

STATE = (
    "study_attributes"  # system attribute of a trial: the attributes of the study at that moment
)


class Window:
    """Draws the trials of a continuous search, and creates their pruners."""

    def __init__(self, study: Study, search: Search, proposals: Proposals) -> None:
        """Draw from the space of a search."""
        self._study, self._search, self._proposals = study, search, proposals
        self._direction = direction(search.select_by)

    def draw(self, index: int) -> None:
        """Draw the next trial.

        Args:
            index: of the trial among all trials that are jobs. The trials 0 … index − B have ended.

        Raises:
            PipelineError: no proposal satisfies the condition of the search.
        """
        from optuna.samplers import RandomSampler
        from optuna.trial import TrialState

        known = self._known(index)
        draft = copy_study(self._study.study_name, self._direction, known)
        attributes = [trial.system_attrs[STATE] for trial in known if STATE in trial.system_attrs]
        for key, value in (attributes[-1] if attributes else {}).items():
            draft._storage.set_study_system_attr(draft._study_id, key, value)
        for sampler in self._proposals.samplers(index):
            draft.sampler = sampler
            number = draft.ask(self._search.space).number
            trial = draft.get_trials(deepcopy=False)[number]
            state = draft._storage.get_study_system_attrs(draft._study_id)
            where = self._search.where
            if where is None or where.allows(trial.params):
                self._add(trial, state, {}, TrialState.RUNNING)
                return
            self._add(trial, state, {REJECTED: index}, TrialState.PRUNED)
            draft.sampler = RandomSampler()  # GridSampler would end the study here
            draft.tell(number, state=TrialState.PRUNED)

    def pruner(self, index: int) -> BatchPruner:
        """The pruner of one trial, which compares it with the trials whose results it knows."""
        assert self._search.pruning is not None
        own = self._proposals.trials()[index]
        trials = [*self._known(index, for_pruner=True), as_running(own, {})]
        return BatchPruner(self._search.pruning, self._study.study_name, self._direction, trials)

    def _add(
        self, trial: FrozenTrial, state: dict[str, Any], user_attrs: dict[str, Any], outcome: Any
    ) -> None:
        """Add a trial that was drawn in the copy to the study."""
        from optuna.trial import create_trial

        attributes = {**trial.system_attrs, **({STATE: state} if state else {})}
        self._study.add_trial(
            create_trial(
                state=outcome,
                params=trial.params,
                distributions=trial.distributions,
                user_attrs=user_attrs,
                system_attrs=attributes,
            )
        )

    def _known(self, index: int, *, for_pruner: bool = False) -> list[FrozenTrial]:
        """The earlier trials as a trial knows them, with the rejected proposals before it.

        A trial that failed, and succeeded in a later start, has its later result.
        """
        trials = self._study.get_trials(deepcopy=False)
        repeats = {t.user_attrs[RETRIES]: t for t in trials if RETRIES in t.user_attrs}
        known: list[FrozenTrial] = []
        count = 0  # of trials that are jobs
        for trial in trials:
            if RETRIES in trial.user_attrs:
                continue
            if REJECTED in trial.user_attrs:
                known.append(trial)
                continue
            if count == index:
                break
            if count > index - self._search.batch_size:
                # Samplers need the attributes of a drawn trial. Pruners add some with a result.
                known.append(as_running(trial, {} if for_pruner else trial.system_attrs))
            elif trial.number in repeats:
                known.append(_with_attributes(repeats[trial.number], trial))
            else:
                known.append(trial)
            count += 1
        return known


def _with_attributes(repeat: FrozenTrial, trial: FrozenTrial) -> FrozenTrial:
    """The later result of a trial that failed, with the attributes of its proposal."""
    found = copy.copy(repeat)
    found.system_attrs = {**trial.system_attrs, **repeat.system_attrs}
    return found
