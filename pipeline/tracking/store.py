"""An MLflow store: opens it and writes the runs of sweeps and jobs.

A sweep is a parent run; each of its jobs is a nested run. `queries` reads them.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException

from pipeline.tracking import locations, mlflow_compat, sqlite
from pipeline.tracking.entities import SOURCE, DatasetInfo, Point, Sweep
from pipeline.tracking.errors import STORE_ERRORS, TrackingError, reason, translate_errors
from pipeline.tracking.provenance import heartbeat_tags, provenance
from pipeline.tracking.run_artifacts import RunArtifacts
from pipeline.tracking.writer import ClientWriter, RunUpdate, RunWriter
from pipeline.uris import redact

HEALTH_SECONDS = 10  # within which a tracking server must answer; MLflow would retry for minutes
REUSED_PER_TAG = 150  # run IDs that fit into a tag
NOTE_LENGTH = 5000  # characters that every MLflow store accepts in a tag
# MLflow's UI opens experiments with this tag on its view of model training.
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}


class Store:
    """An MLflow tracking store: a sqlite file on this machine, or a server.

    Attributes:
        uri: as MLflow takes it.
        client: MLflow's client of the store.
        artifacts: the artifacts of its runs.
    """

    def __init__(self, uri: str) -> None:
        """Open the store. A sqlite store that does not exist is created.

        Raises:
            TrackingError: the store cannot be opened, or the server does not answer.
        """
        self.uri = uri
        self._artifact_root: Path | None = None  # where a sqlite store keeps artifacts
        try:
            if uri.startswith("sqlite:"):
                self._artifact_root = sqlite.open_database(uri)
            elif uri.startswith("http"):
                mlflow_compat.check_health(uri, HEALTH_SECONDS)
            self.client = MlflowClient(uri)
            self.client.search_experiments(max_results=1)
            self._writer = self._create_writer()
            self.artifacts = RunArtifacts(self.client, uri, self._artifact_root)
        except STORE_ERRORS as error:
            raise TrackingError(
                f"the MLflow store at tracking.uri={uri} cannot be opened ({reason(error)}): "
                "start the server, or set tracking.uri to another store"
            ) from error

    @classmethod
    def open_existing(cls, uri: str) -> Store:
        """Open a store for reading. No store is created.

        Raises:
            TrackingError: the store does not exist or cannot be opened.
        """
        if uri.startswith("sqlite:") and not sqlite.database_path(uri).exists():
            raise TrackingError(
                f"there is no store at {sqlite.database_path(uri)} yet: start a sweep with "
                "pipeline -m …, or name another store with --tracking-uri"
            )
        return cls(uri)

    @translate_errors("create the experiment")
    def ensure_experiment(self, name: str) -> str:
        """The ID of an experiment, which is created if necessary.

        Raises:
            TrackingError: the experiment has been deleted in MLflow.
        """
        found = self.client.get_experiment_by_name(name)
        if found is None:
            root = self._artifact_root
            location = (root / locations.folder_name(name)).as_uri() if root else None
            try:
                return str(self.client.create_experiment(name, location, EXPERIMENT_TAGS))
            except MlflowException:  # another process may have created it first
                found = self.client.get_experiment_by_name(name)
                if found is None:
                    raise
        if found.lifecycle_stage != "active":
            raise TrackingError(
                f"the experiment {name!r} has been deleted in MLflow: restore it with "
                f"{self.command(f'experiments restore -x {found.experiment_id}')}, or set "
                "tracking.experiment to another name"
            )
        return str(found.experiment_id)

    @translate_errors("create the run of the sweep")
    def start_sweep(
        self,
        experiment_id: str,
        name: str,
        command: str,
        num_jobs: int | None = None,
        swept: Sequence[str] = (),
    ) -> Sweep:
        """Create the parent run of a sweep.

        Args:
            experiment_id: of the experiment that receives the run.
            name: the ID of the sweep.
            command: the shell command that started it.
            num_jobs: the number of jobs that it is going to run; None: unknown.
            swept: the names of the hyperparameters in which its jobs differ.
        """
        command = redact(command)
        tags = {"kind": "sweep", "sweep": name, "command": command}
        tags |= {} if num_jobs is None else {"num_jobs": str(num_jobs)}
        tags |= {"swept": ",".join(swept)} if swept else {}
        run_id = self._create_run(experiment_id, f"sweep {name}", tags)
        known = run_id, experiment_id, command
        return Sweep(name, *known, num_jobs=num_jobs, swept=tuple(swept))

    @translate_errors("log the search space of the sweep")
    def log_search_space(self, sweep: Sweep, intervals: Mapping[str, Mapping[str, Any]]) -> Sweep:
        """Record which intervals a sampler searches; returns the sweep with these intervals."""
        self._set_tags(sweep.run_id, {"searched": json.dumps(intervals)})
        return replace(sweep, searched=intervals)

    @translate_errors("log the number of jobs of the sweep")
    def log_num_jobs(self, sweep: Sweep, num_jobs: int) -> Sweep:
        """Change the number of jobs of a sweep that ends early on purpose; returns the sweep."""
        self._set_tags(sweep.run_id, {"num_jobs": str(num_jobs)})
        return replace(sweep, num_jobs=num_jobs)

    @translate_errors("log the cores of the sweep")
    def log_cores(self, sweep: Sweep, cores: int) -> None:
        """Record how many threads train the jobs of a sweep at the same time."""
        self._set_tags(sweep.run_id, {"cores": str(cores)})

    @translate_errors("log the reused runs of the sweep")
    def link_reused_runs(self, sweep: Sweep, runs: Mapping[int, str]) -> None:
        """Record finished runs that replace jobs of a sweep: run IDs by the number of the job."""
        numbers = sorted(runs)
        parts = [
            numbers[start : start + REUSED_PER_TAG]
            for start in range(0, len(numbers), REUSED_PER_TAG)
        ]
        tags = {
            f"reused.{part[0]}": json.dumps({number: runs[number] for number in part})
            for part in parts
        }
        self._set_tags(sweep.run_id, tags)

    @translate_errors("log the summary of the sweep")
    def log_summary(self, sweep: Sweep, markdown: str, best_run_id: str | None) -> None:
        """Show a text on the page of the sweep in MLflow's UI, and tag the best run."""
        self._set_tags(sweep.run_id, {"mlflow.note.content": markdown[:NOTE_LENGTH]})
        if best_run_id is not None:
            self._set_tags(best_run_id, {"chosen": sweep.name})

    @translate_errors("delete a run")
    def delete_run(self, run_id: str) -> None:
        """Delete a run. MLflow keeps it with the deleted ones."""
        self.client.delete_run(run_id)

    @translate_errors("create a run")
    def start_run(
        self, experiment_id: str, name: str, tags: Mapping[str, str], sweep: Sweep | None
    ) -> str:
        """Create the run of a job with the status RUNNING, nested in its sweep; returns its ID."""
        nested = {"sweep": sweep.name, "mlflow.parentRunId": sweep.run_id} if sweep else {}
        return self._create_run(experiment_id, name, {"kind": "job", **tags, **nested})

    @translate_errors("log metrics, parameters and tags of a run")
    def log(
        self,
        run_id: str,
        points: Sequence[Point] = (),
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        *,
        dataset: DatasetInfo | None = None,
        status: str | None = None,
    ) -> None:
        """Write to a run. A call that fails can be repeated.

        Args:
            run_id: of the run.
            points: values of metrics.
            params: parameters, which cannot change later.
            tags: tags; a new value replaces an earlier one.
            dataset: the training data.
            status: FINISHED, FAILED or KILLED ends the run; None: it continues.
        """
        metrics = [
            Metric(key, value, point.milliseconds, point.epoch)
            for point in points
            for key, value in point.values.items()
        ]
        self._writer.update_run(
            run_id,
            RunUpdate(
                metrics,
                [Param(key, str(value)) for key, value in (params or {}).items()],
                [RunTag(key, value) for key, value in (tags or {}).items()],
                None if dataset is None else _dataset_input(dataset),
                status,
            ),
        )

    @translate_errors("end a run")
    def end_run(self, run_id: str, status: str) -> None:
        """End a run with the status FINISHED, FAILED or KILLED."""
        self._writer.update_run(run_id, RunUpdate(status=status))

    @translate_errors("log the heartbeat of a run")
    def heartbeat(self, run_id: str) -> None:
        """Record in a run that this process is alive."""
        self._set_tags(run_id, heartbeat_tags())

    @translate_errors("flush the written runs")
    def flush_to_disk(self) -> None:
        """Wait until a sqlite store is on the disk, so that a power failure loses nothing."""
        if self._artifact_root is not None:
            sqlite.flush_to_disk(self.uri)

    def search(
        self, query: str = "", experiment_id: str | None = None, page: int = 1000
    ) -> Iterator[Run]:
        """The runs of this project that match a filter, latest first.

        Args:
            query: a filter of `MlflowClient.search_runs`.
            experiment_id: of the experiment to search; None: all experiments.
            page: runs per request.
        """
        if experiment_id is not None:
            experiments = [experiment_id]
        else:
            experiments = [e.experiment_id for e in self.client.search_experiments()]
        own = f"tags.{SOURCE[0]} = '{SOURCE[1]}'"
        token = None
        while True:
            runs = self.client.search_runs(
                experiments,
                f"{query} AND {own}" if query else own,
                max_results=page,
                order_by=["attributes.start_time DESC"],
                page_token=token,
            )
            yield from runs
            token = runs.token
            if not token:
                return

    def command(self, arguments: str) -> str:
        """A shell command of MLflow on this store."""
        return f"MLFLOW_TRACKING_URI={shlex.quote(redact(self.uri))} mlflow {arguments}"

    def _create_writer(self) -> RunWriter:
        """The fastest way of writing that the store's schema allows."""
        if self._artifact_root is not None:
            from pipeline.tracking.sqlite_writer import REVISION, SqliteWriter

            if sqlite.schema_revision(self.uri) == REVISION:
                return SqliteWriter(self.uri)
        return ClientWriter(self.client)

    def _create_run(self, experiment_id: str, name: str, tags: Mapping[str, str]) -> str:
        all_tags = {**tags, **provenance(), **heartbeat_tags()}
        run = self._writer.create_run(experiment_id, name, all_tags)
        self.artifacts.remember(run.run_id, run.artifact_uri)
        return run.run_id

    def _set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        entities = [RunTag(key, value) for key, value in tags.items()]
        self._writer.update_run(run_id, RunUpdate(tags=entities))


def _dataset_input(dataset: DatasetInfo) -> DatasetInput:
    given = Dataset(dataset.name, dataset.digest, "local", dataset.source, profile=dataset.sizes)
    return DatasetInput(given, [InputTag("mlflow.data.context", "training")])
