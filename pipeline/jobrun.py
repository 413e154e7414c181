"""A job on its way: what it has measured, its MLflow run, and its log."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipeline.config import ConfigError, Hyperparameters, Job, parse_job, short
from pipeline.data import Dataset
from pipeline.tracking import Point, Store, Sweep
from pipeline.train import EpochEnd, Metrics, better

FINDABLE = ("hidden_size", "l2_reg", "learning_rate", "seed")  # as tags of a run


@dataclass(frozen=True)
class JobSpec:
    """A job as Hydra hands it over."""

    number: int
    values: Mapping[str, Any]  # the composed configuration, interpolations resolved
    folder: Path  # its output folder
    log: logging.Logger  # its own log


@dataclass(frozen=True)
class Place:
    """Where in MLflow the runs go."""

    store: Store
    experiment_id: str
    sweep: Sweep | None  # None: a run of its own


class JobRun:
    """A job on its way: what it has measured, its MLflow run and its log."""

    def __init__(self, spec: JobSpec, place: Place) -> None:
        """Check the job's values; a job that cannot be has failed from the start."""
        self.spec = spec
        self.epoch = 0
        self.best: Metrics | None = None
        self.outcome = ""
        self.error: Exception | None = None
        self._best_epoch = 0
        self._points: list[Point] = []  # to be written
        self._params: dict[str, Any] = {}  # likewise
        self._place = place
        self._run_id = ""
        self._status = ""  # of the MLflow run, once it has ended
        self.artifacts = Path()  # what MLflow gets as files when the job ends
        self.job: Job | None = None
        try:
            self.job = parse_job(spec.values)
        except ConfigError as error:
            self.fail(error)

    @property
    def hyperparameters(self) -> Hyperparameters:
        """Of a job whose values were accepted."""
        assert self.job is not None
        return self.job.hyperparameters

    def start(self, data: Dataset, folder: Path) -> None:
        """Create the MLflow run, RUNNING; what it gets as files is gathered below `folder`."""
        sizes = {"num_train": len(data.y_train), "num_val": len(data.y_val)}
        tags = {"dataset": data.name, "dataset_digest": data.digest}
        self._create_run(tags | {key: str(value) for key, value in sizes.items()})
        assert self.job is not None
        source = self.job.data.dir or self.job.data.url or "scikit-learn"
        self._place.store.log_dataset(
            self._run_id, data.name, data.digest, source, json.dumps(sizes)
        )
        self.artifacts = folder / self._run_id
        self.artifacts.mkdir()
        text = yaml.safe_dump(dict(self.spec.values), sort_keys=False, allow_unicode=True)
        (self.artifacts / "config.yaml").write_text(text)

    def take(self, end: EpochEnd, milliseconds: int) -> None:
        """Note an epoch; its row is written at the next flush."""
        self.epoch = end.epoch
        if end.outcome != "diverged":
            values = end.metrics._asdict()
            self._points.append(Point(end.epoch, milliseconds, values))
            if self.best is None or better(end.metrics, self.best):
                self.best, self._best_epoch = end.metrics, end.epoch
        if end.outcome:
            self.outcome = end.outcome

    @property
    def pending(self) -> bool:
        """Whether the next flush has something to write."""
        return not self._status and (bool(self._points) or self.outcome != "")

    def flush(self) -> None:
        """Write what is new to the log and, in one call, to MLflow; end the run if it is over."""
        self._log_epochs()
        if not self.outcome:
            self._write({})
        else:
            tags = {"outcome": self.outcome}
            if self.outcome == "diverged":
                tags["diverged_epoch"] = str(self.epoch)
            if self.best is not None:
                self._points.append(self._best_point())
            self.spec.log.info(self.summary())
            self._write(tags)
            self._place.store.log_files(self._run_id, self.artifacts)
            self._end("FINISHED")
        _close(self.spec.log)

    def fail(self, error: Exception, trace: str = "") -> None:
        """End as FAILED: the reason goes to the log and to MLflow, the traceback to the log."""
        self.outcome, self.error = "failed", error
        if not self._run_id:
            self._create_run({})
        self._log_epochs()
        self.spec.log.error("failed: %s%s", error, f"\n{trace}" if trace else "")
        self._write({"outcome": "failed", "error": str(error)})
        self._end("FAILED")
        _close(self.spec.log)

    def kill(self) -> None:
        """End as KILLED, if the run has begun and not ended: something stopped the whole sweep."""
        if self.pending:
            self.flush()
        if self._run_id and not self._status:
            self._end("KILLED")
            self.spec.log.warning("killed in epoch %d", self.epoch + 1)
            _close(self.spec.log)

    def _log_epochs(self) -> None:
        for point in self._points:
            values = " ".join(f"{key} {value:.4f}" for key, value in point.values.items())
            self.spec.log.info("epoch %d: %s", point.epoch, values)

    def _end(self, status: str) -> None:
        self._place.store.end_run(self._run_id, status)
        self._status = status
        if self.artifacts.name:
            shutil.rmtree(self.artifacts, ignore_errors=True)

    def summary(self) -> str:
        """How the job went, in one line."""
        if self.outcome == "diverged":
            return f"diverged in epoch {self.epoch}: the loss is not finite"
        assert self.best is not None
        return f"best val_acc {self.best.val_acc:.4f} in epoch {self._best_epoch}"

    def _best_point(self) -> Point:
        assert self.best is not None
        best = {"best_val_acc": self.best.val_acc, "best_val_loss": self.best.val_loss}
        best["best_epoch"] = float(self._best_epoch)
        return Point(self.epoch, int(time.time() * 1000), best)

    def _create_run(self, tags: Mapping[str, str]) -> None:
        values = {k: v for k, v in self.spec.values.items() if not isinstance(v, Mapping)}
        data = self.spec.values.get("data")
        self._params = values | ({"data.name": data["name"]} if isinstance(data, Mapping) else {})
        name = f"job {self.spec.number}"
        if self.job is not None:
            p = self.job.hyperparameters
            name = f"H={p.hidden_size} lr={short(p.learning_rate)} λ={short(p.l2_reg)} s{p.seed}"
        findable = {key: str(values[key]) for key in FINDABLE if key in values}
        self._run_id = self._place.store.start_run(
            self._place.experiment_id,
            name,
            {"job": str(self.spec.number), **findable, **tags},
            self._place.sweep,
        )

    def _write(self, tags: Mapping[str, str]) -> None:
        self._place.store.log(self._run_id, self._points, self._params, tags)
        self._points, self._params = [], {}


def _close(log: logging.Logger) -> None:
    """Give the log's file back until the next line: a sweep has more jobs than a process files."""
    for handler in log.handlers:
        handler.close()
