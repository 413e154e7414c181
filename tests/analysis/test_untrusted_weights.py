"""Weights from a store: damaged or hostile files are one sentence."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings

from pipeline.analysis.artifacts import load_preprocessing, load_weights
from pipeline.errors import PipelineError
from tests.data.samples import (
    damage,
    damaged,
)


def npz(**arrays: np.ndarray[Any, Any]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def weights(D: int = 6, H: int = 3, C: int = 2, **other: Any) -> dict[str, np.ndarray[Any, Any]]:
    rng = np.random.default_rng(0)
    shapes = {"W1": (D, H), "b1": (H,), "W2": (H, C), "b2": (C,)}
    return {name: rng.normal(size=shape) for name, shape in shapes.items()} | other


def read(content: bytes, folder: Path) -> Any:
    """Weights as the report reads them from a run, here one without a store."""
    path = folder / "weights.npz"
    path.write_bytes(content)
    store: Any = SimpleNamespace(artifacts=SimpleNamespace(download=lambda *_: path))
    return load_weights(store, "r1")


@pytest.mark.parametrize(
    "change",
    [
        {"mean": np.ones(5)},
        {"mean": np.full(6, np.nan)},
        {"mean": np.ones(6, int)},
        {"scale": np.zeros(6)},
        {"scale": np.ones(5)},
        {"scale": None},
        {"classes": np.array(["a"])},
        {"classes": np.arange(2)},
        {"columns": np.array("[")},
        {"W1_unwhitened": np.ones((5, 3), np.float32)},
        {"W1_unwhitened": np.full((6, 3), np.nan, np.float32)},
        {"W1_unwhitened": np.array("W1")},
        {"columns": np.array("[" * 100_000)},
    ],
)
def test_hostile_preprocessing_is_refused_with_one_sentence(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    good = {"mean": np.ones(6), "scale": np.ones(6), "classes": np.array(["a", "b"])}
    path = tmp_path / "weights.npz"
    store: Any = SimpleNamespace(artifacts=SimpleNamespace(download=lambda *_: path))
    path.write_bytes(npz(**weights(**good)))
    assert set(load_preprocessing(store, "r1") or {}) == set(good)
    changed = {key: value for key, value in (good | change).items() if value is not None}
    path.write_bytes(npz(**weights(**changed)))
    with pytest.raises(PipelineError, match=r"weights\.npz of run r1 is damaged"):
        load_preprocessing(store, "r1")


def lying(shape: str, kind: str = "<f4") -> bytes:
    """An archive whose W1 says more of itself than it holds."""
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    entry = b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text.encode() + bytes(72)
    buffer = io.BytesIO(npz(**{k: v for k, v in weights().items() if k != "W1"}))
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("W1.npy", entry)
    return buffer.getvalue()


def bomb() -> bytes:
    """Twenty kilobytes that would be a W1 of twenty megabytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in weights(D=10, H=1 << 18).items():
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, np.zeros_like(array), allow_pickle=False)
    return buffer.getvalue()


OBJECTS = np.array([{"a": 1}], dtype=object)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (lambda: b"", "not a zip"),
        (lambda: npz(**weights())[:-30], "not a zip"),
        (lambda: npz(W1=np.ones((2, 2))), "b1"),
        (lambda: npz(**weights(b1=np.ones(4))), r"shapes \(6, 3\), \(4,\)"),
        (lambda: npz(**weights(b1=np.ones(2))), r"shapes \(6, 3\), \(2,\)"),
        (lambda: npz(**weights(W2=np.ones((4, 2)))), "shapes"),
        (lambda: npz(**weights(W2=np.ones((2, 2)))), "shapes"),
        (lambda: npz(**weights(W1=np.ones(18))), "shapes"),
        (lambda: npz(**weights(b2=np.ones(()))), "sized|shapes|len"),
        (lambda: npz(**weights(D=0)), "shapes"),
        (lambda: npz(**weights(W1=np.ones((6, 3), int))), "not float32"),
        (lambda: npz(**weights(W1=np.ones((6, 3), ">f4"))), "not float32"),
        (lambda: npz(**weights(b2=np.array([1, np.nan]))), "not finite"),
        (lambda: npz(**weights(W1=OBJECTS)), "allow_pickle"),
        (lambda: lying("(1000000000000, 3)"), "allocate"),
        (lambda: lying("(6, 300)"), "EOF"),
        (lambda: lying("(-6, 3)"), "negative|EOF|reshape|shapes"),
        (lambda: lying("(6, 3), 'x': " + "[" * 40), "EOF in multi-line"),
        (lambda: lying("(6, 3)", "|O"), "allow_pickle"),
        (bomb, "larger than the file"),
    ],
)
def test_hostile_weights_are_refused_with_one_sentence(
    tmp_path: Path, content: Callable[[], bytes], problem: str
) -> None:
    with pytest.raises(PipelineError, match=problem) as caught:
        read(content(), tmp_path)
    assert str(caught.value).startswith("weights.npz of run r1 is damaged (")
    assert "\n" not in str(caught.value)


WEIGHTS = weights()
WEIGHTS_FILE = npz(**WEIGHTS)


@settings(max_examples=150, deadline=None)
@given(changes=damage)
@example(changes=[(0.0, "flip", b"PK\x01\x02")])
def test_random_damage_of_weights_is_refused_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[float, str, bytes]]
) -> None:
    try:
        params = read(damaged(WEIGHTS_FILE, changes), tmp_path_factory.mktemp("weights"))
    except PipelineError as error:
        assert "weights.npz of run r1 is damaged (" in str(error)
        assert "\n" not in str(error)
    else:
        for array, expected in zip(params, WEIGHTS.values(), strict=True):
            assert np.array_equal(array.ravel(), expected.ravel())
