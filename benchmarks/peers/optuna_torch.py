"""Optuna's grid search over PyTorch models, tracked by MLflow. Arguments: TASK.json N_JOBS.

Nested runs and per-epoch `log_metrics` as in MLflow's guide to hyperparameter tuning with Optuna.
"""

from __future__ import annotations

import sys
from pathlib import Path

import mlflow
import optuna
import torch
from optuna.samplers import GridSampler

from benchmarks.peers.pytorch import train
from benchmarks.peers.task import Task, report_best


def main() -> None:
    """Train the grid."""
    task, n_jobs = Task.read(Path(sys.argv[1])), int(sys.argv[2])
    data = task.load()
    if n_jobs > 1:
        torch.set_num_threads(1)
    mlflow.set_tracking_uri("sqlite:///mlflow.db")
    mlflow.set_experiment(task.data.name)
    with mlflow.start_run(run_name="study") as parent:

        def objective(trial: optuna.Trial) -> float:
            choice = {key: trial.suggest_categorical(key, v) for key, v in task.grid.items()}
            job, weights = task.job(choice), Path(f"weights-{trial.number}.pt")
            best = 0.0
            with mlflow.start_run(
                run_name=f"trial {trial.number}", nested=True, parent_run_id=parent.info.run_id
            ):
                mlflow.log_params({**task.values, **choice})
                for epoch, metrics in enumerate(train(job, data, weights), 1):
                    mlflow.log_metrics(metrics, step=epoch)
                    best = max(best, metrics["val_acc"])
                mlflow.log_metric("best_val_acc", best)
                mlflow.log_artifact(str(weights))
            return best

        study = optuna.create_study(direction="maximize", sampler=GridSampler(task.grid, seed=0))
        study.optimize(objective, n_trials=len(list(task.choices())), n_jobs=n_jobs)
    study.trials_dataframe().to_csv("report.csv", index=False)
    report_best(study.best_value, len(study.trials))


if __name__ == "__main__":
    main()
