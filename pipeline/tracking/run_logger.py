"""Buffers the metrics, parameters and tags of one MLflow run, and writes them in few calls."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from pipeline.tracking.entities import DatasetInfo, Point, Sweep
from pipeline.tracking.store import Store


class RunLogger:
    """Writes one MLflow run.

    The `add_…` methods only fill a buffer. `flush` sends the buffer in one call. A `flush` that
    fails can be repeated: the buffer is cleared only after the store has accepted it, and MLflow
    stores a value that it receives twice once.
    """

    def __init__(self, store: Store, experiment_id: str, sweep: Sweep | None, name: str) -> None:
        """Prepare a run that does not exist yet; `open` creates it.

        Args:
            store: the MLflow store.
            experiment_id: the experiment of the run.
            sweep: the sweep that the run belongs to; None for a single run.
            name: the run's name in the UI.
        """
        self.name = name
        self.run_id = ""  # empty until the run is open
        self._store, self._experiment_id, self._sweep = store, experiment_id, sweep
        self._points: list[Point] = []
        self._params: dict[str, Any] = {}
        self._tags: dict[str, str] = {}
        self._dataset: DatasetInfo | None = None

    @property
    def has_pending_metrics(self) -> bool:
        """Whether `flush` has metrics or parameters to send."""
        return bool(self._points or self._params)

    def add_point(self, point: Point) -> None:
        """Buffer the metrics of one epoch."""
        self._points.append(point)

    def add_params(self, params: Mapping[str, Any]) -> None:
        """Buffer parameters."""
        self._params |= params

    def add_tags(self, tags: Mapping[str, str]) -> None:
        """Buffer tags; of two values for one key the later one counts."""
        self._tags |= tags

    def set_dataset(self, dataset: DatasetInfo) -> None:
        """Buffer the dataset of the run."""
        self._dataset = dataset

    def open(self) -> None:
        """Create the run with status RUNNING and the buffered tags, unless it exists.

        Raises:
            TrackingError: the store cannot be reached.
        """
        if not self.run_id:
            self.run_id = self._store.start_run(
                self._experiment_id, self.name, self._tags, self._sweep
            )
            self._tags = {}

    def flush(self, status: str | None = None) -> None:
        """Send the buffer, and create the run first if needed.

        Args:
            status: FINISHED, FAILED or KILLED ends the run; None: it continues.

        Raises:
            TrackingError: the store cannot be reached.
        """
        self.open()
        buffered = self._points, self._params, self._tags
        self._store.log(self.run_id, *buffered, dataset=self._dataset, status=status)
        self._points, self._params, self._tags, self._dataset = [], {}, {}, None

    def artifact_folder(self, parent: Path) -> AbstractContextManager[Path]:
        """A folder whose files become artifacts of the run at the end of the `with` block.

        Args:
            parent: gets a temporary folder if the artifacts are not on this machine.

        Raises:
            TrackingError: the store cannot be reached.
            OSError: the folder cannot be created.
        """
        return self._store.artifacts.folder(self.run_id, parent)
