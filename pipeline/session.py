"""A session: one `python -m pipeline` command, from its first signal handler to its exit code.

`Session.run` calls the Hydra app. If the command is a sweep, Hydra first calls
`pipeline.callback`, which prepares the sweep. When the app has returned, failed or been
interrupted, the session writes the report, ends the parent run and returns the exit code.

Hydra creates its callbacks itself and passes them nothing, so `current_session` is the one place
where the session of this process can be found.
"""

from __future__ import annotations

import logging
import os
import shlex
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.errors import CompactHydraException
from hydra.types import RunMode
from omegaconf import DictConfig

import pipeline.resolvers  # noqa: F401 (registers the interpolations of conf/)
from pipeline import shutdown
from pipeline.checks import check_swept_keys, swept_hyperparameters
from pipeline.command_line import translated
from pipeline.composed import redact_saved, tracking_config
from pipeline.errors import PipelineError
from pipeline.paths import outputs_dir
from pipeline.uris import redact

if TYPE_CHECKING:
    from pipeline.execution.datasets import Datasets
    from pipeline.execution.job import JobRun
    from pipeline.execution.spec import RunContext
    from pipeline.tracking.entities import Sweep
    from pipeline.tracking.store import Store
    from pipeline.tracking.system_metrics import SystemMetrics

SWEEP_VARIABLE = "PIPELINE_SWEEP"  # tells the ID of the sweep to workers of Hydra's launchers

_current: Session | None = None


def current_session() -> Session | None:
    """The session of this process; None in the worker processes of Hydra's other launchers."""
    return _current


class Session:
    """One command from start to end: its signals, and for a sweep its store, run and report."""

    def __init__(self, arguments: Sequence[str]) -> None:
        """Prepare a session.

        Args:
            arguments: the command line after `python -m pipeline`.
        """
        self.arguments = tuple(arguments)
        self.store: Store | None = None  # opened by `start_sweep`
        self.sweep: Sweep | None = None  # the sweep's parent run; None: a single run
        self.system_metrics: SystemMetrics | None = None  # of the sweep
        self.datasets: Datasets | None = None  # that the check of a single run has loaded
        self._config: DictConfig | None = None  # of the sweep
        self._name = ""  # of its folder

    @property
    def command(self) -> str:
        """The shell command that started this process, without passwords."""
        installed = Path(sys.argv[0]).name == "pipeline"  # the console script
        program = ["pipeline"] if installed else ["python", "-m", "pipeline"]
        return shlex.join([*program, *map(redact, self.arguments)])

    def run(self, app: Callable[[], Any]) -> int:
        """Run the Hydra app; after a sweep, whatever its outcome, write the report.

        Returns:
            The exit code: 0 for success, 1 for a failure, 128 + the number of the signal that
            interrupted the command.
        """
        global _current
        for word in self.arguments:
            if word.startswith("="):  # Hydra answers this with a traceback
                print(f"{word!r} sets a value without a name: write name{word}", file=sys.stderr)
                return 1
        sys.argv[1:] = translated(sys.argv[1:])
        try:
            os.environ["PIPELINE_OUTPUTS"] = str(outputs_dir())  # absolute, for child processes
        except PipelineError as error:
            print(error, file=sys.stderr)
            return 1
        _current = self
        logging.raiseExceptions = False  # a full disk must not print a traceback per log line
        shutdown.install_handlers()
        try:
            code = self._run_app(app)
        except shutdown.Stopped as stopped:
            code = self._interrupted(stopped)
        try:
            code = self._end_sweep(code)
        except PipelineError as error:
            print(error, file=sys.stderr)
            code = code or 1
        if self._config is not None:  # Hydra's own sweepers write passwords into multirun.yaml
            redact_saved(Path(self._config.hydra.sweep.dir), ["multirun.yaml"])
        shutdown.restore_handlers()
        return code

    def prepare_sweep(self, config: DictConfig) -> None:
        """Check the values that all jobs of a sweep share. Nothing is written yet.

        Raises:
            PipelineError: a value of `tracking` is wrong, or a value is swept that cannot be.
        """
        check_swept_keys(config.hydra)
        tracking_config(config)
        # OmegaConf caches the time in the name of the folder. Jobs that are composed later copy it.
        self._name = _sweep_name(config.hydra)
        self._config = config

    def start_sweep(self, num_jobs: int | None = None) -> None:
        """Open the store and create the sweep's parent run, unless that has been done.

        The sweepers call this after they have checked all jobs, so that a wrong value leaves no
        run behind.

        Args:
            num_jobs: the number of planned jobs, by which a report recognises a complete sweep;
                None: unknown, because another sweeper runs the jobs.

        Raises:
            PipelineError: the store cannot be opened.
        """
        from pipeline.tracking import cleanup
        from pipeline.tracking.queries import unused_sweep_name
        from pipeline.tracking.system_metrics import SystemMetrics

        if self._config is None or self.sweep is not None:
            return
        store, experiment = _open_store(self._config)
        print(f"MLflow store: {redact(store.uri)}, experiment {experiment}")
        cleanup.kill_orphaned_runs(store)
        experiment_id = store.ensure_experiment(experiment)
        name = unused_sweep_name(store, self._name)
        os.environ[SWEEP_VARIABLE] = name
        swept = swept_hyperparameters(self._config.hydra)
        self.sweep = store.start_sweep(experiment_id, name, self.command, num_jobs, swept)
        self.store = store
        self.system_metrics = SystemMetrics(store, self.sweep.run_id)

    def note_search(self, space: Mapping[str, Mapping[str, Any]]) -> None:
        """Record with the parent run which space a sampler searches."""
        if self.store is not None and self.sweep is not None:
            self.sweep = self.store.log_search_space(self.sweep, space)

    def end_early(self, num_jobs: int) -> None:
        """Record that the sweep is complete with this number of jobs: its budget is used up."""
        if self.store is not None and self.sweep is not None:
            self.sweep = self.store.log_num_jobs(self.sweep, num_jobs)

    def _run_app(self, app: Callable[[], Any]) -> int:
        try:
            self._prepare_data()
            app()
        except PipelineError as error:  # of `_prepare_data`: Hydra turns others into SystemExit
            print(error, file=sys.stderr)
            return 1
        except SystemExit as end:
            shutdown.check()
            if isinstance(end.code, str):
                print(end.code, file=sys.stderr)
                return 1
            return end.code or 0
        except Exception:  # Hydra raises it with HYDRA_FULL_ERROR=1
            shutdown.check()
            traceback.print_exc()
            return 1
        shutdown.check()
        return 0

    def _prepare_data(self) -> None:
        """Call the function of data=callable, and let Hydra read the file with its arrays."""
        if "data=callable" in self.arguments:
            from pipeline.data.prepared import file_override

            if override := file_override(self.arguments):
                sys.argv.append(override)

    def _interrupted(self, stopped: shutdown.Stopped) -> int:
        """Print the command that resumes; return the exit code."""
        shutdown.acknowledge()
        print(f"stopped; to resume: {self.command}", file=sys.stderr)
        return 128 + int(stopped.args[0])

    def _end_sweep(self, code: int) -> int:
        """Write the report and end the parent run; returns the exit code.

        Raises:
            PipelineError: the store cannot be reached, or the report cannot be written.
        """
        store, sweep = self.store, self.sweep
        if store is None or sweep is None:  # a signal may have interrupted the import of MLflow
            return code
        from pipeline.tracking import cleanup, queries

        try:
            # The jobs have added tags to its run.
            sweep = replace(queries.find_sweep(store, sweep.name), has_succeeded=code == 0)
            cleanup.delete_duplicate_runs(store, sweep)
            if not queries.has_jobs(store, sweep):  # interrupted before its first job
                store.delete_run(sweep.run_id)
                return code or 1
            with shutdown.reraise_pending_signal():
                has_choice = _write_report(store, sweep)
            code = code or int(not has_choice)
            shutdown.check()
        except shutdown.Stopped as stopped:
            code = self._interrupted(stopped)
        killed = "KILLED" if code in (130, 143) else "FAILED"
        store.end_run(sweep.run_id, killed if code else "FINISHED")
        return code


def run_context(config: DictConfig, hydra_config: DictConfig) -> RunContext:
    """Where the MLflow runs of a job or of a sweep go.

    Raises:
        CompactHydraException: the store cannot be opened.
    """
    from pipeline.execution.spec import RunContext
    from pipeline.tracking import cleanup, queries

    session = current_session()
    try:
        own = (session.store, session.sweep) if session is not None else (None, None)
        if own[0] is not None and own[1] is not None and own[0].uri == tracking_config(config).uri:
            metrics = session.system_metrics if session is not None else None
            return RunContext(own[0], own[1].experiment_id, own[1], system_metrics=metrics)
        store, experiment = _open_store(config)
        if hydra_config.mode != RunMode.MULTIRUN:
            cleanup.kill_orphaned_runs(store)
            return RunContext(store, store.ensure_experiment(experiment), None)
        # A worker process of another launcher knows its sweep by name only.
        name = os.environ.get(SWEEP_VARIABLE) or _sweep_name(hydra_config)
        sweep = queries.find_sweep(store, name)
        return RunContext(store, sweep.experiment_id, sweep)
    except PipelineError as error:
        raise CompactHydraException(str(error)) from error


def job_return_value(run: JobRun) -> float | None:
    """The metric of `select_by` in a job's best epoch, which Hydra's sweeper receives.

    None for a job that did not train all of its epochs: its result does not compare.
    """
    return run.score if run.outcome == "finished" else None


def _open_store(config: DictConfig) -> tuple[Store, str]:
    """The store that a configuration names, and the name of its experiment.

    Raises:
        PipelineError: a value of `tracking` is wrong, or the store cannot be opened.
    """
    from pipeline.tracking.store import Store

    tracking = tracking_config(config)
    return Store(tracking.uri), tracking.experiment


def _sweep_name(hydra_config: DictConfig) -> str:
    """The ID of a sweep: the last part of its folder."""
    return Path(hydra_config.sweep.dir).resolve().name


def _write_report(store: Store, sweep: Sweep) -> bool:
    """Write and print the report; returns whether it chose a model."""
    from pipeline.execution.workers import stop_workers
    from pipeline.report.links import leaderboard
    from pipeline.report.write import write_report

    stop_workers()  # they map the data, which the report reads again
    report = write_report(store, sweep, outputs_dir() / "reports")
    print(*report.lines, sep="\n")
    print(f"Leaderboard: {leaderboard(store.uri, sweep)}")
    return report.best is not None
