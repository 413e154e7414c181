"""What Hydra's `run_job` does before and after a job, for jobs that train together."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import CompactHydraException
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from pipeline.composed import job_values, task_part
from pipeline.execution.job import JobRun
from pipeline.execution.spec import JobSpec
from pipeline.hydra_compat import represent_str, set_job_config
from pipeline.session import job_return_value


def open_job(
    config: DictConfig, number: int, context: HydraContext, task_function: TaskFunction
) -> tuple[JobSpec, JobReturn]:
    """Create a job's folder, its .hydra/ and its log, and call `on_job_start`.

    Raises:
        OSError: the folder cannot be written.
        CompactHydraException: an interpolation cannot be resolved.
    """
    set_job_config(config)
    with read_write(config.hydra), open_dict(config.hydra):
        config.hydra.job.id = config.hydra.job.num = number
        folder = Path(config.hydra.sweep.dir, config.hydra.sweep.subdir).absolute()
        config.hydra.runtime.output_dir = str(folder)
    task_config = task_part(config)
    job_return = JobReturn(
        overrides=list(config.hydra.overrides.task),
        cfg=task_config,
        hydra_cfg=config,
        working_dir=str(Path.cwd()),
        task_name=config.hydra.job.name,
    )
    folder.mkdir(parents=True, exist_ok=True)
    if config.hydra.output_subdir is not None:
        saved = folder / config.hydra.output_subdir
        saved.mkdir(exist_ok=True)
        _save(task_config, saved / "config.yaml")
        _save(config.hydra, saved / "hydra.yaml", key="hydra")
        _save(config.hydra.overrides.task, saved / "overrides.yaml")
    context.callbacks.on_job_start(config=config, task_function=task_function)
    return JobSpec(number, job_values(task_config), folder, _job_log(config)), job_return


def close_job(
    config: DictConfig, job_return: JobReturn, run: JobRun, context: HydraContext
) -> None:
    """Fill in the job's return value or its error, and call `on_job_end`."""
    if run.error is None:
        job_return.status = JobStatus.COMPLETED
        job_return.return_value = job_return_value(run)
    else:
        job_return.status = JobStatus.FAILED
        job_return.return_value = CompactHydraException(str(run.error))
    context.callbacks.on_job_end(config=config, job_return=job_return)


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


class _Dumper(getattr(yaml, "CDumper", yaml.Dumper)):  # type: ignore[misc]
    """Writes OmegaConf's YAML with libyaml, which is faster and breaks long lines differently."""


_Dumper.add_representer(str, represent_str)


def _save(config: DictConfig, path: Path, key: str | None = None) -> None:
    """Write a node as OmegaConf.save does, below `key` if one is given."""
    values = OmegaConf.to_container(config, enum_to_str=True)
    text = yaml.dump(
        values if key is None else {key: values},
        default_flow_style=False,
        allow_unicode=True,
        sort_keys=False,
        Dumper=_Dumper,
    )
    path.write_text(text, encoding="utf-8")


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
