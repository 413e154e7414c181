"""Sweeps that cannot use their store end before training, with one sentence and no password."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.files import lock_file
from tests.commands import run, run_code, store_of

SWEEP = ("-m", "hidden_size=4,8", "num_epochs=1")


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("http://ann:secret@127.0.0.1:9", "http://***@127.0.0.1:9 cannot be opened"),
        ("sqlite://", "is a database in memory, which ends with the command: name a file"),
    ],
)
def test_unusable_store_is_one_sentence_without_password(
    tmp_path: Path, uri: str, expected: str
) -> None:
    outputs = tmp_path / "outputs"
    done = run(outputs, *SWEEP, f"tracking.uri={uri}")
    assert done.returncode == 1
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
    assert "secret" not in done.stdout + done.stderr
    assert not list(outputs.rglob("weights.npz"))


def test_lock_file_that_is_a_link_is_refused_and_its_target_is_kept(tmp_path: Path) -> None:
    outputs, target = tmp_path / "outputs", tmp_path / "notes"
    outputs.mkdir()
    target.write_text("my notes")
    (outputs / "mlflow.db.lock").symlink_to(target)
    done = run(outputs, *SWEEP)
    assert done.returncode == 1
    assert "cannot be opened" in done.stderr
    assert "Traceback" not in done.stderr
    assert target.read_text() == "my notes"


def test_sweep_waits_for_a_locked_store_and_says_so(tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    code = "from pipeline import files\nfiles.NOTICE_SECONDS, files.LOCK_SECONDS = 0.01, 0.02"
    with lock_file(outputs / "mlflow.db.lock"):
        done = run_code(outputs, code, *SWEEP)
    assert done.returncode == 1
    assert f"waiting for {outputs}/mlflow.db.lock, which another process has loc" in done.stdout
    assert "Traceback" not in done.stderr
    assert not list(outputs.rglob("*.npz"))


def test_deleted_experiment_stops_a_sweep_before_training(tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    outputs.mkdir()
    store = store_of(outputs)
    experiment_id = store.ensure_experiment("digits")
    store.client.delete_experiment(experiment_id)
    done = run(outputs, *SWEEP)
    assert done.returncode == 1
    assert f"mlflow experiments restore -x {experiment_id}" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(outputs.rglob("*.npz"))
