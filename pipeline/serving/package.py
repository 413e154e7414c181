"""The content of a registered model: its arrays, an example of its input, and its check."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.analysis.artifacts import load_preprocessing, load_weights
from pipeline.data.dataset import as_images, preprocessing_arrays
from pipeline.data.preprocessing import fit_scaler
from pipeline.data.raw import RawDataset
from pipeline.errors import PipelineError
from pipeline.tracking.store import Store

EXAMPLES = 2  # validation rows in the registered model
BATCH = 1000  # rows that are predicted at once


def model_arrays(store: Store, run_id: str, raw: RawDataset) -> dict[str, NDArray[Any]]:
    """The arrays of `model.npz`, which `pipeline.serving.champion` reads.

    Args:
        store: holds the run.
        run_id: of the model. Its weights file contains the preprocessing, too.
        raw: the dataset on which the model was trained. A run of an earlier version has no stored
            preprocessing, which is then computed again.

    Raises:
        PipelineError: the weights cannot be read.
    """
    weights = load_weights(store, run_id)
    W1, b1, W2, b2 = weights.W1[0], weights.b1[0, 0], weights.W2[0], weights.b2[0, 0]
    preprocessing = load_preprocessing(store, run_id) or preprocessing_arrays(
        fit_scaler(raw), raw.encoder, raw.classes, W1.dtype
    )
    W1 = preprocessing.pop("W1_unwhitened", W1)
    return {"W1": W1, "b1": b1, "W2": W2, "b2": b2, **preprocessing}


def example_of(raw: RawDataset) -> NDArray[Any] | pd.DataFrame:
    """Return some raw validation rows, as the registered model takes them."""
    if raw.encoder is not None:
        examples: pd.DataFrame = raw.encoder.examples
        return examples
    return as_input(next(raw.val.rows.pieces())[:EXAMPLES], raw)


def as_input(rows: NDArray[Any], raw: RawDataset) -> NDArray[Any]:
    """Raw rows (n, D) in the shape that the registered model takes: images, or items (n, …)."""
    rows = rows if rows.dtype == np.uint8 else rows.astype(np.float64)
    if raw.image_shape is not None:
        return as_images(rows, raw.image_shape)
    return rows.reshape(len(rows), *raw.train.rows.shape[1:])


def check_accuracy(model: Any, raw: RawDataset, best_val_acc: float) -> None:
    """Check that a registered model reproduces the validation accuracy of its run.

    The batches differ from the batches of the training, so rows with nearly equal scores may change
    their class: 1 row, and 1 more in 1,000, may differ.

    Args:
        model: MLflow's pyfunc model.
        raw: the dataset of the run.
        best_val_acc: as recorded in the run.

    Raises:
        PipelineError: the accuracy differs.
    """
    classes, total = np.array(raw.classes), len(raw.val.rows)
    hits = position = 0
    for piece in raw.val.rows.pieces():
        for start in range(0, len(piece), BATCH):
            rows = piece[start : start + BATCH]
            if raw.encoder is None:
                found = model.predict(as_input(rows, raw))["class"]
            else:  # the rows are encoded already
                found = model.unwrap_python_model().classify(rows)["class"]
            labels = raw.val.labels[position : position + len(rows)]
            hits += int((found == classes[labels]).sum())
            position += len(rows)
    if abs(hits - best_val_acc * total) > 1 + total / 1000:
        raise PipelineError(
            f"the registered model classifies {hits} of {total} validation rows correctly, but its "
            f"run recorded {best_val_acc * total:.0f}: its weights or its data have changed; train "
            "the model again with tracking.reuse=false"
        )
