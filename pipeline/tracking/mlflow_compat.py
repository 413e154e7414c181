"""The parts of MLflow that are not public. No other module uses them.

Checked with mlflow 3.17.2. `tests/tracking/test_mlflow_compat.py` fails with the name of the part
that another version has moved or changed.

- `get_artifact_repository`: reads and writes the artifacts at a URI. The public
  `MlflowClient.log_artifacts` asks the store for the run before each call.
- `SqlAlchemyStore`: creates the tables of a sqlite store.
- `ARTIFACT_COLUMNS`: the tables of a sqlite store that hold locations of artifacts.
- `_upgrade_db`, `_get_alembic_config`: migrate the schema of a sqlite store that an earlier MLflow
  has written.
- `_make_parent_dirs_if_sqlite`: MLflow takes the encoded URI of a store for a path, and creates
  that folder.
- `db_migrations`: the folder of the migrations.
- `http_request`, `get_default_host_creds`: a request with MLflow's own HTTP settings.
- `Base`: the tables of a sqlite store. `_validate_batch_log_data`, `_validate_dataset_inputs`,
  `append_to_uri_path`, `_generate_random_name`: what MLflow does before it writes to them.
- `SystemMetricsMonitor`: measures the machine.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, cast

from mlflow.entities import DatasetInput, Metric, Param, RunTag
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.name_utils import _generate_random_name
from mlflow.utils.rest_utils import http_request
from mlflow.utils.uri import append_to_uri_path
from mlflow.utils.validation import _validate_batch_log_data, _validate_dataset_inputs
from sqlalchemy import Table

ARTIFACT_COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)

# MLflow sets the levels of its loggers when it is imported.
logging.getLogger("alembic").setLevel(logging.WARNING)
logging.getLogger("mlflow").setLevel(logging.WARNING)
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # `translate_errors` reports


def upload(folder: Path, artifact_uri: str, tracking_uri: str) -> None:
    """Copy the files of a folder to the artifacts at a URI."""
    repository = get_artifact_repository(artifact_uri, tracking_uri)
    repository.log_artifacts(str(folder))  # type: ignore[no-untyped-call]


def download(artifact_uri: str, name: str, folder: Path, tracking_uri: str) -> Path:
    """Copy the artifact `name` at a URI into a folder; returns the path of the copy."""
    repository = get_artifact_repository(artifact_uri, tracking_uri)
    return Path(repository.download_artifacts(name, str(folder)))  # type: ignore[no-untyped-call]


@contextmanager
def empty_store(artifact_root: str) -> Iterator[sqlite3.Connection]:
    """A sqlite database in memory with MLflow's tables, whose artifacts are in `artifact_root`."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    store = SqlAlchemyStore("sqlite:///:memory:", artifact_root)  # type: ignore[no-untyped-call]
    try:
        connection: Any = store.engine.raw_connection().driver_connection
        yield connection
    finally:
        store.engine.dispose()


def keep_folders() -> None:
    """Let MLflow create no folders for sqlite stores: `open_database` has created them."""
    from mlflow.store.db import utils

    utils._make_parent_dirs_if_sqlite = lambda db_uri: None


def migrations() -> list[str]:
    """The names of the migrations that lead to the schema of the installed MLflow."""
    from mlflow.store import db_migrations

    return sorted(path.name for path in Path(db_migrations.__path__[0], "versions").glob("*.py"))


def artifact_columns(database: sqlite3.Connection) -> list[tuple[str, str]]:
    """The tables and columns of a sqlite store that hold locations of artifacts."""
    found = []
    for table, column in ARTIFACT_COLUMNS:
        columns = database.execute(f"PRAGMA table_info({table})").fetchall()
        if column in [name for _, name, *_ in columns]:
            found.append((table, column))
    return found


def schema_status(revision: str) -> Literal["current", "earlier", "unknown"]:
    """How a schema relates to the installed MLflow; it does not know the schema of a later one."""
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError
    from mlflow.store.db.utils import _get_alembic_config

    scripts = ScriptDirectory.from_config(_get_alembic_config(""))  # type: ignore[no-untyped-call]
    if revision == scripts.get_current_head():
        return "current"
    try:
        scripts.get_revision(revision)
    except CommandError:
        return "unknown"
    return "earlier"


def upgrade_schema(uri: str) -> None:
    """Migrate a database to the schema of the installed MLflow."""
    from mlflow.store.db.utils import _upgrade_db
    from sqlalchemy import create_engine

    engine = create_engine(uri)
    try:
        _upgrade_db(engine)  # type: ignore[no-untyped-call]
    finally:
        engine.dispose()


def tables() -> Mapping[str, Table]:
    """The tables of a sqlite store, by name."""
    import mlflow.store.tracking.dbmodels.models  # noqa: F401 (describes the tables)
    from mlflow.store.db.base_sql_model import Base

    return cast(Mapping[str, Table], Base.metadata.tables)


def artifact_location(experiment_location: str, run_id: str) -> str:
    """The URI of the artifacts of a run."""
    return str(append_to_uri_path(experiment_location, run_id, "artifacts"))  # type: ignore[no-untyped-call]


def random_name() -> str:
    """A name for a run that has none."""
    return str(_generate_random_name())  # type: ignore[no-untyped-call]


def validated(
    metrics: Sequence[Metric], params: Sequence[Param], tags: Sequence[RunTag]
) -> tuple[Sequence[Metric], Sequence[Param], Sequence[RunTag]]:
    """The rows as MLflow stores them: some texts are shortened.

    Raises:
        MlflowException: MLflow refuses a name or a value.
    """
    return cast(
        tuple[Sequence[Metric], Sequence[Param], Sequence[RunTag]],
        _validate_batch_log_data(metrics, params, tags),  # type: ignore[no-untyped-call]
    )


def validate_dataset(given: DatasetInput) -> None:
    """Check a dataset.

    Raises:
        MlflowException: MLflow refuses a value.
    """
    _validate_dataset_inputs([given])


def check_health(uri: str, seconds: float) -> None:
    """Ask a tracking server for its health, once.

    The request uses MLflow's settings: MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_TOKEN,
    MLFLOW_TRACKING_INSECURE_TLS and the others.

    Raises:
        MlflowException: the server does not answer within `seconds`.
        requests.HTTPError: the server answers with an error.
    """
    creds = get_default_host_creds(uri)  # type: ignore[no-untyped-call]
    answer = http_request(creds, "/health", "GET", max_retries=0, timeout=seconds)  # type: ignore[no-untyped-call]
    answer.raise_for_status()


class SystemMonitor(SystemMetricsMonitor):
    """MLflow's monitor of the machine, without its thread and without graphics processors."""

    def __init__(
        self, run_id: str, tracking_uri: str, record: Callable[[Mapping[str, float], int], None]
    ) -> None:
        """Prepare to measure.

        Args:
            run_id: of the run that gets the values.
            tracking_uri: of its store.
            record: receives values by name, and their step: 0, 1, 2, …
        """
        super().__init__(run_id, tracking_uri=tracking_uri)  # type: ignore[no-untyped-call]
        self._samples = 0
        self.record_metrics = record
        self.mlflow_logger = cast(Any, self)  # `publish_metrics` calls its `record_metrics`

    def sample(self) -> None:
        """Measure once, and record the means if enough samples have been taken."""
        self.collect_metrics()  # type: ignore[no-untyped-call]
        self._samples += 1
        if self._samples % self.samples_before_logging == 0:
            self.publish_metrics(self.aggregate_metrics())  # type: ignore[no-untyped-call]

    def _initialize_gpu_monitor(self) -> None:
        """The training uses no graphics processor."""
