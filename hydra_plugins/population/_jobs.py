"""What Hydra's `run_job` does before and after a job, for jobs that train together."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import CompactHydraException
from hydra.experimental.callback import Callback
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from hydra_plugins.population._compose import Composer
from hydra_plugins.population._folder import FolderWriter
from pipeline.composed import task_part
from pipeline.execution.job import JobRun
from pipeline.execution.spec import JobSpec
from pipeline.hydra_compat import set_job_config
from pipeline.session import job_return_value


class ComposedJobReturn(JobReturn):
    """A JobReturn whose configurations are composed when they are read.

    A configuration takes about 100 kB. Most sweepers and callbacks read none.
    """

    def __init__(self, composer: Composer, overrides: Sequence[str], number: int) -> None:
        """Describe a job that has been opened."""
        self._composer, self._lines, self._number = composer, overrides, number
        super().__init__(working_dir=str(Path.cwd()))

    @property
    def hydra_cfg(self) -> DictConfig | None:
        """The whole configuration of the job."""
        config = self._composer.compose(self._lines)
        set_number(config, self._number)
        return config

    @hydra_cfg.setter
    def hydra_cfg(self, _: DictConfig | None) -> None:
        """Do nothing: the initialisation of the dataclass sets None."""

    @property
    def cfg(self) -> DictConfig | None:
        """The configuration of the job without Hydra's own node."""
        config = self.hydra_cfg
        return None if config is None else task_part(config)

    @cfg.setter
    def cfg(self, _: DictConfig | None) -> None:
        """Do nothing: the initialisation of the dataclass sets None."""


def set_number(config: DictConfig, number: int) -> Path:
    """Set the number and the output folder of a job; returns the folder."""
    with read_write(config.hydra), open_dict(config.hydra):
        config.hydra.job.id = config.hydra.job.num = number
        folder = Path(config.hydra.sweep.dir, config.hydra.sweep.subdir).absolute()
        config.hydra.runtime.output_dir = str(folder)
    return folder


class JobOpener:
    """Opens and closes the jobs of a sweep.

    Attributes:
        composer: of the jobs.
    """

    def __init__(
        self, composer: Composer, context: HydraContext, task_function: TaskFunction
    ) -> None:
        """Open jobs that `composer` composes."""
        self.composer, self._context, self._function = composer, context, task_function
        self._folders = FolderWriter()

    def open(self, number: int, overrides: Sequence[str]) -> tuple[JobSpec, JobReturn]:
        """Create a job's folder, its .hydra/ and its log, and call `on_job_start`.

        Raises:
            OSError: the folder cannot be written.
            CompactHydraException: an interpolation cannot be resolved.
        """
        values = self.composer.values(overrides)
        config, task = self.composer.compose_shared(overrides)
        set_job_config(config)
        folder = set_number(config, number)
        job_return = ComposedJobReturn(self.composer, overrides, number)
        job_return.task_name = config.hydra.job.name
        job_return.overrides = list(config.hydra.overrides.task)
        self._folders.write(folder, config, task)
        self._context.callbacks.on_job_start(config=config, task_function=self._function)
        return JobSpec(number, values, folder, _job_log(config)), job_return

    def close(self, job_return: JobReturn, run: JobRun) -> None:
        """Fill in the job's return value or its error, and call `on_job_end`."""
        if run.error is None:
            job_return.status = JobStatus.COMPLETED
            job_return.return_value = job_return_value(run)
        else:
            job_return.status = JobStatus.FAILED
            job_return.return_value = CompactHydraException(str(run.error))
        callbacks = self._context.callbacks
        if any(type(each).on_job_end is not Callback.on_job_end for each in callbacks.callbacks):
            assert job_return.hydra_cfg is not None
            callbacks.on_job_end(config=job_return.hydra_cfg, job_return=job_return)


@contextmanager
def sweep_folder_errors() -> Iterator[None]:
    """Turn an OSError into one sentence about the folder of the sweep.

    Raises:
        CompactHydraException: the folder cannot be written.
    """
    try:
        yield
    except CompactHydraException:  # some of Hydra's exceptions are OSErrors too
        raise
    except OSError as error:
        raise CompactHydraException(
            f"the folder of the sweep cannot be written ({error}): free some space there, or set "
            "PIPELINE_OUTPUTS to another folder"
        ) from error


def _job_log(config: DictConfig) -> logging.Logger:
    """A logger that writes to the job's own file, as hydra.job_logging describes it."""
    logger = logging.Logger("pipeline")
    file = OmegaConf.select(config, "hydra.job_logging.handlers.file")
    if file is not None:
        handler = logging.FileHandler(file.filename, delay=True)
        pattern = config.hydra.job_logging.formatters[file.formatter].format
        handler.setFormatter(logging.Formatter(pattern))
        logger.addHandler(handler)
    return logger
