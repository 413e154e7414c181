"""The results of earlier versions: the same bits, and stores that stay readable."""

from __future__ import annotations

import json
import shutil
import sqlite3
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.commands import report_of, succeed
from tests.golden import FOLDER, has_avx512_loops, kernel, results

GOLDEN = json.loads((FOLDER / "digests.json").read_text())
STORE = json.loads((FOLDER / "store-v1.json").read_text())

needs_known_kernel = pytest.mark.skipif(
    kernel() not in GOLDEN["kernels"],
    reason=f"no digests of BLAS kernel {kernel()}: {', '.join(GOLDEN['kernels'])}",
)


@needs_known_kernel
def test_a_mixed_sweep_gives_the_bits_of_earlier_versions(tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    for overrides in GOLDEN["sweeps"]:
        succeed(outputs, "-m", *overrides)
    expected: dict[str, Any] = GOLDEN["kernels"][kernel()]["jobs"]
    if not has_avx512_loops():
        expected = expected | GOLDEN["kernels"][kernel()]["jobs_without_avx512_loops"]
    assert results(f"sqlite:///{outputs}/mlflow.db") == expected


@pytest.fixture
def old(tmp_path: Path) -> Iterator[Path]:
    """The outputs folder of an earlier version, moved to a path of its own."""
    outputs = tmp_path / "outputs"
    with zipfile.ZipFile(FOLDER / "store-v1.zip") as file:
        file.extractall(outputs)
    with closing(sqlite3.connect(outputs / "mlflow.db")) as database:
        for table, column in STORE["columns_with_paths"]:
            database.execute(
                f'UPDATE "{table}" SET "{column}" = replace("{column}", ?, ?)',
                (STORE["root"], str(outputs)),
            )
        database.commit()
    yield outputs
    shutil.rmtree(outputs)


@needs_known_kernel
def test_outputs_of_an_earlier_version_are_resumed_reused_reported_and_promoted(old: Path) -> None:
    uri = f"sqlite:///{old}/mlflow.db"
    before = results(uri)
    assert before == STORE["finished"]
    succeed(old, *STORE["commands"]["killed"])  # its first three epochs are of kernel Haswell
    after = results(uri)
    assert {key: job for key, job in after.items() if key not in before} == (
        STORE["resumed_by_kernel"][kernel()]
    )
    assert not list((old / "checkpoints").glob("*.npz"))
    done = succeed(old, *STORE["commands"]["finished"])
    assert "2 of 2 already finished" in done.stdout
    assert results(uri) == after
    report = report_of(old)
    assert [run["outcome"] for run in report["runs"]] == ["finished", "diverged"]
    done = succeed(old, "--force", module="pipeline.promote")
    assert "digits" in done.stdout
