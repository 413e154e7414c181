"""The chosen model of a sweep among the models of MLflow."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import mlflow
from mlflow.entities import LoggedModel

from pipeline.report.write import write_report
from pipeline.tracking.entities import Sweep
from pipeline.tracking.store import Store
from tests.sweeps import train_sweep


def models_of(store: Store, sweep: Sweep) -> list[LoggedModel]:
    """The models of a sweep as a user finds them."""
    mlflow.set_tracking_uri(store.uri)
    found = mlflow.search_logged_models(
        [sweep.experiment_id],
        filter_string=f"tags.sweep = '{sweep.name}'",
        output_format="list",
    )
    return list(found)


def test_the_chosen_model_is_listed_once_with_its_results(
    store: Store, tmp_path: Path, outputs: Path
) -> None:
    sweep = train_sweep(store, tmp_path, "one.choice", {}, {"hidden_size": 24})
    best = write_report(store, sweep, outputs / "reports").best
    assert best is not None
    history = store.client.get_metric_history(best.run_id, "best_val_acc")
    write_report(store, sweep, outputs / "reports")
    (model,) = models_of(store, sweep)
    run = store.client.get_run(best.run_id)
    assert (model.source_run_id, model.status.name) == (best.run_id, "READY")
    assert model.params == run.data.params
    assert {metric.key: metric.value for metric in model.metrics} == {
        "best_val_acc": best.val_acc,
        "best_val_loss": best.val_loss,
        "test_acc": best.test_acc,
    }
    assert model.tags["weights"] == f"{run.info.artifact_uri}/weights.npz"
    assert [output.model_id for output in run.outputs.model_outputs] == [model.model_id]
    assert store.client.get_metric_history(best.run_id, "best_val_acc") == history


def test_a_model_that_is_no_longer_chosen_is_deleted(
    store: Store, tmp_path: Path, outputs: Path
) -> None:
    sweep = train_sweep(store, tmp_path, "new choice", {}, {"hidden_size": 24})
    first = write_report(store, sweep, outputs / "reports").best
    assert first is not None
    store.client.delete_run(first.run_id)
    second = write_report(store, sweep, outputs / "reports").best
    assert second is not None
    assert [model.source_run_id for model in models_of(store, sweep)] == [second.run_id]
    store.client.delete_run(second.run_id)
    assert write_report(store, sweep, outputs / "reports").best is None
    assert models_of(store, sweep) == []


def test_a_store_without_logged_models_gets_the_report_all_the_same(
    tmp_path: Path, outputs: Path
) -> None:
    store = Store(f"sqlite:///{tmp_path}/mlflow.db")
    sweep = train_sweep(store, tmp_path, "no models", {})
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        database.execute("DROP TABLE logged_models")
    report = write_report(store, sweep, outputs / "reports")
    assert report.best is not None
    assert report.lines[-1].startswith("MLflow does not list the chosen model among its models: ")
    assert (report.folder / "report.html").is_file()
