"""Successive halving: at each rung, the lower part of the configurations stops training.

Jamieson and Talwalkar (2016). No model is started again: those that stay go on from where they are,
to the same bits as without rungs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from pipeline.config import Halving, Hyperparameters
from pipeline.execution.job import JobRun
from pipeline.selection import WORST, SelectionKey, configuration_key, mean_key


def leaving(race: Sequence[JobRun], rung: int, halving: Halving) -> list[JobRun]:
    """The runs that leave at a rung, which all have come to, or have ended before.

    Runs that differ in their seed alone are one configuration: it is judged by the mean of
    their best validation accuracies so far, among equals by that of their losses, and stays or
    leaves as a whole. Runs that were to end before this rung leave the race too.
    """
    configurations: dict[Hyperparameters, list[JobRun]] = defaultdict(list)
    early = []
    for run in race:
        if run.hyperparameters.num_epochs < rung:
            early.append(run)
        else:
            configurations[replace(run.hyperparameters, seed=0)].append(run)
    ranking = sorted(configurations.values(), key=lambda runs: _key(runs, rung), reverse=True)
    staying = ranking[: halving.num_survivors(len(ranking))]
    lower = ranking[len(staying) :] + [runs for runs in staying if _mean_key(runs, rung) == WORST]
    return early + [run for runs in lower for run in runs]


def _key(runs: Sequence[JobRun], rung: int) -> tuple[SelectionKey, int, int]:
    first = min(run.spec.number for run in runs)
    keys = [run.best_until(rung) for run in runs]
    return configuration_key(keys, runs[0].hyperparameters.hidden_size, first)


def _mean_key(runs: Sequence[JobRun], rung: int) -> SelectionKey:
    return mean_key([run.best_until(rung) for run in runs])
