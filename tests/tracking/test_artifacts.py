"""The check of a run's artifacts."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.execution.spec import RunContext
from pipeline.tracking import artifacts
from pipeline.tracking.entities import FinishedRun
from pipeline.tracking.errors import TrackingError


def test_artifacts_of_an_unknown_run_are_an_error_of_the_store(place: RunContext) -> None:
    with pytest.raises(TrackingError, match="could not check the artifacts of a run in"):
        artifacts.are_complete(place.store, FinishedRun("0" * 32, "finished", 0.5))


@pytest.mark.parametrize("content", [b"weights", b"WEIGHTS", b"weight", b"weights!", None])
def test_artifacts_are_complete_if_size_and_checksum_are_equal(
    place: RunContext, tmp_path: Path, content: bytes | None
) -> None:
    store = place.store
    run_id = store.start_run(place.experiment_id, "job", {"job": "0"}, place.sweep)
    file = tmp_path / "weights.npz"
    file.write_bytes(b"weights")
    tag = artifacts.manifest(tmp_path)
    store.artifacts.upload(run_id, tmp_path)
    folder = store.artifacts.local_folder(run_id)
    assert folder is not None
    if content is None:
        (folder / "weights.npz").unlink()
    else:
        (folder / "weights.npz").write_bytes(content)
    run = FinishedRun(run_id, "finished", 0.5, tag)
    assert artifacts.are_complete(store, run) == (content == b"weights")
