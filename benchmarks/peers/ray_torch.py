"""Ray Tune's grid search over PyTorch models. Argument: TASK.json.

Each trial has one core. The data is in the object store, metrics go through `tune.report`, and the
best weights are the checkpoint of the trial. Workers are reused (`reuse_actors`), as Ray's
documentation advises for short trials: by default each trial starts a process and imports PyTorch.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import ray
from ray import tune

from benchmarks.peers.pytorch import train
from benchmarks.peers.task import Task, report_best
from pipeline.data.dataset import Dataset


def trial(config: dict[str, Any], task: Task, data: Dataset) -> None:
    """Train one model."""
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder, "weights.pt")
        for metrics in train(task.job(config), data, weights):
            checkpoint = tune.Checkpoint.from_directory(folder) if weights.exists() else None
            tune.report(metrics, checkpoint=checkpoint)


def main() -> None:
    """Train the grid."""
    task = Task.read(Path(sys.argv[1]))
    data = task.load()
    ray.init(include_dashboard=False, _temp_dir=str(Path("ray").absolute()))
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(trial, task=task, data=data), {"cpu": 1}),
        param_space={key: tune.grid_search(list(values)) for key, values in task.grid.items()},
        tune_config=tune.TuneConfig(metric="val_acc", mode="max", reuse_actors=True),
        run_config=tune.RunConfig(storage_path=str(Path("tune").absolute()), verbose=0),
    )
    results = tuner.fit()
    results.get_dataframe().to_csv("report.csv", index=False)
    best = results.get_best_result(scope="all")
    report_best(float(best.metrics_dataframe["val_acc"].max()), len(results))


if __name__ == "__main__":
    main()
