"""Reads sweeps and runs. The runs of a sweep and their curves are DataFrames."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

import pandas as pd
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from pipeline.tracking.entities import FinishedRun, Sweep, job_number, reused_runs
from pipeline.tracking.errors import TrackingError, translate_errors
from pipeline.tracking.store import Store

IDS_PER_QUERY = 200
LISTED = 3  # sweeps that an error message names


@translate_errors("find the sweep")
def find_sweep(store: Store, name: str | None = None) -> Sweep:
    """Find a sweep by its ID; without an ID, the latest.

    Raises:
        TrackingError: the store holds no such sweep.
    """
    found = next(_sweeps(store, name), None)
    if found is not None:
        return found
    latest = ", ".join(sweep.name for sweep in latest_sweeps(store, LISTED))
    if not latest:
        raise TrackingError("there is no sweep yet: start one with pipeline -m …")
    raise TrackingError(f"there is no sweep {name!r} in {store.uri}: the latest are {latest}")


@translate_errors("find the sweep")
def unused_sweep_name(store: Store, name: str) -> str:
    """The ID of a new sweep: `name`, with the time appended if the store has a sweep of that ID."""
    if next(_sweeps(store, name), None) is None:
        return name
    return f"{name}-{datetime.now():%Y-%m-%d_%H-%M-%S_%f}"


@translate_errors("list the sweeps")
def latest_sweeps(store: Store, count: int) -> list[Sweep]:
    """The latest sweeps of a store, the latest one first."""
    return list(itertools.islice(_sweeps(store), count))


def _sweeps(store: Store, name: str | None = None) -> Iterator[Sweep]:
    """The sweeps with an ID, or all of them, latest first."""
    # A filter cannot contain both kinds of quotes, but `_` matches any character.
    pattern = "" if name is None else f""" AND tags.sweep LIKE '{name.replace("'", "_")}'"""
    for run in store.search(f"tags.kind = 'sweep'{pattern}", page=10):
        sweep = Sweep.from_run(run)
        if sweep is not None and name in (None, sweep.name):
            yield sweep


@translate_errors("read the runs of the sweep")
def sweep_runs(store: Store, sweep: Sweep) -> pd.DataFrame:
    """The jobs of a sweep in their order, one row per job.

    A job may have several runs. Its row holds the latest run with the status FINISHED, or the
    latest run if there is none.

    Returns:
        Columns run_id, name, status, start_time, end_time (UTC), and for every parameter, metric
        (its last value) and tag a column `params.…`, `metrics.…`, `tags.…`. Parameters and tags
        are strings.
    """
    reused = reused_runs(store.client.get_run(sweep.run_id))
    runs = [(run, job_number(run)) for run in store.search(sweep.children, sweep.experiment_id)]
    found = {run.info.run_id: run for run in _by_id(store, reused.values(), sweep.experiment_id)}
    runs += [(found[run_id], job) for job, run_id in reused.items() if run_id in found]
    runs.sort(key=lambda pair: (pair[0].info.status == "FINISHED", pair[0].info.start_time))
    latest = {job: run for run, job in runs if job is not None}
    for run in latest.values():
        store.artifacts.remember(run.info.run_id, run.info.artifact_uri)
    return pd.DataFrame([_as_row(latest[job], job) for job in sorted(latest)])


@translate_errors("read the run")
def single_run(store: Store, run_id: str) -> pd.DataFrame:
    """One job's run, in the columns of `sweep_runs`.

    Raises:
        TrackingError: the store holds no such run, or the run has been deleted.
    """
    try:
        run = store.client.get_run(run_id)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        raise TrackingError(
            f"there is no run {run_id!r} in {store.uri}: the page of each run in make ui shows "
            "its ID"
        ) from error
    if run.info.lifecycle_stage != "active":
        raise TrackingError(
            f"run {run_id} has been deleted in MLflow: restore it with "
            f"{store.command(f'runs restore --run-id {run_id}')}"
        )
    store.artifacts.remember(run.info.run_id, run.info.artifact_uri)
    return pd.DataFrame([_as_row(run, job_number(run) or 0)])


@translate_errors("read the curves of the run")
def curves(store: Store, run_id: str, metrics: Sequence[str]) -> pd.DataFrame:
    """The values of metrics after each epoch: a row per epoch, a column per metric."""
    series = {
        key: {m.step: m.value for m in store.client.get_metric_history(run_id, key)}
        for key in metrics
    }
    return pd.DataFrame(series).rename_axis("epoch").sort_index()


@translate_errors("find the jobs of the sweep")
def has_jobs(store: Store, sweep: Sweep) -> bool:
    """Whether a job of a sweep has a run, its own or a reused one."""
    if reused_runs(store.client.get_run(sweep.run_id)):
        return True
    children = store.search(sweep.children, sweep.experiment_id, page=1)
    return next(children, None) is not None


@translate_errors("find the finished runs")
def finished_runs(
    store: Store, experiment_id: str, dataset_digest: str
) -> dict[str, list[FinishedRun]]:
    """The finished runs on a dataset by their fingerprint, each list from oldest to latest."""
    query = f"attributes.status = 'FINISHED' AND tags.dataset_digest = '{dataset_digest}'"
    found: dict[str, list[FinishedRun]] = {}
    for run in reversed(list(store.search(query, experiment_id))):
        if "fingerprint" in run.data.tags:
            name = run.data.tags["fingerprint"]
            found.setdefault(name, []).append(FinishedRun.from_run(run))
    return found


def _by_id(store: Store, run_ids: Iterable[str], experiment_id: str) -> Iterator[Run]:
    wanted = [run_id for run_id in run_ids if run_id.isalnum()]
    for start in range(0, len(wanted), IDS_PER_QUERY):
        listed = ", ".join(f"'{run_id}'" for run_id in wanted[start : start + IDS_PER_QUERY])
        yield from store.search(f"attributes.run_id IN ({listed})", experiment_id)


def _as_row(run: Run, job: int) -> dict[str, Any]:
    return {
        "run_id": run.info.run_id,
        "name": run.info.run_name,
        "status": run.info.status,
        "start_time": pd.to_datetime(run.info.start_time, unit="ms", utc=True),
        "end_time": pd.to_datetime(run.info.end_time, unit="ms", utc=True),
        **{f"params.{key}": value for key, value in run.data.params.items()},
        **{f"metrics.{key}": value for key, value in run.data.metrics.items()},
        **{f"tags.{key}": value for key, value in run.data.tags.items()},
        "tags.job": str(job),
    }
