"""scikit-learn's GridSearchCV over MLPClassifier on all cores. Argument: TASK.json.

scikit-learn draws its own initial weights, has no decay per epoch, and scores a model only after
its last epoch. It adds the penalty alpha/2 ΣW² to the sum of a batch's losses, so that alpha is
2λ × batch size.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from sklearn.neural_network import MLPClassifier

from benchmarks.peers.task import Task, report_best
from pipeline.hyperparameters import Hyperparameters


def classifier(job: Hyperparameters) -> MLPClassifier:
    """Create a model that trains with plain SGD for exactly `num_epochs` epochs."""
    return MLPClassifier(
        hidden_layer_sizes=(job.hidden_size,),
        solver="sgd",
        alpha=2 * job.l2_reg * job.batch_size,
        batch_size=job.batch_size,
        learning_rate_init=job.learning_rate,
        momentum=0,
        nesterovs_momentum=False,
        max_iter=job.num_epochs,
        n_iter_no_change=job.num_epochs,
        random_state=job.seed,
    )


def main() -> None:
    """Train the grid."""
    task = Task.read(Path(sys.argv[1]))
    data, any_job = task.load(), task.job(next(task.choices()))
    X = np.concatenate([data.X_train, data.X_val])
    y = np.concatenate([data.y_train, data.y_val])
    fold = np.repeat([-1, 0], [len(data.y_train), len(data.y_val)])
    grid = {
        "hidden_layer_sizes": [(H,) for H in task.grid["hidden_size"]],
        "alpha": [2 * l2_reg * any_job.batch_size for l2_reg in task.grid["l2_reg"]],
        "learning_rate_init": task.grid["learning_rate"],
    }
    search = GridSearchCV(
        classifier(any_job), grid, cv=PredefinedSplit(fold), n_jobs=-1, refit=False
    )
    search.fit(X, y)
    table = pd.DataFrame(search.cv_results_)
    table.to_csv("report.csv", index=False)
    report_best(float(table["mean_test_score"].max()), len(table))


if __name__ == "__main__":
    main()
