"""The largest valid files are accepted, and one byte or item more is refused."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from pipeline.data.cifar import parse_batch
from pipeline.data.files import HEADER_BYTES, read_file
from pipeline.data.idx import MAX_ITEMS, read_idx
from pipeline.data.kinds.cifar10 import LAYOUT
from pipeline.data.splits import deal
from pipeline.errors import DataError
from tests.data.samples import idx


@pytest.mark.parametrize("name", ["file", "file.gz"])
def test_file_of_exactly_the_limit_is_read(tmp_path: Path, name: str) -> None:
    path, content = tmp_path / name, bytes(range(100))
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    assert read_file(path, 100) == content
    with pytest.raises(DataError, match="more than the 99 bytes"):
        read_file(path, 99)


def test_compressed_file_may_exceed_the_limit_by_its_headers(tmp_path: Path) -> None:
    path = tmp_path / "file.gz"
    path.write_bytes(gzip.compress(b"x") * (HEADER_BYTES // len(gzip.compress(b"x"))))
    members = path.stat().st_size // len(gzip.compress(b"x"))
    assert len(read_file(path, members)) == members


@pytest.mark.parametrize(("count", "accepted"), [(MAX_ITEMS, True), (MAX_ITEMS + 1, False)])
def test_idx_files_have_at_most_60_000_items(tmp_path: Path, count: int, accepted: bool) -> None:
    path = tmp_path / "labels"
    path.write_bytes(idx(np.zeros(count, np.uint8)))
    if accepted:
        assert read_idx(path).shape == (60_000,)
    else:
        with pytest.raises(DataError, match="more than"):
            read_idx(path)


def test_idx_file_of_one_item_is_read(tmp_path: Path) -> None:
    path = tmp_path / "images"
    path.write_bytes(idx(np.arange(6, dtype=np.uint8).reshape(1, 2, 3)))
    assert read_idx(path, 2, 3).tolist() == [[[0, 1, 2], [3, 4, 5]]]


def test_cifar10_batches_have_1_to_10_000_rows_of_labels_0_to_9() -> None:
    row = bytes([9]) + bytes(3072)
    path = Path("batch.bin")
    assert parse_batch(row * 10_000, path, LAYOUT).labels.tolist() == [9] * 10_000
    assert parse_batch(row, path, LAYOUT).pixels.shape == (1, 3072)
    for content in (b"", row * 10_001, row[:-1], bytes([10]) + row[1:]):
        with pytest.raises(DataError, match=r"batch\.bin is damaged"):
            parse_batch(content, path, LAYOUT)


def test_cards_are_dealt_class_after_class_in_file_order() -> None:
    labels = np.array([1, 0, 1, 0, 0, 1, 1])
    # Class 0 is at 1, 3, 4 and gets the parts 0, 1, 2; class 1 is at 0, 2, 5, 6 and continues.
    assert deal(labels, 3).tolist() == [0, 0, 1, 1, 2, 2, 0]
