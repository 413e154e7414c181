"""Successive halving: at each rung, only the best configurations continue to train.

Jamieson and Talwalkar (2016), "Non-stochastic Best Arm Identification and Hyperparameter
Optimization". The configurations that continue are not restarted: their results have the same bits
as without halving.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipeline.config import Halving
from pipeline.execution.job import JobRun
from pipeline.hyperparameters import Hyperparameters
from pipeline.selection import SelectionKey, configuration_key


@dataclass(frozen=True)
class SuccessiveHalving:
    """The stopping rule of ``hydra.launcher.halving``."""

    halving: Halving

    def rungs(self, candidates: Sequence[JobRun]) -> list[int]:
        """The epochs of the comparisons, as in `StoppingRule`."""
        longest = max((run.hyperparameters.num_epochs for run in candidates), default=0)
        return self.halving.rungs(longest)

    def select_halted(self, candidates: Sequence[JobRun], rung: int) -> list[JobRun]:
        """Choose the jobs that do not continue after a rung, as in `StoppingRule`."""
        return select_halted(candidates, rung, self.halving)


def select_halted(candidates: Sequence[JobRun], rung: int, halving: Halving) -> list[JobRun]:
    """Choose the jobs that do not continue after a rung.

    Jobs that differ only in their seed are replicates of one configuration. A configuration is
    compared by the mean over its replicates (`pipeline.selection`), and continues or stops as a
    whole. A configuration with a replicate that has no result at the rung does not continue.

    Args:
        candidates: jobs that have reached the rung, or have ended before it.
        rung: the epoch of the comparison.
        halving: how many configurations continue.

    Returns:
        The jobs to halt, and all jobs whose num_epochs is below the rung.
    """
    configurations: dict[Hyperparameters, list[JobRun]] = defaultdict(list)
    shorter = []
    for run in candidates:
        if run.hyperparameters.num_epochs < rung:
            shorter.append(run)
        else:
            configurations[replace(run.hyperparameters, seed=0)].append(run)
    ranking = sorted(configurations.values(), key=lambda runs: _key(runs, rung), reverse=True)
    survivors = ranking[: halving.num_survivors(len(ranking))]
    halted = ranking[len(survivors) :] + [runs for runs in survivors if _has_no_result(runs, rung)]
    return shorter + [run for runs in halted for run in runs]


def _key(replicates: Sequence[JobRun], rung: int) -> tuple[SelectionKey, int, int]:
    first = min(run.spec.number for run in replicates)
    keys = [run.key_at(rung) for run in replicates]
    return configuration_key(keys, replicates[0].hyperparameters.hidden_size, first)


def _has_no_result(replicates: Sequence[JobRun], rung: int) -> bool:
    return any(run.key_at(rung) is None for run in replicates)
