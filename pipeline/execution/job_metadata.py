"""The name, tags and dataset of a job's MLflow run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.config import Job, short
from pipeline.data.dataset import Dataset
from pipeline.execution.fingerprint import fingerprint
from pipeline.hyperparameters import HYPERPARAMETERS
from pipeline.tracking.entities import DatasetInfo
from pipeline.uris import redact

SEARCHABLE = ("hidden_size", "l2_reg", "learning_rate", "seed")  # also written as tags of the run
NAMED = ("hidden_size", "learning_rate", "l2_reg")  # in the name of each run


def run_name(number: int, job: Job | None, swept: Sequence[str]) -> str:
    """The name of a job's run: the values in `NAMED`, all swept values, and the seed.

    A job whose configuration was rejected only has a number.
    """
    if job is None:
        return f"job {number}"
    others = [name for name in swept if name not in (*NAMED, "seed")]
    values = [
        f"{HYPERPARAMETERS[name].heading}={_text(getattr(job.hyperparameters, name))}"
        for name in (*NAMED, *others)
    ]
    return " ".join([*values, f"s{job.hyperparameters.seed}"])


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return short(value) if isinstance(value, float) else str(value)


def job_params(values: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a job's run: its hyperparameters and the name of its dataset."""
    params = {key: value for key, value in values.items() if not isinstance(value, Mapping)}
    data = values.get("data")
    return params | ({"data.name": data["name"]} if isinstance(data, Mapping) else {})


def job_tags(number: int, shard: str, values: Mapping[str, Any]) -> dict[str, str]:
    """The tags by which a job's run is found."""
    found = {key: str(values[key]) for key in SEARCHABLE if key in values}
    return {"job": str(number), **({"shard": shard} if shard else {}), **found}


def dataset_info(job: Job, data: Dataset) -> DatasetInfo:
    """The dataset, as MLflow's UI shows it."""
    source = job.data.file or job.data.dir or job.data.url or "scikit-learn"
    if job.data.id is not None:
        source = f"https://www.openml.org/d/{job.data.id}"
    return DatasetInfo(data.name, data.digest, redact(source), json.dumps(_sizes(data)))


def data_tags(job: Job, data: Dataset) -> dict[str, str]:
    """The tags that describe the dataset, and the fingerprint of the job on it."""
    return {
        "fingerprint": fingerprint(job.hyperparameters, data.digest),
        "dataset": data.name,
        "dataset_digest": data.digest,
        **({"test_digest": data.test_digest} if data.test_digest else {}),
        **{key: str(value) for key, value in _sizes(data).items()},
    }


def _sizes(data: Dataset) -> dict[str, int]:
    return {
        "num_train": len(data.y_train),
        "num_val": len(data.y_val),
        "num_features": data.X_train.shape[1],
        "num_classes": len(data.classes),
    }
