"""Hydra's callback: it checks a command, starts its sweep, and removes passwords from files."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.errors import CompactHydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from pipeline import shutdown
from pipeline.checks import check_single_run
from pipeline.composed import job_values, redact_saved, task_part, tracking_config
from pipeline.config import Job, parse_job
from pipeline.errors import PipelineError
from pipeline.session import current_session

if TYPE_CHECKING:
    from pipeline.execution.datasets import Datasets

SWEEPERS = (
    "hydra_plugins.population.sweeper.GridSweeper",
    "hydra_plugins.search.sweeper.OptunaSweeper",
)


class SweepCallback(Callback):
    """Prepares the sweep of the current session before Hydra's sweeper does anything."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Check a single run before it gets a folder; if a value is wrong, exit with one sentence.

        Workers of Hydra's other launchers run the jobs of a sweep, which has been checked.
        """
        session = current_session()
        if session is None:
            return
        try:
            check_single_run(config.hydra)
            tracking_config(config)
            job = parse_job(job_values(task_part(config)))
            with shutdown.reraise_pending_signal():
                session.datasets = _load(job)
        except (PipelineError, CompactHydraException) as error:
            sys.exit(str(error))

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Prepare the sweep; if a value is wrong, exit with one sentence.

        This project's sweepers start the sweep when they have checked all jobs. For another
        sweeper, the sweep starts here.
        """
        session = current_session()
        if session is None or OmegaConf.select(config, "hydra.launcher.dry_run"):
            return
        try:
            with shutdown.reraise_pending_signal():
                session.prepare_sweep(config)
                if config.hydra.sweeper._target_ not in SWEEPERS:
                    session.start_sweep()
        except (PipelineError, CompactHydraException) as error:
            sys.exit(str(error))
        except Exception:  # Hydra would print a warning and run the sweep without a store
            sys.exit(traceback.format_exc())

    def on_job_start(self, config: DictConfig, **_: Any) -> None:
        """Remove passwords from the files that Hydra has just written for a job."""
        if config.hydra.output_subdir is not None:
            folder = Path(config.hydra.runtime.output_dir, config.hydra.output_subdir)
            redact_saved(folder, ("config.yaml", "hydra.yaml", "overrides.yaml"))


def _load(job: Job) -> Datasets:
    """The dataset of a job, which has been compared with the job.

    Raises:
        PipelineError: the dataset cannot be loaded, or the job does not fit it.
    """
    from pipeline.execution.datasets import Datasets

    datasets = Datasets()
    datasets.check([job])
    return datasets
