"""Data files that are damaged in every way: always one clear sentence, or a different digest."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
from pathlib import Path
from random import Random

import numpy as np

from pipeline.config import DataConfig
from pipeline.data.kinds.cifar10 import ARCHIVE, TEST, TRAIN
from pipeline.data.load import load, load_test
from pipeline.errors import PipelineError
from tests.torture.lab import Lab
from tests.torture.trials import Kind, Outcome, Spot

FILES_A_TRIAL = 25


def fashion_mnist() -> dict[str, bytes]:
    """A small Fashion-MNIST in the published format, before compression."""
    rng, files = np.random.default_rng(0), {}
    for part, count in (("train", 30), ("t10k", 10)):
        pixels = rng.integers(0, 256, (count, 784), dtype=np.uint8).tobytes()
        labels = bytes(i % 10 for i in range(count))
        files[f"{part}-images-idx3-ubyte.gz"] = struct.pack(">4I", 2051, count, 28, 28) + pixels
        files[f"{part}-labels-idx1-ubyte.gz"] = struct.pack(">2I", 2049, count) + labels
    return files


def cifar10() -> dict[str, bytes]:
    """The batches of a small CIFAR-10 in the published format."""
    rows = np.random.default_rng(0).integers(0, 256, (6, 3, 3073), dtype=np.uint8)
    rows[:, :, 0] %= 10
    return {name: b.tobytes() for name, b in zip(TRAIN + TEST, rows, strict=True)}


def archive() -> dict[str, bytes]:
    """The same as the published archive, before compression."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, content in cifar10().items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return {ARCHIVE: buffer.getvalue()}


DATASETS = {
    "fashion_mnist": ("fashion_mnist", fashion_mnist()),
    "cifar10": ("cifar10", cifar10()),
    "archive": ("cifar10", archive()),
}


def mutate(content: bytes, rng: Random) -> bytes:
    """One to three changes of all kinds; the start, with its headers, is hit most often."""
    for _ in range(rng.randint(1, 3)):
        at = int(rng.choice([rng.random() ** 4, rng.random()]) * len(content))
        new = rng.randbytes(rng.choice([1, 1, 4, 16, 512, 3073]))
        kind = rng.choice(["flip", "flip", "zeros", "ones", "cut", "end", "insert", "pad", "swap"])
        after = content[at + len(new) :]
        content = {
            "flip": content[:at] + new + after,
            "zeros": content[:at] + bytes(len(new)) + after,
            "ones": content[:at] + b"\xff" * len(new) + after,
            "cut": content[:at] + after,
            "end": content[:at],
            "insert": content[:at] + new + content[at:],
            "pad": content + new,
            "swap": content[at:] + content[:at],
        }[kind]
    return content


def damage(lab: Lab, spot: Spot) -> Outcome:
    """Damage one file after another, before or after its compression, and load the data."""
    found: list[str] = []
    told = 0
    for number in range(FILES_A_TRIAL):
        name = spot.rng.choice(list(DATASETS))
        place = spot.folder / str(number)
        place.mkdir()
        try:
            told += _one(name, place, spot.rng)
        except Exception as error:  # an assertion, or what should have been a PipelineError
            found.append(f"file {number} ({name}): {type(error).__name__}: {error}"[:300])
    return Outcome(f"{FILES_A_TRIAL} files, {told} refused", found, ["files"])


def _write(place: Path, name: str, content: bytes, packed: Random | None = None) -> None:
    content = gzip.compress(content, 1, mtime=0) if name.endswith(".gz") else content
    (place / name).write_bytes(mutate(content, packed) if packed else content)


def _one(name: str, place: Path, rng: Random) -> bool:
    """Damage a file; returns whether it was refused."""
    dataset, files = DATASETS[name]
    victim, packed = rng.choice(sorted(files)), rng.random() < 0.4
    config = DataConfig(dataset, str(place), None, {})
    for file, content in files.items():
        _write(place, file, content)
    clean, clean_test = load(config, "float32"), load_test(config, "float32")
    if packed:
        _write(place, victim, files[victim], rng)
    else:
        _write(place, victim, mutate(files[victim], rng))
    try:
        data, test = load(config, "float32"), load_test(config, "float32")
    except PipelineError as error:
        assert str(error).isprintable(), "the sentence is not one line"
        assert str(place) in str(error) or "images" in str(error), f"it names no file: {error}"
        return True
    assert data.X_train.shape[1] == clean.X_train.shape[1]
    for X, y in ((data.X_train, data.y_train), (data.X_val, data.y_val), test):
        assert len(X) == len(y) > 0
        assert 0 <= y.min() <= y.max() < 10
        assert np.isfinite(X).all()
    names = ("X_train", "y_train", "X_val", "y_val")
    same = all(np.array_equal(getattr(data, n), getattr(clean, n)) for n in names)
    assert same == (data.digest == clean.digest), "changed data of the same digest"
    assert len(test[1]) == len(clean_test[1]) or victim.startswith(("t10k", "test", "cifar"))
    return False


KINDS = [
    Kind("damage", f"{FILES_A_TRIAL} data files in the formats of Fashion-MNIST and CIFAR-10 (and "
         "its archive), each truncated, padded or overwritten at random, compressed or not", "each "
         "file is refused in one printable line with its name, or loads completely, with another "
         "digest if the training or validation images changed", damage, 60, 4),
]  # fmt: skip
