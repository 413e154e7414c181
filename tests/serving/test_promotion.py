"""Promotion: the champion of a real sweep, as MLflow loads it."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest

from pipeline.analysis.artifacts import AnalysisError, load_weights
from pipeline.analysis.runs import rank, tabulate
from pipeline.config import DataConfig, parse_job
from pipeline.data.kinds import read_raw
from pipeline.data.load import load_test
from pipeline.errors import PipelineError
from pipeline.nn.model import predict
from pipeline.serving.command import main
from pipeline.serving.package import model_arrays
from pipeline.serving.promotion import check_data, find, promote
from pipeline.tracking import queries
from pipeline.tracking.registry import Registry
from pipeline.tracking.store import Store
from pipeline.uris import sqlite_uri
from tests.commands import run as run_command
from tests.commands import succeed
from tests.conftest import DIGITS, SMALL, TRACKING
from tests.sweeps import train_sweep

SHAPE = (8, 8, 1)


def test_registered_model_predicts_like_the_weights_of_its_run(
    model: Any, store: Store, ranking: pd.DataFrame, images: np.ndarray
) -> None:
    found = model.predict(images)
    X, _ = load_test(DIGITS, "float32")
    weights = load_weights(store, ranking["run_id"].iloc[0])
    assert [int(name) for name in found["class"]] == predict(weights, X)[0].tolist()
    assert found["probabilities"].sum(axis=1) == pytest.approx(np.ones(len(images)))
    assert (found["probabilities"].argmax(axis=1) == predict(weights, X)[0]).all()


def test_registered_model_of_whitened_images_takes_raw_images(
    store: Store, images: np.ndarray, tmp_path: Path
) -> None:
    whitened = replace(DIGITS, whiten=0.01)
    job = {"num_epochs": 4, "learning_rate": 0.1}
    sweep = train_sweep(store, tmp_path, "whitened", job, data=whitened)
    run = rank(tabulate(queries.sweep_runs(store, sweep))).iloc[0]
    champion = promote(store, run, "whitened")
    mlflow.set_tracking_uri(store.uri)
    found = mlflow.pyfunc.load_model(f"models:/{champion.name}@champion").predict(images)
    X, _ = load_test(whitened, "float32")
    weights = load_weights(store, run["run_id"])
    expected = predict(weights, X)[0]
    assert ([int(name) for name in found["class"]] == expected).mean() > 0.99  # rounding may differ
    arrays = model_arrays(store, run["run_id"], read_raw(whitened))
    assert set(arrays) == {"W1", "b1", "W2", "b2", "mean", "largest", "classes"}
    assert not np.allclose(arrays["W1"], weights.W1[0], atol=0.01)
    card = store.client.get_model_version("whitened", champion.version).description
    assert "minus the training mean of each feature; whitened by ZCA" in card


def test_registered_files_contain_code_and_no_pickle(
    model: Any, store: Store, ranking: pd.DataFrame, tmp_path: Path
) -> None:
    folder = store.artifacts.download(ranking["run_id"].iloc[0], "model", tmp_path)
    names = {path.name for path in folder.rglob("*") if path.is_file()}
    assert {"champion.py", "model.npz", "MLmodel", "requirements.txt"} <= names
    assert not [name for name in names if name.endswith((".pkl", ".pickle", ".joblib"))]
    with np.load(folder / "artifacts" / "model.npz", allow_pickle=False) as file:
        assert {"W1", "b1", "W2", "b2", "mean", "largest", "classes"} == set(file.files)
    code = (folder / "champion.py").read_text()
    assert set(re.findall(r"^(?:from|import) (\w+)", code, re.MULTILINE)) <= {
        *("__future__", "collections", "json", "mlflow", "numpy", "pandas", "typing")
    }


def test_registered_model_loads_without_this_project(
    model: Any, store: Store, images: np.ndarray, tmp_path: Path
) -> None:
    """From a folder and a Python that cannot see this project."""
    np.save(tmp_path / "images.npy", images[:5])
    code = (
        "import sys, mlflow, numpy as np\n"
        "sys.modules['pipeline'] = None\n"
        "mlflow.set_tracking_uri(sys.argv[1])\n"
        "model = mlflow.pyfunc.load_model('models:/digits@champion')\n"
        "print(*model.predict(np.load('images.npy'))['class'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, store.uri],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == model.predict(images[:5])["class"].tolist()


def test_slightly_better_model_does_not_replace_the_champion(
    store: Store, ranking: pd.DataFrame
) -> None:
    better, good = ranking.iloc[0], ranking.iloc[1]
    assert better["best_val_acc"] > good["best_val_acc"]
    champion = promote(store, good, "slightly")
    with pytest.raises(AnalysisError, match="not significantly better"):
        promote(store, better, "slightly")
    assert Registry(store).champion("slightly") == champion
    assert promote(store, good, "slightly") == champion  # nothing is registered twice


def test_significantly_better_model_or_force_replaces_the_champion(
    store: Store, ranking: pd.DataFrame
) -> None:
    bad, good = ranking.iloc[2], ranking.iloc[0]
    first = promote(store, bad, "other")
    second = promote(store, good, "other")
    assert (first.version, second.version) == ("1", "2")
    assert Registry(store).champion("other") == second
    with pytest.raises(AnalysisError, match="--force"):
        promote(store, bad, "other")
    assert promote(store, bad, "other", force=True).version == "3"
    version = store.client.get_model_version_by_alias("other", "champion")
    assert version.version in ("3", 3)
    for fact in ("359 validation rows", str(bad["dataset_digest"]), "Limits", "λ="):
        assert fact in str(version.description)


def test_alias_moves_only_after_the_new_version_reproduces_its_accuracy(
    store: Store, tmp_path: Path
) -> None:
    sweep = train_sweep(store, tmp_path, "changed", {"num_epochs": 4})
    run = rank(tabulate(queries.sweep_runs(store, sweep))).iloc[0]
    champion = promote(store, run, "checked")
    sweep = train_sweep(store, tmp_path, "damaged", {"num_epochs": 4, "seed": 1})
    damaged = rank(tabulate(queries.sweep_runs(store, sweep))).iloc[0]
    with np.load(store.artifacts.download(damaged["run_id"], "weights.npz", tmp_path)) as file:
        arrays = {key: file[key] for key in file.files}
    (tmp_path / "new").mkdir()
    np.savez(tmp_path / "new" / "weights.npz", **arrays | {"W2": -arrays["W2"]})
    store.artifacts.upload(damaged["run_id"], tmp_path / "new")
    with pytest.raises(PipelineError, match=r"but its run recorded \d+: its weights or its data"):
        promote(store, damaged, "checked", force=True)
    options = ("--sweep", "damaged", "--name", "checked", "--force", "--tracking-uri", store.uri)
    done = run_command(tmp_path / "outputs", *options, module="pipeline.promote")
    assert done.returncode == 1
    assert "but its run recorded" in done.stderr
    assert "is the champion" not in done.stdout
    assert Registry(store).champion("checked") == champion
    assert len(store.client.search_model_versions("name = 'checked'")) == 1


def test_model_of_changed_data_is_not_promoted(store: Store, ranking: pd.DataFrame) -> None:
    run = ranking.iloc[0].copy()
    run["dataset_digest"] = "0" * 32
    with pytest.raises(AnalysisError, match="files of digits have changed since"):
        promote(store, run, "never")
    assert not store.client.search_model_versions("name = 'never'")


@pytest.mark.parametrize(
    ("source", "place"),
    [
        ({"file": "/home/ann/own.csv"}, "/home/ann/own.csv"),
        ({"dir": "/home/ann/cifar"}, "/home/ann/cifar"),
        ({}, "the cache folder"),
    ],
)
def test_changed_data_are_named_by_their_place(source: dict[str, str], place: str) -> None:
    job = parse_job({**asdict(SMALL), "data": asdict(DIGITS), "tracking": TRACKING})
    job = replace(job, data=DataConfig(name="own", kind="table", **source))
    run = pd.Series({"dataset_digest": "0" * 32, "test_digest": None, "name": "H=8"})
    with pytest.raises(AnalysisError, match=f"restore the files in {place}, or train again"):
        check_data(run, read_raw(DIGITS), job)


def test_champion_has_the_stored_preprocessing_or_that_of_the_data(
    store: Store, ranking: pd.DataFrame, tmp_path: Path
) -> None:
    """Weights of earlier versions have no preprocessing in their file."""
    run_id, raw = ranking["run_id"].iloc[1], read_raw(DIGITS)
    stored = model_arrays(store, run_id, raw)
    path = store.artifacts.download(run_id, "weights.npz", tmp_path)
    with np.load(path) as file:
        arrays = {key: file[key] for key in file.files}
    (tmp_path / "new").mkdir()
    earlier = {key: arrays[key] for key in ("W1", "b1", "W2", "b2")}
    changed = arrays | {"mean": arrays["mean"] + 1}
    for content, shift in ((earlier, 0), (changed, 1), (arrays, 0)):
        np.savez(tmp_path / "new" / "weights.npz", **content)
        store.artifacts.upload(run_id, tmp_path / "new")
        found = model_arrays(store, run_id, raw)
        assert set(found) == set(stored)
        np.testing.assert_array_equal(found["mean"], stored["mean"] + shift)


def test_champion_of_a_deleted_run_is_replaced_only_by_force(
    store: Store, ranking: pd.DataFrame, tmp_path: Path
) -> None:
    sweep = train_sweep(store, tmp_path, "deleted", {"learning_rate": 0.001})
    old = rank(tabulate(queries.sweep_runs(store, sweep))).iloc[0]
    promote(store, old, "orphan")
    store.client.delete_run(old["run_id"])
    with pytest.raises(AnalysisError) as caught:
        promote(store, ranking.iloc[0], "orphan")
    for part in ("version 1 of orphan", "has been deleted in MLflow", "runs restore", "--force"):
        assert part in str(caught.value)
    options = ("--sweep", "champions", "--name", "orphan", "--tracking-uri", store.uri)
    done = run_command(tmp_path / "outputs", *options, module="pipeline.promote")
    assert done.returncode == 1
    assert done.stderr.startswith("version 1 of orphan, the current champion, cannot be compared")
    assert promote(store, ranking.iloc[0], "orphan", force=True).version == "2"


def test_promoted_model_of_an_experiment_with_spaces_loads(tmp_path: Path) -> None:
    outputs = tmp_path / "my outputs"
    succeed(outputs, "-m", "hidden_size=8", "num_epochs=1", "tracking.experiment=my experiment")
    done = succeed(outputs, module="pipeline.promote")
    assert "digits version 1 is the champion" in done.stdout
    mlflow.set_tracking_uri(sqlite_uri(outputs / "mlflow.db"))
    model = mlflow.pyfunc.load_model("models:/digits@champion")
    assert len(model.predict(np.zeros((1, *SHAPE), np.uint8))["class"]) == 1
    # The folder is moved: the champion loads from its new place, and the old one stays away.
    moved = tmp_path / "moved"
    outputs.rename(moved)
    succeed(moved, "-m", "hidden_size=16", "num_epochs=1", "tracking.experiment=my experiment")
    assert not outputs.exists()
    mlflow.set_tracking_uri(sqlite_uri(moved / "mlflow.db"))
    model = mlflow.pyfunc.load_model("models:/digits@champion")
    assert len(model.predict(np.zeros((1, *SHAPE), np.uint8))["class"]) == 1


def test_impossible_promotion_is_one_sentence(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train_sweep(store, tmp_path, "none", {"learning_rate": 1e9})
    for arguments in (["--sweep", "none"], ["--sweep", "unknown"], ["--run", "0" * 32]):
        with pytest.raises(SystemExit) as end:
            main([*arguments, "--tracking-uri", store.uri])
        assert isinstance(end.value.code, str)
        assert "\n" not in end.value.code
    with pytest.raises(SystemExit, match="there is no run 'nonsense' in"):
        main(["--run", "nonsense", "--tracking-uri", store.uri])
    missing = tmp_path / "no.db"
    with pytest.raises(SystemExit, match="there is no store"):
        main(["--tracking-uri", f"sqlite:///{missing}"])
    assert not missing.exists()


def test_run_is_promoted_by_its_id(store: Store, ranking: pd.DataFrame) -> None:
    for run_id in ranking["run_id"]:
        run, candidates = find(store, run_id, None)
        assert run["run_id"] == run_id
        assert set(candidates["run_id"]) >= set(ranking["run_id"])  # the other runs of its sweep
