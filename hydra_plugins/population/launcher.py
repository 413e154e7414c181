"""The population launcher: the jobs of a grid train together, each an ordinary Hydra job."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

import joblib
import yaml
from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus, configure_log, setup_globals
from hydra.errors import CompactHydraException
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf._utils import OmegaConfDumper

from hydra_plugins.population.compose import Composer

if TYPE_CHECKING:
    from pipeline.config import Halving
    from pipeline.execution.job import JobRun, JobSpec
    from pipeline.execution.local import Backend


class PopulationLauncher(Launcher):
    """Trains all jobs of a sweep in this process and its workers."""

    config: DictConfig
    task_function: TaskFunction
    hydra_context: HydraContext

    def __init__(
        self,
        shards: int | None,
        max_memory: float | None,
        halving: DictConfig | None,
        backend: str,
        scheduler: str | None,
        dry_run: bool,
    ) -> None:
        """Take the values of conf/hydra/launcher/population.yaml."""
        self.backend = backend
        self.scheduler = scheduler
        self.shards = shards
        self.max_memory = max_memory
        self.halving = halving
        self.dry_run = dry_run

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Take what Hydra hands to a launcher."""
        self.hydra_context = hydra_context
        self.task_function = task_function
        self.config = config

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Train the jobs; a failed one is a failed JobReturn, in its context."""
        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        composer = Composer(self.hydra_context.config_loader, self.config)
        configs = [composer.compose(overrides) for overrides in job_overrides]
        cores, memory, halving = self._limits()
        if self.dry_run:
            self._print_plan(configs, cores, memory, halving)
            return []
        with self._elsewhere(memory) as elsewhere:
            return self._train(configs, initial_job_idx, cores, memory, halving, elsewhere)

    def _train(
        self,
        configs: Sequence[DictConfig],
        initial_job_idx: int,
        cores: int,
        memory: int | None,
        halving: Halving | None,
        elsewhere: Backend | None,
    ) -> list[JobReturn]:
        from pipeline.__main__ import context_of
        from pipeline.errors import PipelineError
        from pipeline.execution.plan import start_workers
        from pipeline.execution.run import train_jobs
        from pipeline.report.report import load_libraries
        from pipeline.shutdown import reraise_pending_signal

        # While this thread writes files and waits for training:
        ahead = ThreadPoolExecutor(1)
        if elsewhere is None:
            ahead.submit(start_workers, min(cores, len(configs)))
        ahead.submit(load_libraries)
        ahead.shutdown(wait=False)  # a search launches often: its thread ends with its work
        before = HydraConfig.instance().cfg
        try:
            with writing():
                jobs = [self._open(config, i) for i, config in enumerate(configs, initial_job_idx)]
        finally:
            HydraConfig.instance().cfg = before
        try:
            with reraise_pending_signal():
                context = context_of(self.config, self.config.hydra)
                specs = [spec for spec, _ in jobs]
                runs = train_jobs(specs, context, cores, memory, halving, elsewhere)
        except PipelineError as error:
            raise CompactHydraException(str(error)) from error
        for config, (_, job_return), run in zip(configs, jobs, runs, strict=True):
            self._close(config, job_return, run)
        return [job_return for _, job_return in jobs]

    def _limits(self) -> tuple[int, int | None, Halving | None]:
        """Shards at once, bytes of memory, and which jobs stop early."""
        from pipeline.config import Halving, check_real, check_whole
        from pipeline.errors import ConfigError, PipelineError

        try:
            if self.shards is not None:
                check_whole("hydra.launcher.shards", self.shards, least=1)
            if self.max_memory is not None:
                check_real("hydra.launcher.max_memory", self.max_memory, zero=False)
            halving = None
            if self.halving is not None and not OmegaConf.is_dict(self.halving):
                raise ConfigError(
                    f"hydra.launcher.halving has values of its own, and cannot be {self.halving}: "
                    "set hydra.launcher.halving.factor"
                )
            if self.halving is not None and self.halving.factor is not None:
                halving = Halving(self.halving.factor, self.halving.min_epochs)
            self._check_backend(halving)
        except PipelineError as error:
            raise CompactHydraException(str(error)) from error
        memory = None if self.max_memory is None else int(self.max_memory * 1e9)
        return self.shards or joblib.cpu_count(), memory, halving

    def _check_backend(self, halving: Halving | None) -> None:
        """Refuse a backend that is none, or not whole.

        Raises:
            ConfigError: it is so.
        """
        from pipeline.errors import ConfigError

        if self.backend not in ("joblib", "dask"):
            raise ConfigError(
                f"hydra.launcher.backend must be joblib or dask, not {self.backend!r}"
            )
        if self.backend == "dask" and not isinstance(self.scheduler, str):
            raise ConfigError(
                "hydra.launcher.backend=dask needs the address of a scheduler: "
                "set hydra.launcher.scheduler=tcp://HOST:PORT"
            )
        if self.backend == "dask" and self.shards is not None:
            raise ConfigError(
                "hydra.launcher.shards is of backend=joblib: as many shards train at once as the "
                "Dask cluster has workers"
            )
        if self.backend == "dask" and halving is not None:
            raise ConfigError(
                "hydra.launcher.halving is of backend=joblib: on a cluster the shards of a sweep "
                "do not wait for each other at a rung"
            )
        if self.backend == "joblib" and self.scheduler is not None:
            raise ConfigError("hydra.launcher.scheduler needs hydra.launcher.backend=dask")

    @contextmanager
    def _elsewhere(self, memory: int | None) -> Iterator[Backend | None]:
        """What trains on other machines, if the backend is such."""
        from pipeline.__main__ import tracking_of
        from pipeline.errors import PipelineError

        if self.scheduler is None:
            yield None
            return
        try:
            from pipeline.execution.dask.backend import on_cluster

            with on_cluster(self.scheduler, tracking_of(self.config).uri, memory) as elsewhere:
                yield elsewhere
        except PipelineError as error:
            raise CompactHydraException(str(error)) from error

    def _print_plan(
        self,
        configs: Sequence[DictConfig],
        cores: int,
        memory: int | None,
        halving: Halving | None,
    ) -> None:
        from pipeline.__main__ import resolved
        from pipeline.config import parse_job
        from pipeline.errors import PipelineError
        from pipeline.execution.run import dry_run

        try:
            jobs = [parse_job(resolved(_task_part(config))) for config in configs]
            print(*dry_run(jobs, cores, memory, halving), sep="\n")
        except PipelineError as error:
            raise CompactHydraException(str(error)) from error

    def _open(self, config: DictConfig, number: int) -> tuple[JobSpec, JobReturn]:
        """What Hydra's run_job does before it calls the task: folder, .hydra/, log, callbacks."""
        from pipeline.__main__ import resolved
        from pipeline.execution.job import JobSpec

        # HydraConfig.set_config would copy the whole node; this config belongs to this job alone.
        HydraConfig.instance().cfg = cast(HydraConf, config)
        with read_write(config.hydra), open_dict(config.hydra):
            config.hydra.job.id = config.hydra.job.num = number
            folder = Path(config.hydra.sweep.dir, config.hydra.sweep.subdir).absolute()
            config.hydra.runtime.output_dir = str(folder)
        task_config = _task_part(config)
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
        self.hydra_context.callbacks.on_job_start(config=config, task_function=self.task_function)
        return JobSpec(number, resolved(task_config), folder, _job_log(config)), job_return

    def _close(self, config: DictConfig, job_return: JobReturn, run: JobRun) -> None:
        """What Hydra's run_job does after the task."""
        from pipeline.__main__ import result_of

        if run.error is None:
            job_return.status = JobStatus.COMPLETED
            job_return.return_value = result_of(run)
        else:
            job_return.status = JobStatus.FAILED
            job_return.return_value = CompactHydraException(str(run.error))
        self.hydra_context.callbacks.on_job_end(config=config, job_return=job_return)


@contextmanager
def writing() -> Iterator[None]:
    """Make one sentence of what stands against writing the folders of a sweep and its jobs."""
    try:
        yield
    except CompactHydraException:  # some of Hydra's are OSErrors too
        raise
    except OSError as error:
        raise CompactHydraException(
            f"the folder of the sweep cannot be written ({error}): make room there, or set "
            "PIPELINE_OUTPUTS to another folder"
        ) from error


def _task_part(config: DictConfig) -> DictConfig:
    """A job's configuration without Hydra's own node."""
    part = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    OmegaConf.copy_cache(from_config=config, to_config=part)
    return part


class _Dumper(getattr(yaml, "CDumper", yaml.Dumper)):  # type: ignore[misc]
    """OmegaConf's YAML written by libyaml: faster, and long texts are folded elsewhere."""


_Dumper.add_representer(str, OmegaConfDumper.str_representer)


def _save(config: DictConfig, path: Path, key: str | None = None) -> None:
    """What OmegaConf.save writes, of a node or of a configuration that holds it as `key`."""
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
