"""The population launcher's work: compose the jobs, open them, train them together, close them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import fields
from typing import TYPE_CHECKING

from hydra.core.utils import JobReturn, configure_log, setup_globals
from hydra.errors import CompactHydraException
from omegaconf import DictConfig

from hydra_plugins.population._compose import Composer
from hydra_plugins.population._jobs import close_job, open_job, sweep_folder_errors
from pipeline.composed import job_values, plain_values, task_part, tracking_config
from pipeline.config import Halving, LauncherConfig, parse_job, parse_launcher
from pipeline.errors import PipelineError
from pipeline.execution.backend import Backend, create_backend
from pipeline.execution.run import dry_run, train_jobs
from pipeline.hydra_compat import job_config, set_job_config
from pipeline.report.write import load_libraries
from pipeline.session import run_context
from pipeline.shutdown import reraise_pending_signal

if TYPE_CHECKING:
    from hydra_plugins.population.launcher import PopulationLauncher


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
    checked = launcher.composed
    configs = [
        checked.pop(key) if (key := tuple(overrides)) in checked else composer.compose(overrides)
        for overrides in job_overrides
    ]
    with one_sentence():
        values = launcher_config(launcher)
        backend = create_backend(values, tracking_config(launcher.config).uri)
        if values.dry_run:
            jobs = [parse_job(job_values(task_part(config))) for config in configs]
            print(*dry_run(jobs, backend.resources, values.halving_rule), sep="\n")
            return []
        with backend:
            return _train(launcher, configs, initial_job_idx, backend, values.halving_rule)


def _train(
    launcher: PopulationLauncher,
    configs: Sequence[DictConfig],
    initial_job_idx: int,
    backend: Backend,
    halving: Halving | None,
) -> list[JobReturn]:
    # Slow starts run in a thread while this one writes the folders of the jobs.
    ahead = ThreadPoolExecutor(1)
    ahead.submit(backend.warm_up, len(configs))
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
        runs = train_jobs(specs, where, backend, halving)
    for config, (_, job_return), run in zip(configs, jobs, runs, strict=True):
        close_job(config, job_return, run, context)
    return [job_return for _, job_return in jobs]


def launcher_config(launcher: PopulationLauncher) -> LauncherConfig:
    """The checked values of hydra.launcher.

    Raises:
        ConfigError: a value is wrong.
    """
    names = [field.name for field in fields(LauncherConfig)]
    values = {name: getattr(launcher, name) for name in names}
    if isinstance(launcher.halving, DictConfig):
        values["halving"] = plain_values(launcher.halving)
    return parse_launcher(values)


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
