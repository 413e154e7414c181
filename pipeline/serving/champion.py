"""The code of a registered model: raw inputs in, class names and probabilities out.

MLflow stores a copy of this file next to the weights ("models from code"). The file therefore does
not import this project, only MLflow's base class, NumPy and pandas.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

MISSING = "missing"  # the category of a text that is missing


class TwoLayerNet(PythonModel):
    """S = max(0, X W1 + b1) W2 + b2, the class of the highest score, and softmax(S).

    An ensemble has several networks. Its probabilities are the weighted mean of theirs.
    """

    def load_context(self, context: Any) -> None:
        """Read the weights, the preprocessing and the names of the classes."""
        with np.load(context.artifacts["model"], allow_pickle=False) as file:
            self.use({key: file[key] for key in file.files})

    def use(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Use these weights, preprocessing and names of classes.

        An ensemble of K networks has `shares` (K,), and their weights as W1_0, …, W1_1, ….
        """
        self.arrays = arrays
        suffixes = [f"_{k}" for k in range(len(arrays["shares"]))] if "shares" in arrays else [""]
        names = ("W1", "b1", "W2", "b2")
        self.networks = [[arrays[f"{name}{suffix}"] for name in names] for suffix in suffixes]
        self.columns = json.loads(str(arrays["columns"])) if "columns" in arrays else None

    # The signature of the model describes the input. MLflow warns about a missing type hint here,
    # and accepts a DataFrame despite this one.
    def predict(
        self, context: Any, model_input: np.ndarray, params: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Classify raw inputs.

        Args:
            context: from MLflow; not used.
            model_input: images (n, height, width, channels), whole numbers from 0 to the largest
                pixel value; or rows of numbers (n, …); or a DataFrame with the columns of the
                training table.
            params: not used.

        Returns:
            `class`, a name each (n,), and `probabilities` (n, C), in the order of the classes.

        Raises:
            ValueError: a column is missing, or has values of the wrong type.
        """
        given: Any = model_input
        rows = as_rows(given) if self.columns is None else self._encode(given)
        return self.classify(rows)

    def classify(self, rows: np.ndarray) -> dict[str, Any]:
        """Classify rows of raw numbers (n, D); returns the values of `predict`."""
        classes = self.arrays["classes"]
        if "shares" not in self.arrays:
            S, probabilities = self._network(rows, *self.networks[0])
            return {"class": classes[S.argmax(axis=1)], "probabilities": probabilities}
        mean = np.zeros((len(rows), len(classes)))
        for share, weights in zip(self.arrays["shares"], self.networks, strict=True):
            mean += share * self._network(rows, *weights)[1]
        return {"class": classes[mean.argmax(axis=1)], "probabilities": mean}

    def _network(
        self, rows: np.ndarray, W1: np.ndarray, b1: np.ndarray, W2: np.ndarray, b2: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the scores S and softmax(S) of one network, (n, C) each."""
        X = self._scale(rows, W1.dtype)
        S = np.maximum(X @ W1 + b1, 0) @ W2 + b2
        odds = np.exp((S - S.max(axis=1, keepdims=True)).astype(np.float64))
        return S, odds / odds.sum(axis=1, keepdims=True)

    def _scale(self, rows: np.ndarray, dtype: Any) -> np.ndarray:
        """Return X (n, D), computed as for training (`pipeline.data.dataset.Scaler`)."""
        a = self.arrays
        if "largest" in a:
            X: np.ndarray = rows.astype(dtype)
            X /= a["largest"].astype(dtype)
            X -= a["mean"].astype(dtype)
            return X
        X = (rows.astype(np.float64) - a["mean"]) / a["scale"]
        return X.astype(dtype)

    def _encode(self, frame: pd.DataFrame) -> np.ndarray:
        """Return rows (n, D), encoded as for training (`pipeline.data.encoding`)."""
        parts = []
        for column in self.columns or []:
            name = column["name"]
            if name not in frame:
                raise ValueError(f"column {name!r} is missing: give all columns of the table")
            values = frame[name]
            if "categories" in column:
                texts = (
                    values.astype(object).where(values.notna(), MISSING).map(str).to_numpy(object)
                )
                parts.append(texts[:, None] == np.array(column["categories"], object))
                continue
            try:
                numbers = values.astype(np.float64).fillna(column["fill"]).to_numpy()
            except (TypeError, ValueError) as error:
                raise ValueError(f"column {name!r} must contain numbers ({error})") from None
            if not np.isfinite(numbers).all():
                raise ValueError(f"column {name!r} contains infinity: give finite numbers or none")
            parts.append(numbers[:, None])
        return np.concatenate(parts, axis=1).astype(np.float64)


def as_rows(inputs: np.ndarray) -> np.ndarray:
    """Return rows (n, D): the channel planes of images, or the values of other items."""
    if inputs.ndim == 4 and inputs.shape[3] in (1, 3):
        inputs = inputs.transpose(0, 3, 1, 2)
    return inputs.reshape(len(inputs), -1)


set_model(TwoLayerNet())
