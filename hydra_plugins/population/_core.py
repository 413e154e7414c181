"""The population launcher's work: compose the jobs, open them, train them together, close them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import fields
from typing import TYPE_CHECKING

from hydra.core.utils import JobReturn, configure_log, setup_globals
from hydra.errors import CompactHydraException
from omegaconf import DictConfig

from hydra_plugins.population._compose import Composer
from hydra_plugins.population._jobs import JobOpener, sweep_folder_errors
from hydra_plugins.population.launcher import PopulationLauncher
from pipeline.composed import plain_values, tracking_config
from pipeline.config import Job, LauncherConfig, parse_job, parse_launcher
from pipeline.errors import PipelineError
from pipeline.execution.backend import Backend, create_backend
from pipeline.execution.datasets import Datasets
from pipeline.execution.failure import FailurePolicy
from pipeline.execution.halving import SuccessiveHalving
from pipeline.execution.local import LocalBackend
from pipeline.execution.run import dry_run, train_jobs, train_stream
from pipeline.execution.stopping import StoppingRule
from pipeline.hydra_compat import job_config, set_job_config
from pipeline.outcomes import Outcome
from pipeline.session import run_context

if TYPE_CHECKING:
    from hydra.plugins.launcher import Launcher

    from hydra_plugins.population.launcher import OpenJob
    from pipeline.execution.spec import JobSpec
    from pipeline.execution.stream import JobSource


def launch(
    launcher: PopulationLauncher, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
) -> list[JobReturn]:
    """Train the jobs; a job that fails becomes a failed JobReturn.

    Raises:
        CompactHydraException: a value is wrong, or the store or cluster cannot be reached.
    """
    with _set_up(launcher) as (opener, values, backend):
        if values.dry_run:
            jobs = [parse_job(opener.composer.values(overrides)) for overrides in job_overrides]
            limits = backend.resources, values.halving_rule, launcher.datasets
            print(*dry_run(jobs, *limits, alone=launcher.is_continuous), sep="\n")
            return []
        with backend:
            numbered = list(enumerate(job_overrides, initial_job_idx))
            return _train(launcher, opener, numbered, backend, values)


def launch_stream(
    launcher: PopulationLauncher,
    first: Sequence[str],
    create: Callable[[Job, OpenJob], JobSource],
) -> list[JobReturn]:
    """Train jobs that a source supplies while others train, as `PopulationLauncher` describes."""
    opened: list[JobReturn] = []
    with _set_up(launcher) as (opener, values, backend):

        def open_job(number: int, overrides: Sequence[str]) -> JobSpec:
            with _keep_job_config(), sweep_folder_errors():
                spec, job_return = opener.open(number, overrides)
            opened.append(job_return)
            return spec

        source = create(parse_job(opener.composer.values(first)), open_job)
        assert isinstance(backend, LocalBackend)  # the sweeper refuses others
        with backend:
            with ThreadPoolExecutor(1) as ahead:
                ahead.submit(backend.warm_up, source.max_active)
                where = run_context(launcher.config, launcher.config.hydra)
            policy = FailurePolicy(values.max_failures, values.retries)
            runs = train_stream(source, where, backend, policy, launcher.datasets)
        for job_return, run in zip(opened, runs, strict=True):
            opener.close(job_return, run)
    return opened


@contextmanager
def _set_up(launcher: PopulationLauncher) -> Iterator[tuple[JobOpener, LauncherConfig, Backend]]:
    """Prepare Hydra, and check the values of hydra.launcher.

    Raises:
        CompactHydraException: a value is wrong, or an error of this project is raised.
    """
    setup_globals()
    hydra_config = launcher.config.hydra
    configure_log(hydra_config.hydra_logging, hydra_config.verbose)
    composer = launcher.composer
    if composer is None:
        composer = Composer(launcher.hydra_context.config_loader, launcher.config)
    with one_sentence():
        opener = JobOpener(composer, launcher.hydra_context, launcher.task_function)
        yield opener, *_backend(launcher)


@contextmanager
def _keep_job_config() -> Iterator[None]:
    """Restore the configuration of Hydra that opening a job replaces."""
    before = job_config()
    try:
        yield
    finally:
        set_job_config(before)


def _train(
    launcher: PopulationLauncher,
    opener: JobOpener,
    numbered: Sequence[tuple[int, Sequence[str]]],
    backend: Backend,
    values: LauncherConfig,
) -> list[JobReturn]:
    # The workers start in a thread while this one writes the folders of the jobs.
    with ThreadPoolExecutor(1) as ahead, _keep_job_config(), sweep_folder_errors():
        ahead.submit(backend.warm_up, len(numbered))
        jobs = [opener.open(number, overrides) for number, overrides in numbered]
    where = run_context(launcher.config, launcher.config.hydra)
    policy = FailurePolicy(values.max_failures, values.retries, launcher.num_failures)
    rule = _rule(launcher, values)
    specs = [spec for spec, _ in jobs]
    runs = train_jobs(specs, where, backend, rule, policy, launcher.datasets)
    launcher.num_failures += sum(run.outcome is Outcome.FAILED for run in runs)
    for (_, job_return), run in zip(jobs, runs, strict=True):
        opener.close(job_return, run)
    return [job_return for _, job_return in jobs]


def _rule(launcher: PopulationLauncher, values: LauncherConfig) -> StoppingRule | None:
    halving = values.halving_rule
    return launcher.rule if halving is None else SuccessiveHalving(halving)


def check_launch(launcher: Launcher | None, jobs: Sequence[Job]) -> Datasets:
    """Check that a launcher can train jobs. Nothing is written.

    Args:
        launcher: of the sweep. This project's launcher gets the datasets that were loaded.
        jobs: of the sweep, all or some of them.

    Returns:
        The datasets of the jobs.

    Raises:
        PipelineError: a value of hydra.launcher is wrong, the dataset cannot be loaded, or a job
            does not fit it.
    """
    datasets = Datasets()
    if isinstance(launcher, PopulationLauncher):
        _backend(launcher)
        launcher.datasets = datasets
    datasets.check(jobs)
    return datasets


def _backend(launcher: PopulationLauncher) -> tuple[LauncherConfig, Backend]:
    """The checked values of hydra.launcher, and their backend.

    Raises:
        ConfigError: a value is wrong.
    """
    names = [field.name for field in fields(LauncherConfig)]
    values = {name: getattr(launcher, name) for name in names}
    if isinstance(launcher.halving, DictConfig):
        values["halving"] = plain_values(launcher.halving)
    config = parse_launcher(values)
    return config, create_backend(config, tracking_config(launcher.config).uri)


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
