"""The code of a registered model."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.serving.champion import TwoLayerNet, as_rows


class Payload:
    """An object that creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> object:
        return Path.touch, (self.path,)


def test_arrays_with_pickled_objects_are_not_loaded(tmp_path: Path) -> None:
    np.savez(tmp_path / "model.npz", W1=np.array([Payload(tmp_path / "executed")], dtype=object))
    context = SimpleNamespace(artifacts={"model": str(tmp_path / "model.npz")})
    with pytest.raises(ValueError, match="allow_pickle"):
        TwoLayerNet().load_context(context)
    assert not (tmp_path / "executed").exists()


def test_images_become_channel_planes_and_other_items_rows() -> None:
    images = np.arange(2 * 4 * 5 * 3).reshape(2, 4, 5, 3)
    rows = as_rows(images)
    assert rows.shape == (2, 60)
    assert rows[1, :20].tolist() == images[1, :, :, 0].ravel().tolist()
    for items in (images[..., :2], images[:, 0], images[:, 0, 0]):  # no images of 1 or 3 channels
        assert as_rows(items).tolist() == items.reshape(2, -1).tolist()


@pytest.mark.parametrize("scaling", ["pixels", "standard"])
def test_raw_rows_are_scaled_and_classified_by_the_equations(scaling: str) -> None:
    rng = np.random.default_rng(0)
    shapes = {"W1": (3, 5), "b1": (5,), "W2": (5, 4), "b2": (4,)}
    arrays = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    rows = rng.integers(0, 17, (6, 3))
    mean, scale = np.array([0.1, 0.2, 0.3]), np.array([2.0, 3.0, 4.0])
    if scaling == "pixels":
        X = rows / 16 - mean
        preprocessing = {"mean": mean, "largest": np.array(16.0)}
    else:
        X = (rows - mean) / scale
        preprocessing = {"mean": mean, "scale": scale}
    net = TwoLayerNet()
    net.use({**arrays, **preprocessing, "classes": np.array(list("abcd"))})
    found = net.classify(rows)
    S = np.maximum(X @ arrays["W1"] + arrays["b1"], 0) @ arrays["W2"] + arrays["b2"]
    odds = np.exp(S)
    assert found["class"].tolist() == ["abcd"[best] for best in S.argmax(axis=1)]
    np.testing.assert_allclose(found["probabilities"], odds / odds.sum(axis=1, keepdims=True))
