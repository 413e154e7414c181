"""The Hydra app: python -m pipeline [-m] [overrides]."""

from __future__ import annotations

import gc
import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # while the libraries load: without a traceback
    # They make half a million objects that stay: to look for garbage among them takes a second.
    gc.set_threshold(100_000)

import logging
import os
import shlex
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import CompactHydraException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pipeline import shutdown
from pipeline.config import TrackingConfig, parse_tracking
from pipeline.errors import ConfigError, PipelineError
from pipeline.hydra_compat import allow_lazy_help
from pipeline.paths import CONF, IN_CHECKOUT, default_tracking_uri, outputs_dir

if TYPE_CHECKING:
    from pipeline.execution.job import JobRun, RunContext
    from pipeline.tracking.store import Store, Sweep

os.environ["PIPELINE_OUTPUTS"] = str(outputs_dir())  # conf/ builds on it


def _explained(file: str, prefix: str = "") -> str:
    """The values of a file of conf/ with their comments, for --help."""
    text = (CONF / file).read_text().partition("\nhydra:")[0]
    values = text[text.index("\n\n") :] if file == "config.yaml" else text
    lines = (line for line in values.splitlines() if "#" in line or line.endswith(":"))
    return "\n".join(f"  {prefix}{line}".replace("$", "$$") for line in lines if line[0] != "#")


OmegaConf.register_new_resolver("explained", _explained, replace=True)

log = logging.getLogger("pipeline")


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def app(config: DictConfig) -> float | None:
    """Train one job: Hydra calls this for a run, and for each job under its other launchers."""
    from pipeline.execution.job import JobSpec
    from pipeline.execution.run import train_jobs

    hydra_config = cast(DictConfig, HydraConfig.get())
    spec = JobSpec(
        number=OmegaConf.select(hydra_config, "job.num", default=0),
        values=resolved(config),
        folder=Path(hydra_config.runtime.output_dir),
        log=log,
    )
    (run,) = train_jobs([spec], context_of(config, hydra_config), cores=1)
    if run.error is not None:
        raise CompactHydraException(str(run.error)) from run.error
    return result_of(run)


def result_of(run: JobRun) -> float | None:
    """What a job returns to Hydra's sweeper: nothing if its accuracy is not that of all epochs."""
    return run.score if run.outcome == "finished" else None


def resolved(config: DictConfig) -> dict[str, Any]:
    """A configuration as plain values.

    Raises:
        CompactHydraException: an interpolation leads nowhere.
    """
    try:
        return cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))
    except OmegaConfBaseException as error:
        raise CompactHydraException(" ".join(str(error).split())) from None


def context_of(config: DictConfig, hydra_config: DictConfig) -> RunContext:
    """Where the runs of a job or of a sweep go.

    Raises:
        CompactHydraException: the store cannot be opened.
    """
    from pipeline.execution.job import RunContext

    try:
        # Only other processes look a sweep up by name: a server may hold two runs of that name.
        if SweepStart.sweep is not None and SweepStart.sweep[0].uri == tracking_of(config).uri:
            store, sweep = SweepStart.sweep
            return RunContext(store, sweep.experiment_id, sweep)
        store, experiment = open_store(config)
        if hydra_config.mode != RunMode.MULTIRUN:
            store.kill_orphaned_runs()
            return RunContext(store, store.experiment(experiment), None)
        sweep = store.find_sweep(sweep_name(hydra_config))
        return RunContext(store, sweep.experiment_id, sweep)
    except PipelineError as error:
        raise CompactHydraException(str(error)) from error


def open_store(config: DictConfig) -> tuple[Store, str]:
    """The store that a configuration names, and the name of its experiment.

    Raises:
        PipelineError: a value of `tracking` is wrong, or the store cannot be opened.
    """
    from pipeline.tracking.store import Store

    values = tracking_of(config)
    return Store(values.uri), values.experiment


def tracking_of(config: DictConfig) -> TrackingConfig:
    """The checked group `tracking` of a configuration.

    Raises:
        PipelineError: a value of it is wrong.
    """
    group = OmegaConf.select(config, "tracking")
    return parse_tracking(resolved(group) if isinstance(group, DictConfig) else group)


def sweep_name(hydra_config: DictConfig) -> str:
    """The ID of a sweep: the last part of its folder."""
    return Path(hydra_config.sweep.dir).resolve().name


class SweepStart(Callback):
    """Hydra tells this of a multirun before anything of it happens."""

    sweep: tuple[Store, Sweep] | None = None  # that this process has started

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Create the store and the sweep's run; if that cannot be, stop with one sentence."""
        if OmegaConf.select(config, "hydra.launcher.dry_run"):
            return
        try:
            with shutdown.reraise_pending_signal():
                _check_tracking(config.hydra)
                store, experiment = open_store(config)
                name = sweep_name(config.hydra)
                store.kill_orphaned_runs()
                sweep = store.start_sweep(store.experiment(experiment), name, _command())
        except (PipelineError, CompactHydraException) as error:
            sys.exit(str(error))
        except Exception:  # Hydra would warn, and go on without a sweep
            sys.exit(traceback.format_exc())
        SweepStart.sweep = store, sweep


def _check_tracking(hydra_config: DictConfig) -> None:
    """Refuse to sweep over where a sweep goes.

    Raises:
        ConfigError: it does.
    """
    # As they were typed: an interpolation in them may lead nowhere.
    sweeper: Any = OmegaConf.to_container(hydra_config.sweeper)
    params = sweeper.get("params")
    texts = [f"{key}={value}" for key, value in params.items()] if isinstance(params, dict) else []
    texts += cast(list[str], OmegaConf.to_container(hydra_config.overrides.task))
    about = [text for text in texts if text.lstrip("+").startswith("tracking.")]
    for override in OverridesParser.create().parse_overrides(about):
        if override.is_sweep_override():
            raise ConfigError(
                f"{override.input_line}: all jobs of a sweep go to one place and are treated alike "
                f"there: give {override.key_or_group} one value"
            )


def _command() -> str:
    """The command that started this process."""
    installed = Path(sys.argv[0]).name == "pipeline"  # the console script, not python -m pipeline
    return shlex.join(
        [*(["pipeline"] if installed else ["python", "-m", "pipeline"]), *sys.argv[1:]]
    )


def main() -> None:
    """Run the app; after a sweep, however it went, write its report."""
    code: Any = 0
    logging.raiseExceptions = False  # a log without room is not worth a traceback a line
    shutdown.listen()
    allow_lazy_help()
    for word in sys.argv[1:]:
        if word.startswith("="):  # of which Hydra makes a traceback
            sys.exit(f"{word!r} sets a value without a name: write name{word}")
    try:
        code = _run()
    except shutdown.Stopped as stopped:
        code = _stopped(stopped)
    try:
        if SweepStart.sweep is not None:
            code = _end_sweep(*SweepStart.sweep, code)
    except PipelineError as error:
        print(error, file=sys.stderr)
        code = code or 1
    shutdown.restore_handlers()
    sys.exit(code)


def _run() -> Any:
    """Run the app; returns the exit code."""
    code: Any = 0
    try:
        app()
    except SystemExit as end:
        code = end.code
    shutdown.check()
    return code


def _stopped(stopped: shutdown.Stopped) -> int:
    """Say how to go on; returns the exit code."""
    shutdown.answer()
    print(f"stopped; to go on from here: {_command()}", file=sys.stderr)
    return 128 + int(stopped.args[0])


def _end_sweep(store: Store, sweep: Sweep, code: Any) -> Any:
    """Write the report and end the sweep's run; returns the exit code, 1 if no model was chosen."""
    try:
        store.delete_duplicate_runs(sweep)
        if not store.has_jobs(sweep):  # it was stopped before its first job
            store.forget(sweep)
            return code or 1
        with shutdown.reraise_pending_signal():
            without_choice = _report(store, sweep)
        code = code or without_choice
        shutdown.check()
    except shutdown.Stopped as stopped:
        code = _stopped(stopped)
    killed = "KILLED" if code in (130, 143) else "FAILED"
    store.end_run(sweep.run_id, killed if code else "FINISHED")
    return code


def _report(store: Store, sweep: Sweep) -> int:
    """Write and print the report; returns 1 if no model was chosen."""
    from pipeline.execution.plan import stop_workers
    from pipeline.report.report import summary_lines, write_report

    stop_workers()  # the report reads the data itself: it would be in memory twice
    report = write_report(store, sweep, outputs_dir() / "reports")
    print(*summary_lines(report), sep="\n")
    print(f"All runs: {_ui(store.uri)}/{_PAGE.format(sweep.experiment_id)}")
    return int(report.best is None)


# Without this type, the UI opens on its view of language models.
_PAGE = "#/experiments/{}/runs?workflowType=machine_learning"


def _ui(uri: str) -> str:
    """How to come to the UI of a store."""
    if uri.startswith("http"):
        return uri.rstrip("/")
    server = "make ui" if IN_CHECKOUT else "pipeline-ui"
    if uri != default_tracking_uri():
        server = f"pipeline-ui --tracking-uri {shlex.quote(uri)}"
    return f"{server}, then http://127.0.0.1:5000"


if __name__ == "__main__":
    # Under its importable name, so that Hydra's callback and workers see this very module.
    from pipeline import __main__ as importable

    importable.main()
