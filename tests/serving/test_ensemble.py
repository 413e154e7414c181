"""Promotion of the ensemble of a real sweep, as MLflow and the server load it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest

from pipeline.analysis.artifacts import AnalysisError, load_hits, load_weights
from pipeline.analysis.ensemble import Ensemble
from pipeline.analysis.runs import rank, tabulate
from pipeline.data.load import load_test
from pipeline.errors import PipelineError
from pipeline.report.write import write_report
from pipeline.serving import ensemble as module
from pipeline.serving.command import main
from pipeline.serving.ensemble import promote_ensemble
from pipeline.serving.promotion import promote
from pipeline.serving.server import load_champion
from pipeline.tracking import queries
from pipeline.tracking.entities import Sweep
from pipeline.tracking.registry import Champion, Registry
from pipeline.tracking.store import Store
from tests.conftest import DIGITS
from tests.serving.server import serving
from tests.sweeps import train_sweep

WHITENED = replace(DIGITS, whiten=0.1)
# The networks of a sweep may differ in size and in type.
JOBS: list[dict[str, Any]] = [
    {"num_epochs": 2, "hidden_size": 8, "learning_rate": 0.1},
    {"num_epochs": 2, "hidden_size": 11, "learning_rate": 0.1, "seed": 1},
    {"num_epochs": 2, "hidden_size": 10, "learning_rate": 0.1, "dtype": "float64"},
    {"num_epochs": 1, "learning_rate": 1e-4},
]


@pytest.fixture(scope="module")
def sweep(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    folder = tmp_path_factory.mktemp("combined")
    return train_sweep(store, folder, "combined", *JOBS, data=WHITENED)


@pytest.fixture(scope="module")
def promoted(store: Store, sweep: Sweep) -> tuple[Champion, Ensemble]:
    return promote_ensemble(store, sweep, "combined")


def reference(store: Store, found: Ensemble) -> np.ndarray:
    """The mean of the members' probabilities of the test images, in float64."""
    X, _ = load_test(WHITENED, "float64")
    mean = np.zeros((len(X), 10))
    for member in found.members:
        W1, b1, W2, b2 = (a[0].astype(float) for a in load_weights(store, member.run_id))
        odds = np.exp(np.maximum(0, X @ W1 + b1) @ W2 + b2)
        mean += member.share * odds / odds.sum(axis=1, keepdims=True)
    return mean


def test_registered_ensemble_predicts_the_mean_of_its_members(
    store: Store, promoted: tuple[Champion, Ensemble], images: np.ndarray, tmp_path: Path
) -> None:
    champion, found = promoted
    assert len(found.members) > 1
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('scipy', 'sklearn', 'pipeline')))\n"
        "import mlflow, numpy as np; mlflow.set_tracking_uri(sys.argv[1])\n"
        "model = mlflow.pyfunc.load_model('models:/combined@champion')\n"
        "np.save('found.npy', model.predict(np.load('images.npy'))['probabilities'])\n"
    )
    np.save(tmp_path / "images.npy", images)
    command = [sys.executable, "-c", code, store.uri]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    expected = reference(store, found)
    np.testing.assert_allclose(np.load(tmp_path / "found.npy"), expected, atol=1e-5)
    model = Registry(store).load(champion)
    assert [int(name) for name in model.predict(images)["class"]] == expected.argmax(1).tolist()
    run = store.client.get_run(champion.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["best_val_acc"] == pytest.approx(found.val_acc)
    assert load_hits(store, champion.run_id, found.num_val).mean() == pytest.approx(found.oob_acc)


def test_files_of_an_ensemble_are_weights_and_code(
    store: Store, promoted: tuple[Champion, Ensemble], tmp_path: Path
) -> None:
    champion, found = promoted
    folder = store.artifacts.download(champion.run_id, "model", tmp_path)
    with np.load(folder / "artifacts" / "model.npz", allow_pickle=False) as file:
        names = set(file.files)
        sizes = [file[f"W1_{k}"].shape[1] for k in range(len(found.members))]
    networks = {f"{key}_{k}" for key in ("W1", "b1", "W2", "b2") for k in range(len(sizes))}
    assert names == networks | {"shares", "mean", "largest", "classes"}
    assert sizes == [member.hidden_size for member in found.members]
    files = {path.name for path in folder.rglob("*") if path.is_file()}
    assert not [name for name in files if name.endswith((".pkl", ".pickle", ".joblib"))]


def test_card_states_size_cost_accuracy_and_members(
    store: Store, promoted: tuple[Champion, Ensemble]
) -> None:
    champion, found = promoted
    card = str(store.client.get_model_version("combined", champion.version).description)
    H = sum(member.hidden_size for member in found.members)
    assert (
        f"{len(found.members)} models with {64 * H + H + 10 * H + 10 * len(found.members):,}"
        in card
    )
    assert f"{74 * H:,} multiply-adds per prediction" in card
    assert f"{100 * found.oob_acc:.1f} % of the validation rows out of bag" in card
    assert "whitened by ZCA" in card
    for member in found.members:
        assert member.run_id in card


def test_server_answers_with_an_ensemble(
    store: Store, promoted: tuple[Champion, Ensemble], images: np.ndarray, tmp_path: Path
) -> None:
    expected = reference(store, promoted[1])[:3]
    options = ("--name", "combined", "--tracking-uri", store.uri)
    with serving(*options, log=tmp_path / "log") as server:
        answers = server.post(images[:3].tolist()).json()["predictions"]
    for answer, row in zip(answers, expected, strict=True):
        assert answer["class"] == str(row.argmax())
        assert list(answer["probabilities"].values()) == pytest.approx(row, abs=1e-5)


def test_ensemble_is_registered_once_and_replaces_a_champion_that_is_worse(
    store: Store, sweep: Sweep, promoted: tuple[Champion, Ensemble]
) -> None:
    champion, _ = promoted
    assert promote_ensemble(store, sweep, "combined")[0] == champion
    ranking = rank(tabulate(queries.sweep_runs(store, sweep)))
    first = promote(store, ranking.iloc[-1], "weak")  # hardly trained
    second, _ = promote_ensemble(store, sweep, "weak")
    assert (first.version, second.version) == ("1", "2")
    assert Registry(store).champion("weak") == second
    with pytest.raises(AnalysisError, match=r"does not replace version 2 of weak.*--force"):
        promote(store, ranking.iloc[0], "weak")


def test_ensemble_that_is_not_significantly_better_needs_force(
    store: Store, tmp_path: Path
) -> None:
    equal = [{"num_epochs": 12, "learning_rate": 0.5, "seed": seed} for seed in (0, 1)]
    sweep = train_sweep(store, tmp_path, "equal", *equal)
    best = rank(tabulate(queries.sweep_runs(store, sweep))).iloc[0]
    champion = promote(store, best, "strong")
    with pytest.raises(AnalysisError, match=r"does not replace version 1 of strong.*add --force"):
        promote_ensemble(store, sweep, "strong")
    assert Registry(store).champion("strong") == champion
    replaced, _ = promote_ensemble(store, sweep, "strong", force=True)
    assert Registry(store).champion("strong") == replaced
    assert load_champion(store, "strong").champion == replaced


def test_ensemble_of_one_model_is_not_registered(store: Store, tmp_path: Path) -> None:
    jobs = [{"num_epochs": 4, "learning_rate": 0.3, "l2_reg": l2_reg} for l2_reg in (0, 1e-6)]
    sweep = train_sweep(store, tmp_path, "one member", *jobs)
    with pytest.raises(AnalysisError, match="its best single model is best alone"):
        promote_ensemble(store, sweep, "one-member", force=True)
    assert Registry(store).champion("one-member") is None
    report = write_report(store, sweep, tmp_path / "reports")
    text = (report.folder / "report.md").read_text()
    assert "There is no ensemble: the best single model is best alone." in text
    assert "--ensemble" not in text
    assert not [line for line in report.lines if line.startswith("Ensemble")]


def test_alias_moves_only_after_the_ensemble_reproduces_its_accuracy(
    store: Store, sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    weak = rank(tabulate(queries.sweep_runs(store, sweep))).iloc[-1]
    champion = promote(store, weak, "damaged")
    arrays = module.ensemble_arrays

    def damage(*args: Any) -> dict[str, np.ndarray]:
        found = arrays(*args)
        return found | {"W2_0": -found["W2_0"]}

    monkeypatch.setattr(module, "ensemble_arrays", damage)
    runs = len(list(store.search("tags.kind = 'ensemble'")))
    with pytest.raises(PipelineError, match=r"the registered model classifies \d+ of 359"):
        promote_ensemble(store, sweep, "damaged")
    assert Registry(store).champion("damaged") == champion
    assert len(store.client.search_model_versions("name='damaged'")) == 1
    assert len(list(store.search("tags.kind = 'ensemble'"))) == runs


def test_command_promotes_the_ensemble_of_a_sweep(
    store: Store, sweep: Sweep, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--tracking-uri", store.uri, "--ensemble"]
    main([*options, "--sweep", sweep.name, "--name", "command"])
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("command version 1 is the champion: the mean of ")
    assert first.endswith(" multiply-adds per prediction")
    assert "models:/command@champion" in second
    train_sweep(store, tmp_path, "single", JOBS[0])
    with pytest.raises(SystemExit, match="fewer than two finished models"):
        main([*options, "--sweep", "single"])
    train_sweep(store, tmp_path, "hopeless", {"learning_rate": 1e9}, {"learning_rate": 1e8})
    for arguments in (options, options[:2]):
        with pytest.raises(SystemExit, match=r"sweep hopeless has no .* with --sweep single$"):
            main(arguments)
    with pytest.raises(SystemExit):
        main([*options, "--run", "0" * 32])
    assert "--ensemble is for a sweep" in capsys.readouterr().err
    mlflow.set_tracking_uri(store.uri)
