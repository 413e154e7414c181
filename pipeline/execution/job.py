"""A job on its way: what it has measured, its MLflow run, and its log."""

from __future__ import annotations

import itertools
import json
import logging
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from pipeline.config import Hyperparameters, Job, parse_job, short
from pipeline.data.dataset import Dataset
from pipeline.errors import ConfigError, PipelineError
from pipeline.execution.checkpoints import Checkpoints
from pipeline.execution.fingerprint import fingerprint
from pipeline.nn.history import Metrics, Row, selection_key
from pipeline.selection import SelectionKey
from pipeline.tracking.store import Finished, Point, Store, Sweep

FINDABLE = ("hidden_size", "l2_reg", "learning_rate", "seed")  # as tags of a run
TAG_LENGTH = 5000  # what MLflow surely keeps of a tag's text


@dataclass(frozen=True)
class JobSpec:
    """A job as Hydra hands it over."""

    number: int
    values: Mapping[str, Any]  # the composed configuration, interpolations resolved
    folder: Path  # its output folder
    log: logging.Logger  # its own log


@dataclass(frozen=True)
class RunContext:
    """Where in MLflow the runs go."""

    store: Store
    experiment_id: str
    sweep: Sweep | None  # None: a run of its own
    shard: str = ""  # of a sweep on a cluster, that this machine trains


@dataclass(frozen=True)
class JobResult:
    """How a job has ended, for those who did not train it."""

    job: int  # its number
    outcome: str  # "finished", "diverged", "failed"
    epochs: int
    score: float | None  # as of `JobRun`
    error: str  # "": none
    lines: tuple[logging.LogRecord, ...]  # of its log


class JobRun:
    """A job on its way: what it has measured, its MLflow run and its log.

    What is new is only noted; `flush` writes it. Where that fails, it can be tried again: nothing
    is forgotten before it is written, and nothing that is written twice counts twice.
    """

    def __init__(self, spec: JobSpec, context: RunContext) -> None:
        """Check the job's values; a job that cannot be has failed from the start."""
        self.spec = spec
        self.name = ""  # of its checkpoint
        self.epoch = 0
        self.best: Metrics | None = None
        self.outcome = ""
        self.error: Exception | None = None
        self.job: Job | None = None
        self.ended = False  # the MLflow run, and with it all that is to be written
        self.spare: Finished | None = None  # a halted run, which stands for this job if it halts
        self._bests: list[SelectionKey] = []  # selection_key of the best epoch up to each
        self._score: float | None = None  # of a run that stands for this job
        self._best_epoch = 0
        self._rows: list[tuple[int, Row]] = []  # epochs to be written, to the log
        self._points: list[Point] = []  # and to MLflow
        self._params: dict[str, Any] = {}  # likewise
        self._tags: dict[str, str] = {}
        self._choices: dict[str, str] = {}  # of the preprocessing, likewise
        self._dataset: tuple[str, str, str, str] | None = None  # likewise
        self._checkpoints: Checkpoints | None = None
        self._context = context
        self._run_id = ""
        try:
            self.job = parse_job(spec.values)
        except ConfigError as error:
            self.fail(error)

    @property
    def hyperparameters(self) -> Hyperparameters:
        """Of a job whose values were accepted."""
        assert self.job is not None
        return self.job.hyperparameters

    @property
    def pending(self) -> bool:
        """Whether the next flush has something to write."""
        return not self.ended and bool(self._points or self._params or self.outcome)

    def prepare(self, data: Dataset, checkpoints: Checkpoints, name: str) -> None:
        """Note the data, and which checkpoint will hold the result."""
        assert self.job is not None
        self.name, self._checkpoints = name, checkpoints
        sizes = {
            "num_train": len(data.y_train),
            "num_val": len(data.y_val),
            "num_features": data.X_train.shape[1],
            "num_classes": len(data.classes),
        }
        source = self.job.data.file or self.job.data.dir or self.job.data.url or "scikit-learn"
        self._dataset = (data.name, data.digest, source, json.dumps(sizes))
        self._choices = dict(data.choices)
        self._tags = {
            "fingerprint": fingerprint(self.hyperparameters, data.digest),
            "dataset": data.name,
            "dataset_digest": data.digest,
            **{key: str(value) for key, value in sizes.items()},
        }

    def open(self) -> None:
        """Create the MLflow run, RUNNING, if there is none yet.

        Raises:
            TrackingError: the store is out of reach.
        """
        if not self._run_id:
            values = {k: v for k, v in self.spec.values.items() if not isinstance(v, Mapping)}
            data = self.spec.values.get("data")
            name = {"data.name": data["name"]} if isinstance(data, Mapping) else {}
            findable = {key: str(values[key]) for key in FINDABLE if key in values}
            shard = {"shard": self._context.shard} if self._context.shard else {}
            self._params = values | name | self._choices
            self._run_id = self._context.store.start_run(
                self._context.experiment_id,
                self._title(),
                {"job": str(self.spec.number), **shard, **findable, **self._tags},
                self._context.sweep,
            )
            self._tags = {}

    def take(self, row: Row, outcome: str | None) -> None:
        """Note the next epoch."""
        self.epoch += 1
        if outcome != "diverged":
            self._rows.append((self.epoch, row))
            self._points.append(Point(self.epoch, row.milliseconds, row.metrics._asdict()))
            if self.best is None or selection_key(row.metrics) > selection_key(self.best):
                self.best, self._best_epoch = row.metrics, self.epoch
            self._bests[self.epoch - 1 :] = [selection_key(self.best)]
        if outcome:
            self.outcome = outcome
            self._tags |= {"outcome": outcome}  # beside those of a run that is not open yet
            if outcome == "diverged":
                self._tags["diverged_epoch"] = str(self.epoch)
            self._note_best(row.milliseconds)

    def fail(self, error: Exception, trace: str = "") -> None:
        """Note why the job has failed."""
        self.outcome, self.error = "failed", error
        self._tags |= {"outcome": "failed", "error": str(error)[-TAG_LENGTH:]}
        if trace:
            self._tags["traceback"] = trace[-TAG_LENGTH:]
        self._say(logging.ERROR, f"failed: {error}{chr(10) if trace else ''}{trace}")

    def halt(self, rung: int) -> None:
        """End at a rung: the better part of the configurations goes on without this job."""
        assert self._checkpoints is not None
        saved = self._checkpoints.read_result(self.name)
        if saved is None:
            path = self._checkpoints.result_path(self.name)
            self.fail(PipelineError(f"{path} could not be kept: start the same command again"))
            return
        self.outcome = "halted"
        self._tags |= {"outcome": "halted", "halted_epoch": str(self.epoch), "rung": str(rung)}
        self._note_best(saved.curve[-1].milliseconds)

    def best_until(self, epoch: int) -> SelectionKey | None:
        """The selection_key of the best of the first epochs; None if it has not come to their end.

        One that diverged later counts: when the others came to this epoch, nobody knew.
        """
        if self.outcome == "failed" or len(self._bests) < epoch:
            return None
        return self._bests[epoch - 1]

    def recall(self, curve: Iterable[SelectionKey]) -> None:
        """Note the selection_key of each epoch of a run that stands for this job, or may."""
        self._bests = list(itertools.accumulate(curve, max))

    def waits(self, rung: int | None) -> bool:
        """Whether it is known without training how the job stands at a rung."""
        known = rung is not None and len(self._bests) >= rung
        return known and self.spare is not None and self.epoch == 0

    def reuse(self, run: Finished) -> None:
        """Let a finished run stand for this job."""
        self.outcome, self.ended, self._score = run.outcome, True, run.best_val_acc
        self._say(logging.INFO, f"already finished: run {run.run_id}")

    def adopt(self, end: JobResult) -> None:
        """Take the end of this job from the machine that has trained it and told MLflow."""
        self.outcome, self.ended, self._score = end.outcome, True, end.score
        self.epoch = end.epochs
        self.error = PipelineError(end.error) if end.error else None
        with suppress(OSError):
            for line in end.lines:
                self.spec.log.handle(line)
        self._close_log()

    def flush(self) -> None:
        """Write what is new to the log and, in one call, to MLflow; end the run if it is over.

        Raises:
            TrackingError: the store is out of reach.
            OSError: the disk is full.
        """
        for epoch, row in self._rows:
            values = " ".join(f"{key} {value:.4f}" for key, value in row.metrics._asdict().items())
            self._say(logging.INFO, f"epoch {epoch}: {values}")
        self._rows = []
        self.open()
        if self._dataset is not None:
            self._context.store.log_dataset(self._run_id, *self._dataset)
            self._dataset = None
        self._context.store.log(self._run_id, self._points, self._params, self._tags)
        self._points, self._params, self._tags = [], {}, {}
        if self.outcome:
            if self.outcome != "failed":
                self._log_files()
            self._end("FAILED" if self.outcome == "failed" else "FINISHED", self.summary())

    @property
    def unsettled(self) -> bool:
        """Whether MLflow has the result and the checkpoint still holds it, too."""
        done = self.ended and self.outcome in ("finished", "halted", "diverged")
        return done and self._checkpoints is not None

    def settle(self) -> None:
        """Delete the checkpoint, once the store has the result for good."""
        assert self._checkpoints is not None
        self._checkpoints.forget(self.name)
        self._checkpoints = None

    def kill(self) -> None:
        """End as KILLED, if the run has begun and not ended: something stopped the whole sweep.

        Raises:
            TrackingError: the store is out of reach.
            OSError: the disk is full.
        """
        if self.pending:
            self.flush()
        if self._run_id and not self.ended:
            self._end("KILLED", f"killed in epoch {self.epoch + 1}")

    def summary(self) -> str:
        """How the job went, in one line."""
        if self.outcome == "failed":
            return f"failed: {self.error}"
        if self.outcome == "diverged":
            return f"diverged in epoch {self.epoch}: the loss is not finite"
        assert self.best is not None
        if self.outcome == "halted":
            return f"halted after epoch {self.epoch}, with val_acc {self.best.val_acc:.4f}"
        return f"best val_acc {self.best.val_acc:.4f} in epoch {self._best_epoch}"

    @property
    def score(self) -> float | None:
        """The best validation accuracy, if there is one that compares with that of other jobs."""
        if self.outcome == "halted":
            return None
        return selection_key(self.best).val_acc if self.best is not None else self._score

    def _log_files(self) -> None:
        """Store the configuration, and of the best epoch the weights and the hits."""
        assert self._checkpoints is not None
        result = self._checkpoints.read_result(self.name)
        if result is None:
            path = self._checkpoints.result_path(self.name)
            raise OSError(f"the result in {path} has gone: start the same command again")
        text = yaml.safe_dump(dict(self.spec.values), sort_keys=False, allow_unicode=True)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "config.yaml").write_text(text, encoding="utf-8")
            if result.best is not None:
                W1, b1, W2, b2 = (array[0] for array in result.best)
                np.savez(folder / "weights.npz", W1=W1, b1=b1[0], W2=W2, b2=b2[0])
                np.savez(folder / "val_hits.npz", bits=result.best_hits)
            self._context.store.log_files(self._run_id, folder)

    def _end(self, status: str, last_words: str) -> None:
        self._context.store.end_run(self._run_id, status)
        self.ended = True
        if self.outcome != "failed":  # it has said so already
            self._say(logging.INFO, last_words)

    def _note_best(self, milliseconds: int) -> None:
        if self.best is None:
            return
        best = {"best_val_acc": self.best.val_acc, "best_val_loss": self.best.val_loss}
        best["best_epoch"] = float(self._best_epoch)
        self._points.append(Point(self.epoch, milliseconds, best))

    def _title(self) -> str:
        if self.job is None:
            return f"job {self.spec.number}"
        p = self.hyperparameters
        return f"H={p.hidden_size} lr={short(p.learning_rate)} λ={short(p.l2_reg)} s{p.seed}"

    def _say(self, level: int, text: str) -> None:
        """Write a line to the job's log; a full disk does not stop the job."""
        with suppress(OSError):
            self.spec.log.log(level, "%s", text)
        self._close_log()

    def _close_log(self) -> None:
        """Give the file back: a sweep has more jobs than a process may have open files."""
        with suppress(OSError):
            for handler in self.spec.log.handlers:
                handler.close()
