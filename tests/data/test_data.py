"""Datasets: splits and preprocessing, files that are missing or damaged, downloads."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import socket
import subprocess
import sys
import tarfile
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from pipeline.config import DataConfig
from pipeline.data.dataset import DataError, Dataset, as_images, load, load_test

CIFAR10_BATCHES = [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]
CIFAR10_ARCHIVE = "cifar-10-binary.tar.gz"
TRAIN_IMAGES = "train-images-idx3-ubyte.gz"
TRAIN_LABELS = "train-labels-idx1-ubyte.gz"
TEST_IMAGES = "t10k-images-idx3-ubyte.gz"
TEST_LABELS = "t10k-labels-idx1-ubyte.gz"
FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
CIFAR10 = os.environ.get("CIFAR10_DIR", "")

DIGITS = DataConfig("digits", None, None, {})


def in_folder(name: str, folder: Path) -> DataConfig:
    return DataConfig(name, str(folder), None, {})


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


def rows_of(batch: bytes) -> np.ndarray:
    return np.frombuffer(batch, np.uint8).reshape(-1, 3073)


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


# Splits and preprocessing


def test_digits_are_split_60_20_20_with_equal_shares_of_every_class() -> None:
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


def test_the_same_data_load_twice_with_the_same_digest_in_both_dtypes() -> None:
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


def test_the_archive_and_its_batches_have_the_same_digest(tmp_path: Path) -> None:
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
def test_load_does_not_need_the_test_files(tmp_path: Path, name: str) -> None:
    files = fashion_mnist_files() if name == "fashion_mnist" else cifar10_files()
    config = in_folder(name, write(tmp_path, files))
    before = load(config, "float32")
    for test_file in (TEST_IMAGES, TEST_LABELS, "test_batch.bin"):
        (tmp_path / test_file).unlink(missing_ok=True)
    assert load(config, "float32").digest == before.digest
    with pytest.raises(DataError, match="has no readable"):
        load_test(config, "float32")


@pytest.mark.parametrize("name", CIFAR10_BATCHES)
def test_the_digest_tells_any_changed_training_or_validation_pixel(
    tmp_path: Path, name: str
) -> None:
    files = cifar10_files()
    before = load(in_folder("cifar10", write(tmp_path, files)), "float32").digest
    files[name] = files[name][:-1] + bytes([files[name][-1] ^ 1])
    after = load(in_folder("cifar10", write(tmp_path, files)), "float32").digest
    assert (before == after) == (name == "test_batch.bin")


@pytest.mark.skipif(not FASHION_MNIST.is_dir(), reason="no Fashion-MNIST on this machine")
def test_the_published_fashion_mnist() -> None:
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
def test_a_whole_cifar10() -> None:
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


def test_importing_the_module_loads_no_slow_library() -> None:
    slow = "{'sklearn', 'scipy', 'pooch', 'requests', 'pandas', 'mlflow', 'hydra'}"
    code = f"import sys, pipeline.data.dataset; print(*{slow} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


# Files that are missing or damaged


def assert_error(config: DataConfig, *parts: str, test: bool = False) -> None:
    with pytest.raises(DataError) as caught:
        (load_test if test else load)(config, "float32")
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert " object at " not in sentence
    for part in parts:
        assert part in sentence


def test_an_unknown_dataset_lists_the_known_ones() -> None:
    assert_error(DataConfig("mnist", None, None, {}), "'mnist'", "digits, fashion_mnist, cifar10")


@pytest.mark.parametrize("name", ["fashion_mnist", "cifar10"])
def test_a_folder_that_does_not_exist_is_named_with_the_files_it_needs(
    tmp_path: Path, name: str
) -> None:
    wanted = TRAIN_LABELS if name == "fashion_mnist" else CIFAR10_ARCHIVE
    assert_error(in_folder(name, tmp_path / "gone"), str(tmp_path / "gone"), "exist", wanted)
    assert_error(in_folder(name, Path("~no-such-user/data")), "~no-such-user", wanted)


def test_missing_files_are_named(tmp_path: Path) -> None:
    fashion = write(tmp_path / "fashion", fashion_mnist_files())
    (fashion / TRAIN_LABELS).unlink()
    assert_error(in_folder("fashion_mnist", fashion), f"no readable {TRAIN_LABELS}: put")
    cifar = write(tmp_path / "cifar" / "cifar-10-batches-bin", cifar10_files())
    (cifar / "data_batch_3.bin").unlink()
    (cifar / "test_batch.bin").unlink()
    for folder in (cifar, cifar.parent):
        assert_error(in_folder("cifar10", folder), f"{cifar} has no readable data_batch_3.bin: put")


def test_a_home_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "data", cifar10_files())
    assert_consistent(load(in_folder("cifar10", Path("~/data")), "float32"))


Change = Callable[[bytes], bytes]


def replaced(start: int, new: bytes) -> Change:
    return lambda content: content[:start] + new + content[start + len(new) :]


@pytest.mark.parametrize(
    ("name", "change", "problem"),
    [
        (TRAIN_IMAGES, lambda content: content[:-1], "bytes of 60 promised items"),
        (TRAIN_IMAGES, lambda content: content + b"\0", "bytes of 60 promised items"),
        (TRAIN_IMAGES, lambda content: content[:7], "no IDX header"),
        (TRAIN_IMAGES, lambda content: b"", "no IDX header"),
        (TRAIN_IMAGES, replaced(2, b"\x0d"), "no IDX header"),
        (TRAIN_IMAGES, replaced(3, b"\x01"), "no IDX header"),
        (TRAIN_IMAGES, replaced(8, bytes([0, 0, 0, 14, 0, 0, 0, 56])), "shape (14, 56)"),
        (TRAIN_IMAGES, replaced(4, b"\xff\xff\xff\xff"), "4294967295 promised items"),
        (TRAIN_IMAGES, lambda content: replaced(4, bytes(4))(content[:16]), "0 promised items"),
        (TRAIN_LABELS, replaced(4, bytes([0, 0, 0, 59])), "60 bytes of 59 promised items"),
        (TRAIN_LABELS, lambda content: idx(np.zeros(59, np.uint8)), "59 labels of 60 images"),
        (TRAIN_LABELS, lambda content: idx(np.zeros(60_001, np.uint8)), "more than the 60,008"),
        (TRAIN_LABELS, replaced(8, b"\x0a"), "label 10"),
        (TEST_IMAGES, lambda content: content[:-1], "bytes of 12 promised items"),
        (TEST_LABELS, replaced(8, b"\xff"), "label 255"),
    ],
)
def test_damaged_idx_files(tmp_path: Path, name: str, change: Change, problem: str) -> None:
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
def test_damaged_gzip_files(tmp_path: Path, name: str, change: Change, problem: str) -> None:
    if name == "cifar10":
        path = write(tmp_path, {CIFAR10_ARCHIVE: cifar10_archive()}) / CIFAR10_ARCHIVE
    else:
        path = write(tmp_path, fashion_mnist_files()) / TRAIN_IMAGES
    path.write_bytes(change(path.read_bytes()))
    assert_error(in_folder(name, tmp_path), f"{path} is damaged", problem, "replace it")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda batch: batch[:-1], "12,291 bytes are not up to 10,000 rows of 3,073"),
        (lambda batch: batch + b"\0", "12,293 bytes"),
        (lambda batch: b"", "0 bytes"),
        (lambda batch: b"\x0a" + batch[1:], "label 10"),
        (lambda batch: bytes(10_001 * 3073), "more than the 30,730,000 bytes"),
    ],
)
def test_damaged_cifar10_batches(tmp_path: Path, change: Change, problem: str) -> None:
    files = cifar10_files()
    files["data_batch_2.bin"] = change(files["data_batch_2.bin"])
    config = in_folder("cifar10", write(tmp_path, files))
    assert_error(config, f"{tmp_path / 'data_batch_2.bin'} is damaged", problem, "replace it")


def test_a_cifar10_batch_cut_between_two_rows_is_noticed(tmp_path: Path) -> None:
    files = cifar10_files()
    files["data_batch_5.bin"] = files["data_batch_5.bin"][:-3073]
    config = in_folder("cifar10", write(tmp_path, files))
    assert_error(config, "[4, 4, 4, 4, 3] images", "replace")


@pytest.mark.parametrize(
    ("archive", "problem"),
    [
        (lambda: cifar10_archive()[:20_000], "data_batch_2.bin is damaged"),
        (lambda: cifar10_archive()[:512], "data_batch_1.bin is damaged"),
        (lambda: b"not a tar file" * 100, "header"),
        (lambda: tar({"cifar-10-batches-bin/readme.html": b""}), "no data_batch_1.bin, data_b"),
        (lambda: tar({"../data_batch_1.bin": bytes(3073)}), "'../data_batch_1.bin' lies outside"),
        (lambda: tar({"/data_batch_1.bin": bytes(3073)}), "'/data_batch_1.bin' lies outside"),
        (lambda: tar({"data_batch_1.bin": bytes(10_001 * 3073)}), "30,733,073 bytes"),
    ],
)
def test_damaged_archives(tmp_path: Path, archive: Callable[[], bytes], problem: str) -> None:
    folder = write(tmp_path, {CIFAR10_ARCHIVE: archive()})
    assert_error(in_folder("cifar10", folder), str(folder), "is damaged", problem)


def test_an_archive_member_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        link = tarfile.TarInfo("cifar-10-batches-bin/data_batch_1.bin")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    write(tmp_path, {CIFAR10_ARCHIVE: buffer.getvalue()})
    assert_error(in_folder("cifar10", tmp_path), "no data_batch_1.bin")


def test_a_folder_in_place_of_a_file(tmp_path: Path) -> None:
    write(tmp_path, fashion_mnist_files())
    (tmp_path / TRAIN_LABELS).unlink()
    (tmp_path / TRAIN_LABELS).mkdir()
    assert_error(in_folder("fashion_mnist", tmp_path), TRAIN_LABELS, "Is a directory")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_files_that_may_not_be_read(tmp_path: Path) -> None:
    write(tmp_path, fashion_mnist_files())
    (tmp_path / TRAIN_LABELS).chmod(0)
    assert_error(in_folder("fashion_mnist", tmp_path), f"no readable {TRAIN_LABELS}")
    tmp_path.chmod(0)
    assert_error(in_folder("fashion_mnist", tmp_path), "cannot be read")
    tmp_path.chmod(0o700)


def test_five_images_are_too_few_to_split(tmp_path: Path) -> None:
    config = in_folder("fashion_mnist", write(tmp_path, fashion_mnist_files(train=5)))
    assert_error(config, "at least 6 images", "not 5")
    six = in_folder("fashion_mnist", write(tmp_path, fashion_mnist_files(train=6)))
    assert_consistent(load(six, "float32"))


@pytest.mark.parametrize(
    ("name", "file", "limit"),
    [("fashion_mnist", TRAIN_IMAGES, 60e6), ("cifar10", CIFAR10_ARCHIVE, 200e6)],
)
def test_a_decompression_bomb_is_not_read_to_its_end(
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


ANY_SMALL_FILES = {"fashion_mnist": fashion_mnist_files(), "cifar10": cifar10_files()}


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(["fashion_mnist", "cifar10"]),
    file=st.integers(0, 5),
    cut=st.none() | st.integers(0, 40) | st.sampled_from([3073, 784, 12_291]),
    pad=st.binary(max_size=20),
    flips=st.lists(st.tuples(st.integers(0, 24), st.integers(0, 255)), max_size=4),
)
def test_any_damage_is_an_error_or_leaves_consistent_data(
    tmp_path_factory: pytest.TempPathFactory,
    name: str,
    file: int,
    cut: int | None,
    pad: bytes,
    flips: list[tuple[int, int]],
) -> None:
    files = dict(ANY_SMALL_FILES[name])
    key = sorted(files)[file % len(files)]
    content = bytearray(files[key][: cut and -cut])
    for place, value in flips:
        content[place : place + 1] = bytes([value])
    files[key] = bytes(content) + pad
    config = in_folder(name, write(tmp_path_factory.mktemp("damaged"), files))
    try:
        data = load(config, "float32")
        X_test, y_test = load_test(config, "float32")
    except DataError:
        return
    assert_consistent(data)
    assert X_test.shape == (len(y_test), data.X_train.shape[1])
    assert len(y_test) > 0


# Downloads


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return tmp_path / "cache" / "population-sweep"


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


class Site:
    """A folder that a web server on this machine publishes, and the paths asked of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        handler = partial(QuietHandler, directory=str(folder))
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def config(self, name: str) -> DataConfig:
        """The configuration to download what the folder holds now."""
        checksums = {
            path.name: f"md5:{hashlib.md5(path.read_bytes()).hexdigest()}"
            for path in self.folder.iterdir()
        }
        return DataConfig(name, None, self.url, checksums)

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path / "site")
    yield site
    site.close()


def test_a_download_fills_the_cache_quietly_and_serves_later_loads_without_network(
    site: Site, cache: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write(site.folder, fashion_mnist_files())
    config = site.config("fashion_mnist")
    data = load(config, "float32")
    assert sorted(path.name for path in (cache / "fashion_mnist").iterdir()) == sorted(config.files)
    assert data.digest == load(in_folder("fashion_mnist", site.folder), "float32").digest
    site.close()
    assert load(config, "float32").digest == data.digest
    assert len(load_test(config, "float32")[1]) == 12
    assert capfd.readouterr() == ("", "")


def test_the_cifar10_archive_is_downloaded_and_read(site: Site, cache: Path) -> None:
    write(site.folder, {CIFAR10_ARCHIVE: cifar10_archive()})
    config = site.config("cifar10")
    assert_consistent(load(config, "float32"))
    assert len(load_test(config, "float32")[1]) == 4
    assert [path.name for path in (cache / "cifar10").iterdir()] == [CIFAR10_ARCHIVE]


def test_a_terminal_sees_a_progress_bar(
    site: Site, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    write(site.folder, {CIFAR10_ARCHIVE: cifar10_archive()})
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    load(site.config("cifar10"), "float32")
    assert "100%" in terminal.getvalue()


def test_a_damaged_file_in_the_cache_is_downloaded_again(site: Site, cache: Path) -> None:
    write(site.folder, {CIFAR10_ARCHIVE: cifar10_archive()})
    config = site.config("cifar10")
    write(cache / "cifar10", {CIFAR10_ARCHIVE: b"damaged"})
    assert_consistent(load(config, "float32"))


def test_a_wrong_checksum_leaves_nothing_in_the_cache(site: Site, cache: Path) -> None:
    write(site.folder, {CIFAR10_ARCHIVE: cifar10_archive()})
    config = DataConfig("cifar10", None, site.url, {CIFAR10_ARCHIVE: "md5:" + "0" * 32})
    parts = ("MD5 hash", "expected md5:000", "data.dir=DIR", str(cache / "cifar10"))
    assert_error(config, CIFAR10_ARCHIVE, *parts)
    assert list((cache / "cifar10").iterdir()) == []


def test_a_file_that_the_server_does_not_have(site: Site, cache: Path) -> None:
    config = DataConfig("cifar10", None, site.url, {CIFAR10_ARCHIVE: "md5:" + "0" * 32})
    assert_error(config, "404", f"{site.url}{CIFAR10_ARCHIVE}", "data.dir=DIR")


def test_no_connection(cache: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        checksums = dict.fromkeys([TRAIN_IMAGES, TRAIN_LABELS], "md5:" + "0" * 32)
        config = DataConfig("fashion_mnist", None, url, checksums)
        assert_error(config, TRAIN_IMAGES, "Connection refused", TEST_LABELS, "data.dir=DIR")


def test_no_address_to_download_from(cache: Path) -> None:
    config = DataConfig("cifar10", None, None, {CIFAR10_ARCHIVE: "md5:" + "0" * 32})
    assert_error(config, "data.url is null", CIFAR10_ARCHIVE, str(cache / "cifar10"))


def test_an_address_that_is_none(cache: Path) -> None:
    for url in ("file:///data", "nonsense", "http://"):
        config = DataConfig("cifar10", None, url, {CIFAR10_ARCHIVE: "md5:" + "0" * 32})
        assert_error(config, "could not be downloaded", "data.dir=DIR")


@pytest.mark.parametrize("files", [{}, {CIFAR10_ARCHIVE: "blake9:00"}, {CIFAR10_ARCHIVE: ""}])
def test_nothing_is_downloaded_without_a_checksum(
    site: Site, cache: Path, files: dict[str, str]
) -> None:
    write(site.folder, {CIFAR10_ARCHIVE: cifar10_archive()})
    assert_error(DataConfig("cifar10", None, site.url, files), CIFAR10_ARCHIVE)
    assert not (cache / "cifar10" / CIFAR10_ARCHIVE).exists()


def test_a_cache_that_cannot_be_written(site: Site, cache: Path) -> None:
    write(site.folder, {CIFAR10_ARCHIVE: cifar10_archive()})
    cache.parent.mkdir()
    cache.write_text("a file where the cache folder should be")
    assert_error(site.config("cifar10"), "could not be downloaded", "data.dir=DIR")
