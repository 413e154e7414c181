"""The sweep as a Python function, for scripts and notebooks.

    from pipeline import sweep
    result = sweep(["hidden_size=64,128", "learning_rate=0.1,0.3"], X=X, y=y)
    result.best.val_acc
    result.predict(X_new)

The function runs the same command as a shell would, in a process of its own. It therefore works in
any thread and in a Jupyter kernel, and its runs, folders and reused results are the same.
"""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.analysis.sweep import analyse
from pipeline.data.kinds import read_raw
from pipeline.data.prepared import save_arrays
from pipeline.errors import PipelineError
from pipeline.files import atomic_write
from pipeline.paths import default_tracking_uri, outputs_dir
from pipeline.report.notebook import SweepReport, tables
from pipeline.report.write import folder_name
from pipeline.serving.package import model_arrays
from pipeline.tracking import queries
from pipeline.tracking.store import Store

LINES = 5  # of the output that an error shows


@dataclass(frozen=True, eq=False)
class SweepResult(SweepReport):
    """The report of a finished sweep, and its chosen model."""

    report: Path  # report.html
    arrays: Mapping[str, NDArray[Any]] | None  # of the chosen model; None: no model was chosen

    def predict(self, X: Any) -> NDArray[np.str_]:
        """Predict the class of each raw row with the chosen model.

        Args:
            X: rows or images of the same form as for training: an array (n, …), or a DataFrame with
                the columns of the training table.

        Returns:
            The names of the classes (n,).

        Raises:
            PipelineError: no model was chosen.
            ValueError: X has other columns or another shape.
        """
        if self.arrays is None:
            raise PipelineError("no model was chosen, because no job has finished: see the report")
        from pipeline.serving.champion import TwoLayerNet

        model = TwoLayerNet()
        model.use(self.arrays)
        rows: Any = X if isinstance(X, pd.DataFrame) else np.asarray(X)
        names: NDArray[np.str_] = model.predict(None, rows)["class"]
        return names


def sweep(
    overrides: Sequence[str] = (),
    X: Any = None,
    y: Any = None,
    *,
    name: str = "arrays",
    **splits: Any,
) -> SweepResult:
    """Run a sweep and load its result.

    Args:
        overrides: values as on the command line, as "hidden_size=64,128".
        X: an array (N, …) of numbers, or a DataFrame; None: the overrides name the data.
        y: labels (N,): whole numbers or text.
        name: of the dataset, of its MLflow experiment and of its registered model.
        splits: X_val, y_val, X_test and y_test, if they are not to be split off from X.

    Returns:
        The report as `pipeline.report.load` returns it, with `best`, `predict` and the DataFrames.

    Raises:
        PipelineError: the sweep could not run; the message is its first error.
    """
    arguments = [*overrides]
    if X is not None:
        arguments += _save(X, y, splits, outputs_dir() / "data")
        arguments.append(f"data.name={_quoted(name)}")
    stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S_%f")
    arguments.append(f"hydra.sweep.dir={_quoted(str(outputs_dir() / 'multirun' / stamp))}")
    code, output = _run([sys.executable, "-m", "pipeline", "-m", *arguments])
    uri = [word.partition("=")[2] for word in overrides if word.startswith("tracking.uri=")]
    try:
        store = Store.open_existing(uri[-1].strip("'\"") if uri else default_tracking_uri())
        found = analyse(store, queries.find_sweep(store, stamp))
    except PipelineError:
        if code == 0:
            raise
        raise PipelineError(output[-1] if output else f"the sweep ended with code {code}") from None
    errors = found.jobs["error"].dropna()
    if found.chosen is None and len(errors):
        raise PipelineError(f"no job has finished; the first error was: {errors.iloc[0]}")
    arrays = None
    chosen = found.chosen
    if chosen is not None and chosen.weights is not None and chosen.job is not None:
        arrays = model_arrays(store, chosen.best.run_id, read_raw(chosen.job.data))
    folder = outputs_dir() / "reports" / folder_name(stamp)
    return SweepResult(**tables(found), report=folder / "report.html", arrays=arrays)


def _save(X: Any, y: Any, splits: Mapping[str, Any], folder: Path) -> list[str]:
    """Save the data under a name that depends on its content; returns the overrides for it."""
    if isinstance(X, pd.DataFrame):
        if splits:
            raise PipelineError(f"{', '.join(splits)} cannot be given with a DataFrame: use arrays")
        target = str(getattr(y, "name", None) or "target")
        frame = X.rename(columns=str).assign(**{target: np.asarray(y)})
        digest = hashlib.sha256(frame.to_csv(index=False).encode()).hexdigest()[:16]
        path = folder / f"{digest}.parquet"
        if not path.exists():
            atomic_write(path, lambda file: frame.to_parquet(file, index=False))
        return ["data=table", f"data.file={_quoted(str(path))}", f"data.target={_quoted(target)}"]
    unknown = set(splits) - {"X_val", "y_val", "X_test", "y_test"}
    if unknown:
        raise PipelineError(f"unknown arguments {', '.join(sorted(unknown))} of sweep")
    path = save_arrays({"X": X, "y": y, **splits})
    return ["data=npz", f"data.file={_quoted(str(path))}"]


def _quoted(text: str) -> str:
    """Quote a value of an override."""
    return json.dumps(text, ensure_ascii=False)


def _run(command: Sequence[str]) -> tuple[int, list[str]]:
    """Run a command and print its output; returns its exit code and its last lines.

    Ctrl-C, or the interrupt of a notebook, stops the sweep like Ctrl-C in a shell: its checkpoints
    stay, and the same call resumes it.
    """
    lines: list[str] = []
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        start_new_session=True,  # the sweep gets one signal, from here
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                print(line, end="")
                if line.strip():
                    lines = [*lines, line.strip()][-LINES:]
            return process.wait(), lines
        except BaseException:
            process.send_signal(signal.SIGINT)
            process.wait()
            raise
