"""Files that change after the training: no wrong accuracy, and no champion."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from tests.commands import report_of, run, run_with_failures, store_of, succeed


def write_data(path: Path, **changes: float) -> dict[str, np.ndarray]:
    """Write a small dataset; each change is added to the first value of an array."""
    rng = np.random.default_rng(0)
    arrays = {"X": rng.normal(size=(90, 8)), "X_test": rng.normal(size=(30, 8))}
    for name, change in changes.items():
        arrays[name][0, 0] += change
    np.savez(path, y=np.arange(90) % 3, y_test=np.arange(30) % 3, **arrays)
    return arrays


def test_changed_test_split_gives_no_accuracy_and_changed_data_no_champion(tmp_path: Path) -> None:
    outputs, file = tmp_path / "outputs", tmp_path / "data.npz"
    write_data(file)
    data = ("data=npz", f"data.file={file}", "data.name=own", "num_epochs=1", "hidden_size=4")
    # batch_size=50 fails, so the second batch of jobs never starts and the test is not read.
    grid = ("batch_size=20,50", "seed=0,1", "hydra.sweeper.max_batch_size=3")
    assert run_with_failures(outputs, "-m", *data, *grid).returncode == 1

    write_data(file, X_test=1)
    succeed(outputs, "--test", module="pipeline.report")
    problem = report_of(outputs)["best"]["test_problem"]
    assert "the test split of own has changed since the run" in problem
    done = run(outputs, module="pipeline.promote")
    assert done.returncode == 1
    assert "the test files of own have changed" in done.stderr

    write_data(file, X=1)
    succeed(outputs, "--test", module="pipeline.report")
    assert "have changed since the run" in report_of(outputs)["best"]["test_problem"]
    done = run(outputs, module="pipeline.promote")
    assert done.returncode == 1
    assert "the files of own have changed since" in done.stderr

    write_data(file)
    succeed(outputs, "--test", module="pipeline.report")
    assert report_of(outputs)["best"]["test_acc"] is not None
    assert "own version 1 is the champion" in succeed(outputs, module="pipeline.promote").stdout


def test_weights_are_stored_with_their_preprocessing_and_checked_before_reuse(
    tmp_path: Path,
) -> None:
    outputs, file = tmp_path / "outputs", tmp_path / "data.npz"
    X = write_data(file)["X"]
    data = ("data=npz", f"data.file={file}", "data.name=own", "num_epochs=1", "hidden_size=4")
    succeed(outputs, *data, "batch_size=20")
    (weights,) = outputs.rglob("weights.npz")
    with np.load(weights, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored}
    assert set(arrays) == {"W1", "b1", "W2", "b2", "mean", "scale", "classes"}
    assert arrays["classes"].tolist() == ["0", "1", "2"]
    assert arrays["mean"].shape == arrays["scale"].shape == (8,)
    assert np.abs(arrays["mean"] - X.mean(axis=0)).max() < 0.5
    (run_,) = store_of(outputs).search("tags.kind = 'job'")
    assert len(run_.data.tags["test_digest"]) == len(run_.data.tags["dataset_digest"]) == 32

    # A run without its weights is trained again, and a damaged checkpoint is not used.
    weights.write_bytes(b"cut")
    checkpoint = outputs / "checkpoints" / f"{run_.data.tags['fingerprint']}.npz"
    checkpoint.write_bytes(b"not a checkpoint")
    again = succeed(outputs, *data, "batch_size=20")
    assert f"run {run_.info.run_id} is trained again: its artifacts are missing" in again.stdout
    second = next(path for path in outputs.rglob("weights.npz") if path != weights)
    with np.load(second, allow_pickle=False) as stored:
        assert all((stored[name] == arrays[name]).all() for name in arrays)
    assert not checkpoint.exists()
    reused = succeed(outputs, *data, "batch_size=20")
    best = run_.data.metrics["best_val_acc"]
    assert re.search(rf"already finished: run \w+, best val_acc {best:.4f}", reused.stdout)
