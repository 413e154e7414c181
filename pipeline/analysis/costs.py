"""The cost of models, and the Pareto front of cost and accuracy."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pipeline.nn.cost import prediction_cost, training_cost


def costs(models: pd.DataFrame, num_inputs: int, num_classes: int) -> pd.DataFrame:
    """Multiply-adds of the matrix products of each model (`pipeline.nn.cost`).

    Args:
        models: a row per model, with hidden_size, num_epochs, num_train and num_val.
        num_inputs: D.
        num_classes: C.

    Returns:
        Columns `prediction`, for one image, and `training`, for all epochs with the evaluation of
        the validation images after each.
    """
    hidden_size, epochs = models["hidden_size"], models["num_epochs"]
    splits = models["num_train"], models["num_val"]
    return pd.DataFrame(
        {
            "prediction": prediction_cost(hidden_size, num_inputs, num_classes),
            "training": training_cost(hidden_size, epochs, *splits, num_inputs, num_classes),
        }
    )


def pareto(models: pd.DataFrame, cost: str, accuracy: str = "best_val_acc") -> pd.DataFrame:
    """The Pareto front of cost and accuracy, cheapest model first.

    A model is excluded if another one costs no more, is no less accurate, and is strictly better in
    one of the two, or if it has no accuracy. Equal models are all kept.
    """
    known = models.dropna(subset=[cost, accuracy])
    price, value = known[cost].to_numpy(float), known[accuracy].to_numpy(float)
    no_worse = (price <= price[:, None]) & (value >= value[:, None])
    better = (price < price[:, None]) | (value > value[:, None])
    front = np.flatnonzero(~np.any(no_worse & better, axis=1))
    return known.iloc[front[price[front].argsort(kind="stable")]]
