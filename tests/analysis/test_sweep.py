"""The analysis of real sweeps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.analysis.artifacts import load_hits
from pipeline.analysis.evaluation import evaluate_best
from pipeline.analysis.runs import rank, tabulate
from pipeline.report.formatting import percent
from pipeline.report.write import write_report
from pipeline.tracking import queries
from pipeline.tracking.store import Store
from tests.sweeps import train_sweep

pytestmark = pytest.mark.usefixtures("outputs")


def facts_of(store: Store, folder: Path, name: str) -> dict[str, Any]:
    report = write_report(store, queries.find_sweep(store, name), folder)
    facts: dict[str, Any] = json.loads((report.folder / "report.json").read_text())
    return facts


def test_choice_uses_the_mean_over_seeds(store: Store, tmp_path: Path) -> None:
    grid = [
        {"learning_rate": lr, "seed": seed, "num_epochs": 4}
        for lr in (0.001, 0.01, 1.0)
        for seed in range(3)
    ]
    sweep = train_sweep(store, tmp_path, "seeds", *grid)
    facts = facts_of(store, tmp_path / "reports", "seeds")
    runs = queries.sweep_runs(store, sweep)
    means = runs.groupby("params.learning_rate")["metrics.best_val_acc"].mean()
    assert means.idxmax() == "1.0"
    table = facts["evidence"]["configurations"]
    assert [row["n"] for row in table] == [3, 3, 3]
    assert table[0]["mean"] == pytest.approx(means.max())
    assert table[0]["test"] == "" and table[1]["test"] == "paired_t"
    assert [row["group"] for row in table] == ["chosen", "other", "other"]
    assert facts["best"]["values"]["learning_rate"] == table[0]["values"]["learning_rate"] == 1
    estimate = facts["evidence"]["estimate"]
    assert (estimate["num_seeds"], estimate["num_candidates"]) == (3, 3)
    assert estimate["low"] < estimate["corrected"] <= estimate["raw"] == table[0]["mean"]
    text = " ".join(facts["notes"])
    assert "The choice uses the mean over 3 seeds" in text
    assert f"validation accuracy is {percent(facts['best']['val_acc'])}" in text
    head = (tmp_path / "reports" / "seeds" / "report.md").read_text().splitlines()[2:6]
    assert head[0].startswith("**Best model: H=8, λ=1e-4, lr=1, seed=")
    assert f"accuracy: {percent(estimate['corrected'])} (mean over 3 seeds, 95 %" in head[1]
    assert head[3] == "**All other 2 configurations are significantly worse**  "
    assert "learning_rate=1 is the largest value that was tried" in text


def test_hits_are_those_of_the_best_epoch(store: Store, tmp_path: Path) -> None:
    sweep = train_sweep(store, tmp_path, "hits", {"num_epochs": 2})
    run = queries.sweep_runs(store, sweep).iloc[0]
    hits = load_hits(store, run["run_id"], int(run["tags.num_val"]))
    assert hits.mean() == pytest.approx(run["metrics.best_val_acc"])


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive"])
def test_runs_with_damaged_predictions_are_not_compared(
    store: Store, tmp_path: Path, content: bytes
) -> None:
    name = f"damaged {len(content)}"
    sweep = train_sweep(store, tmp_path, name, {}, {"l2_reg": 0})
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "val_hits.npz").write_bytes(content)
    store.artifacts.upload(queries.sweep_runs(store, sweep)["run_id"].iloc[1], broken)
    facts = facts_of(store, tmp_path / "reports", name)
    assert facts["evidence"] is None
    (note,) = facts["notes"]
    assert "The models cannot be compared: val_hits.npz of run" in note


def test_sweeps_that_evaluate_a_run_at_once_log_one_test_accuracy(
    store: Store, tmp_path: Path
) -> None:
    sweep = train_sweep(store, tmp_path, "evaluated", {"num_epochs": 1, "learning_rate": 0.123})
    best = rank(tabulate(queries.sweep_runs(store, sweep))).iloc[0]
    assert pd.isna(best["test_acc"])
    for _ in range(2):  # both read the run before either has written
        evaluate_best(store, best, sweep.name, final=True)
    assert len(store.client.get_metric_history(best["run_id"], "test_acc")) == 1


def test_lucky_seed_does_not_beat_a_better_mean() -> None:
    rows = [(0.1, 0, 0.95), (0.1, 1, 0.80), (0.3, 0, 0.91), (0.3, 1, 0.92)]
    jobs = pd.DataFrame(rows, columns=["learning_rate", "seed", "best_val_acc"]).assign(
        outcome="finished",
        best_val_loss=0.5,
        hidden_size=8,
        job=np.arange(4),
        configuration=[0, 0, 1, 1],
    )
    assert list(rank(jobs)["best_val_acc"]) == [0.92, 0.91, 0.95, 0.80]
