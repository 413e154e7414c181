"""The datasets of a command: loaded and compared with the jobs before the first run is created."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from pipeline.config import Job, check_batch_size
from pipeline.data.dataset import Dataset
from pipeline.data.load import load
from pipeline.errors import ConfigError, DataError, PipelineError
from pipeline.execution.plan import check_size
from pipeline.hyperparameters import Hyperparameters


class Datasets:
    """Loads datasets. A dataset that was loaded for a check is trained on without another load."""

    def __init__(self) -> None:
        """Start without a dataset."""
        self._loaded: dict[str, Dataset] = {}  # by `Job.data_key`

    def check(self, jobs: Sequence[Job]) -> None:
        """Load the dataset of jobs, and check that they can be trained on it.

        Raises:
            PipelineError: the dataset cannot be loaded, or a job does not fit it.
        """
        groups: dict[str, list[Job]] = defaultdict(list)
        for job in jobs:
            groups[str(job.data)].append(job)
        for group in groups.values():
            # One dtype suffices: values that are finite as float32 are finite as float64.
            data = self.get(min(group, key=lambda job: job.hyperparameters.dtype))
            for job in group:
                check_job(job.hyperparameters, data)

    def get(self, job: Job) -> Dataset:
        """The dataset of a job, which stays in memory until `take`.

        Raises:
            PipelineError: it cannot be loaded.
        """
        if job.data_key not in self._loaded:
            self._loaded[job.data_key] = _load(job)
        return self._loaded[job.data_key]

    def take(self, job: Job) -> Dataset:
        """The dataset of a job, whose memory the caller can release.

        Raises:
            PipelineError: it cannot be loaded.
        """
        return self._loaded.pop(job.data_key, None) or _load(job)


def check_job(job: Hyperparameters, data: Dataset) -> None:
    """Refuse a job that cannot be trained on a dataset, or on this machine.

    Raises:
        ConfigError: a mini-batch is larger than the training set, an option for images is set for
            other rows, or the model is larger than the memory.
    """
    check_batch_size(job, len(data.y_train))
    if data.image_shape is None and (job.flip or job.shift):
        option = "flip=true mirrors" if job.flip else f"shift={job.shift} shifts"
        raise ConfigError(f"{option} images, but the rows of {data.name} are no images")
    check_size(job, data.X_train.shape[1], len(data.classes))


def _load(job: Job) -> Dataset:
    try:
        return load(job.data, job.hyperparameters.dtype)
    except PipelineError:
        raise
    except Exception as error:  # a lack of memory, or an error of a library that reads files
        text = " ".join(str(error).split())
        raise DataError(
            f"{job.data.name} cannot be loaded ({type(error).__name__}: {text}): correct its "
            "files, or free some memory"
        ) from error
