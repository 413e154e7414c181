"""Copies of a study in memory, in which some trials count as running."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from optuna import Study
    from optuna.pruners import BasePruner
    from optuna.trial import FrozenTrial

Direction = Literal["maximize", "minimize"]


def copy_study(
    name: str,
    direction: Direction,
    trials: Sequence[FrozenTrial],
    pruner: BasePruner | None = None,
) -> Study:
    """A study in memory.

    Args:
        name: of the study. Hyperband draws the bracket of a trial from it.
        direction: of the objective.
        trials: in their order. The number of a trial in the copy is its position.
        pruner: of the copy; None: nothing asks for one.
    """
    import optuna

    sampler = optuna.samplers.RandomSampler()  # it draws nothing here
    copy = optuna.create_study(study_name=name, direction=direction, sampler=sampler, pruner=pruner)
    for trial in trials:
        copy.add_trial(trial)
    return copy


def as_running(trial: FrozenTrial, attributes: Mapping[str, Any]) -> FrozenTrial:
    """A trial without its results.

    Args:
        trial: with its number.
        attributes: the system attributes that it keeps.
    """
    from optuna.trial import FrozenTrial, TrialState

    return FrozenTrial(
        number=trial.number,
        trial_id=trial._trial_id,
        state=TrialState.RUNNING,
        value=None,
        datetime_start=trial.datetime_start,
        datetime_complete=None,
        params=trial.params,
        distributions=trial.distributions,
        user_attrs={},
        system_attrs=dict(attributes),
        intermediate_values={},
    )
