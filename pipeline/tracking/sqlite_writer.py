"""Creates and changes runs in a sqlite store, each time in one transaction.

MLflow's client issues about 56 SQL statements per run, in several transactions. `SqliteWriter`
writes the same rows with its own statements on MLflow's tables. `tests/tracking/test_writers.py`
compares the rows of both ways, for every table.

A later schema may need other rows. The module therefore only writes to the schema `REVISION`;
`Store` uses MLflow's client for any other one.
"""

from __future__ import annotations

import sqlite3
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from mlflow.entities import DatasetInput, LifecycleStage, Metric, Param
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST
from sqlalchemy import (
    Connection,
    RowMapping,
    Select,
    bindparam,
    create_engine,
    event,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects.sqlite import insert

from pipeline.tracking import mlflow_compat
from pipeline.tracking.writer import CreatedRun, RunUpdate

REVISION = "dc11669786a5"  # the schema of mlflow 3.17, for which this module was checked
BUSY_SECONDS = 20  # for which sqlite waits for the transaction of another process
LARGEST = 1.7976931348623157e308  # MLflow stores it in place of infinity

_TABLES = mlflow_compat.tables()
_EXPERIMENTS, _RUNS, _TAGS = _TABLES["experiments"], _TABLES["runs"], _TABLES["tags"]
_PARAMS, _METRICS, _LATEST = _TABLES["params"], _TABLES["metrics"], _TABLES["latest_metrics"]
_DATASETS, _INPUTS, _INPUT_TAGS = _TABLES["datasets"], _TABLES["inputs"], _TABLES["input_tags"]

_SELECT_EXPERIMENT = select(_EXPERIMENTS.c.artifact_location, _EXPERIMENTS.c.lifecycle_stage).where(
    _EXPERIMENTS.c.experiment_id == bindparam("id")
)
_SELECT_RUN = select(_RUNS.c.experiment_id, _RUNS.c.lifecycle_stage).where(
    _RUNS.c.run_uuid == bindparam("id")
)
_SELECT_PARAMS = select(_PARAMS.c.key, _PARAMS.c.value).where(_PARAMS.c.run_uuid == bindparam("id"))
_SELECT_DATASET = select(_DATASETS.c.dataset_uuid).where(
    _DATASETS.c.experiment_id == bindparam("experiment_id"),
    _DATASETS.c.name == bindparam("name"),
    _DATASETS.c.digest == bindparam("digest"),
)
_INSERT_METRIC = insert(_METRICS).on_conflict_do_nothing()
_INSERT_INPUT = insert(_INPUTS).on_conflict_do_nothing().returning(_INPUTS.c.input_uuid)
_TAG = insert(_TAGS)
_SET_TAG = _TAG.on_conflict_do_update(
    index_elements=["key", "run_uuid"], set_={"value": _TAG.excluded.value}
)
_NEW = insert(_LATEST)
_AGE = ("step", "timestamp", "value")  # MLflow's order: of two values, the larger one is later
_SET_LATEST = _NEW.on_conflict_do_update(
    index_elements=["key", "run_uuid"],
    set_={name: _NEW.excluded[name] for name in (*_AGE, "is_nan")},
    where=tuple_(*(_NEW.excluded[name] for name in _AGE)) > tuple_(*(_LATEST.c[n] for n in _AGE)),
)
_END_RUN = (
    update(_RUNS)
    .where(_RUNS.c.run_uuid == bindparam("id"))
    .values(status=bindparam("ended"), end_time=bindparam("now"))
)


class SqliteWriter:
    """Writes runs to a sqlite store with the schema `REVISION`."""

    def __init__(self, uri: str) -> None:
        """Write to the store at a URI."""
        self._engine = create_engine(uri, connect_args={"timeout": BUSY_SECONDS})
        event.listen(self._engine, "connect", _configure)
        event.listen(self._engine, "begin", _begin)

    def create_run(self, experiment_id: str, name: str, tags: Mapping[str, str]) -> CreatedRun:
        """Create a run with the status RUNNING.

        Raises:
            MlflowException: the experiment does not exist or has been deleted.
            sqlalchemy.exc.SQLAlchemyError: the store cannot be written.
        """
        run_id = uuid.uuid4().hex
        name = name or mlflow_compat.random_name()
        with self._engine.begin() as connection:
            found = _select_active(connection, _SELECT_EXPERIMENT, int(experiment_id))
            location = mlflow_compat.artifact_location(found["artifact_location"], run_id)
            connection.execute(insert(_RUNS), _new_run(run_id, experiment_id, name, location))
            all_tags = [*tags.items(), ("mlflow.runName", name)]
            rows = [{"run_uuid": run_id, "key": key, "value": value} for key, value in all_tags]
            connection.execute(insert(_TAGS), rows)
        return CreatedRun(run_id, location)

    def update_run(self, run_id: str, update: RunUpdate) -> None:
        """Write to an active run, all or nothing.

        Raises:
            MlflowException: the run does not exist or has been deleted, or MLflow refuses a value.
            sqlalchemy.exc.SQLAlchemyError: the store cannot be written.
        """
        metrics, params, tags = mlflow_compat.validated(update.metrics, update.params, update.tags)
        with self._engine.begin() as connection:
            found = _select_active(connection, _SELECT_RUN, run_id)
            if update.dataset is not None:
                _write_dataset(connection, run_id, found["experiment_id"], update.dataset)
            if params:
                _write_params(connection, run_id, params)
            if metrics:
                _write_metrics(connection, run_id, metrics)
            if tags:
                rows = [{"run_uuid": run_id, "key": tag.key, "value": tag.value} for tag in tags]
                connection.execute(_SET_TAG, rows)
            if update.status is not None:
                values = {"id": run_id, "ended": update.status, "now": _now()}
                connection.execute(_END_RUN, values)


def _configure(connection: sqlite3.Connection, _: object) -> None:
    """Let SQLAlchemy, not the driver, begin transactions; check foreign keys as MLflow does."""
    connection.isolation_level = None
    connection.execute("PRAGMA foreign_keys = ON")


def _begin(connection: Connection) -> None:
    """Take the write lock first: a transaction that reads first could fail when it writes."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _select_active(connection: Connection, query: Select[Any], id_: int | str) -> RowMapping:
    """Read an experiment or a run.

    Raises:
        MlflowException: it does not exist or has been deleted.
    """
    found = connection.execute(query, {"id": id_}).mappings().first()
    if found is None:
        raise MlflowException(f"{id_} does not exist", RESOURCE_DOES_NOT_EXIST)
    if found["lifecycle_stage"] != LifecycleStage.ACTIVE:
        raise MlflowException(f"{id_} has been deleted", INVALID_PARAMETER_VALUE)
    return found


def _new_run(run_id: str, experiment_id: str, name: str, location: str) -> dict[str, Any]:
    return {
        "run_uuid": run_id,
        "name": name,
        "source_type": "UNKNOWN",
        "source_name": "",
        "entry_point_name": "",
        "user_id": "unknown",
        "status": "RUNNING",
        "start_time": _now(),
        "source_version": "",
        "lifecycle_stage": LifecycleStage.ACTIVE,
        "artifact_uri": location,
        "experiment_id": int(experiment_id),
    }


def _now() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def _write_dataset(
    connection: Connection, run_id: str, experiment_id: int, given: DatasetInput
) -> None:
    """Write a dataset once per experiment, and link it to the run."""
    mlflow_compat.validate_dataset(given)
    name, digest = given.dataset.name, given.dataset.digest
    key: dict[str, Any] = {"experiment_id": experiment_id, "name": name, "digest": digest}
    dataset_id = connection.execute(_SELECT_DATASET, key).scalar()
    if dataset_id is None:
        dataset_id = uuid.uuid4().hex
        content = {
            "dataset_uuid": dataset_id,
            "dataset_source_type": given.dataset.source_type,
            "dataset_source": given.dataset.source,
            "dataset_schema": given.dataset.schema,
            "dataset_profile": given.dataset.profile,
        }
        connection.execute(insert(_DATASETS), key | content)
    link = {
        "input_uuid": uuid.uuid4().hex,
        "source_type": "DATASET",
        "source_id": dataset_id,
        "destination_type": "RUN",
        "destination_id": run_id,
    }
    input_id = connection.execute(_INSERT_INPUT, link).scalar()
    if input_id is not None and given.tags:
        rows = [{"input_uuid": input_id, "name": tag.key, "value": tag.value} for tag in given.tags]
        connection.execute(insert(_INPUT_TAGS), rows)


def _write_params(connection: Connection, run_id: str, params: Sequence[Param]) -> None:
    """Write new parameters.

    Raises:
        MlflowException: a parameter has another value already.
    """
    found = connection.execute(_SELECT_PARAMS, {"id": run_id})
    stored: dict[str, str] = {row.key: row.value for row in found}
    changed = [p.key for p in params if stored.get(p.key, p.value) != p.value]
    if changed:
        raise MlflowException(
            f"changing param values is not allowed: run {run_id} has other values of "
            f"{', '.join(changed)}",
            INVALID_PARAMETER_VALUE,
        )
    rows = [
        {"run_uuid": run_id, "key": p.key, "value": p.value} for p in params if p.key not in stored
    ]
    if rows:
        connection.execute(insert(_PARAMS), rows)


def _write_metrics(connection: Connection, run_id: str, metrics: Sequence[Metric]) -> None:
    """Write values of metrics, and the latest value of each metric."""
    rows = [_metric_row(run_id, metric) for metric in metrics]
    connection.execute(_INSERT_METRIC, rows)
    latest: dict[str, dict[str, Any]] = {}
    for row in rows:
        last = latest.setdefault(row["key"], row)
        if [row[name] for name in _AGE] > [last[name] for name in _AGE]:
            latest[row["key"]] = row
    connection.execute(_SET_LATEST, list(latest.values()))


def _metric_row(run_id: str, metric: Metric) -> dict[str, Any]:
    """The row of a value. A column cannot hold NaN, and MLflow replaces infinity."""
    value = float(metric.value)
    is_nan = value != value
    return {
        "run_uuid": run_id,
        "key": metric.key,
        "value": 0.0 if is_nan else min(max(value, -LARGEST), LARGEST),
        "is_nan": is_nan,
        "timestamp": metric.timestamp,
        "step": metric.step,
    }
