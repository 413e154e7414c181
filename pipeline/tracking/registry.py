"""MLflow's Model Registry: registered models, their versions, and the alias `champion`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import mlflow
import numpy as np
import pandas as pd
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema, TensorSpec
from mlflow.types.schema import AnyType
from numpy.typing import NDArray

from pipeline.tracking.entities import SOURCE
from pipeline.tracking.errors import STORE_ERRORS, TrackingError, reason, translate_errors
from pipeline.tracking.store import Store

ALIAS = "champion"
CODE = Path(__file__).parent.parent / "serving" / "champion.py"


class Champion(NamedTuple):
    """A version of a registered model that has, or is to get, the alias `champion`."""

    name: str
    version: str
    run_id: str


class Registry:
    """The Model Registry of a store."""

    def __init__(self, store: Store) -> None:
        """Use the registry of a store."""
        self.uri = store.uri
        self._store = store
        self._client = store.client

    @translate_errors("find the champion")
    def champion(self, name: str | None = None) -> Champion | None:
        """The champion of a registered model.

        Without a name, the latest champion whose run belongs to this project.
        """
        versions = [
            self._client.get_model_version(model.name, model.aliases[ALIAS])
            for model in self._client.search_registered_models()
            if ALIAS in model.aliases and name in (None, model.name)
        ]
        versions.sort(key=lambda version: int(version.creation_timestamp), reverse=True)
        own = (v for v in versions if name is not None or self._is_own(v))
        found = next(own, None)
        return _as_champion(found) if found else None

    def _is_own(self, version: ModelVersion) -> bool:
        try:
            tags = self._client.get_run(str(version.run_id)).data.tags
        except MlflowException:  # the version has no run, or its run no longer exists
            return False
        return bool(tags.get(SOURCE[0]) == SOURCE[1])

    @translate_errors("register the model")
    def register(
        self,
        name: str,
        run_id: str,
        arrays: Mapping[str, NDArray[Any]],
        example: NDArray[Any] | pd.DataFrame,
        card: str,
    ) -> Champion:
        """Register the model of a run as a new version; `make_champion` gives it the alias.

        Args:
            name: of the registered model, which is created if necessary.
            run_id: of the run, which receives the files of the model as artifacts.
            arrays: the content of `model.npz`, which `pipeline.serving.champion` reads.
            example: some inputs that MLflow's UI shows: an array (n, …), or a table with named
                columns.
            card: the description of the model, in Markdown.
        """
        outputs = [
            TensorSpec(np.dtype(str), (-1,), "class"),
            TensorSpec(np.dtype(np.float64), (-1, len(arrays["classes"])), "probabilities"),
        ]
        with tempfile.TemporaryDirectory() as folder:
            np.savez(Path(folder, "model.npz"), allow_pickle=False, **arrays)
            mlflow.pyfunc.save_model(
                Path(folder, "artifacts", "model"),
                python_model=str(CODE),
                artifacts={"model": str(Path(folder, "model.npz"))},
                signature=ModelSignature(_input_schema(example), Schema([*outputs])),
                input_example=example,
                pip_requirements=[
                    f"{library.__name__}=={library.__version__}" for library in (mlflow, np, pd)
                ],
            )
            self._store.artifacts.upload(run_id, Path(folder, "artifacts"))
        try:
            self._client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        source = f"{self._store.artifacts.uri_of(run_id)}/model"
        made = self._client.create_model_version(name, source, run_id, description=card)
        return _as_champion(made)

    @translate_errors("move the alias of the registered model")
    def make_champion(self, version: Champion, card: str) -> None:
        """Move the alias `champion` to a version, and show its card with the registered model."""
        self._client.set_registered_model_alias(version.name, ALIAS, version.version)
        self._client.update_registered_model(version.name, card)

    @translate_errors("delete the version of the registered model")
    def delete(self, version: Champion) -> None:
        """Delete a version that is not the champion."""
        self._client.delete_model_version(version.name, version.version)

    def load(self, version: Champion, check: Callable[[Path], None] | None = None) -> Any:
        """Load a version as MLflow's pyfunc model.

        Args:
            version: of a registered model.
            check: raises a `PipelineError` if MLflow must not load the files in the given folder.
                None: load them without a check, and run their code.

        Raises:
            TrackingError: its files cannot be read.
            PipelineError: `check` has refused the files.
        """
        mlflow.set_tracking_uri(self.uri)
        address = f"models:/{version.name}/{version.version}"
        with tempfile.TemporaryDirectory() as folder:
            try:
                files = mlflow.artifacts.download_artifacts(address, dst_path=folder)
                if check is not None:
                    check(Path(files))
                return mlflow.pyfunc.load_model(files)
            except STORE_ERRORS as error:
                raise TrackingError(
                    f"could not load {address} ({reason(error)}): its files may have been deleted; "
                    "replace it with pipeline-promote --force"
                ) from error


def _input_schema(example: NDArray[Any] | pd.DataFrame) -> Schema:
    """Describe the input: an array of any length, or columns of any type that may be missing."""
    if isinstance(example, pd.DataFrame):
        anything = AnyType()  # type: ignore[no-untyped-call]
        return Schema([ColSpec(anything, str(name), required=False) for name in example.columns])
    return Schema([TensorSpec(example.dtype, (-1, *example.shape[1:]))])


def _as_champion(version: ModelVersion) -> Champion:
    return Champion(version.name, str(version.version), str(version.run_id))
