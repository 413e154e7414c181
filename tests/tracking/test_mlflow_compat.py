"""The private parts of MLflow that pipeline/tracking/mlflow_compat.py uses still exist."""

from __future__ import annotations

import importlib
import inspect
from importlib.metadata import version

import pytest

REGISTRY = "mlflow.store.artifact.artifact_repository_registry"


@pytest.mark.parametrize(
    ("module", "path", "parameters"),
    [
        (REGISTRY, "get_artifact_repository", ["artifact_uri", "tracking_uri"]),
        ("mlflow.store.tracking.sqlalchemy_store", "SqlAlchemyStore", ["db_uri"]),
        ("mlflow.store.db.utils", "_get_alembic_config", ["db_url"]),
        ("mlflow.store.db.utils", "_upgrade_db", ["engine"]),
        ("mlflow.store.db.utils", "_make_parent_dirs_if_sqlite", ["db_uri"]),
        ("mlflow.system_metrics.system_metrics_monitor", "SystemMetricsMonitor", ["run_id"]),
        ("mlflow.utils.credentials", "get_default_host_creds", ["store_uri"]),
        ("mlflow.utils.rest_utils", "http_request", ["host_creds", "endpoint", "method"]),
        ("mlflow.utils.name_utils", "_generate_random_name", []),
        ("mlflow.utils.uri", "append_to_uri_path", ["uri"]),
        ("mlflow.utils.validation", "_validate_batch_log_data", ["metrics", "params", "tags"]),
        ("mlflow.utils.validation", "_validate_dataset_inputs", ["dataset_inputs"]),
    ],
)
def test_private_part_exists_with_its_parameters(
    module: str, path: str, parameters: list[str]
) -> None:
    advice = (
        f"{module}.{path} has changed in mlflow {version('mlflow')}: adapt "
        "pipeline/tracking/mlflow_compat.py"
    )
    try:
        found = getattr(importlib.import_module(module), path)
    except (ImportError, AttributeError) as error:
        pytest.fail(f"{advice} ({error})")
    assert list(inspect.signature(found).parameters)[: len(parameters)] == parameters, advice
