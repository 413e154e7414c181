"""How many epochs a search needs to reach the best validation accuracy of the digits grid.

    python -m benchmarks.pruning

The trials, the batches and the comparisons are those of `hydra/sweeper=optuna` with the ranges of
``experiment=digits``; the jobs, their folders and MLflow are left out. The figures are epochs, so
they do not depend on the machine.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from optuna.distributions import CategoricalDistribution, FloatDistribution
from threadpoolctl import threadpool_limits

from pipeline.config import DataConfig
from pipeline.data.load import load
from pipeline.hyperparameters import HYPERPARAMETERS, Hyperparameters
from pipeline.nn.train import train
from pipeline.search.pruning import BatchPruner, Pruning
from pipeline.search.sampling import Search
from pipeline.search.study import Study

SPACE = {
    "hidden_size": CategoricalDistribution([32, 64, 128, 256]),
    "l2_reg": FloatDistribution(1e-6, 1e-3, log=True),
    "learning_rate": FloatDistribution(0.03, 1.0, log=True),
}
GOAL = 351 / 359  # the best of the grid
EPOCHS, TRIALS, BATCH, SEEDS = 30, 64, 8, range(5)
PRUNERS: Mapping[str, Pruning | None] = {
    "none": None,
    "successive_halving": Pruning("successive_halving", {}, EPOCHS),
    "successive_halving, factor 3 from epoch 2": Pruning(
        "successive_halving", {"min_resource": 2, "reduction_factor": 3}, EPOCHS
    ),
    "hyperband": Pruning("hyperband", {}, EPOCHS),
    "median": Pruning("median", {}, EPOCHS),
}


@functools.cache
def curve(hidden_size: int, l2_reg: float, learning_rate: float) -> list[float]:
    """The validation accuracy after each epoch."""
    defaults = {name: each.traits.default for name, each in HYPERPARAMETERS.items()}
    values = {"hidden_size": hidden_size, "l2_reg": l2_reg, "learning_rate": learning_rate}
    job = Hyperparameters(**{**defaults, **values})
    data = load(DataConfig(name="digits"), job.dtype)
    with threadpool_limits(1, "blas"):
        return [event.row.metrics.val_acc for event in train([job], data)]  # type: ignore[union-attr]


def last_epochs(
    pruner: BatchPruner, pruning: Pruning | None, curves: Mapping[int, list[float]]
) -> dict[int, int]:
    """The last epoch of each trial of a batch that is pruned, by its number."""
    ends: dict[int, int] = {}
    for epoch in pruning.epochs() if pruning else ():
        for number, scores in curves.items():
            if number not in ends and pruner.prunes(number, scores[:epoch]):
                ends[number] = epoch
    return ends


def epochs_to_goal(seed: int, pruning: Pruning | None) -> tuple[int, int] | None:
    """The number of trials and of epochs until the goal is reached; None: it is not."""
    study = Study(Search(SPACE, {}, "tpe", seed, TRIALS, BATCH, pruning=pruning), "digits", None)
    total = 0
    while trials := study.next_trials(after=len(study.trials()) if total else 0):
        pruner = study.pruner(trials)
        curves = {trial.number: curve(**trial.params) for trial in trials}
        ends = {} if pruner is None else last_epochs(pruner, pruning, curves)
        for trial in trials:
            scores = curves[trial.number][: ends.get(trial.number)]
            total += len(scores)
            value = None if trial.number in ends else max(scores)
            if value is not None and value >= GOAL - 1e-9:
                return trial.number + 1, total
            noted: dict[str, Any] = pruner.attributes(trial.number) if pruner else {}
            study.tell(trial, value, failed=False, scores=scores, attributes=noted)
    return None


def main() -> None:
    """Print one line per pruner: trials and epochs of each seed."""
    for name, pruning in PRUNERS.items():
        print(f"{name:45}", *(epochs_to_goal(seed, pruning) for seed in SEEDS), flush=True)


if __name__ == "__main__":
    main()
