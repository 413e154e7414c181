"""The chosen model of a sweep as MLflow's LoggedModel, which `mlflow.search_logged_models` finds.

A sweep has at most one. It has no files of its own: the weights stay an artifact of its run, and
the tag `weights` is their location.
"""

from __future__ import annotations

import re

from mlflow.entities import LoggedModelOutput, LoggedModelStatus, Metric, Run

from pipeline.tracking.entities import Sweep
from pipeline.tracking.errors import translate_errors
from pipeline.tracking.store import Store
from pipeline.uris import redact

SWEEP_TAG = "sweep_run_id"  # the ID of the sweep's run
METRICS = ("best_val_acc", "best_val_loss", "best_balanced_acc", "test_acc")


@translate_errors("record the chosen model")
def log_chosen_model(store: Store, sweep: Sweep, run_id: str | None) -> None:
    """Record which model a sweep chose. A model that it chose earlier is deleted.

    Args:
        store: holds the sweep.
        sweep: the sweep.
        run_id: of the chosen run; None: the sweep has no result.

    Raises:
        TrackingError: the store cannot be reached, or has no LoggedModels (before MLflow 3).
    """
    client = store.client
    query = f"tags.{SWEEP_TAG} = '{sweep.run_id}'"
    found = client.search_logged_models([sweep.experiment_id], query)
    current = next((model for model in found if model.source_run_id == run_id), None)
    for model in found:
        if model is not current:
            client.delete_logged_model(model.model_id)
    if run_id is None:
        return
    run = client.get_run(run_id)
    model_id = current.model_id if current else _create(store, sweep, run)
    if current is None or current.status != LoggedModelStatus.READY:
        client.finalize_logged_model(model_id, LoggedModelStatus.READY)
    client.log_batch(run_id, _metrics(store, run, model_id))


def _create(store: Store, sweep: Sweep, run: Run) -> str:
    """Create the LoggedModel of a run, and link it to the run; returns its ID."""
    run_id = run.info.run_id
    weights = redact(f"{store.artifacts.uri_of(run_id)}/weights.npz")
    model = store.client.create_logged_model(
        sweep.experiment_id,
        re.sub(r"[/:.%\"']", "-", f"best of {sweep.name}"),  # MLflow refuses these characters
        run_id,
        tags={"sweep": sweep.name, SWEEP_TAG: sweep.run_id, "weights": weights},
        params=run.data.params,
    )
    step = int(run.data.metrics.get("best_epoch", 0))
    store.client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step)])
    return str(model.model_id)


def _metrics(store: Store, run: Run, model_id: str) -> list[Metric]:
    """The results of a run, as metrics of a model.

    Their steps and times are those of the run, so that the run does not get them twice.
    """
    names = [name for name in METRICS if name in run.data.metrics]
    histories = [store.client.get_metric_history(run.info.run_id, name) for name in names]
    latest = [max(history, key=lambda m: (m.step, m.timestamp)) for history in histories if history]
    return [Metric(m.key, m.value, m.timestamp, m.step, model_id=model_id) for m in latest]
