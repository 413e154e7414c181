"""The commands of the README, run as a user runs them."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from pipeline.paths import ROOT
from pipeline.tracking import queries
from tests.commands import report_of, run, run_with_failures, store_of, succeed

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
CIFAR10 = os.environ.get("CIFAR10_DIR", "")


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A sweep of eight jobs: two finish, two diverge and four fail."""
    outputs = tmp_path_factory.mktemp("swept") / "outputs"
    values = ["hidden_size=16,32", "learning_rate=0.3,1e9", "num_epochs=6"]
    values += ["batch_size=100,50"]
    return outputs, run_with_failures(outputs, "-m", *values)


def test_report_counts_finished_diverged_and_failed_jobs(swept: tuple[Path, Any]) -> None:
    outputs, done = swept
    assert done.returncode == 1
    assert "MemoryError: no memory for 50 examples" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    report = report_of(outputs)
    assert len(report["runs"]) == 8
    assert len(report["diverged"]) == 2
    assert len(report["failed"]) == 4
    best = report["best"]
    assert best["values"]["hidden_size"] in (16, 32)
    assert best["values"]["learning_rate"] == 0.3
    low, high = best["val_acc_ci95"]
    assert 0.5 < low < best["val_acc"] < high < 1
    assert 0.5 < best["test_acc"] <= 1
    last = done.stdout[-1500:]
    for word in (f"{best['val_acc']:.1%}"[:4], "report.html", "make ui"):
        assert word in last


def test_mlflow_holds_every_run_with_its_weights(swept: tuple[Path, Any], tmp_path: Path) -> None:
    outputs, _ = swept
    store = store_of(outputs)
    sweep = queries.find_sweep(store)
    assert sweep.command.startswith("python -m pipeline -m hidden_size=16,32")
    runs = queries.sweep_runs(store, sweep)
    assert sorted(runs["status"]) == ["FAILED"] * 4 + ["FINISHED"] * 4
    best = runs.loc[runs["metrics.best_val_acc"].idxmax()]
    assert best["tags.outcome"] == "finished"
    assert sweep.swept == ("hidden_size", "learning_rate", "batch_size")
    assert best["name"] == f"H={best['params.hidden_size']} lr=0.3 λ=1e-4 batch_size=100 s0"
    curves = queries.curves(
        store, best["run_id"], ["train_loss", "train_acc", "val_loss", "val_acc"]
    )
    assert curves.shape == (6, 4)
    assert curves["val_acc"].max() == best["metrics.best_val_acc"]
    with np.load(
        store.artifacts.download(best["run_id"], "weights.npz", tmp_path), allow_pickle=False
    ) as file:
        shapes = {name: file[name].shape for name in file}
    H = int(best["params.hidden_size"])
    preprocessing = {"mean": (64,), "largest": (), "classes": (10,)}
    assert shapes == {"W1": (64, H), "b1": (H,), "W2": (H, 10), "b2": (10,), **preprocessing}
    config = yaml.safe_load(
        store.artifacts.download(best["run_id"], "config.yaml", tmp_path).read_text()
    )
    assert (config["hidden_size"], config["data"]["name"]) == (H, "digits")
    inputs = store.client.get_run(best["run_id"]).inputs.dataset_inputs
    assert inputs[0].dataset.digest == best["tags.dataset_digest"]
    parent = store.client.get_run(sweep.run_id)
    assert parent.info.status == "FAILED"
    names = {file.path for file in store.client.list_artifacts(sweep.run_id, "report")}
    written = {f"report/report.{kind}" for kind in ("html", "md", "csv", "json")}
    written.add("report/configurations.csv")
    charts = ("acc", "train_loss", "val_loss", "costs")
    drawn = {f"report/{name}.svg" for name in charts}
    assert names == written | drawn


def test_report_is_rewritten_to_the_same_bytes(swept: tuple[Path, Any]) -> None:
    outputs, _ = swept
    folder = (outputs / "reports" / "latest").resolve()
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    done = run(outputs, "--sweep", folder.name, module="pipeline.report")
    assert done.returncode == 0, done.stderr
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_unknown_sweep_is_refused_in_one_sentence(swept: tuple[Path, Any]) -> None:
    done = run(swept[0], "--sweep", "nowhere", module="pipeline.report")
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert "there is no sweep 'nowhere'" in done.stderr


def test_single_run_equals_the_same_job_of_a_sweep(swept: tuple[Path, Any]) -> None:
    outputs, _ = swept
    values = ["hidden_size=16", "learning_rate=0.3", "num_epochs=6"]
    done = run(outputs, *values, "tracking.reuse=false")
    assert done.returncode == 0, done.stderr
    (log,) = (outputs / "run").glob("*/pipeline.log")
    in_sweep = next(
        path.read_text()
        for path in (outputs / "multirun").glob("*/*/pipeline.log")
        if "hidden_size=16\n- learning_rate=0.3\n- num_epochs=6\n- batch_size=100"
        in (path.parent / ".hydra/overrides.yaml").read_text()
    )

    def epochs(text: str) -> list[str]:
        return [line.split(" - ", 1)[1] for line in text.splitlines() if "epoch" in line]

    assert epochs(log.read_text()) == epochs(in_sweep)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["hiden_size=1"], "unknown key hiden_size: did you mean hidden_size?"),
        (["-m", "data.fraction=0.1"], "unknown key data.fraction: did you mean data.val_fraction?"),
        (["hidden_size=many"], "hidden_size must be a whole number"),
        (["data=imagenet"], "Could not find 'data/imagenet'"),
        (["tracking.uri=http://127.0.0.1:9"], "cannot be opened"),
        (["-m", "seed=0,1", "tracking.uri=http://127.0.0.1:9"], "cannot be opened"),
        (["-m", "learning_rate=1e9,1e10"], "No model to choose"),
    ],
)
def test_error_is_explained_without_a_traceback(
    swept: tuple[Path, Any], overrides: list[str], said: str
) -> None:
    done = run(swept[0], *overrides)
    assert done.returncode == 1
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_dry_run_prints_the_plan_and_writes_nothing(tmp_path: Path) -> None:
    done = run(tmp_path / "out", "-m", "experiment=digits", "hydra.launcher.dry_run=true")
    assert done.returncode == 0, done.stderr
    for part in (
        "64 jobs",
        "2 shards" if os.cpu_count() == 2 else "shards",
        "multiply-adds",
        "time:",
    ):
        assert part in done.stdout
    assert not (tmp_path / "out" / "mlflow.db").exists()


def test_help_explains_every_value(tmp_path: Path) -> None:
    text = succeed(tmp_path, "--help").stdout
    values = yaml.safe_load((ROOT / "conf" / "config.yaml").read_text())
    for key in values:
        if key not in ("defaults", "hydra", "tracking"):
            (line,) = (line for line in text.splitlines() if line.strip().startswith(f"{key}:"))
            assert "#" in line
    groups = (
        "tracking.uri",
        "data.target",
        "hydra.launcher.shards",
        "hydra.launcher.halving.factor",
    )
    for key in (*groups, "hydra.sweeper.max_batch_size", "hydra.sweeper.n_trials"):
        assert re.search(rf"^  {key}: .*# ", text, re.MULTILINE)
    assert "cifar10, cifar100, digits, fashion_mnist" in text
    assert "experiment: " in text


@pytest.mark.parametrize("path", sorted((ROOT / "conf" / "experiment").glob("*.yaml")))
def test_saved_experiment_opens_with_its_command_and_number_of_jobs(path: Path) -> None:
    head = [line for line in path.read_text().splitlines() if line.startswith("# ")]
    assert head[0] == "# @package _global_"  # Hydra reads its header from the first line alone
    assert head[1].startswith(f"# python -m pipeline -m experiment={path.stem}")
    if "hydra/sweeper=optuna" in head[1]:
        sweeper = yaml.safe_load((ROOT / "conf/hydra/sweeper/optuna.yaml").read_text())
        assert head[2].startswith(f"# {sweeper['n_trials']} trials")
        return
    params = yaml.safe_load(path.read_text())["hydra"]["sweeper"]["params"]
    jobs = np.prod([len(str(values).split(",")) for values in params.values()])
    assert head[2].startswith(f"# {jobs} jobs")


@pytest.mark.skipif(not FASHION_MNIST.exists(), reason="Debian's dataset-fashion-mnist is not here")
def test_real_fashion_mnist_is_learned(tmp_path: Path) -> None:
    values = ["batch_size=200", "num_epochs=2", "hidden_size=32", "learning_rate=0.1,0.3"]
    data = ["data=fashion_mnist", f"data.dir={FASHION_MNIST}"]
    done = run(tmp_path / "out", "-m", *data, *values)
    assert done.returncode == 0, done.stderr
    best = report_of(tmp_path / "out")["best"]
    assert best["val_acc"] > 0.83
    assert best["test_acc"] > 0.82


@pytest.mark.skipif(not CIFAR10, reason="CIFAR10_DIR names no folder with the real images")
def test_real_cifar10_is_learned(tmp_path: Path) -> None:
    values = ["batch_size=200", "num_epochs=1", "hidden_size=50", "learning_rate=0.1,0.2"]
    data = ["data=cifar10", f"data.dir={CIFAR10}", "weight_std=0.02"]
    done = run(tmp_path / "out", "-m", *data, *values)
    assert done.returncode == 0, done.stderr
    report = report_of(tmp_path / "out")
    assert report["best"]["val_acc"] > 0.36
    assert report["best"]["test_acc"] > 0.35
