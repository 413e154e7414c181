"""The code of a registered model: raw pixels in, class names and probabilities out.

MLflow keeps a copy of this file beside the weights ("models from code"), so it stands on its own:
besides MLflow's base class it needs NumPy alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel


class TwoLayerNet(PythonModel):
    """S = max(0, X W1 + b1) W2 + b2, the class of the highest score, and softmax(S)."""

    def load_context(self, context: Any) -> None:
        """Read the weights, the training mean and the names of the classes."""
        with np.load(context.artifacts["model"], allow_pickle=False) as file:
            self.arrays = {key: file[key] for key in file.files}

    def predict(
        self, context: Any, model_input: np.ndarray, params: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Classify images.

        Args:
            context: of MLflow; not used.
            model_input: images (n, height, width, channels), whole numbers from 0 to the largest
                pixel value of the data set.
            params: not used.

        Returns:
            `class`, a name each (n,), and `probabilities` (n, C), in the order of the classes.
        """
        a = self.arrays
        rows = model_input.transpose(0, 3, 1, 2).reshape(len(model_input), -1)  # channel planes
        X = rows.astype(a["W1"].dtype)
        X /= a["largest"]
        X -= a["mean"]
        S = np.maximum(X @ a["W1"] + a["b1"], 0) @ a["W2"] + a["b2"]
        odds = np.exp((S - S.max(axis=1, keepdims=True)).astype(np.float64))
        return {
            "class": a["classes"][S.argmax(axis=1)],
            "probabilities": odds / odds.sum(axis=1, keepdims=True),
        }


set_model(TwoLayerNet())
