"""Splits, preprocessing and digests of the published datasets."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from pipeline.data.dataset import as_images
from pipeline.data.load import load, load_test
from pipeline.errors import DataError
from tests.data.samples import (
    CIFAR10,
    CIFAR10_ARCHIVE,
    CIFAR10_BATCHES,
    DIGITS,
    FASHION_MNIST,
    TEST_IMAGES,
    TEST_LABELS,
    TRAIN_IMAGES,
    assert_consistent,
    cifar10_archive,
    cifar10_files,
    fashion_mnist_files,
    in_folder,
    write,
)


def rows_of(batch: bytes) -> np.ndarray:
    return np.frombuffer(batch, np.uint8).reshape(-1, 3073)


def test_digits_are_split_60_20_20_and_stratified() -> None:
    data, (X_test, y_test) = load(DIGITS, "float32"), load_test(DIGITS, "float32")
    assert_consistent(data)
    assert data.classes == tuple("0123456789")
    assert data.image_shape == (8, 8, 1)
    assert (len(data.y_train), len(data.y_val), len(y_test)) == (1079, 359, 359)
    _, labels = load_digits(return_X_y=True)
    total = np.bincount(labels)
    for y, share in ((data.y_train, 0.6), (data.y_val, 0.2), (y_test, 0.2)):
        assert np.abs(np.bincount(y) - share * total).max() < 1.5
    assert X_test.shape == (359, 64)


def test_digits_splits_are_disjoint_and_complete() -> None:
    pixels, labels = load_digits(return_X_y=True)
    data, (X_test, y_test) = load(DIGITS, "float64"), load_test(DIGITS, "float64")
    X = np.concatenate([data.X_train, data.X_val, X_test])
    y = np.concatenate([data.y_train, data.y_val, y_test])
    stored = np.rint(16 * (X - X.min(axis=0))) + pixels.min(axis=0)
    rows, wanted = np.column_stack([stored, y]), np.column_stack([pixels, labels])
    assert sorted(map(tuple, rows)) == sorted(map(tuple, wanted))


def test_loading_is_deterministic_and_digest_ignores_dtype() -> None:
    first, second, double = (
        load(DIGITS, "float32"),
        load(DIGITS, "float32"),
        load(DIGITS, "float64"),
    )
    assert np.array_equal(first.X_train, second.X_train)
    assert np.array_equal(first.y_val, second.y_val)
    assert first.digest == second.digest == double.digest == "1daec28d61087c1efb00ead6a3ffba29"
    assert_consistent(double, "float64")
    np.testing.assert_allclose(first.X_train, double.X_train, atol=1e-6)


def test_fashion_mnist_is_divided_by_255_minus_the_training_mean(tmp_path: Path) -> None:
    files = fashion_mnist_files()
    config = in_folder("fashion_mnist", write(tmp_path, files))
    data, (X_test, y_test) = load(config, "float64"), load_test(config, "float64")
    assert_consistent(data, "float64")
    assert (len(data.y_train), len(data.y_val)) == (50, 10)
    assert np.bincount(data.y_train).tolist() == [5] * 10
    assert np.bincount(data.y_val).tolist() == [1] * 10
    scaled = np.frombuffer(files[TRAIN_IMAGES], np.uint8, offset=16).reshape(60, 784) / 255
    # Labels are 0 … 9 six times: the last of each class validates.
    mean = scaled[:50].mean(axis=0)
    np.testing.assert_allclose(data.X_train, scaled[:50] - mean, atol=1e-12)
    np.testing.assert_allclose(data.X_val, scaled[50:] - mean, atol=1e-12)
    test = np.frombuffer(files[TEST_IMAGES], np.uint8, offset=16).reshape(12, 784) / 255
    np.testing.assert_allclose(X_test, test - mean, atol=1e-12)
    assert y_test.tolist() == [*range(10), 0, 1]


@pytest.mark.parametrize("place", ["", "cifar-10-batches-bin", "archive"])
def test_cifar10_is_read_from_batches_and_from_the_archive(tmp_path: Path, place: str) -> None:
    files = cifar10_files()
    if place == "archive":
        write(tmp_path, {CIFAR10_ARCHIVE: cifar10_archive()})
    else:
        write(tmp_path / place, files)
    config = in_folder("cifar10", tmp_path)
    data, (X_test, y_test) = load(config, "float64"), load_test(config, "float64")
    assert_consistent(data, "float64")
    train = rows_of(b"".join(files[name] for name in CIFAR10_BATCHES[:4]))
    val, test = rows_of(files[CIFAR10_BATCHES[4]]), rows_of(files["test_batch.bin"])
    mean = (train[:, 1:] / 255).mean(axis=0)
    for X, y, rows in (
        (data.X_train, data.y_train, train),
        (data.X_val, data.y_val, val),
        (X_test, y_test, test),
    ):
        np.testing.assert_allclose(X, rows[:, 1:] / 255 - mean, atol=1e-12)
        assert np.array_equal(y, rows[:, 0])


def test_archive_and_unpacked_batches_have_equal_digests(tmp_path: Path) -> None:
    batches = write(tmp_path / "batches", cifar10_files())
    archive = write(tmp_path / "archive", {CIFAR10_ARCHIVE: cifar10_archive()})
    first, second = (load(in_folder("cifar10", place), "float32") for place in (batches, archive))
    assert first.digest == second.digest


def test_rows_fold_back_into_images() -> None:
    image = np.arange(2 * 3 * 3).reshape(2, 3, 3)  # height 2, width 3, three channels
    row = np.concatenate([image[:, :, channel].ravel() for channel in range(3)])
    assert np.array_equal(as_images(np.stack([row, -row]), (2, 3, 3)), np.stack([image, -image]))
    grey = np.arange(6).reshape(1, 6)
    assert np.array_equal(as_images(grey, (2, 3, 1))[0, :, :, 0], grey.reshape(2, 3))


@pytest.mark.parametrize("name", ["fashion_mnist", "cifar10"])
def test_loading_does_not_read_the_test_files(tmp_path: Path, name: str) -> None:
    files = fashion_mnist_files() if name == "fashion_mnist" else cifar10_files()
    config = in_folder(name, write(tmp_path, files))
    before = load(config, "float32")
    for test_file in (TEST_IMAGES, TEST_LABELS, "test_batch.bin"):
        (tmp_path / test_file).unlink(missing_ok=True)
    assert load(config, "float32").digest == before.digest
    with pytest.raises(DataError, match="has no readable"):
        load_test(config, "float32")


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("fashion_mnist", "2a2929f37607b071cbdc63fbeb8c7338"),
        ("cifar10", "7aaaa970faa164a931eabd391438ced5"),
    ],
)
def test_digests_of_published_layouts_never_change(tmp_path: Path, name: str, digest: str) -> None:
    """Fingerprints of finished runs contain the digest: another one would train them again."""
    files = fashion_mnist_files() if name == "fashion_mnist" else cifar10_files()
    assert load(in_folder(name, write(tmp_path, files)), "float32").digest == digest


@pytest.mark.parametrize("name", CIFAR10_BATCHES)
def test_digest_changes_with_training_and_validation_pixels_only(tmp_path: Path, name: str) -> None:
    files = cifar10_files()
    before = load(in_folder("cifar10", write(tmp_path, files)), "float32").digest
    files[name] = files[name][:-1] + bytes([files[name][-1] ^ 1])
    after = load(in_folder("cifar10", write(tmp_path, files)), "float32").digest
    assert (before == after) == (name == "test_batch.bin")


@pytest.mark.skipif(not FASHION_MNIST.is_dir(), reason="no Fashion-MNIST on this machine")
def test_published_fashion_mnist_has_its_known_content() -> None:
    config = in_folder("fashion_mnist", FASHION_MNIST)
    data, (X_test, y_test) = load(config, "float32"), load_test(config, "float32")
    assert_consistent(data)
    assert np.bincount(data.y_train).tolist() == [5_000] * 10
    assert np.bincount(data.y_val).tolist() == [1_000] * 10
    assert X_test.shape == (10_000, 784)
    assert np.bincount(y_test).tolist() == [1_000] * 10
    assert data.digest == "e0f75e0c1b78dfdee6582f52ed72ea90"
    # The first test image is the published ankle boot; the means of both splits nearly agree.
    assert data.classes[y_test[0]] == "Ankle boot"
    assert abs(X_test.mean()) < 0.01


@pytest.mark.skipif(not CIFAR10, reason="CIFAR10_DIR names no folder with CIFAR-10")
def test_published_cifar10_has_its_known_shapes() -> None:
    config = in_folder("cifar10", Path(CIFAR10))
    data = load(config, "float32")
    assert_consistent(data)
    assert (data.X_train.shape, data.X_val.shape) == ((40_000, 3072), (10_000, 3072))
    X_test, y_test = load_test(config, "float32")
    assert X_test.shape == (10_000, 3072)
    assert y_test.shape == (10_000,)
    # In the published files the first image is a frog; one that is made may differ.
    batch = Path(CIFAR10, "cifar-10-batches-bin", "data_batch_1.bin")
    if batch.exists():
        with batch.open("rb") as file:
            assert data.y_train[0] == file.read(1)[0]


def test_importing_the_loader_imports_no_slow_library() -> None:
    slow = "{'sklearn', 'scipy', 'pooch', 'requests', 'pandas', 'mlflow', 'hydra'}"
    code = f"import sys, pipeline.data.dataset; print(*{slow} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
