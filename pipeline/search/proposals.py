"""Proposals of a sampler: they become trials if they satisfy the condition of the search."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from pipeline.errors import PipelineError

if TYPE_CHECKING:
    from optuna import Study
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

    from pipeline.search.sampling import Search

RETRIES = "retries"  # user attribute of a trial: the number of the failed one that it repeats
REJECTED = "rejected"  # user attribute of a rejected proposal: the index of the trial
MAX_ATTEMPTS = 200  # to draw a trial that satisfies the condition
OWN_ATTEMPTS = 10  # of the sampler itself; later ones are random, except in a grid


class Proposals:
    """Draws the trials of a study."""

    def __init__(self, study: Study, search: Search) -> None:
        """Draw from the space of a search."""
        self._study, self._search = study, search

    def trials(self) -> list[FrozenTrial]:
        """The trials that are jobs: neither repeated ones nor rejected proposals."""
        trials = self._study.get_trials(deepcopy=False)
        return [trial for trial in trials if not {RETRIES, REJECTED} & trial.user_attrs.keys()]

    def draw(self, index: int) -> None:
        """Draw the next trial.

        Args:
            index: of the trial among all trials that are jobs.

        Raises:
            PipelineError: no proposal of `MAX_ATTEMPTS` satisfies the condition.
        """
        for sampler in self.samplers(index):
            self._study.sampler = sampler
            if self._accepts(self._study.ask(self._search.space).number, index):
                return

    def samplers(self, index: int) -> Iterator[BaseSampler]:
        """The sampler of each further attempt to draw a trial.

        Raises:
            PipelineError: there were `MAX_ATTEMPTS`.
        """
        attempt = self._num_rejected(index)
        while attempt < MAX_ATTEMPTS or self._search.sampler == "grid":
            yield self._sampler(index, attempt)
            attempt += 1
        assert self._search.where is not None
        raise PipelineError(
            f"none of {MAX_ATTEMPTS} proposals satisfies hydra.sweeper.where="
            f"{self._search.where.text!r}: make the space smaller, or change the condition"
        )

    def complete(self) -> None:
        """Complete the proposals that a killed process has left unfinished."""
        for trial in self._study.get_trials(deepcopy=False):
            if REJECTED in trial.user_attrs and not trial.state.is_finished():
                self._reject(trial.number, trial.user_attrs[REJECTED])
        for index, trial in enumerate(self.trials()):
            if not trial.state.is_finished():
                self._draw_missing_values(trial, index)
                self._accepts(trial.number, index)

    def _draw_missing_values(self, trial: FrozenTrial, index: int) -> None:
        """Draw the missing values of a trial whose process died while it drew them.

        Optuna has no public way to reopen a trial. Checked with optuna 5.0.0; a test covers it.
        """
        from optuna.trial import Trial

        if len(trial.params) < len(self._search.space):
            self._study.sampler = self._sampler(index, self._num_rejected(index))
            opened = Trial(self._study, trial._trial_id)
            for key, distribution in self._search.space.items():
                opened._suggest(key, distribution)

    def _accepts(self, number: int, index: int) -> bool:
        """Whether a proposal satisfies the condition; if not, reject it."""
        trial = self._study.get_trials(deepcopy=False)[number]
        if self._search.where is None or self._search.where.allows(trial.params):
            return True
        self._reject(number, index)
        return False

    def _reject(self, number: int, index: int) -> None:
        """End a proposal as PRUNED: to samplers, it is a poor one."""
        from optuna.samplers import RandomSampler
        from optuna.trial import TrialState

        trial = self._study.get_trials(deepcopy=False)[number]
        self._study._storage.set_trial_user_attr(trial._trial_id, REJECTED, index)
        self._study.sampler = RandomSampler()  # GridSampler would end the study here
        self._study.tell(number, state=TrialState.PRUNED)

    def _sampler(self, index: int, attempt: int) -> BaseSampler:
        search = self._search
        if attempt >= OWN_ATTEMPTS and search.sampler != "grid":
            search = replace(search, sampler="random")
        return search.sampler_for(index, attempt)

    def _num_rejected(self, index: int) -> int:
        trials = self._study.get_trials(deepcopy=False)
        return sum(trial.user_attrs.get(REJECTED) == index for trial in trials)
