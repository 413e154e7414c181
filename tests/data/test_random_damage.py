"""Random damage to the files of a dataset: one error, or a different digest."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.data.dataset import Dataset
from pipeline.data.load import load, load_test
from pipeline.errors import PipelineError
from tests.data.samples import (
    CIFAR10,
    CIFAR10_ARCHIVE,
    FASHION_MNIST,
    cifar10_archive,
    cifar10_files,
    damage,
    damaged,
    fashion_mnist_files,
    in_folder,
)

SMALL_FILES = {
    "fashion_mnist": fashion_mnist_files(train=30, test=10),
    "cifar10": cifar10_files(rows=3),
    "archive": {CIFAR10_ARCHIVE: cifar10_archive(rows=3)},
}
SHAPES = {
    "fashion_mnist": ((25, 784), (5, 784), (10, 784)),
    "cifar10": ((12, 3072), (3, 3072), (3, 3072)),
}
SHAPES["archive"] = SHAPES["cifar10"]


def outcome(name: str, folder: Path) -> tuple[Dataset, np.ndarray[Any, Any]] | None:
    """The data, of consistent shapes and labels; None after one clear error."""
    config = in_folder("cifar10" if name == "archive" else name, folder)
    try:
        data, (X_test, y_test) = load(config, "float32"), load_test(config, "float32")
    except PipelineError as error:
        assert "\n" not in str(error)
        assert str(folder) in str(error) or "images" in str(error)
        assert " object at " not in str(error)
        return None
    for X, y in ((data.X_train, data.y_train), (data.X_val, data.y_val), (X_test, y_test)):
        assert X.shape == (len(y), SHAPES[name][0][1])
        assert len(y) > 0
        assert 0 <= y.min() <= y.max() <= 9
        assert np.isfinite(X).all()
    return data, X_test


@settings(max_examples=120, deadline=None)
@given(
    name=st.sampled_from(["fashion_mnist", "cifar10", "archive"]),
    file=st.integers(0, 5),
    packed=st.booleans(),
    changes=damage,
)
@example(name="archive", file=0, packed=False, changes=[(0.0, "flip", b"\xff" * 512)])
@example(name="archive", file=0, packed=False, changes=[(0.007, "flip", b"\x80" + b"\xff" * 11)])
def test_random_damage_is_refused_or_changes_the_digest(
    tmp_path_factory: pytest.TempPathFactory,
    name: str,
    file: int,
    packed: bool,
    changes: list[tuple[float, str, bytes]],
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    files = dict(SMALL_FILES[name])
    key = sorted(files)[file % len(files)]
    for other, content in files.items():
        content = content if packed or other != key else damaged(content, changes)
        content = gzip.compress(content, 1) if other.endswith(".gz") else content
        content = damaged(content, changes) if packed and other == key else content
        (folder / other).write_bytes(content)
    got = outcome(name, folder)
    if got is not None:
        data, clean = got[0], undamaged(name, tmp_path_factory)[0]
        same = all(np.array_equal(getattr(data, key), getattr(clean, key)) for key in ARRAYS)
        assert same == (data.digest == clean.digest)


ARRAYS = ("X_train", "y_train", "X_val", "y_val")
CLEAN: dict[str, tuple[Dataset, np.ndarray[Any, Any]]] = {}


def undamaged(name: str, factory: pytest.TempPathFactory) -> tuple[Dataset, np.ndarray[Any, Any]]:
    if name not in CLEAN:
        folder = factory.mktemp("whole")
        for file, content in SMALL_FILES[name].items():
            (folder / file).write_bytes(gzip.compress(content) if file.endswith("gz") else content)
        found = outcome(name, folder)
        assert found is not None
        CLEAN[name] = found
    return CLEAN[name]


@pytest.mark.parametrize(
    ("name", "source", "file"),
    [
        pytest.param(
            "fashion_mnist",
            FASHION_MNIST,
            "train-images-idx3-ubyte.gz",
            marks=pytest.mark.skipif(not FASHION_MNIST.is_dir(), reason="no Fashion-MNIST here"),
        ),
        pytest.param(
            "cifar10",
            Path(CIFAR10, "cifar-10-batches-bin"),
            "data_batch_1.bin",
            marks=pytest.mark.skipif(not CIFAR10, reason="CIFAR10_DIR names no folder"),
        ),
    ],
)
def test_truncated_published_file_is_refused(
    tmp_path: Path, name: str, source: Path, file: str
) -> None:
    for path in source.iterdir():
        (tmp_path / path.name).symlink_to(path)
    content = (source / file).read_bytes()
    for share in (0.1, 0.9):  # of CIFAR-10 that is a whole number of rows
        (tmp_path / file).unlink()
        (tmp_path / file).write_bytes(content[: int(share * len(content))])
        with pytest.raises(PipelineError, match=r"damaged|different numbers of images"):
            load(in_folder(name, tmp_path), "float32")
