"""Atomic writes and file locks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import files


def record(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note the calls that make a write durable, in their order."""
    calls: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def noted_fsync(descriptor: int) -> None:
        size = os.fstat(descriptor).st_size
        calls.append(f"fsync {size}")
        fsync(descriptor)

    def noted_replace(self: Path, target: Path) -> Path:
        calls.append(f"replace {target.name}")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "replace", noted_replace)
    return calls


def test_content_is_on_the_disk_before_the_file_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = record(monkeypatch)
    files.atomic_write(tmp_path / "new" / "file", lambda file: file.write(b"content"))
    assert calls[:2] == ["fsync 7", "replace file"]
    assert (tmp_path / "new" / "file").read_bytes() == b"content"


def test_failed_write_keeps_the_earlier_file_and_no_temporary_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"earlier")

    def fail(file: object) -> None:
        file.write(b"half")  # type: ignore[attr-defined]
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        files.atomic_write(path, fail)
    assert path.read_bytes() == b"earlier"
    assert list(tmp_path.iterdir()) == [path]


def test_temporary_folder_of_a_killed_process_is_deleted(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, sys; from pipeline.files import temporary_folder\n"
        "with temporary_folder(pathlib.Path(sys.argv[1])) as folder:\n"
        "    (folder / 'file').touch()\n"
        "    os._exit(9)\n"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path], check=False)
    (left,) = tmp_path.iterdir()
    with files.temporary_folder(tmp_path) as own:
        files.delete_abandoned(tmp_path)
        assert own.exists() and not left.exists()
    assert not list(tmp_path.iterdir())


def test_lock_excludes_another_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "NOTICE_SECONDS", 0.01)
    monkeypatch.setattr(files, "LOCK_SECONDS", 0.02)
    code = (
        "import pathlib, sys, pipeline.files as files\n"
        "with files.lock_file(pathlib.Path(sys.argv[1])):\n"
        "    print('locked', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    path = tmp_path / "lock"
    with subprocess.Popen(
        [sys.executable, "-c", code, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        with pytest.raises(TimeoutError, match="another process has locked"), files.lock_file(path):
            pytest.fail("the lock was acquired twice")
        other.communicate()
    with files.lock_file(path):
        pass


def test_lock_never_truncates_its_file(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_text("content")
    with files.lock_file(path):
        pass
    assert not path.exists() or path.read_text() == "content"


@pytest.mark.parametrize("has_links", [True, False])
def test_link_replaces_a_file_and_outlives_its_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_links: bool
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no hard links")

    if not has_links:
        monkeypatch.setattr(Path, "hardlink_to", refuse)
    source, path = tmp_path / "source", tmp_path / "path"
    source.write_bytes(b"new")
    path.write_bytes(b"old")
    for _ in range(2):
        files.atomic_link(source, path)
        assert path.read_bytes() == b"new"
        assert sorted(tmp_path.iterdir()) == [path, source]
    files.atomic_write(source, lambda file: file.write(b"newer"))
    assert path.read_bytes() == b"new"
