"""Temporary folders: a folder of a dead process is removed, a folder of a live process stays."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from pipeline.execution import scratch
from pipeline.execution.scratch import scratch_folder

HOLD = """
from pipeline.execution.scratch import scratch_folder
with scratch_folder() as folder:
    print(folder, flush=True)
    input()
"""


@pytest.fixture(autouse=True)
def parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def test_the_next_start_removes_what_a_killed_process_has_left(
    parent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = parent / "shm"
    monkeypatch.setattr(scratch, "SHARED_MEMORY", memory)
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=pipe, stdout=pipe, text=True
    ) as other:
        assert other.stdout is not None
        folder = Path(other.stdout.readline().strip())
        (memory / f"joblib_memmapping_folder_{other.pid}_x").mkdir(parents=True)
        (memory / f"sem.loky-{other.pid}-x").touch()
        unrelated = memory / f"sem.loky-{other.pid}9-x"
        unrelated.touch()
        with scratch_folder() as own:
            assert folder.is_dir() and own.is_dir()
        assert len(list(memory.iterdir())) == 3
        other.kill()
    with scratch_folder():
        assert not folder.exists()
    assert list(memory.iterdir()) == [unrelated]
    assert not list(parent.glob("population-*"))


def test_a_folder_that_was_deleted_meanwhile_is_no_error(parent: Path) -> None:
    with scratch_folder() as folder:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
    assert not list(parent.glob("population-*"))


def test_the_lock_of_a_process_that_died_before_it_wrote_a_folder_is_removed(parent: Path) -> None:
    (parent / "population-0.lock").touch()
    (parent / "population-1.lock").touch()
    (parent / "population-1").mkdir()
    with scratch_folder() as own:
        assert {path.name for path in parent.iterdir()} == {own.name, f"{own.name}.lock"}
