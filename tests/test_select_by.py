"""select_by decides the best epoch, halving, reuse, the report, Optuna's objective and promote."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from pipeline.analysis.artifacts import load_hits
from pipeline.analysis.runs import rank, selection_metric, tabulate
from pipeline.config import DataConfig, Halving
from pipeline.data.load import load
from pipeline.errors import PipelineError
from pipeline.execution.fingerprint import fingerprint
from pipeline.execution.spec import JobSpec, RunContext
from pipeline.nn.history import Metrics
from pipeline.nn.model import balanced_accuracy
from pipeline.nn.train import train as train_models
from pipeline.report.write import write_report
from pipeline.selection import METRICS
from pipeline.serving.promotion import find, promote
from pipeline.tracking import queries
from pipeline.tracking.store import Store
from tests.commands import report_of, succeed
from tests.conftest import SMALL, TRACKING, train
from tests.sweeps import BASE, train_sweep

rng = np.random.default_rng(0)
N = 600
Y = (rng.random(N) < 0.12).astype(int)  # class 1 is rare
X = rng.normal(size=(N, 4)) + 1.2 * Y[:, None]
GRID = [{"hidden_size": H, "learning_rate": lr} for H in (4, 16) for lr in (0.02, 0.3, 3.0)]


@pytest.fixture(scope="module")
def imbalanced(tmp_path_factory: pytest.TempPathFactory) -> DataConfig:
    path = tmp_path_factory.mktemp("imbalanced") / "rare.npz"
    np.savez(path, X=X, y=Y)
    return DataConfig(name="rare", kind="npz", file=str(path))


def test_balanced_accuracy_equals_that_of_scikit_learn() -> None:
    for classes in (2, 5):
        y = rng.integers(0, classes, 200)
        guess = np.where(rng.random(200) < 0.6, y, rng.integers(0, classes, 200))
        assert balanced_accuracy(guess == y, y) == pytest.approx(balanced_accuracy_score(y, guess))


def test_runs_older_than_the_choice_keep_their_fingerprint() -> None:
    names = [fingerprint(replace(SMALL, select_by=metric), "d") for metric in METRICS]
    assert names[0] == fingerprint(SMALL, "d")
    assert len(set(names)) == 3


@pytest.mark.parametrize("select_by", METRICS)
def test_the_best_epoch_is_the_best_by_the_metric(imbalanced: DataConfig, select_by: Any) -> None:
    data = load(imbalanced, "float32")
    values = {"num_epochs": 25, "learning_rate": 1.0, "batch_size": 20}
    jobs = [replace(SMALL, **values, select_by=metric) for metric in ("val_acc", select_by)]
    ends = [end for end in train_models(jobs, data) if getattr(end, "model", 0) == 1]
    curve: list[Metrics] = [end.row.metrics for end in ends]  # type: ignore[union-attr]
    score = {"val_acc": 1, "val_loss": -1, "balanced_acc": 1}[select_by]
    best = max(curve, key=lambda metrics: score * getattr(metrics, select_by))
    result = ends[-1].result  # type: ignore[union-attr]
    assert result is not None
    hits = np.unpackbits(result.best_hits, count=len(data.y_val)).astype(bool)
    assert hits.mean() == pytest.approx(best.val_acc)
    if select_by == "balanced_acc":
        assert best.balanced_acc == balanced_accuracy(hits, data.y_val)
        assert best.balanced_acc != pytest.approx(best.val_acc)
    else:
        assert best.balanced_acc is None


@pytest.mark.parametrize("select_by", ["val_loss", "balanced_acc"])
def test_report_and_promote_choose_by_the_metric(
    store: Store, tmp_path: Path, imbalanced: DataConfig, select_by: str
) -> None:
    shared = {"select_by": select_by, "batch_size": 20, "num_epochs": 6}
    sweep = train_sweep(
        store, tmp_path, select_by, *(job | shared for job in GRID), data=imbalanced
    )
    jobs = tabulate(queries.sweep_runs(store, sweep))
    assert selection_metric(jobs) == select_by
    by_metric = jobs.sort_values(f"best_{select_by}", ascending=select_by == "val_loss")
    assert rank(jobs)[f"best_{select_by}"].tolist() == by_metric[f"best_{select_by}"].tolist()
    assert find(store, None, select_by)[0]["run_id"] == rank(jobs)["run_id"].iloc[0]
    report = write_report(store, sweep, tmp_path / "reports")
    facts = json.loads((report.folder / "report.json").read_text())
    assert facts["select_by"] == select_by
    best = facts["best"]
    assert best["run_id"] == rank(jobs)["run_id"].iloc[0]
    # The chosen configuration is first in the table, too, and its estimate is not corrected.
    assert facts["evidence"]["configurations"][0]["mean"] == pytest.approx(best["val_acc"])
    assert facts["evidence"]["estimate"]["optimism"] == 0
    metric = {"val_loss": "Validation loss", "balanced_acc": "Balanced accuracy"}[select_by]
    assert any(line.startswith(f"{metric}: ") for line in report.lines)
    assert any("The validation accuracy is not corrected" in note for note in report.notes)
    page = (report.folder / "report.html").read_text()
    assert page.count("so another one may have a higher validation accuracy") == 3
    if select_by == "balanced_acc":
        hits = load_hits(store, best["run_id"], best["num_val"])
        y_val = load(imbalanced, "float32").y_val
        assert best["balanced_acc"] == pytest.approx(balanced_accuracy(hits, y_val))


def test_halving_and_reuse_compare_by_the_metric(
    place: RunContext, tmp_path: Path, outputs: Path, imbalanced: DataConfig
) -> None:
    groups = {"data": vars(imbalanced), "tracking": TRACKING}
    shared = {"select_by": "balanced_acc", "num_epochs": 4, "batch_size": 20}
    specs = [
        JobSpec(i, {**BASE, **values, **shared, **groups}, tmp_path, logging.getLogger("test"))
        for i, values in enumerate(GRID)
    ]
    runs = train(specs, place, halving=Halving(2, 1))
    keys = [run.key_at(1) for run in runs]
    halted = [key for run, key in zip(runs, keys, strict=True) if run.epoch == 1]
    survived = [key for run, key in zip(runs, keys, strict=True) if run.epoch > 1]
    assert len(halted) == len(survived) == 3
    assert max(halted) < min(survived)
    assert {key.score for key in keys} == {
        curve["balanced_acc"][1]
        for run in runs
        for curve in [queries.curves(place.store, run.run_id, ["balanced_acc"])]
    }
    again = train(specs, place, halving=Halving(2, 1))
    assert [run.key_at(1) for run in again] == keys
    assert [run.score for run in again] == [run.score for run in runs]


def test_optuna_minimises_the_loss(outputs: Path, imbalanced: DataConfig) -> None:
    search = ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=4", "hydra.sweeper.batch_size=4"]
    data = ["data=npz", f"data.file={imbalanced.file}", "batch_size=20", "num_epochs=4"]
    values = ["hidden_size=4,8", "learning_rate=0.02,0.3", "hydra.sweeper.sampler=grid"]
    done = succeed(outputs, "-m", "select_by=val_loss", *search, *data, *values)
    report = report_of(outputs)
    assert "Validation loss: " in done.stdout
    assert report["best"]["val_loss"] == min(run["best_val_loss"] for run in report["runs"])
    (folder,) = (outputs / "multirun").iterdir()
    found = (folder / "optimization_results.yaml").read_text()
    assert f"best_evaluated_value: {report['best']['val_loss']!r}" in found


def test_champion_is_replaced_by_a_better_balanced_accuracy_only(
    store: Store, tmp_path: Path, imbalanced: DataConfig
) -> None:
    shared = {"select_by": "balanced_acc", "batch_size": 20}
    poor = train_sweep(store, tmp_path, "poor", shared | {"num_epochs": 1}, data=imbalanced)
    promote(store, tabulate(queries.sweep_runs(store, poor)).iloc[0])
    equal = shared | {"num_epochs": 1, "seed": 1}
    train_sweep(store, tmp_path, "equal", equal, data=imbalanced)
    with pytest.raises(
        PipelineError, match=r"its balanced accuracy is \d+\.\d % against \d+\.\d %"
    ):
        promote(store, find(store, None, "equal")[0])
    good = shared | {"num_epochs": 20, "learning_rate": 0.3}
    train_sweep(store, tmp_path, "good", good, data=imbalanced)
    assert promote(store, find(store, None, "good")[0]).version == "2"
