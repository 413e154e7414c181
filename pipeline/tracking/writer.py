"""Creates and changes runs through MLflow's client, which any store accepts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from mlflow import MlflowClient
from mlflow.entities import DatasetInput, Metric, Param, RunTag

VALUES_PER_CALL = 1000  # MLflow's limit for one log_batch


class CreatedRun(NamedTuple):
    """A run that has just been created."""

    run_id: str
    artifact_uri: str


@dataclass(frozen=True)
class RunUpdate:
    """Rows to write to a run. A row that the store holds already is stored once."""

    metrics: Sequence[Metric] = ()
    params: Sequence[Param] = ()  # a value that differs from the stored one is refused
    tags: Sequence[RunTag] = ()  # a value replaces the stored one
    dataset: DatasetInput | None = None
    status: str | None = None  # FINISHED, FAILED or KILLED ends the run


class RunWriter(Protocol):
    """Writes runs to a store.

    Methods raise MlflowException or SQLAlchemyError.
    """

    def create_run(self, experiment_id: str, name: str, tags: Mapping[str, str]) -> CreatedRun:
        """Create a run with the status RUNNING."""

    def update_run(self, run_id: str, update: RunUpdate) -> None:
        """Write to an active run."""


class ClientWriter:
    """Writes runs through MLflow's client: one request per kind of row."""

    def __init__(self, client: MlflowClient) -> None:
        """Write through a client."""
        self._client = client

    def create_run(self, experiment_id: str, name: str, tags: Mapping[str, str]) -> CreatedRun:
        """Create a run with the status RUNNING."""
        info = self._client.create_run(experiment_id, tags=dict(tags), run_name=name).info
        return CreatedRun(info.run_id, info.artifact_uri)

    def update_run(self, run_id: str, update: RunUpdate) -> None:
        """Write to an active run. A call that fails can be repeated."""
        if update.dataset is not None:
            self._client.log_inputs(run_id, datasets=[update.dataset])
        metrics = list(update.metrics)
        first, rest = metrics[:VALUES_PER_CALL], metrics[VALUES_PER_CALL:]
        self._client.log_batch(run_id, first, list(update.params), list(update.tags))
        for start in range(0, len(rest), VALUES_PER_CALL):
            self._client.log_batch(run_id, rest[start : start + VALUES_PER_CALL])
        if update.status is not None:
            self._client.set_terminated(run_id, update.status)
