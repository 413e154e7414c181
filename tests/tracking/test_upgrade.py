"""Stores that another version of MLflow has written."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from mlflow.store.db import utils
from mlflow.store.tracking.dbmodels.initial_models import Base
from sqlalchemy import create_engine

from pipeline.tracking.errors import TrackingError
from pipeline.tracking.store import Store


def write_store_of_previous_mlflow(path: Path) -> str:
    """Create a store without the latest migration, with one experiment; returns its schema."""
    uri = f"sqlite:///{path}"
    config = utils._get_alembic_config(uri)  # type: ignore[no-untyped-call]
    scripts = ScriptDirectory.from_config(config)
    head = scripts.get_revision(scripts.get_current_head() or "")
    assert head is not None
    previous = str(head.down_revision)
    engine = create_engine(uri)
    Base.metadata.create_all(engine)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, previous)
    engine.dispose()
    execute(
        path,
        "INSERT INTO experiments (name, artifact_location, lifecycle_stage) "
        "VALUES ('digits', 'file:///x', 'active')",
    )
    return previous


def execute(path: Path, statement: str) -> list[tuple[str]]:
    with closing(sqlite3.connect(path)) as database, database:
        return database.execute(statement).fetchall()


def schema(path: Path) -> str:
    ((revision,),) = execute(path, "SELECT version_num FROM alembic_version")
    return revision


def test_store_of_earlier_mlflow_is_upgraded_after_a_backup(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "mlflow.db"
    previous = write_store_of_previous_mlflow(path)
    store = Store(f"sqlite:///{path}")
    (experiment,) = execute(path, "SELECT experiment_id FROM experiments WHERE name = 'digits'")
    assert store.ensure_experiment("digits") == str(experiment[0])
    assert schema(path) == utils._get_latest_schema_revision()  # type: ignore[no-untyped-call]
    backup = tmp_path / f"mlflow.db.{previous}.backup"
    assert schema(backup) == previous
    assert execute(backup, "SELECT name FROM experiments WHERE name = 'digits'")
    assert str(backup) in caplog.text


def test_store_of_later_mlflow_is_refused_and_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    write_store_of_previous_mlflow(path)
    execute(path, "UPDATE alembic_version SET version_num = 'ffffffffffff'")
    with pytest.raises(TrackingError, match="install the MLflow version that wrote it") as caught:
        Store(f"sqlite:///{path}")
    assert "\n" not in str(caught.value)
    assert schema(path) == "ffffffffffff"
    assert not list(tmp_path.glob("*.backup"))
