"""The check of a registered model before it becomes the champion."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.data.raw import RawDataset, Rows, Split
from pipeline.errors import PipelineError
from pipeline.serving.champion import TwoLayerNet
from pipeline.serving.package import as_input, check_accuracy

N = 2000


def test_accuracy_may_differ_by_one_row_and_one_more_in_a_thousand() -> None:
    labels = np.arange(N) % 2
    rows = Split(Rows.of(np.eye(2)[labels]), labels)
    raw = RawDataset(("no", "yes"), rows, rows, scaling="none")
    net, eye = TwoLayerNet(), np.eye(2)
    zeros = np.zeros(2)
    arrays = {"W1": eye, "b1": zeros, "W2": eye, "b2": zeros, "mean": zeros, "scale": zeros + 1}
    net.use({**arrays, "classes": np.array(raw.classes)})
    model = SimpleNamespace(predict=lambda inputs: net.predict(None, inputs))
    check_accuracy(model, raw, 1.0)
    check_accuracy(model, raw, (N - 3) / N)
    with pytest.raises(PipelineError, match=r"classifies 2000 of 2000 .* recorded 1996"):
        check_accuracy(model, raw, (N - 4) / N)


def test_pixels_stay_bytes_and_other_numbers_become_floats() -> None:
    rows = np.arange(8).reshape(2, 4)
    split = Split(Rows.of(rows), np.zeros(2, np.int64))
    images = RawDataset(("no", "yes"), split, split, image_shape=(2, 2, 1))
    pixels = as_input(rows.astype(np.uint8), images)
    assert (pixels.shape, pixels.dtype) == ((2, 2, 2, 1), np.uint8)
    numbers = as_input(rows, RawDataset(("no", "yes"), split, split, scaling="standard"))
    assert (numbers.shape, numbers.dtype) == ((2, 4), np.float64)
