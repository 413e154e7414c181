"""MLflow: the store, a run per sweep, a nested run per job. Only this and calls.py import it."""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import platform
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pandas as pd
import requests
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from sqlalchemy import event
from sqlalchemy.engine import Engine

from pipeline.shutdown import defer_signals
from pipeline.tracking.errors import (
    LOCK_SECONDS,
    STORE_ERRORS,
    TrackingError,
    reason,
    translate_errors,
)
from pipeline.tracking.provenance import heartbeat_tags, is_gone, provenance, this_process

SERVER_TIMEOUT = 10  # seconds within which a tracking server must say that it is there
METRICS_A_CALL = 1000  # what one log_batch takes at most
REUSED_A_TAG = 150  # runs that a tag has room for
RUNS_A_QUERY = 200
NOTE_LENGTH = 5000  # characters that MLflow surely keeps


@dataclass(frozen=True)
class Sweep:
    """A sweep as the store keeps it: the parent run of its jobs."""

    name: str  # its ID
    run_id: str
    experiment_id: str
    command: str  # that started it
    # What a sampler searched: of each value the low and high end and whether the scale is log, or
    # nothing if it has no interval; empty for a grid.
    searched: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


class Finished(NamedTuple):
    """A run that has finished, of this sweep or of one before."""

    run_id: str
    outcome: str  # "finished", "halted" or "diverged"
    best_val_acc: float | None


class Point(NamedTuple):
    """Values of metrics at the end of an epoch."""

    epoch: int
    milliseconds: int  # since 1970
    values: Mapping[str, float]


class Store:
    """An MLflow tracking store: sqlite on this machine, or a server."""

    def __init__(self, uri: str) -> None:
        """Open the store; a sqlite store that does not exist yet is created.

        Raises:
            TrackingError: the store cannot be opened, or the server does not answer.
        """
        self.uri = uri
        try:
            self._artifacts = _open_sqlite(uri) if uri.startswith("sqlite:") else None
            if uri.startswith("http"):
                _check_server(uri)
            self.client = MlflowClient(uri)
            self._artifact_uris: dict[str, str] = {}  # of the runs that are being written
            self.client.search_experiments(max_results=1)
        except STORE_ERRORS as error:
            raise TrackingError(
                f"the MLflow store at tracking.uri={uri} cannot be opened ({reason(error)}): "
                "start that server or name another store"
            ) from error

    @classmethod
    def existing(cls, uri: str) -> Store:
        """Open a store that exists: who only reads creates none.

        Raises:
            TrackingError: there is none, or it cannot be opened.
        """
        path = Path(uri.removeprefix("sqlite:///"))
        if uri.startswith("sqlite:") and not path.exists():
            raise TrackingError(
                f"there is no store at {path} yet: start a sweep with python -m pipeline -m …, "
                "or name another store with --tracking-uri"
            )
        return cls(uri)

    @translate_errors
    def experiment(self, name: str) -> str:
        """The ID of an experiment, which is created if need be."""
        found = self.client.get_experiment_by_name(name)
        if found is None:
            location = (
                (self._artifacts / quote(name, safe="")).as_uri() if self._artifacts else None
            )
            # The kind makes the UI open on its view of model training.
            kind = {"mlflow.experimentKind": "custom_model_development"}
            try:
                return str(self.client.create_experiment(name, location, kind))
            except MlflowException:
                found = self.client.get_experiment_by_name(name)  # another process was faster
                if found is None:
                    raise
        return str(found.experiment_id)

    @translate_errors
    def start_sweep(self, experiment_id: str, name: str, command: str) -> Sweep:
        """Create the parent run of a sweep."""
        tags = {
            "kind": "sweep",
            "sweep": name,
            "command": command,
            **provenance(),
            **heartbeat_tags(),
        }
        run = self.client.create_run(experiment_id, tags=tags, run_name=f"sweep {name}")
        return _as_sweep(run)

    @translate_errors
    def note_search(self, sweep: Sweep, searched: Mapping[str, Mapping[str, Any]]) -> Sweep:
        """Note what a sampler searches in a sweep; returns the sweep that knows it."""
        tag = RunTag("searched", json.dumps(searched))
        self.client.log_batch(sweep.run_id, tags=[tag])
        return replace(sweep, searched=searched)

    @translate_errors
    def start_run(
        self, experiment_id: str, name: str, tags: Mapping[str, str], sweep: Sweep | None
    ) -> str:
        """Create the run of a job, RUNNING, nested in the run of its sweep; returns its ID."""
        nested = {"sweep": sweep.name, "mlflow.parentRunId": sweep.run_id} if sweep else {}
        all_tags = {"kind": "job", **tags, **nested, **provenance(), **heartbeat_tags()}
        run = self.client.create_run(experiment_id, tags=all_tags, run_name=name)
        self._artifact_uris[run.info.run_id] = run.info.artifact_uri
        return str(run.info.run_id)

    @translate_errors
    def log_dataset(self, run_id: str, name: str, digest: str, source: str, sizes: str) -> None:
        """Say which data a run was trained on (`sizes`: JSON)."""
        dataset = Dataset(name, digest, "local", source, profile=sizes)
        context = [InputTag("mlflow.data.context", "training")]
        self.client.log_inputs(run_id, datasets=[DatasetInput(dataset, context)])

    @translate_errors
    def log(
        self,
        run_id: str,
        points: Sequence[Point] = (),
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Write metrics, params and tags of a run, in one call for up to 1,000 values."""
        metrics = [
            Metric(key, value, point.milliseconds, point.epoch)
            for point in points
            for key, value in point.values.items()
        ]
        entities = (
            [Param(key, str(value)) for key, value in (params or {}).items()],
            [RunTag(key, value) for key, value in (tags or {}).items()],
        )
        self.client.log_batch(run_id, metrics[:METRICS_A_CALL], *entities)
        for start in range(METRICS_A_CALL, len(metrics), METRICS_A_CALL):
            self.client.log_batch(run_id, metrics[start : start + METRICS_A_CALL])

    @translate_errors
    def log_files(self, run_id: str, folder: Path) -> None:
        """Store the files of a folder as artifacts of a run."""
        uri = self._artifact_uris.get(run_id) or self.client.get_run(run_id).info.artifact_uri
        repository = get_artifact_repository(uri, self.uri)
        repository.log_artifacts(str(folder))  # type: ignore[no-untyped-call]

    @translate_errors
    def sync(self) -> None:
        """Wait until the disk holds what was written: a power failure takes none of it any more."""
        if self._artifacts is not None:
            log = Path(self.uri.removeprefix("sqlite:///") + "-wal")
            with suppress(FileNotFoundError), log.open("rb") as file:
                os.fsync(file.fileno())

    @translate_errors
    def forget(self, sweep: Sweep) -> None:
        """Delete the run of a sweep that has no jobs."""
        self.client.delete_run(sweep.run_id)

    @translate_errors
    def delete_duplicate_runs(self, sweep: Sweep) -> None:
        """Delete the runs that a server made twice for this process: an answer of it got lost."""
        if not self.uri.startswith("http"):
            return
        pid, started = this_process()
        own = f"tags.pid = '{pid}' AND tags.pid_started = '{started}'"
        runs = [
            run
            for run in self._search(own, sweep.experiment_id)
            if run.data.tags.get("host") == platform.node()
        ]
        ended = {run.data.tags.get("job") for run in runs if run.info.status != "RUNNING"}
        for run in runs:
            job, id_ = run.data.tags.get("job"), run.info.run_id
            twin = job in ended if job is not None else id_ != sweep.run_id
            if run.info.status == "RUNNING" and twin:
                self.client.delete_run(id_)

    @translate_errors
    def end_run(self, run_id: str, status: str) -> None:
        """End a run as FINISHED, FAILED or KILLED."""
        self.client.set_terminated(run_id, status)
        self._artifact_uris.pop(run_id, None)

    @translate_errors
    def heartbeat(self, run_id: str) -> None:
        """Leave a sign of life of this process in a run."""
        self.client.log_batch(run_id, tags=[RunTag(*tag) for tag in heartbeat_tags().items()])

    @translate_errors
    def kill_orphaned_runs(self) -> None:
        """End as KILLED what dead processes left RUNNING; what a live one runs is not touched."""
        running = list(self._search("attributes.status = 'RUNNING' AND tags.pid != ''"))
        sweeps = {run.info.run_id: run.data.tags for run in running}
        for run in running:
            tags = run.data.tags
            signs = sweeps.get(tags.get("mlflow.parentRunId", ""), {}).get("heartbeat")
            if is_gone(tags | ({"heartbeat": signs} if signs else {})):
                self.client.set_terminated(run.info.run_id, "KILLED")

    @translate_errors
    def claim_shard(self, sweep: Sweep, shard: str) -> dict[int, Finished]:
        """The finished runs of a shard, by the number of the job: another machine has begun it.

        What that one has left RUNNING ends as KILLED; of runs that FINISHED twice one is kept.
        """
        found: dict[int, Finished] = {}
        query = f"tags.mlflow.parentRunId = '{sweep.run_id}' AND tags.shard = '{shard}'"
        for run in reversed(list(self._search(query, sweep.experiment_id))):
            job = int(run.data.tags["job"])
            if run.info.status == "RUNNING":
                self.client.set_terminated(run.info.run_id, "KILLED")
            elif run.info.status == "FINISHED" and job in found:
                self.client.delete_run(run.info.run_id)
            elif run.info.status == "FINISHED":
                found[job] = _as_finished(run)
        return found

    @translate_errors
    def end_jobs(self, sweep: Sweep) -> None:
        """End as KILLED what machines that are gone have left RUNNING of a sweep."""
        query = f"tags.mlflow.parentRunId = '{sweep.run_id}' AND attributes.status = 'RUNNING'"
        for run in list(self._search(query, sweep.experiment_id)):
            self.client.set_terminated(run.info.run_id, "KILLED")

    @translate_errors
    def finished_runs(self, experiment_id: str, digest: str) -> dict[str, list[Finished]]:
        """The finished runs on some data, by fingerprint, the latest last."""
        query = f"attributes.status = 'FINISHED' AND tags.dataset_digest = '{digest}'"
        found: dict[str, list[Finished]] = {}
        for run in reversed(list(self._search(query, experiment_id))):
            if "fingerprint" in run.data.tags:
                found.setdefault(run.data.tags["fingerprint"], []).append(_as_finished(run))
        return found

    @translate_errors
    def link_reused_runs(self, sweep: Sweep, runs: Mapping[int, str]) -> None:
        """Let finished runs stand for jobs of a sweep: run IDs by the number of the job."""
        numbers = sorted(runs)
        tags = [
            RunTag(f"reused.{part[0]}", json.dumps({i: runs[i] for i in part}))
            for start in range(0, len(numbers), REUSED_A_TAG)
            if (part := numbers[start : start + REUSED_A_TAG])
        ]
        self.client.log_batch(sweep.run_id, tags=tags)

    @translate_errors
    def describe(self, sweep: Sweep, text: str, chosen: str | None) -> None:
        """Show a text (Markdown) with a sweep in the UI, and tag its chosen run."""
        note = RunTag("mlflow.note.content", text[:NOTE_LENGTH])
        self.client.log_batch(sweep.run_id, tags=[note])
        if chosen is not None:
            self.client.log_batch(chosen, tags=[RunTag("chosen", sweep.name)])

    @translate_errors
    def find_sweep(self, name: str | None = None) -> Sweep:
        """A sweep by its ID; without one, the latest.

        Raises:
            TrackingError: the store holds no such sweep.
        """
        # A filter's text cannot hold both kinds of quotes, but `_` stands for any letter.
        alike = "" if name is None else f""" AND tags.sweep LIKE '{name.replace("'", "_")}'"""
        runs = self._search(f"tags.kind = 'sweep'{alike}", page=10)
        found = next((run for run in runs if name in (None, run.data.tags["sweep"])), None)
        if found is not None:
            return _as_sweep(found)
        latest = itertools.islice(self._search("tags.kind = 'sweep'", page=3), 3)
        known = ", ".join(run.data.tags["sweep"] for run in latest)
        if not known:
            raise TrackingError("there is no sweep yet: start one with python -m pipeline -m …")
        raise TrackingError(f"there is no sweep {name!r} in {self.uri}: the latest are {known}")

    @translate_errors
    def runs(self, sweep: Sweep) -> pd.DataFrame:
        """The jobs of a sweep in their order, one row a job: its run that FINISHED, or its latest.

        Returns:
            Columns run_id, name, status, start_time, end_time (UTC), and for every param, metric
            (its last value) and tag a column `params.…`, `metrics.…`, `tags.…`; params and tags
            are text.
        """
        tags = self.client.get_run(sweep.run_id).data.tags
        lists = [json.loads(text) for key, text in tags.items() if key.startswith("reused.")]
        reused = {int(job): run_id for part in lists for job, run_id in part.items()}
        runs = list(
            self._search(f"tags.mlflow.parentRunId = '{sweep.run_id}'", sweep.experiment_id)
        )
        rows = [_as_row(run, run.data.tags["job"]) for run in runs]
        found = {run.info.run_id: run for run in self._by_id(reused.values(), sweep.experiment_id)}
        rows += [_as_row(found[id_], job) for job, id_ in reused.items() if id_ in found]
        rows.sort(key=lambda row: (row["status"] == "FINISHED", row["start_time"]))
        last = {int(row["tags.job"]): row for row in rows}  # a job may have begun more than once
        rows = [last[job] for job in sorted(last)]
        self._artifact_uris |= {row["run_id"]: row.pop("artifact_uri") for row in rows}
        return pd.DataFrame(rows)

    @translate_errors
    def has_jobs(self, sweep: Sweep) -> bool:
        """Whether a job of a sweep has a run, of its own or one that stands for it."""
        tags = self.client.get_run(sweep.run_id).data.tags
        children = self._search(
            f"tags.mlflow.parentRunId = '{sweep.run_id}'", sweep.experiment_id, page=1
        )
        return any(key.startswith("reused.") for key in tags) or next(children, None) is not None

    @translate_errors
    def run(self, run_id: str) -> pd.DataFrame:
        """One job's run, in the columns of `runs`."""
        try:
            run = self.client.get_run(run_id)
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise
            raise TrackingError(
                f"there is no run {run_id!r} in {self.uri}: the page of each run in make ui "
                "shows its ID"
            ) from error
        row = _as_row(run, run.data.tags.get("job", "0"))
        self._artifact_uris[run_id] = row.pop("artifact_uri")
        return pd.DataFrame([row])

    @translate_errors
    def curves(self, run_id: str, metrics: Sequence[str]) -> pd.DataFrame:
        """The per-epoch values of a run: a row an epoch, a column a metric."""
        series = {
            key: {m.step: m.value for m in self.client.get_metric_history(run_id, key)}
            for key in metrics
        }
        return pd.DataFrame(series).rename_axis("epoch").sort_index()

    def fetch(self, run_id: str, artifact: str, folder: Path) -> Path:
        """Copy an artifact of a run into a folder; returns the copy's path.

        Raises:
            TrackingError: the run has no such artifact.
        """
        try:
            with defer_signals():
                known = self._artifact_uris.get(run_id)
                uri = known or self.client.get_run(run_id).info.artifact_uri
                repository = get_artifact_repository(uri, self.uri)
                path = repository.download_artifacts(artifact, str(folder))  # type: ignore[no-untyped-call]
            return Path(path)
        except (MlflowException, OSError) as error:
            raise TrackingError(f"run {run_id} has no artifact {artifact}: {error}") from error

    def _by_id(self, run_ids: Iterable[str], experiment_id: str) -> Iterator[Run]:
        wanted = list(run_ids)
        for start in range(0, len(wanted), RUNS_A_QUERY):
            listed = ", ".join(f"'{run_id}'" for run_id in wanted[start : start + RUNS_A_QUERY])
            yield from self._search(f"attributes.run_id IN ({listed})", experiment_id)

    def _search(
        self, query: str, experiment_id: str | None = None, page: int = 1000
    ) -> Iterator[Run]:
        """Runs by filter, the latest first, `page` of them a call."""
        if experiment_id is not None:
            experiments = [experiment_id]
        else:
            experiments = [e.experiment_id for e in self.client.search_experiments()]
        token = None
        while True:
            runs = self.client.search_runs(
                experiments,
                query,
                max_results=page,
                order_by=["attributes.start_time DESC"],
                page_token=token,
            )
            yield from runs
            token = runs.token
            if not token:
                return


def _as_row(run: Run, job: str | int) -> dict[str, Any]:
    return {
        "run_id": run.info.run_id,
        "name": run.info.run_name,
        "status": run.info.status,
        "artifact_uri": run.info.artifact_uri,
        "start_time": pd.to_datetime(run.info.start_time, unit="ms", utc=True),
        "end_time": pd.to_datetime(run.info.end_time, unit="ms", utc=True),
        **{f"params.{key}": value for key, value in run.data.params.items()},
        **{f"metrics.{key}": value for key, value in run.data.metrics.items()},
        **{f"tags.{key}": value for key, value in run.data.tags.items()},
        "tags.job": str(job),
    }


def _as_finished(run: Run) -> Finished:
    best = run.data.metrics.get("best_val_acc")
    return Finished(run.info.run_id, run.data.tags.get("outcome", ""), best)


def _as_sweep(run: Run) -> Sweep:
    tags = run.data.tags
    try:
        searched = json.loads(tags.get("searched", "{}"))
    except ValueError:  # a store may hold anything
        searched = {}
    known = run.info.run_id, run.info.experiment_id
    return Sweep(tags["sweep"], *known, tags["command"], searched)


@event.listens_for(Engine, "connect")
def _sync_later(connection: object, _: object) -> None:
    """Let no write wait for the disk: `Store.sync` does, once for many.

    In sqlite's write-ahead log that is safe: a power failure may take the latest writes, but never
    one before another, nor a part of one.
    """
    if isinstance(connection, sqlite3.Connection):
        (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
        if mode == "wal":
            connection.execute("PRAGMA synchronous=normal")


def _open_sqlite(uri: str) -> Path:
    """Create the store if need be, one process at a time; returns the folder for artifacts."""
    path = Path(uri.removeprefix("sqlite:///")).resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(path.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            _create_sqlite(path)
        with closing(sqlite3.connect(path, timeout=LOCK_SECONDS)) as database:
            database.execute("PRAGMA journal_mode=wal")
    return path.parent / "mlartifacts"


def _create_sqlite(path: Path) -> None:
    """Let MLflow make its tables in memory, and put them on the disk at once.

    On the disk each of its many migrations would wait for it, and a process that died among them
    would leave half a store.
    """
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    made = path.with_name(path.name + ".new")
    made.unlink(missing_ok=True)  # of a process that died here
    artifacts = str(path.parent / "mlartifacts")
    store = SqlAlchemyStore("sqlite:///:memory:", artifacts)  # type: ignore[no-untyped-call]
    try:
        with closing(sqlite3.connect(made)) as database:
            memory: Any = store.engine.raw_connection().driver_connection
            memory.backup(database)
        made.replace(path)
    finally:
        made.unlink(missing_ok=True)
        store.engine.dispose()


def _check_server(uri: str) -> None:
    """Find out within seconds whether a server is there: MLflow itself would try for minutes."""
    requests.get(f"{uri.rstrip('/')}/health", timeout=SERVER_TIMEOUT).raise_for_status()
