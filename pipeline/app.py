"""The Hydra app: it trains one job. Hydra composes the job's values from conf/."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import cast

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from omegaconf import DictConfig, OmegaConf

from pipeline.hydra_compat import allow_lazy_help
from pipeline.paths import CONF, outputs_dir
from pipeline.session import job_return_value, plain_values, run_context

log = logging.getLogger("pipeline")

os.environ["PIPELINE_OUTPUTS"] = str(outputs_dir())  # conf/ refers to this variable
allow_lazy_help()


def _explained(file: str, prefix: str = "") -> str:
    """The values of a file in conf/ with their comments, for --help."""
    text = (CONF / file).read_text().partition("\nhydra:")[0]
    values = text[text.index("\n\n") :] if file == "config.yaml" else text
    lines = (line for line in values.splitlines() if "#" in line or line.endswith(":"))
    return "\n".join(f"  {prefix}{line}".replace("$", "$$") for line in lines if line[0] != "#")


def _file_stem(file: str | None, default: str) -> str:
    """The name of a file without its folder and its suffixes; the default if there is no file."""
    return Path(file).name.split(".")[0] or default if file else default


OmegaConf.register_new_resolver("explained", _explained, replace=True)
OmegaConf.register_new_resolver("file_stem", _file_stem, replace=True)


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
        values=plain_values(config),
        folder=Path(hydra_config.runtime.output_dir),
        log=log,
    )
    with LocalBackend(cores=1) as backend:
        (run,) = train_jobs([spec], run_context(config, hydra_config), backend)
    if run.error is not None:
        raise CompactHydraException(str(run.error)) from run.error
    return job_return_value(run)
