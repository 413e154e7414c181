"""Sweeps, finished runs and metric values, as the store holds them.

Other programs may write to the same store. A run belongs to this project if it has the tag
`SOURCE`. Even then its other tags may be missing or have unexpected values.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mlflow.entities import Run

from pipeline.hyperparameters import HYPERPARAMETERS
from pipeline.selection import best_name, parse_select_by
from pipeline.uris import redact

SOURCE = ("mlflow.source.name", "pipeline")


@dataclass(frozen=True)
class Sweep:
    """A sweep: the parent run of its jobs."""

    name: str  # its ID
    run_id: str
    experiment_id: str
    command: str  # that started it
    # The interval of each hyperparameter that a sampler searched: its low and high end, and whether
    # its scale is logarithmic. A list of choices has no interval. Empty for a grid.
    searched: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    # The number of its jobs, recorded when it starts. None: another sweeper or an earlier version
    # of this project has not recorded it.
    num_jobs: int | None = None
    cores: int | None = None  # threads that train at the same time; None: not recorded
    has_succeeded: bool = field(default=False, compare=False)  # whether its command has
    swept: tuple[str, ...] = ()  # the hyperparameters in which its jobs differ

    @property
    def children(self) -> str:
        """The filter of `Store.search` for the runs of its jobs."""
        return f"tags.mlflow.parentRunId = '{self.run_id}'"

    @classmethod
    def from_run(cls, run: Run) -> Sweep | None:
        """Read a sweep from its run; None if the run has no such tags."""
        tags = run.data.tags
        if tags.get("kind") != "sweep" or "sweep" not in tags or "command" not in tags:
            return None
        searched = _parse_json(tags.get("searched", "{}"))
        if not all(isinstance(interval, dict) for interval in searched.values()):
            searched = {}
        known = run.info.run_id, run.info.experiment_id
        num_jobs = _parse_number(tags.get("num_jobs", ""))
        named = tags.get("swept", "").split(",")
        return cls(
            tags["sweep"],
            *known,
            redact(tags["command"]),
            searched,
            num_jobs,
            cores=_parse_number(tags.get("cores", "")),
            has_succeeded=run.info.status == "FINISHED",
            swept=tuple(name for name in HYPERPARAMETERS if name in named),
        )


class FinishedRun(NamedTuple):
    """A run that has finished, of this sweep or of an earlier one."""

    run_id: str
    outcome: str  # "finished", "halted" or "diverged"
    score: float | None  # the metric of `select_by` in its best epoch
    artifacts: str = ""  # their sizes and checksums, see `pipeline.tracking.artifacts`

    @classmethod
    def from_run(cls, run: Run) -> FinishedRun:
        """Read the facts of a run with the status FINISHED."""
        tags = run.data.tags
        name = best_name(parse_select_by(run.data.params.get("select_by")))
        score = run.data.metrics.get(name)
        return cls(run.info.run_id, tags.get("outcome", ""), score, tags.get("artifacts", ""))


class Point(NamedTuple):
    """Values of metrics at the end of an epoch."""

    epoch: int
    milliseconds: int  # since 1970
    values: Mapping[str, float]


class DatasetInfo(NamedTuple):
    """The dataset of a run, as MLflow's UI shows it."""

    name: str
    digest: str
    source: str  # a folder, an address or a package
    sizes: str  # JSON: the number of images per split


def job_number(run: Run) -> int | None:
    """The number of a run's job in its sweep; None if the run has no such tag."""
    return _parse_number(run.data.tags.get("job", ""))


def reused_runs(parent: Run) -> dict[int, str]:
    """The finished runs that replace jobs of a sweep: run IDs by the number of the job."""
    found: dict[int, str] = {}
    for key, text in parent.data.tags.items():
        if key.startswith("reused."):
            part = _parse_json(text)
            found |= {int(job): str(id_) for job, id_ in part.items() if job.isdecimal()}
    return found


def _parse_number(text: str) -> int | None:
    """A number from a tag; None if the text is something else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _parse_json(text: str) -> dict[str, Any]:
    """A JSON object from a tag; empty if the text is something else."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
