"""Pruning: Optuna's pruners stop trials whose scores fall behind the scores of other trials.

The trials of a batch train side by side, so the moment at which one of them completes an epoch
depends on the machine. The order of the comparisons does not: `BatchPruner` compares the trials of
a batch epoch by epoch, and after each epoch in the order of their numbers. In a continuous search
(`pipeline.search.window`), a trial is a batch of its own. `BatchPruner` makes the decisions
of a batch in a copy of the study in memory. A resumed study therefore repeats all decisions of an
interrupted batch from its learning curves, and comes to the same ones.

The step that Optuna knows is the epoch, counted from 1.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pipeline.errors import ConfigError
from pipeline.search.copies import Direction, copy_study

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.trial import FrozenTrial

PrunerName = Literal["median", "successive_halving", "hyperband", "wilcoxon"]
KEY = "hydra.sweeper.pruner_params"
LEAST = {"min_resource": 1, "max_resource": 1, "reduction_factor": 2, "interval_steps": 1}


@dataclass(frozen=True)
class Pruning:
    """A pruner of Optuna with its parameters.

    Raises:
        ConfigError: a parameter is unknown, or its value is wrong.
    """

    pruner: PrunerName
    params: Mapping[str, Any]  # arguments of Optuna's class; others have Optuna's defaults
    num_epochs: int  # of the longest trial

    def __post_init__(self) -> None:
        known = list(inspect.signature(self._class).parameters)
        for name, value in self.params.items():
            if name not in known:
                raise ConfigError(
                    f"unknown key {KEY}.{name}: the parameters of {self.pruner} are "
                    f"{', '.join(known)}"
                )
            least = LEAST.get(name, 0)
            is_number = isinstance(value, int) and not isinstance(value, bool)
            if name != "p_threshold" and not (is_number and value >= least):
                raise ConfigError(
                    f"{KEY}.{name} must be a whole number of at least {least}, not {value!r}"
                )
        if self.pruner == "hyperband" and self._arguments["max_resource"] < self._first:
            raise ConfigError(
                f"{KEY}.min_resource={self._first} is more than the {self.num_epochs} epochs of a "
                "trial: hyperband would never compare; use a smaller number"
            )
        try:
            self.create()
        except (ValueError, TypeError) as error:
            raise ConfigError(f"{KEY} does not fit the pruner {self.pruner}: {error}") from None

    @property
    def _class(self) -> type[BasePruner]:
        from optuna import pruners

        classes: dict[str, type[BasePruner]] = {
            "median": pruners.MedianPruner,
            "successive_halving": pruners.SuccessiveHalvingPruner,
            "hyperband": pruners.HyperbandPruner,
            "wilcoxon": pruners.WilcoxonPruner,
        }
        return classes[self.pruner]

    @property
    def _arguments(self) -> dict[str, Any]:
        """The parameters, with the numbers of epochs that Optuna would otherwise guess."""
        match self.pruner:
            case "successive_halving":
                return {"min_resource": 1, **self.params}
            case "hyperband":
                return {"max_resource": self.num_epochs, **self.params}
        return dict(self.params)

    @property
    def _first(self) -> int:
        """The epoch of the first comparison, of successive halving and Hyperband."""
        first: int = self._arguments.get("min_resource", 1)
        return first

    @property
    def identity(self) -> dict[str, Any]:
        """The settings that all starts of one study share."""
        return {"pruner": self.pruner, "pruner_params": dict(self.params)}

    def create(self) -> BasePruner:
        """A new pruner of Optuna."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # WilcoxonPruner is experimental
            return self._class(**self._arguments)

    def epochs(self) -> list[int]:
        """The epochs after which the pruner can stop a trial, in ascending order."""
        given = self._arguments
        last = self.num_epochs - 1
        match self.pruner:
            case "median":
                first, step = given.get("n_warmup_steps", 0), given.get("interval_steps", 1)
                return [epoch for epoch in range(first, last + 1, step) if epoch > 0]
            case "wilcoxon":  # it needs at least two values
                return list(range(max(2, given.get("n_startup_steps", 2)), last + 1))
        factor = given.get("reduction_factor", 4 if self.pruner == "successive_halving" else 3)
        found = []
        epoch = self._first * factor ** given.get("min_early_stopping_rate", 0)
        while epoch <= last:
            found.append(epoch)
            epoch *= factor
        return found


class BatchPruner:
    """Decides which trials of one batch stop, in a copy of the study in memory."""

    def __init__(
        self, pruning: Pruning, name: str, direction: Direction, trials: Sequence[FrozenTrial]
    ) -> None:
        """Copy the study as it was before the batch.

        Args:
            pruning: the pruner.
            name: of the study.
            direction: of the objective.
            trials: all trials of the study up to the end of the batch. Those of the batch run.
        """
        self._study = copy_study(name, direction, trials, pruning.create())
        copies = self._study.get_trials(deepcopy=False)
        # The numbers of trials in the study, and the identifiers of their copies
        numbers = [trial.number for trial in trials]
        self._ids = {n: copy._trial_id for n, copy in zip(numbers, copies, strict=True)}
        self._reported: dict[int, int] = {}  # epochs by the number of the trial

    def prunes(self, number: int, scores: Sequence[float]) -> bool:
        """Report the scores of a trial, and return whether the trial stops.

        Args:
            number: of the trial.
            scores: of its epochs 1, 2, … up to the present one.
        """
        from optuna.trial import Trial

        trial = Trial(self._study, self._ids[number])
        for epoch in range(self._reported.get(number, 0) + 1, len(scores) + 1):
            trial.report(scores[epoch - 1], epoch)
        self._reported[number] = len(scores)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the best trial may have fewer epochs
            return trial.should_prune()

    def attributes(self, number: int) -> dict[str, Any]:
        """The attributes that the pruner stores for a trial; later batches use them."""
        return dict(self._study._storage.get_trial_system_attrs(self._ids[number]))
