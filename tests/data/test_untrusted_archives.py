"""Hostile paths and archives: nothing is written, and memory stays bounded."""

from __future__ import annotations

import gzip
import os
import tarfile
import tracemalloc
from pathlib import Path

import pytest

from pipeline.config import DataConfig
from pipeline.data.load import load
from pipeline.errors import PipelineError
from tests.data.samples import (
    ARCHIVE_MEMORY,
    CIFAR10_ARCHIVE,
    CIFAR10_BATCHES,
    cifar10_files,
    fashion_mnist_files,
    in_folder,
)


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../b", "x" * 300, "a\0b", "."])
def test_dataset_names_are_never_paths(tmp_path: Path, name: str) -> None:
    with pytest.raises(PipelineError, match=r"data\.kind must be one of") as caught:
        load(in_folder(name, tmp_path), "float32")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["fashion_mnist", "cifar10"])
@pytest.mark.parametrize(
    "folder", ["a\0b", "~\0", "x" * 5000, "\udcff", "/proc/self/mem", "", "/dev/null", "no\nline"]
)
def test_hostile_folder_name_is_one_sentence(name: str, folder: str) -> None:
    with pytest.raises(PipelineError) as caught:
        load(DataConfig(name=name, dir=folder, url=None, files={}), "float32")
    sentence = str(caught.value)
    assert "folder" in sentence or (folder == "" and "put" in sentence)
    assert sentence.isprintable()


def test_configured_file_names_are_never_download_targets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    files = {"../../evil": "md5:" + "0" * 32, "/tmp/evil": "md5:" + "0" * 32}
    with pytest.raises(PipelineError, match="no checksum for cifar-10-binary"):
        load(DataConfig(name="cifar10", dir=None, url="http://127.0.0.1:9", files=files), "float32")
    assert [*tmp_path.rglob("*")] == []


# Archives


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.type, member.linkname = size, kind, link
    return member.tobuf(tarfile.GNU_FORMAT)


def pax(**records: str) -> bytes:
    member = tarfile.TarInfo("x")
    return member.create_pax_global_header(records)


BATCH = bytes(3073 * 2)
BATCH_FILE = BATCH + bytes(-len(BATCH) % 512)
WHOLE = b"".join(header(f"c/{name}", len(BATCH)) + BATCH_FILE for name in CIFAR10_BATCHES[:5])


def archive_of(tmp_path: Path, content: bytes) -> DataConfig:
    folder = tmp_path / "in" / "data"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CIFAR10_ARCHIVE).write_bytes(gzip.compress(content, 1))
    return in_folder("cifar10", folder)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (header("../evil", 3) + b"abc" + bytes(509), "is outside"),
        (header("c/../../evil", 3) + b"abc" + bytes(509), "is outside"),
        (header("/tmp/evil", 3) + b"abc" + bytes(509), "is outside"),
        (header("c", 0, tarfile.SYMTYPE, "/etc") + header("c/data_batch_1.bin", 0), "0 bytes"),
        (header("data_batch_1.bin", 0, tarfile.LNKTYPE, "/etc/passwd"), "no data_batch_1.bin"),
        (header("data_batch_1.bin", 0, tarfile.FIFOTYPE), "no data_batch_1.bin"),
        (header("data_batch_1.bin", 0, tarfile.CHRTYPE), "no data_batch_1.bin"),
        (header("data_batch_1.bin", 3073, tarfile.GNUTYPE_SPARSE), "no data_batch_1.bin"),
        (header("a", -512) * 2, "has the size -512"),  # a TarFile would go in circles
        ((header("././@LongLink", 2, b"L") + b"a\0" + bytes(510)) * 3000, "no data_batch_1.bin"),
        (header("x", 2_000_000, b"x") + b"1" * 2_000_000, "no data_batch_1.bin"),  # it would search
        (header("data_batch_1.bin", 1 << 62), "0 bytes"),
        (pax(size="99999999999999999999"), "no data_batch_1.bin"),
        (pax(path="../../evil"), "no data_batch_1.bin"),
    ],
)
def test_hostile_archive_is_refused_and_writes_nothing(
    tmp_path: Path, content: bytes, problem: str
) -> None:
    with pytest.raises(PipelineError, match=problem) as caught:
        load(archive_of(tmp_path, content), "float32")
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.rglob("*")] == ["in", "data", CIFAR10_ARCHIVE]


def test_archive_with_additional_members_is_read(
    tmp_path: Path,
) -> None:
    beside = pax(comment="packed again") + header(
        "c/latest", 0, tarfile.SYMTYPE, "data_batch_1.bin"
    )
    data = load(archive_of(tmp_path, beside + WHOLE), "float32")
    assert (data.X_train.shape, data.X_val.shape) == ((8, 3072), (2, 3072))


def test_bomb_inside_an_archive_is_read_in_bounded_memory(tmp_path: Path) -> None:
    """A bomb within an archive: a member before the batches that would take a gigabyte."""
    config = archive_of(tmp_path, WHOLE)
    packed = gzip.compress(header("c/readme", 1 << 30)) + gzip.compress(bytes(1 << 26), 1) * 16
    Path(str(config.dir), CIFAR10_ARCHIVE).write_bytes(packed)
    tracemalloc.start()
    try:
        with pytest.raises(PipelineError, match="more than the 185,"):
            load(config, "float32")
        assert tracemalloc.get_traced_memory()[1] < ARCHIVE_MEMORY
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["fashion_mnist", "cifar10"])
def test_named_pipe_does_not_block(tmp_path: Path, name: str) -> None:
    for file in fashion_mnist_files() if name == "fashion_mnist" else cifar10_files():
        os.mkfifo(tmp_path / file)
    with pytest.raises(PipelineError, match=r"cannot be read \(it is not a file\)"):
        load(in_folder(name, tmp_path), "float32")


def test_oversized_file_is_refused_without_reading_it(tmp_path: Path) -> None:
    with (tmp_path / CIFAR10_ARCHIVE).open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(PipelineError, match="more than the 185,"):
        load(in_folder("cifar10", tmp_path), "float32")
