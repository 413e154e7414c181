"""Small datasets in their published layouts, ways to damage them, and checks of the result."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st

from pipeline.config import DataConfig
from pipeline.data.dataset import Dataset
from pipeline.data.load import load, load_test
from pipeline.errors import DataError

CIFAR10_BATCHES = [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]
CIFAR10_ARCHIVE = "cifar-10-binary.tar.gz"
TRAIN_IMAGES = "train-images-idx3-ubyte.gz"
TRAIN_LABELS = "train-labels-idx1-ubyte.gz"
TEST_IMAGES = "t10k-images-idx3-ubyte.gz"
TEST_LABELS = "t10k-labels-idx1-ubyte.gz"
FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
CIFAR10 = os.environ.get("CIFAR10_DIR", "")

# Bounds on the memory of reading a decompression bomb: twice the need of the slowest Python. Python
# 3.11 needs the largest valid size (47 MB, 185 MB); 3.13 adds larger buffers in gzip (219 MB).
IDX_MEMORY = 120e6
ARCHIVE_MEMORY = 440e6

DIGITS = DataConfig(name="digits", dir=None, url=None, files={})


def in_folder(name: str, folder: Path) -> DataConfig:
    return DataConfig(name=name, dir=str(folder), url=None, files={})


def idx(items: np.ndarray) -> bytes:
    dimensions = b"".join(size.to_bytes(4, "big") for size in items.shape)
    return bytes([0, 0, 8, items.ndim]) + dimensions + items.tobytes()


def fashion_mnist_files(train: int = 60, test: int = 12) -> dict[str, bytes]:
    """The files of a small Fashion-MNIST of random images, before compression."""
    rng = np.random.default_rng(0)
    files = {}
    for prefix, count in (("train", train), ("t10k", test)):
        pixels = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        files[f"{prefix}-images-idx3-ubyte.gz"] = idx(pixels)
        files[f"{prefix}-labels-idx1-ubyte.gz"] = idx(np.arange(count, dtype=np.uint8) % 10)
    return files


def cifar10_files(rows: int = 4) -> dict[str, bytes]:
    """The batches of a small CIFAR-10 of random images."""
    rng = np.random.default_rng(0)
    batches = rng.integers(0, 256, (6, rows, 3073), dtype=np.uint8)
    batches[:, :, 0] %= 10
    return {name: batch.tobytes() for name, batch in zip(CIFAR10_BATCHES, batches, strict=True)}


def write(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        packed = gzip.compress(content, 1) if name.endswith(".gz") else content
        (folder / name).write_bytes(packed)
    return folder


def tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def cifar10_archive(rows: int = 4) -> bytes:
    files = {f"cifar-10-batches-bin/{name}": data for name, data in cifar10_files(rows).items()}
    return tar(files | {"cifar-10-batches-bin/readme.html": b"<html></html>"})


def assert_consistent(data: Dataset, dtype: str = "float32") -> None:
    features = int(np.prod(data.image_shape))
    for X, y in ((data.X_train, data.y_train), (data.X_val, data.y_val)):
        assert X.shape == (len(y), features)
        assert len(y) > 0
        assert X.dtype == dtype
        assert X.flags.c_contiguous
        assert np.isfinite(X).all()
        assert y.dtype == np.int64
        assert y.min() >= 0
        assert y.max() < len(data.classes)
    assert np.abs(data.X_train.mean(axis=0, dtype=np.float64)).max() < 1e-5


def assert_error(config: DataConfig, *parts: str, test: bool = False) -> None:
    with pytest.raises(DataError) as caught:
        (load_test if test else load)(config, "float32")
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert " object at " not in sentence
    for part in parts:
        assert part in sentence


Change = Callable[[bytes], bytes]


def replaced(start: int, new: bytes) -> Change:
    return lambda content: content[:start] + new + content[start + len(new) :]


damage = st.lists(
    st.tuples(
        st.floats(0, 1) | st.integers(0, 24),  # share of the file, or a byte of its header
        st.sampled_from(["flip", "cut", "insert", "zeros", "double"]),
        st.binary(min_size=1, max_size=600),
    ),
    min_size=1,
    max_size=3,
)


def damaged(content: bytes, changes: list[tuple[float | int, str, bytes]]) -> bytes:
    for where, kind, new in changes:
        at = where if isinstance(where, int) else int(where * len(content))
        content = {
            "flip": content[:at] + new + content[at + len(new) :],
            "cut": content[:at] + content[at + len(new) :],
            "insert": content[:at] + new + content[at:],
            "zeros": content[:at] + bytes(len(new)) + content[at + len(new) :],
            "double": content + content[at:],
        }[kind]
    return content
