"""The Hydra app: it trains one job. Hydra composes the job's values from conf/."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import cast

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from omegaconf import DictConfig, OmegaConf

from pipeline.checks import explain_unknown_key
from pipeline.composed import job_values
from pipeline.hydra_compat import allow_lazy_help, wrap_run_and_report
from pipeline.paths import CONF
from pipeline.session import current_session, job_return_value, run_context

log = logging.getLogger("pipeline")

allow_lazy_help()
wrap_run_and_report(explain_unknown_key)


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def app(config: DictConfig) -> float | None:
    """Train one job. Hydra calls this for a single run and, with its own launchers, for each job.

    Returns:
        The job's objective for a sweeper; None if the job has no comparable result.

    Raises:
        CompactHydraException: the job failed; Hydra prints the sentence without a traceback.
    """
    from pipeline.execution.local import LocalBackend
    from pipeline.execution.run import train_jobs
    from pipeline.execution.spec import JobSpec

    hydra_config = cast(DictConfig, HydraConfig.get())
    spec = JobSpec(
        number=OmegaConf.select(hydra_config, "job.num", default=0),
        values=job_values(config),
        folder=Path(hydra_config.runtime.output_dir),
        log=log,
    )
    context, session = run_context(config, hydra_config), current_session()
    datasets = None if session is None else session.datasets
    with LocalBackend(cores=1) as backend:
        (run,) = train_jobs([spec], context, backend, datasets=datasets)
    if run.error is not None:
        raise CompactHydraException(str(run.error)) from run.error
    return job_return_value(run)
