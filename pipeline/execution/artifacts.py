"""The files that MLflow keeps of a trained job: its configuration, weights and validation hits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from pipeline.data.dataset import Scaler, fold_whitening
from pipeline.nn.history import Checkpoint
from pipeline.uris import redact

_Dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # libyaml is much faster


def write_artifacts(
    folder: Path,
    values: Mapping[str, Any],
    result: Checkpoint,
    preprocessing: Mapping[str, NDArray[Any]],
    scaler: Scaler,
) -> None:
    """Write the artifacts of a job into a folder.

    - ``config.yaml``: the job's configuration, with interpolations resolved except `tracking.uri`.
    - ``weights.npz``: W1 (D, H), b1 (H,), W2 (H, C) and b2 (C,) of the best epoch, and the
      preprocessing of the training data (`pipeline.data.dataset.preprocessing_arrays`). If the data
      are whitened, also ``W1_unwhitened`` (D, H), the weights W1 for scaled rows
      (`pipeline.data.dataset.fold_whitening`).
    - ``val_hits.npz``: ``bits``, one bit per validation image, set if these weights predict it
      correctly (packed by `numpy.packbits`).

    A model that diverged in its first epoch has no weights, and only gets a ``config.yaml``.

    Raises:
        OSError: the disk is full.
    """
    text = yaml.dump(dict(values), Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    (folder / "config.yaml").write_text(redact(text), encoding="utf-8")
    if result.best is not None:
        W1, b1, W2, b2 = (array[0] for array in result.best)
        arrays = {"W1": W1, "b1": b1[0], "W2": W2, "b2": b2[0], **preprocessing}
        if scaler.whitening is not None:
            arrays["W1_unwhitened"] = fold_whitening(W1, scaler)
        np.savez(folder / "weights.npz", allow_pickle=False, **arrays)
        np.savez(folder / "val_hits.npz", bits=result.best_hits)
