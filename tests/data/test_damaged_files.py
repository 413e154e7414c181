"""Missing and damaged files: one sentence that names the file."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.config import DataConfig
from pipeline.data.load import load
from tests.data.samples import (
    ARCHIVE_MEMORY,
    CIFAR10_ARCHIVE,
    IDX_MEMORY,
    TEST_IMAGES,
    TEST_LABELS,
    TRAIN_IMAGES,
    TRAIN_LABELS,
    Change,
    assert_consistent,
    assert_error,
    cifar10_archive,
    cifar10_files,
    fashion_mnist_files,
    idx,
    in_folder,
    replaced,
    tar,
    write,
)


def test_unknown_dataset_lists_the_known_kinds() -> None:
    assert_error(
        DataConfig(name="mnist", dir=None, url=None, files={}),
        "'mnist'",
        "digits, fashion_mnist",
        "npz",
    )


@pytest.mark.parametrize("name", ["fashion_mnist", "cifar10"])
def test_error_names_a_missing_folder_and_the_files_it_needs(tmp_path: Path, name: str) -> None:
    wanted = TRAIN_LABELS if name == "fashion_mnist" else CIFAR10_ARCHIVE
    assert_error(in_folder(name, tmp_path / "gone"), str(tmp_path / "gone"), "exist", wanted)
    assert_error(in_folder(name, Path("~no-such-user/data")), "~no-such-user", wanted)


def test_error_names_missing_files(tmp_path: Path) -> None:
    fashion = write(tmp_path / "fashion", fashion_mnist_files())
    (fashion / TRAIN_LABELS).unlink()
    assert_error(in_folder("fashion_mnist", fashion), f"no readable {TRAIN_LABELS}: put")
    cifar = write(tmp_path / "cifar" / "cifar-10-batches-bin", cifar10_files())
    (cifar / "data_batch_3.bin").unlink()
    (cifar / "test_batch.bin").unlink()
    for folder in (cifar, cifar.parent):
        assert_error(in_folder("cifar10", folder), f"{cifar} has no readable data_batch_3.bin: put")


def test_data_dir_may_start_with_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "data", cifar10_files())
    assert_consistent(load(in_folder("cifar10", Path("~/data")), "float32"))


@pytest.mark.parametrize(
    ("name", "change", "problem"),
    [
        (TRAIN_IMAGES, lambda content: content[:-1], "bytes, but the header states 60 items"),
        (TRAIN_IMAGES, lambda content: content + b"\0", "bytes, but the header states 60 items"),
        (TRAIN_IMAGES, lambda content: content[:7], "no IDX header"),
        (TRAIN_IMAGES, lambda content: b"", "no IDX header"),
        (TRAIN_IMAGES, replaced(2, b"\x0d"), "no IDX header"),
        (TRAIN_IMAGES, replaced(3, b"\x01"), "no IDX header"),
        (TRAIN_IMAGES, replaced(8, bytes([0, 0, 0, 14, 0, 0, 0, 56])), "shape (14, 56)"),
        (TRAIN_IMAGES, replaced(4, b"\xff\xff\xff\xff"), "states 4294967295 items"),
        (TRAIN_IMAGES, lambda content: replaced(4, bytes(4))(content[:16]), "states 0 items"),
        (
            TRAIN_LABELS,
            replaced(4, bytes([0, 0, 0, 59])),
            "but the header states 59 items",
        ),
        (TRAIN_LABELS, lambda content: idx(np.zeros(59, np.uint8)), "59 labels for 60 images"),
        (TRAIN_LABELS, lambda content: idx(np.zeros(60_001, np.uint8)), "more than the 60,008"),
        (TRAIN_LABELS, replaced(8, b"\x0a"), "label 10"),
        (TEST_IMAGES, lambda content: content[:-1], "bytes, but the header states 12 items"),
        (TEST_LABELS, replaced(8, b"\xff"), "label 255"),
    ],
)
def test_error_names_the_fault_of_a_damaged_idx_file(
    tmp_path: Path, name: str, change: Change, problem: str
) -> None:
    files = fashion_mnist_files()
    files[name] = change(files[name])
    config = in_folder("fashion_mnist", write(tmp_path, files))
    parts = ("-idx", "is damaged", problem, "replace it")
    assert_error(config, *parts, test=name in (TEST_IMAGES, TEST_LABELS))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda packed: packed[:-1000], "end-of-stream marker"),
        (lambda packed: packed[:-8] + bytes(8), "CRC check failed"),
        (replaced(10, b"\xff"), "Error -3"),
        (lambda packed: b"<html>404</html>", "Not a gzipped file"),
        (lambda packed: packed + b"more", "Not a gzipped file"),
        (lambda packed: b"", "is damaged"),
    ],
)
@pytest.mark.parametrize("name", ["fashion_mnist", "cifar10"])
def test_error_names_the_fault_of_a_damaged_gzip_file(
    tmp_path: Path, name: str, change: Change, problem: str
) -> None:
    if name == "cifar10":
        path = write(tmp_path, {CIFAR10_ARCHIVE: cifar10_archive()}) / CIFAR10_ARCHIVE
    else:
        path = write(tmp_path, fashion_mnist_files()) / TRAIN_IMAGES
    path.write_bytes(change(path.read_bytes()))
    assert_error(in_folder(name, tmp_path), f"{path} is damaged", problem, "replace it")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda batch: batch[:-1], "12,291 bytes are not 1 to 10,000 rows of 3,073 bytes"),
        (lambda batch: batch + b"\0", "12,293 bytes"),
        (lambda batch: b"", "0 bytes"),
        (lambda batch: b"\x0a" + batch[1:], "label 10"),
        (lambda batch: bytes(10_001 * 3073), "more than the 30,730,000 bytes"),
    ],
)
def test_error_names_the_fault_of_a_damaged_cifar10_batch(
    tmp_path: Path, change: Change, problem: str
) -> None:
    files = cifar10_files()
    files["data_batch_2.bin"] = change(files["data_batch_2.bin"])
    config = in_folder("cifar10", write(tmp_path, files))
    assert_error(config, f"{tmp_path / 'data_batch_2.bin'} is damaged", problem, "replace it")


def test_cifar10_batches_of_unequal_size_are_refused(tmp_path: Path) -> None:
    files = cifar10_files()
    files["data_batch_5.bin"] = files["data_batch_5.bin"][:-3073]
    config = in_folder("cifar10", write(tmp_path, files))
    assert_error(config, "different numbers of images ([4, 4, 4, 4, 3])", "replace")


@pytest.mark.parametrize(
    ("archive", "problem"),
    [
        (lambda: cifar10_archive()[:20_000], "data_batch_2.bin is damaged"),
        (lambda: cifar10_archive()[:512], "data_batch_1.bin is damaged"),
        (lambda: b"not a tar file" * 100, "header"),
        (lambda: tar({"cifar-10-batches-bin/readme.html": b""}), "no data_batch_1.bin, data_b"),
        (lambda: tar({"../data_batch_1.bin": bytes(3073)}), "'../data_batch_1.bin' is outside"),
        (lambda: tar({"/data_batch_1.bin": bytes(3073)}), "'/data_batch_1.bin' is outside"),
        (lambda: tar({"data_batch_1.bin": bytes(10_001 * 3073)}), "30,733,073 bytes"),
    ],
)
def test_error_names_the_fault_of_a_damaged_archive(
    tmp_path: Path, archive: Callable[[], bytes], problem: str
) -> None:
    folder = write(tmp_path, {CIFAR10_ARCHIVE: archive()})
    assert_error(in_folder("cifar10", folder), str(folder), "is damaged", problem)


def test_links_in_an_archive_are_not_followed(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        link = tarfile.TarInfo("cifar-10-batches-bin/data_batch_1.bin")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    write(tmp_path, {CIFAR10_ARCHIVE: buffer.getvalue()})
    assert_error(in_folder("cifar10", tmp_path), "no data_batch_1.bin")


def test_folder_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    write(tmp_path, fashion_mnist_files())
    (tmp_path / TRAIN_LABELS).unlink()
    (tmp_path / TRAIN_LABELS).mkdir()
    assert_error(in_folder("fashion_mnist", tmp_path), TRAIN_LABELS, "Is a directory")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_unreadable_files_are_named(tmp_path: Path) -> None:
    write(tmp_path, fashion_mnist_files())
    (tmp_path / TRAIN_LABELS).chmod(0)
    assert_error(in_folder("fashion_mnist", tmp_path), f"no readable {TRAIN_LABELS}")
    tmp_path.chmod(0)
    assert_error(in_folder("fashion_mnist", tmp_path), "cannot be read")
    tmp_path.chmod(0o700)


def test_fashion_mnist_needs_six_training_images(tmp_path: Path) -> None:
    config = in_folder("fashion_mnist", write(tmp_path, fashion_mnist_files(train=5)))
    assert_error(config, "has 5 images", "at least 6")
    six = in_folder("fashion_mnist", write(tmp_path, fashion_mnist_files(train=6)))
    assert_consistent(load(six, "float32"))


@pytest.mark.parametrize(
    ("name", "file", "limit"),
    [("fashion_mnist", TRAIN_IMAGES, IDX_MEMORY), ("cifar10", CIFAR10_ARCHIVE, ARCHIVE_MEMORY)],
)
def test_decompression_bomb_is_read_in_bounded_memory(
    tmp_path: Path, name: str, file: str, limit: float
) -> None:
    write(tmp_path, fashion_mnist_files())
    member = gzip.compress(bytes(50_000_000), 1)
    with (tmp_path / file).open("wb") as bomb:
        for _ in range(20):  # gzip members one after the other: 1 GB
            bomb.write(member)
    tracemalloc.start()
    try:
        assert_error(in_folder(name, tmp_path), file, "more than the")
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()
