"""What sweeps left in a store, read with SQL and NumPy alone, and its comparison with a reference.

This is a second reading of the store: it shares no code with the pipeline.
"""

from __future__ import annotations

import json
import sqlite3
import struct
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np

ENDED = ("FINISHED", "FAILED", "KILLED")
Array = tuple[str, tuple[int, ...], bytes]  # dtype, shape, content


@dataclass
class Run:
    """A run of MLflow."""

    run_id: str
    status: str
    artifacts: str  # a URI
    tags: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    metrics: list[tuple[str, int, bytes]] = field(default_factory=list)  # key, step, the double


@dataclass(frozen=True)
class Job:
    """All that counts of a job's result."""

    outcome: str
    params: frozenset[tuple[str, str]]
    metrics: frozenset[tuple[str, int, bytes]]
    weights: tuple[tuple[str, Array], ...]


def read_runs(database: Path) -> list[Run]:
    """All runs that were not deleted."""
    with closing(sqlite3.connect(database, timeout=60)) as store:
        return runs_in(store)


def runs_in(store: Any) -> list[Run]:
    """All runs that were not deleted, by a connection to a database (DB-API)."""

    def select(columns: str) -> list[tuple[Any, ...]]:
        cursor = store.cursor()
        cursor.execute(f"SELECT run_uuid, {columns}")
        return list(cursor.fetchall())

    active = select("status, artifact_uri FROM runs WHERE lifecycle_stage = 'active'")
    runs = {row[0]: Run(*row) for row in active}
    for table in ("tags", "params"):
        for run_id, key, value in select(f"key, value FROM {table}"):
            if run_id in runs:
                getattr(runs[run_id], table)[key] = value
    for run_id, key, step, value, is_nan in select("key, step, value, is_nan FROM metrics"):
        if run_id in runs:
            number = struct.pack("<d", float("nan") if is_nan else value)
            runs[run_id].metrics.append((key, step, number))
    return list(runs.values())


def jobs_of(runs: list[Run]) -> list[Run]:
    """The runs of jobs."""
    return [run for run in runs if run.tags.get("kind") == "job"]


def finished(runs: list[Run]) -> dict[str, list[Run]]:
    """The FINISHED jobs by fingerprint."""
    found = defaultdict(list)
    for run in jobs_of(runs):
        if run.status == "FINISHED":
            found[run.tags.get("fingerprint", "none")].append(run)
    return found


def result(run: Run, served: Path | None) -> Job:
    """A job's result; `served`: the folder of a server's artifacts."""
    place = urlsplit(run.artifacts)
    folder = Path(unquote(place.path))
    if place.scheme == "mlflow-artifacts":
        assert served is not None
        folder = served / unquote(place.path).lstrip("/")
    weights: list[tuple[str, Array]] = []
    path = folder / "weights.npz"
    if path.exists():
        with np.load(path, allow_pickle=False) as file:
            weights = [(n, (str(file[n].dtype), file[n].shape, file[n].tobytes())) for n in file]
    return Job(
        run.tags.get("outcome", ""),
        frozenset(run.params.items()),
        frozenset(run.metrics),
        tuple(sorted(weights)),
    )


def results(database: Path, served: Path | None = None) -> dict[str, Job]:
    """The result of each job of an undisturbed sweep, by fingerprint."""
    return {key: result(runs[0], served) for key, runs in finished(read_runs(database)).items()}


def problems(
    outputs: Path,
    reference: Mapping[str, Job],
    *,
    database: Path | None = None,
    served: Path | None = None,
    times: int = 1,
) -> Iterator[str]:
    """The differences from an undisturbed sweep.

    Args:
        outputs: of the sweep.
        reference: the results of the undisturbed one.
        database: the store, if it is not in the outputs.
        served: the folder of a server's artifacts.
        times: how often a job may have finished, if several sweeps ran at the same time.
    """
    database = database or outputs / "mlflow.db"
    with closing(sqlite3.connect(database, timeout=60)) as store:
        if (said := store.execute("PRAGMA integrity_check").fetchone()) != ("ok",):
            yield f"integrity_check says {said}"
    yield from unlike(read_runs(database), reference, served, times)
    if left := [path.name for path in (outputs / "checkpoints").glob("*")]:
        yield f"{len(left)} files are left in checkpoints/, like *{left[0][32:]}"
    yield from report_problems(outputs / "reports" / "latest" / "report.json", reference)


def unlike(
    runs: list[Run], reference: Mapping[str, Job], served: Path | None, times: int = 1
) -> Iterator[str]:
    """The differences of runs from an undisturbed sweep. The arguments are as in `problems`."""
    found = finished(runs)
    if found.keys() != reference.keys():
        lost, more = reference.keys() - found.keys(), found.keys() - reference.keys()
        yield f"{len(lost)} jobs are not FINISHED, {len(more)} are not of the sweep"
    for key in found.keys() & reference.keys():
        if len(found[key]) > times:
            yield f"a job FINISHED {len(found[key])} times"
        for run in found[key]:
            yield from _differences(result(run, served), reference[key])
    for run in runs:
        if run.status not in ENDED:
            yield f"a {run.tags.get('kind')} is still {run.status}"
        twice = [
            k for k, n in Counter((key, step) for key, step, _ in run.metrics).items() if n > 1
        ]
        if twice:
            yield f"a run ({run.status}) has {len(twice)} metrics twice at a step, like {twice[0]}"


def _differences(job: Job, expected: Job) -> Iterator[str]:
    if job.outcome != expected.outcome:
        yield f"a job is {job.outcome or 'without outcome'}, not {expected.outcome}"
    if job.params != expected.params:
        yield f"params differ: {sorted(job.params ^ expected.params)[:2]}"
    # An interim report may have evaluated another model than the final report.
    differ = {m for m in job.metrics ^ expected.metrics if m[0] not in ("test_acc", "num_test")}
    if differ:
        names = sorted({(key, step) for key, step, _ in differ})
        yield f"{len(names)} metrics differ, the first is {names[0]}"
    if job.weights != expected.weights:
        yield "weights.npz differs" if job.weights else "weights.npz is missing"


def report_problems(path: Path, reference: Mapping[str, Job]) -> Iterator[str]:
    """The differences of a report from the report of an undisturbed sweep."""
    try:
        report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        yield f"no report: {error}"
        return
    outcomes = Counter(run["outcome"] for run in report["runs"])
    expected = Counter(job.outcome for job in reference.values())
    if outcomes != expected:
        yield f"the report lists {dict(outcomes)}, not {dict(expected)}"
    if report["best"] is None or report["best"]["test_acc"] is None:
        yield "the report names no best model with a test accuracy"


def broken_checkpoints(outputs: Path) -> Iterator[str]:
    """Checkpoints that are incomplete, or contain objects."""
    for path in (outputs / "checkpoints").glob("*.npz"):
        try:
            with np.load(path, allow_pickle=False) as file:
                for name in file:
                    file[name]
        except Exception as error:  # NumPy raises errors of many types
            yield f"checkpoint {path.name[:8]}… cannot be read: {error}"
