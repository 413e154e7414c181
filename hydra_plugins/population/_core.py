"""The population launcher's work: compose the jobs, open them, train them together, close them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import fields
from typing import TYPE_CHECKING

import joblib
from hydra.core.utils import JobReturn, configure_log, setup_globals
from hydra.errors import CompactHydraException
from omegaconf import DictConfig

from hydra_plugins.population._compose import Composer
from hydra_plugins.population._jobs import close_job, open_job, sweep_folder_errors, task_part
from pipeline.config import LauncherConfig, parse_job, parse_launcher
from pipeline.errors import ConfigError, PipelineError
from pipeline.execution.plan import start_workers
from pipeline.execution.run import dry_run, train_jobs
from pipeline.hydra_compat import job_config, set_job_config
from pipeline.report.report import load_libraries
from pipeline.session import plain_values, run_context, tracking_config
from pipeline.shutdown import reraise_pending_signal

if TYPE_CHECKING:
    from hydra_plugins.population.launcher import PopulationLauncher
    from pipeline.execution.local import Backend


def launch(
    launcher: PopulationLauncher, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
) -> list[JobReturn]:
    """Train the jobs; a job that fails becomes a failed JobReturn.

    Raises:
        CompactHydraException: a value is wrong, or the store or cluster cannot be reached.
    """
    setup_globals()
    hydra_config = launcher.config.hydra
    configure_log(hydra_config.hydra_logging, hydra_config.verbose)
    composer = Composer(launcher.hydra_context.config_loader, launcher.config)
    configs = [composer.compose(overrides) for overrides in job_overrides]
    with one_sentence():
        values = launcher_config(launcher)
        if values.dry_run:
            jobs = [parse_job(plain_values(task_part(config))) for config in configs]
            print(*dry_run(jobs, _cores(values), values.memory, values.halving_rule), sep="\n")
            return []
        with _elsewhere(launcher, values.memory) as elsewhere:
            return _train(launcher, configs, initial_job_idx, values, elsewhere)


def _train(
    launcher: PopulationLauncher,
    configs: Sequence[DictConfig],
    initial_job_idx: int,
    values: LauncherConfig,
    elsewhere: Backend | None,
) -> list[JobReturn]:
    cores = _cores(values)
    # Slow starts run in a thread while this one writes the folders of the jobs.
    ahead = ThreadPoolExecutor(1)
    if elsewhere is None:
        ahead.submit(start_workers, min(cores, len(configs)))
    ahead.submit(load_libraries)
    ahead.shutdown(wait=False)  # a search launches often, so each launch ends its own thread
    context, function = launcher.hydra_context, launcher.task_function
    before = job_config()
    try:
        with sweep_folder_errors():
            jobs = [
                open_job(config, number, context, function)
                for number, config in enumerate(configs, initial_job_idx)
            ]
    finally:
        set_job_config(before)
    with reraise_pending_signal():
        where = run_context(launcher.config, launcher.config.hydra)
        specs = [spec for spec, _ in jobs]
        runs = train_jobs(specs, where, cores, values.memory, values.halving_rule, elsewhere)
    for config, (_, job_return), run in zip(configs, jobs, runs, strict=True):
        close_job(config, job_return, run, context)
    return [job_return for _, job_return in jobs]


def _cores(values: LauncherConfig) -> int:
    """How many shards train at the same time."""
    return values.shards or int(joblib.cpu_count())


def launcher_config(launcher: PopulationLauncher) -> LauncherConfig:
    """The checked values of hydra.launcher.

    Raises:
        ConfigError: a value is wrong, or does not fit the backend.
    """
    names = [field.name for field in fields(LauncherConfig)]
    values = {name: getattr(launcher, name) for name in names}
    if isinstance(launcher.halving, DictConfig):
        values["halving"] = plain_values(launcher.halving)
    config = parse_launcher(values)
    _check_backend(config)
    return config


def _check_backend(launcher: LauncherConfig) -> None:
    """Refuse an unknown backend, and values that do not apply to the chosen one.

    Raises:
        ConfigError: a value does not fit the backend.
    """
    if launcher.backend not in ("joblib", "dask"):
        raise ConfigError(
            f"hydra.launcher.backend must be joblib or dask, not {launcher.backend!r}"
        )
    if launcher.backend == "dask" and launcher.scheduler is None:
        raise ConfigError(
            "hydra.launcher.backend=dask needs the address of a scheduler: "
            "set hydra.launcher.scheduler=tcp://HOST:PORT"
        )
    if launcher.backend == "dask" and launcher.shards is not None:
        raise ConfigError(
            "hydra.launcher.shards applies only to backend=joblib; Dask runs one shard per worker"
        )
    if launcher.backend == "dask" and launcher.halving_rule is not None:
        raise ConfigError(
            "hydra.launcher.halving applies only to backend=joblib, because on a cluster the "
            "shards of a sweep do not wait for each other at a rung"
        )
    if launcher.backend == "joblib" and launcher.scheduler is not None:
        raise ConfigError("hydra.launcher.scheduler needs hydra.launcher.backend=dask")


@contextmanager
def _elsewhere(launcher: PopulationLauncher, memory: int | None) -> Iterator[Backend | None]:
    """A connection to the cluster, if the backend is one."""
    if launcher.scheduler is None:
        yield None
        return
    from pipeline.execution.dask.backend import on_cluster

    uri = tracking_config(launcher.config).uri
    with on_cluster(launcher.scheduler, uri, memory) as elsewhere:
        yield elsewhere


@contextmanager
def one_sentence() -> Iterator[None]:
    """Turn this project's errors into Hydra's, which it prints without a traceback.

    Raises:
        CompactHydraException: a PipelineError was raised.
    """
    try:
        yield
    except PipelineError as error:
        raise CompactHydraException(str(error)) from error
