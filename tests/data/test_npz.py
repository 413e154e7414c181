"""Own arrays in an .npz file (data=npz)."""

from __future__ import annotations

import io
import re
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray

from pipeline.config import DataConfig
from pipeline.data.load import load, load_test
from pipeline.errors import DataError, PipelineError
from tests.data.samples import damage, damaged

Arrays = dict[str, NDArray[Any]]
rng = np.random.default_rng(0)
X = rng.normal(size=(100, 4))
Y = np.array(["blue", "green", "red", "blue"] * 25)  # 50, 25, 25


def saved(folder: Path, save: Callable[..., None] = np.savez, **arrays: Any) -> DataConfig:
    save(folder / "own.npz", **arrays)
    return DataConfig(name="own", kind="npz", file=str(folder / "own.npz"))


def changed(config: DataConfig, **values: Any) -> DataConfig:
    return DataConfig(**{**vars(config), **values})


def test_arrays_are_split_60_20_20_by_class_and_standardised(tmp_path: Path) -> None:
    config = saved(tmp_path, X=X, y=Y)
    data, (X_test, y_test) = load(config, "float64"), load_test(config, "float64")
    assert data.classes == ("blue", "green", "red")
    assert data.image_shape is None
    assert np.bincount(data.y_train).tolist() == [30, 15, 15]
    assert np.bincount(data.y_val).tolist() == np.bincount(y_test).tolist() == [10, 5, 5]
    np.testing.assert_allclose(data.X_train.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(data.X_train.std(axis=0), 1)
    # Each row is in one split, with its own label, scaled by the statistics of the training split.
    rows = np.concatenate([data.X_train, data.X_val, X_test]) * data.scaler.scale + data.scaler.mean
    labels = np.array(data.classes)[np.concatenate([data.y_train, data.y_val, y_test])]
    found = {tuple(np.round(row, 9)): label for row, label in zip(rows, labels, strict=True)}
    assert found == {tuple(np.round(row, 9)): label for row, label in zip(X, Y, strict=True)}
    assert data.choices == {
        "data.scaling": "standard",
        "data.split": "stratified, val_fraction=0.2, test_fraction=0.2, split_seed=0",
    }


def test_splits_and_digests_never_change(tmp_path: Path) -> None:
    """Fingerprints of finished runs contain the digest."""
    table = np.arange(40, dtype=np.float32).reshape(20, 2)
    data = load(saved(tmp_path, X=table, y=np.arange(20) % 2), "float32")
    rows = data.X_val * data.scaler.scale + data.scaler.mean
    assert (rows[:, 0] / 2).round().tolist() == [2, 3, 11, 18]
    assert data.digest == "ca67aa78c6580201526806f67ec1d217"


def test_digest_depends_on_rows_labels_split_and_scaling_but_not_on_dtype(tmp_path: Path) -> None:
    config = saved(tmp_path, X=X, y=Y)
    digest = load(config, "float32").digest
    assert load(config, "float64").digest == digest
    assert load(saved(tmp_path, np.savez_compressed, X=X, y=Y), "float32").digest == digest
    for other in ({"split_seed": 1}, {"val_fraction": 0.3}, {"scaling": "none"}):
        assert load(changed(config, **other), "float32").digest != digest
    flipped = np.where(Y == "red", "green", np.where(Y == "green", "red", Y))
    for arrays in ({"X": X + 1, "y": Y}, {"X": X, "y": flipped}, {"X": X.astype("f4"), "y": Y}):
        assert load(saved(tmp_path, **arrays), "float32").digest != digest


def test_splits_of_the_file_are_used_as_they_are(tmp_path: Path) -> None:
    splits = {"X_val": X[:9] + 1, "y_val": Y[:9], "X_test": X[:6] + 2, "y_test": Y[:6]}
    config = saved(tmp_path, X=X, y=Y, **splits)
    data, (X_test, y_test) = load(config, "float64"), load_test(config, "float64")
    assert [len(data.y_train), len(data.y_val), len(y_test)] == [100, 9, 6]
    np.testing.assert_allclose(data.X_val - data.X_train[:9], np.tile(1 / X.std(axis=0), (9, 1)))
    np.testing.assert_allclose(X_test - data.X_train[:6], np.tile(2 / X.std(axis=0), (6, 1)))
    assert data.choices["data.split"] == "given by the file"
    del splits["X_test"], splits["y_test"]
    data = load(saved(tmp_path, X=X, y=Y, **splits), "float64")
    assert [len(data.y_train), len(data.y_val)] == [80, 9]


def test_test_fraction_0_gives_no_test_split(tmp_path: Path) -> None:
    config = changed(saved(tmp_path, X=X, y=Y), test_fraction=0)
    data = load(config, "float64")
    assert [len(data.y_train), len(data.y_val)] == [80, 20]
    with pytest.raises(DataError, match="no test split"):
        load_test(config, "float64")


def test_groups_stay_in_one_split(tmp_path: Path) -> None:
    groups = np.arange(100) // 4  # 25 groups that contain all classes
    config = changed(saved(tmp_path, X=X, y=Y, patient=groups), group="patient", scaling="none")
    data, (X_test, _) = load(config, "float64"), load_test(config, "float64")
    group_of = {tuple(row): group for row, group in zip(X, groups, strict=True)}
    sets = [{group_of[tuple(row)] for row in rows} for rows in (data.X_train, data.X_val, X_test)]
    assert [len(members) for members in sets] == [15, 5, 5]
    assert len(set.union(*sets)) == 25
    assert "grouped by patient" in data.choices["data.split"]


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("order", ["C", "F"])
def test_images_become_rows_of_channel_planes(
    tmp_path: Path, save: Callable[..., None], order: Any
) -> None:
    images = rng.integers(0, 256, (30, 5, 4, 3), dtype=np.uint8)
    y = np.arange(30) % 3
    config = saved(tmp_path, save, X=np.asarray(images, order=order), y=y, X_val=images, y_val=y)
    data = load(changed(config, scaling="pixels", test_fraction=0), "float64")
    assert data.image_shape == (5, 4, 3)
    planes = images.transpose(0, 3, 1, 2).reshape(30, -1) / 255
    np.testing.assert_allclose(data.X_train, planes - planes.mean(axis=0), atol=1e-12)


def test_constant_features_and_large_offsets_are_standardised(tmp_path: Path) -> None:
    seconds = 1.7e9 + rng.normal(size=100)  # float32 cannot resolve these differences
    table = np.column_stack([np.full(100, 7.0), seconds])
    data = load(saved(tmp_path, X=table, y=Y), "float32")
    assert (data.X_train[:, 0] == 0).all()
    assert data.X_train[:, 1].std() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint64", "float16", ">f8", "float64"])
def test_any_numeric_type_is_read(tmp_path: Path, dtype: str) -> None:
    data = load(saved(tmp_path, X=(X > 0).astype(dtype), y=Y == "red"), "float32")
    assert data.classes == ("False", "True")
    assert np.isfinite(data.X_train).all()


def test_uncompressed_arrays_are_never_copied_whole(tmp_path: Path) -> None:
    big = rng.normal(size=(40_000, 500)).astype(np.float32)  # 80 MB
    config = saved(tmp_path, X=big, y=np.arange(40_000) % 2)
    del big
    tracemalloc.start()
    try:
        data = load(config, "float32")
        need = data.X_train.nbytes + data.X_val.nbytes
        # Pieces of 32 MB are converted to float64 and back.
        assert tracemalloc.get_traced_memory()[1] < need + 2 * 200e6
    finally:
        tracemalloc.stop()


BAD: list[tuple[Arrays, str]] = [
    ({"X": X}, "has no array y, but X"),
    ({"x": X, "y": Y}, "has no array X, but x, y"),
    ({"X": X[:, 0], "y": Y}, "X has shape (100,), but needs one row of features per label"),
    ({"X": X[:, :0], "y": Y}, "X has shape (100, 0)"),
    ({"X": np.float64(3), "y": Y}, "X has shape ()"),
    ({"X": X[:99], "y": Y}, "X has 99 rows, but y has 100 labels"),
    ({"X": X, "y": Y[:, None]}, "y has shape (100, 1)"),
    ({"X": X.astype(object), "y": Y}, "X in {file} contains Python objects"),
    ({"X": X, "y": Y.astype(object)}, "y in {file} contains Python objects"),
    ({"X": X.astype(str), "y": Y}, "X contains text, but features must be numbers"),
    ({"X": X + 1j, "y": Y}, "X contains complex numbers"),
    ({"X": X, "y": np.full(100, 3)}, "y contains one class only (3)"),
    ({"X": X, "y": X[:, 0]}, "labels must be whole numbers or text"),
    ({"X": X, "y": np.arange(100)}, "y has 100 distinct values in 100 rows"),
    ({"X": X, "y": np.where(np.arange(100) == 5, np.nan, 1)}, "y contains nan in row 5"),
    ({"X": X, "y": np.r_[np.zeros(98, int), 1, 1]}, "class '1' has too few rows (2)"),
    ({"X": np.where(np.arange(400).reshape(100, 4) == 42, np.nan, X), "y": Y}, "row 10, feature 2"),
    ({"X": np.where(np.arange(400).reshape(100, 4) == 42, np.inf, X), "y": Y}, "is inf"),
    ({"X": X, "y": Y, "X_val": X}, "only one of X_val and y_val"),
    ({"X": X, "y": Y, "X_val": X[:, :3], "y_val": Y}, "X_val has items of shape (3,)"),
    ({"X": X, "y": Y, "X_val": X, "y_val": Y.astype("U9") + "x"}, "y_val contains the class"),
    ({"X": X, "y": Y, "X_val": X[:2], "y_val": Y[:2]}, "the validation split has no row of class"),
]


@pytest.mark.parametrize(("arrays", "problem"), BAD, ids=[problem for _, problem in BAD])
def test_unsuitable_arrays_are_refused_in_one_sentence(
    tmp_path: Path, arrays: Arrays, problem: str
) -> None:
    config = saved(tmp_path, **arrays)
    with pytest.raises(DataError) as caught:
        load(config, "float32")
    assert problem.replace("{file}", str(config.file)) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_float64_values_beyond_float32_are_refused(tmp_path: Path) -> None:
    big = np.where(np.arange(400).reshape(100, 4) == 42, 1e300, X)
    config = changed(saved(tmp_path, X=big, y=Y), scaling="none")
    assert load(config, "float64").X_train.max() == 1e300
    with pytest.raises(DataError, match=r"row 10, feature 2, is 1e\+300, .* finite float32"):
        load(config, "float32")


def test_pixel_scaling_needs_bytes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="needs X of type uint8, not float64"):
        load(changed(saved(tmp_path, X=X, y=Y), scaling="pixels"), "float32")


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"file": None}, "data=npz needs an .npz file with the arrays X and y: set data.file="),
        ({"file": "/no/such.npz"}, "data.file=/no/such.npz cannot be read (No such file"),
        ({"file": "/"}, "it is not a file"),
        ({"file": "a\0b"}, "cannot be read"),
        ({"group": "patient"}, "no array 'patient' for data.group, but X, y"),
    ],
)
def test_wrong_values_of_the_configuration_are_named(
    tmp_path: Path, values: dict[str, Any], problem: str
) -> None:
    with pytest.raises(DataError, match=re.escape(problem)):
        load(changed(saved(tmp_path, X=X, y=Y), **values), "float32")


def test_compression_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    config = saved(tmp_path, X=X, y=Y)
    with zipfile.ZipFile(str(config.file), "a", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("big.npy", "w", force_zip64=True) as file:
            for _ in range(4):
                file.write(bytes(1 << 20))
        archive.getinfo("big.npy").file_size = 1 << 50  # the directory promises a petabyte
    with pytest.raises(DataError, match="GB, more than the free memory"):
        load(config, "float32")


def content(save: Callable[..., None]) -> bytes:
    buffer = io.BytesIO()
    save(buffer, X=X, y=Y)
    return buffer.getvalue()


@settings(max_examples=150, deadline=None)
@given(changes=damage)
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_random_damage_is_refused_or_leaves_consistent_data(
    tmp_path_factory: pytest.TempPathFactory, save: Callable[..., None], changes: Any
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "own.npz"
    path.write_bytes(damaged(content(save), changes))
    config = DataConfig(name="own", kind="npz", file=str(path))
    try:
        data = load(config, "float32")
    except PipelineError as error:
        assert "\n" not in str(error)
    else:
        assert data.X_train.shape[0] == len(data.y_train) > 0
        assert np.isfinite(data.X_train).all()
