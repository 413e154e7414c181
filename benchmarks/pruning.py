"""How many epochs a search needs to reach the best validation accuracy of a saved grid.

    python -m benchmarks.pruning
    python -m benchmarks.pruning fashion_mnist DIR

Trials, batches and comparisons are as in `hydra/sweeper=optuna` with the ranges of
``experiment=digits`` or ``experiment=fashion_mnist``; the jobs, their folders and MLflow are left
out. The figures are epochs, so they do not depend on the speed of the machine.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import OmegaConf
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from threadpoolctl import threadpool_limits

from pipeline.config import DataConfig
from pipeline.data.dataset import Dataset
from pipeline.data.load import load
from pipeline.hyperparameters import HYPERPARAMETERS, Hyperparameters
from pipeline.nn.history import EpochEnd
from pipeline.nn.train import train
from pipeline.paths import ROOT
from pipeline.search.pruning import BatchPruner, Pruning
from pipeline.search.sampling import Search
from pipeline.search.study import Study, TrialResult

TRIALS, SEEDS = 64, range(5)


@dataclass(frozen=True)
class Task:
    """A search, and the accuracy that ends it."""

    data: DataConfig
    space: dict[str, BaseDistribution]
    fixed: Mapping[str, Any]  # the other hyperparameters that differ from the defaults
    goal: float  # the best validation accuracy of the grid
    num_epochs: int
    batch_size: int  # trials that train at once

    @functools.cached_property
    def dataset(self) -> Dataset:
        """The images."""
        return load(self.data, "float32")

    @functools.cached_property
    def curves(self) -> dict[str, list[float]]:
        """The validation accuracies of the trials so far, by their values."""
        return {}

    def curve(self, values: Mapping[str, Any]) -> list[float]:
        """The validation accuracy after each epoch."""
        key = str(sorted(values.items()))
        if key not in self.curves:
            defaults = {name: each.traits.default for name, each in HYPERPARAMETERS.items()}
            fixed = {**defaults, **self.fixed, "num_epochs": self.num_epochs}
            job = Hyperparameters(**{**fixed, **values})
            with threadpool_limits(1, "blas"):
                ends = [
                    event for event in train([job], self.dataset) if isinstance(event, EpochEnd)
                ]
            self.curves[key] = [end.row.metrics.val_acc for end in ends]
        return self.curves[key]

    def pruners(self) -> dict[str, Pruning | None]:
        """The compared pruners."""
        sparse = {"min_resource": 2, "reduction_factor": 3}
        return {
            "none": None,
            "successive_halving": Pruning("successive_halving", {}, self.num_epochs),
            f"successive_halving {sparse}": Pruning("successive_halving", sparse, self.num_epochs),
            "hyperband": Pruning("hyperband", {}, self.num_epochs),
            "median": Pruning("median", {}, self.num_epochs),
        }


DIGITS = Task(
    data=DataConfig(name="digits"),
    space={
        "hidden_size": CategoricalDistribution([32, 64, 128, 256]),
        "l2_reg": FloatDistribution(1e-6, 1e-3, log=True),
        "learning_rate": FloatDistribution(0.03, 1.0, log=True),
    },
    fixed={},
    goal=351 / 359,
    num_epochs=30,
    batch_size=8,
)


def fashion_mnist(folder: str) -> Task:
    """The search of docs/guide/searching.md on Fashion-MNIST, whose files are in a folder."""
    published = OmegaConf.to_container(
        OmegaConf.load(ROOT / "conf" / "data" / "fashion_mnist.yaml")
    )
    assert isinstance(published, dict)
    return Task(
        data=DataConfig(**{**published, "dir": folder}),
        space={
            "hidden_size": CategoricalDistribution([128, 256]),
            "l2_reg": FloatDistribution(1e-6, 1e-4, log=True),
            "learning_rate": FloatDistribution(0.1, 1.0, log=True),
        },
        fixed={"learning_rate_decay": 0.9, "batch_size": 200, "weight_std": 0.03},
        goal=0.8960,
        num_epochs=20,
        batch_size=4,
    )


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


def epochs_to_goal(task: Task, seed: int, pruning: Pruning | None) -> tuple[int, int] | None:
    """The number of trials and of epochs until the goal is reached; None: it is not."""
    search = Search(task.space, {}, "tpe", seed, TRIALS, task.batch_size, pruning=pruning)
    study = Study(search, task.data.name, None)
    total = 0
    while trials := study.next_trials(after=len(study.trials()) if total else 0):
        pruner = study.pruner(trials)
        curves = {trial.number: task.curve(trial.params) for trial in trials}
        ends = {} if pruner is None else last_epochs(pruner, pruning, curves)
        for trial in trials:
            scores = curves[trial.number][: ends.get(trial.number)]
            total += len(scores)
            value = None if trial.number in ends else max(scores)
            if value is not None and value >= task.goal - 1e-9:
                return trial.number + 1, total
            noted: dict[str, Any] = pruner.attributes(trial.number) if pruner else {}
            study.tell(trial, TrialResult(value, scores=scores, attributes=noted))
    return None


def main(arguments: Sequence[str]) -> None:
    """Print one line per pruner: trials and epochs of each seed."""
    match arguments:
        case []:
            task = DIGITS
        case ["fashion_mnist", folder]:
            task = fashion_mnist(folder)
        case _:
            sys.exit(__doc__)
    for name, pruning in task.pruners().items():
        results = [epochs_to_goal(task, seed, pruning) for seed in SEEDS]
        print(f"{name:60}", *results, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
