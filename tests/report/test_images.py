"""Images of weights."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from PIL import Image

from pipeline.report.charts.images import draw_weights


def pixels(source: str) -> np.ndarray[Any, Any]:
    data = base64.b64decode(source.removeprefix("data:image/png;base64,"))
    return np.asarray(Image.open(io.BytesIO(data)))


def test_hidden_units_are_drawn_in_descending_norm_and_scaled_each() -> None:
    small, flat, large = np.array([0, 1, 2, 3]), np.full(4, 0.5), np.array([9, -9, 0, 0])
    picture = draw_weights(np.stack([small, flat, large], axis=1).astype(float), (2, 2, 1))
    image = pixels(picture.source)
    assert image.shape == (5, 5, 4)
    assert picture.images == 3
    assert image[:2, :2, 0].tolist() == [[255, 0], [128, 128]]
    assert image[:2, 3:, 1].tolist() == [[0, 85], [170, 255]]
    assert image[2, :, 3].tolist() == [0] * 5
    assert picture.width == picture.height == 560


def test_colour_weights_are_drawn_up_to_a_hundred_units() -> None:
    rng = np.random.default_rng(0)
    picture = draw_weights(rng.normal(size=(3072, 130)), (32, 32, 3))
    image = pixels(picture.source)
    assert picture.images == 100
    assert image.shape == (329, 329, 4)
    assert (image[..., 0] != image[..., 1]).any()
    assert len(picture.source) < 600_000
