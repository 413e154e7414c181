"""The artifacts of runs: files that MLflow keeps beside the metrics and parameters."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from pipeline.files import temporary_folder
from pipeline.shutdown import defer_signals
from pipeline.tracking import locations, mlflow_compat
from pipeline.tracking.errors import TrackingError, translate_errors


class RunArtifacts:
    """The artifacts of the runs of a store."""

    def __init__(self, client: MlflowClient, uri: str, root: Path | None) -> None:
        """Find artifacts with a client.

        Args:
            client: of the store.
            uri: of the store, for error messages and copies.
            root: the folder in which a sqlite store keeps artifacts; None for another store.
        """
        self._client, self.uri, self._root = client, uri, root
        self._uris: dict[str, str] = {}  # of the runs that were written or read

    @translate_errors("store the artifacts of a run")
    def upload(self, run_id: str, folder: Path) -> None:
        """Store the files of a folder as artifacts of a run."""
        mlflow_compat.upload(folder, self.uri_of(run_id), self.uri)

    @contextmanager
    def folder(self, run_id: str, parent: Path) -> Iterator[Path]:
        """A folder whose files become artifacts of a run at the end of the `with` block.

        Args:
            run_id: of the run.
            parent: gets a temporary folder if the artifacts are not on this machine.

        Raises:
            TrackingError: the store cannot be reached.
            OSError: the folder cannot be created.
        """
        own = self.local_folder(run_id)
        if own is not None:
            own.mkdir(parents=True, exist_ok=True)
            yield own
        else:
            with temporary_folder(parent) as folder:
                yield folder
                self.upload(run_id, folder)

    def local_folder(self, run_id: str) -> Path | None:
        """The folder of a run's artifacts; None if they are not on this machine."""
        parts = urlsplit(self.uri_of(run_id))
        return Path(unquote(parts.path)) if parts.scheme in ("", "file") else None

    def download(self, run_id: str, name: str, folder: Path) -> Path:
        """Copy an artifact of a run into a folder; returns the path of the copy.

        Raises:
            TrackingError: the run has no such artifact.
        """
        try:
            with defer_signals():
                location = self.uri_of(run_id)
                return mlflow_compat.download(location, name, folder, self.uri)
        except (MlflowException, OSError) as error:
            raise TrackingError(f"run {run_id} has no artifact {name}: {error}") from error

    def uri_of(self, run_id: str) -> str:
        """The location of a run's artifacts."""
        if run_id not in self._uris:
            self.remember(run_id, self._client.get_run(run_id).info.artifact_uri)
        return self._uris[run_id]

    def remember(self, run_id: str, location: str) -> None:
        """Save the request that would ask for the location of a run's artifacts."""
        if self._root is not None and not locations.exists(location):
            location = locations.relocate(location, self._root)
        self._uris[run_id] = location
