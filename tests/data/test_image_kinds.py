"""Images of other sources: data=idx, data=cifar100 and data=images."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.config import DataConfig
from pipeline.data.dataset import as_images
from pipeline.data.kinds.cifar100 import CLASSES
from pipeline.data.load import load, load_test
from pipeline.errors import DataError
from tests.data.samples import FASHION_MNIST, assert_consistent, idx, tar

rng = np.random.default_rng(0)


def config(kind: str, folder: Path, **values: Any) -> DataConfig:
    return DataConfig(
        **{"name": "own", "kind": kind, "dir": str(folder), "scaling": "pixels"} | values
    )


# IDX


def idx_files(folder: Path, prefix: str = "", test: str = "t10k", suffix: str = ".gz") -> None:
    """A small dataset of images of 5 × 4 pixels with the labels 1 to 3."""
    for part, count in (("train", 60), (test, 12)):
        images = rng.integers(0, 256, (count, 5, 4), dtype=np.uint8)
        labels = np.arange(count, dtype=np.uint8) % 3 + 1
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            content = idx(array)
            path = folder / f"{prefix}{part}-{kind}-ubyte{suffix}"
            path.write_bytes(gzip.compress(content) if suffix else content)


@pytest.mark.parametrize(
    ("prefix", "test", "suffix"),
    [("", "t10k", ".gz"), ("", "t10k", ""), ("emnist-letters-", "test", ".gz")],
)
def test_idx_files_of_the_mnist_family_are_read(
    tmp_path: Path, prefix: str, test: str, suffix: str
) -> None:
    idx_files(tmp_path, prefix, test, suffix)
    settings = config("idx", tmp_path)
    data, (X_test, y_test) = load(settings, "float32"), load_test(settings, "float32")
    assert_consistent(data)
    assert data.classes == ("1", "2", "3")
    assert data.image_shape == (5, 4, 1)
    assert [len(data.y_train), len(data.y_val), len(y_test)] == [48, 12, 12]
    assert X_test.shape == (12, 20)


def test_one_of_several_idx_datasets_is_chosen_by_its_file(tmp_path: Path) -> None:
    for prefix in ("emnist-letters-", "emnist-digits-"):
        idx_files(tmp_path, prefix, "test")
    with pytest.raises(DataError, match=r"emnist-digits-train.*emnist-letters-train.*data\.file="):
        load(config("idx", tmp_path), "float32")
    chosen = config("idx", tmp_path, file="emnist-letters-train-images-idx3-ubyte.gz")
    assert len(load_test(chosen, "float32")[1]) == 12
    # A command makes the path absolute.
    whole = replace(chosen, file=f"/elsewhere/{chosen.file}")
    assert load(whole, "float32").digest == load(chosen, "float32").digest


@pytest.mark.skipif(not FASHION_MNIST.is_dir(), reason="no Fashion-MNIST on this machine")
def test_published_idx_files_are_read() -> None:
    data = load(config("idx", FASHION_MNIST), "float32")
    assert np.bincount(data.y_train).tolist() == [4_800] * 10
    assert len(load_test(config("idx", FASHION_MNIST), "float32")[1]) == 10_000


def test_missing_idx_files_are_named(tmp_path: Path) -> None:
    for folder, problem in ((tmp_path, "has no such file"), (tmp_path / "no", "cannot be read")):
        with pytest.raises(DataError, match=problem):
            load(config("idx", folder), "float32")
    with pytest.raises(DataError, match=r"set data\.dir=DIR"):
        load(DataConfig(name="own", kind="idx"), "float32")
    idx_files(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match=r"train-labels-idx1-ubyte\.gz cannot be read"):
        load(config("idx", tmp_path), "float32")


# CIFAR


def cifar100_files(train: int = 500, test: int = 100) -> dict[str, bytes]:
    """Random images in the published layout of CIFAR-100: coarse label, fine label, planes."""
    files = {}
    for name, count in (("train.bin", train), ("test.bin", test)):
        rows = rng.integers(0, 256, (count, 3074), dtype=np.uint8)
        rows[:, 1] = np.arange(count) % 100
        rows[:, 0] = rows[:, 1] // 5
        files[name] = rows.tobytes()
    return files


@pytest.mark.parametrize("place", ["", "cifar-100-binary", "archive"])
def test_cifar100_is_read_with_its_fine_labels(tmp_path: Path, place: str) -> None:
    files = cifar100_files()
    if place == "archive":
        content = tar({f"cifar-100-binary/{name}": data for name, data in files.items()})
        (tmp_path / "cifar-100-binary.tar.gz").write_bytes(gzip.compress(content, 1))
    else:
        (tmp_path / place).mkdir(exist_ok=True)
        for name, data in files.items():
            (tmp_path / place / name).write_bytes(data)
    settings = config("cifar100", tmp_path)
    data, (X_test, y_test) = load(settings, "float32"), load_test(settings, "float32")
    assert_consistent(data)
    assert len(set(data.classes)) == 100
    assert data.classes[:2] == ("apple", "aquarium_fish")
    assert data.classes == tuple(sorted(CLASSES.split()))
    assert np.bincount(data.y_train).tolist() == [4] * 100
    assert np.bincount(data.y_val).tolist() == [1] * 100
    assert y_test.tolist() == list(range(100))
    pixels = np.frombuffer(files["test.bin"], np.uint8).reshape(-1, 3074)[:, 2:]
    train = np.frombuffer(files["train.bin"], np.uint8).reshape(-1, 3074)[:400, 2:]
    np.testing.assert_allclose(X_test, pixels / 255 - (train / 255).mean(axis=0), atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "name", "wanted"),
    [
        ("cifar10", "cifar-10-batches-py", "cifar-10-binary.tar.gz"),
        ("cifar10", "data_batch_1", "cifar-10-binary.tar.gz"),
        ("cifar10", "cifar-10-python.tar.gz", "cifar-10-binary.tar.gz"),
        ("cifar100", "cifar-100-python", "cifar-100-binary.tar.gz"),
        ("cifar100", "train", "cifar-100-binary.tar.gz"),
    ],
)
def test_pickles_of_the_python_version_are_refused(
    tmp_path: Path, kind: str, name: str, wanted: str
) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(DataError, match=f"{name} belongs to the Python version .* put {wanted}"):
        load(config(kind, tmp_path), "float32")


# Folders of images


def image_folder(
    folder: Path, count: int = 20, mode: str = "RGB", suffix: str = "png"
) -> np.ndarray:
    """Random images of 6 × 5 pixels in two classes; returns them in the order of their files."""
    shape = (2, count, 5, 6, 3) if mode == "RGB" else (2, count, 5, 6)
    images = rng.integers(0, 256, shape, dtype=np.uint8)
    for name, members in zip(("cat", "dog"), images, strict=True):
        (folder / name).mkdir(parents=True)
        for number, image in enumerate(members):
            Image.fromarray(image).save(folder / name / f"{number:04}.{suffix}")
    return images.reshape(-1, *shape[2:])


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_one_folder_per_class_is_read(tmp_path: Path, mode: str) -> None:
    images = image_folder(tmp_path, mode=mode)
    (tmp_path / "readme.txt").write_text("not a class")
    (tmp_path / "cat" / "notes.txt").write_text("not an image")
    data = load(config("images", tmp_path, scaling="none"), "float64")
    assert data.classes == ("cat", "dog")
    assert data.image_shape == (5, 6, 3 if mode == "RGB" else 1)
    assert np.bincount(data.y_train).tolist() == [12, 12]
    known = {image.tobytes() for image in images}
    assert all(
        image.astype(np.uint8).tobytes() in known
        for image in as_images(data.X_train, data.image_shape)
    )


def test_two_thousand_jpeg_files_are_read(tmp_path: Path) -> None:
    image_folder(tmp_path, count=1000, suffix="jpg")
    settings = config("images", tmp_path)
    data, (_, y_test) = load(settings, "float32"), load_test(settings, "float32")
    assert_consistent(data)
    assert [len(data.y_train), len(data.y_val), len(y_test)] == [1200, 400, 400]


def damage(folder: Path, how: str) -> None:
    path = folder / "dog" / "0003.png"
    if how == "size":
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(path)
    elif how == "text":
        path.write_text("no image")
    elif how == "cut":
        path.write_bytes(path.read_bytes()[:-40])
    elif how == "gif":
        Image.fromarray(np.zeros((5, 6), np.uint8)).save(path, format="GIF")


@pytest.mark.parametrize(
    ("how", "problem"),
    [
        ("size", r"0003\.png has 4 × 4 pixels, but .*0000\.png has 6 × 5"),
        ("text", r"0003\.png cannot be read as PNG or JPEG"),
        ("cut", r"0003\.png cannot be read as PNG or JPEG"),
        ("gif", r"0003\.png cannot be read as PNG or JPEG"),
    ],
)
def test_damaged_images_are_named(tmp_path: Path, how: str, problem: str) -> None:
    image_folder(tmp_path)
    damage(tmp_path, how)
    with pytest.raises(DataError, match=problem) as caught:
        load(config("images", tmp_path), "float32")
    assert "\n" not in str(caught.value)


def test_folders_without_images_are_refused(tmp_path: Path) -> None:
    for folder, problem in (
        (tmp_path, "no folders with .png"),
        (tmp_path / "no", "cannot be read"),
    ):
        with pytest.raises(DataError, match=problem):
            load(config("images", folder), "float32")
    with pytest.raises(DataError, match=r"set data\.dir=DIR"):
        load(DataConfig(name="own", kind="images"), "float32")
    image_folder(tmp_path / "one" / "only")
    with pytest.raises(DataError, match="has no folders with"):
        load(config("images", tmp_path / "one"), "float32")


def test_image_larger_than_pillow_allows_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    image_folder(tmp_path)
    with pytest.raises(DataError, match="cannot be read as PNG or JPEG"):
        load(config("images", tmp_path), "float32")
