"""The champion: registered from a real sweep, loaded by MLflow, served to a real HTTP client."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
import requests

from pipeline.analysis.artifacts import AnalysisError, load_weights
from pipeline.analysis.runs import rank, tabulate
from pipeline.data.dataset import as_images
from pipeline.data.kinds import read_raw
from pipeline.data.load import load_test
from pipeline.nn.model import predict
from pipeline.serving.promotion import find, main, promote
from pipeline.serving.server import listen
from pipeline.tracking import queries
from pipeline.tracking.registry import Registry
from pipeline.tracking.store import Store
from tests.conftest import DIGITS
from tests.sweeps import train_sweep

SHAPE = (8, 8, 1)


@pytest.fixture(scope="module")
def ranking(store: Store, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Two good models that cannot be told apart, and a bad one."""
    folder = tmp_path_factory.mktemp("promoted")
    jobs = [{"learning_rate": lr, "num_epochs": 4} for lr in (0.3, 0.31, 0.001)]
    return rank(tabulate(queries.sweep_runs(store, train_sweep(store, folder, "champions", *jobs))))


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """The real test images as they are in the file."""
    return as_images(np.concatenate([*read_raw(DIGITS).read_test().rows.pieces()]), SHAPE)


@pytest.fixture(scope="module")
def model(store: Store, ranking: pd.DataFrame) -> Any:
    """The best of them, as MLflow loads it."""
    champion = promote(store, ranking.iloc[0])
    mlflow.set_tracking_uri(store.uri)
    return mlflow.pyfunc.load_model(f"models:/{champion.name}@champion")


def test_it_predicts_what_the_run_s_weights_do(
    model: Any, store: Store, ranking: pd.DataFrame, images: np.ndarray
) -> None:
    found = model.predict(images)
    X, _ = load_test(DIGITS, "float32")
    weights = load_weights(store, ranking["run_id"].iloc[0])
    assert [int(name) for name in found["class"]] == predict(weights, X)[0].tolist()
    assert found["probabilities"].sum(axis=1) == pytest.approx(np.ones(len(images)))
    assert (found["probabilities"].argmax(axis=1) == predict(weights, X)[0]).all()


def test_its_files_hold_code_and_no_pickle(
    model: Any, store: Store, ranking: pd.DataFrame, tmp_path: Path
) -> None:
    folder = store.download_artifact(ranking["run_id"].iloc[0], "model", tmp_path)
    names = {path.name for path in folder.rglob("*") if path.is_file()}
    assert {"champion.py", "model.npz", "MLmodel", "requirements.txt"} <= names
    assert not [name for name in names if name.endswith((".pkl", ".pickle", ".joblib"))]
    with np.load(folder / "artifacts" / "model.npz", allow_pickle=False) as file:
        assert {"W1", "b1", "W2", "b2", "mean", "largest", "classes"} == set(file.files)
    code = (folder / "champion.py").read_text()
    assert set(re.findall(r"^(?:from|import) (\w+)", code, re.MULTILINE)) <= {
        *("__future__", "collections", "json", "mlflow", "numpy", "pandas", "typing")
    }


def test_it_stands_on_its_own(model: Any, store: Store, images: np.ndarray, tmp_path: Path) -> None:
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


def test_a_champion_that_may_be_as_good_stays(
    model: Any, store: Store, ranking: pd.DataFrame
) -> None:
    with pytest.raises(AnalysisError, match="does not show that the new one is better"):
        promote(store, ranking.iloc[1])
    champion = Registry(store).champion("digits")
    assert champion is not None
    assert champion.run_id == ranking["run_id"].iloc[0]
    assert promote(store, ranking.iloc[0]) == champion  # is it already


def test_a_clearly_better_model_and_force_replace_it(store: Store, ranking: pd.DataFrame) -> None:
    bad, good = ranking.iloc[2], ranking.iloc[0]
    first = promote(store, bad, "other")
    second = promote(store, good, "other")
    assert (first.version, second.version) == ("1", "2")
    with pytest.raises(AnalysisError, match="--force"):
        promote(store, bad, "other")
    assert promote(store, bad, "other", force=True).version == "3"
    version = store.client.get_model_version_by_alias("other", "champion")
    assert version.version in ("3", 3)
    for fact in ("359 validation rows", str(bad["dataset_digest"]), "Limits", "λ="):
        assert fact in str(version.description)


def test_what_cannot_be_promoted_is_one_sentence(
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


def test_a_run_can_be_promoted_by_its_id(store: Store, ranking: pd.DataFrame) -> None:
    for run_id in ranking["run_id"]:
        run, candidates = find(store, run_id, None)
        assert run["run_id"] == run_id
        assert set(candidates["run_id"]) >= set(ranking["run_id"])  # the other runs of its sweep


@pytest.fixture(scope="module")
def url(model: Any, store: Store) -> Iterator[str]:
    """A server of the champion, in a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "pipeline.serve", "--port", str(port), "--name", "digits"]
    process = subprocess.Popen([*command, "--tracking-uri", store.uri])
    address = f"http://127.0.0.1:{port}"
    for _ in range(300):
        try:
            requests.get(address, timeout=5)
            break
        except requests.ConnectionError:
            assert process.poll() is None
            time.sleep(0.2)
    yield address
    process.terminate()
    process.wait()


def test_served_answers_are_the_offline_ones(url: str, model: Any, images: np.ndarray) -> None:
    offline = model.predict(images)
    answer = requests.post(f"{url}/invocations", json={"inputs": images.tolist()}, timeout=30)
    assert answer.status_code == 200
    for i, prediction in enumerate(answer.json()["predictions"]):
        assert prediction["class"] == offline["class"][i]
        assert list(prediction["probabilities"].values()) == offline["probabilities"][i].tolist()
    one = requests.post(f"{url}/invocations", json={"inputs": images[0].tolist()}, timeout=30)
    assert [p["class"] for p in one.json()["predictions"]] == [offline["class"][0]]


BAD = {
    "": "JSON",
    "nonsense": "JSON",
    "[" * 100_000: "JSON",
    '{"input": []}': '{"inputs": …}',
    '{"inputs": null}': "numbers",
    '{"inputs": "text"}': "numbers",
    '{"inputs": [[1], [1, 2]]}': "equally long",
    '{"inputs": []}': "(n, 8, 8, 1)",
    '{"inputs": [[1, 2], [3, 4]]}': "(n, 8, 8, 1)",
    json.dumps({"inputs": np.full(SHAPE, 17).tolist()}): "from 0 to 16",
    json.dumps({"inputs": np.full(SHAPE, 0.5).tolist()}): "whole numbers",
    json.dumps({"inputs": np.full(SHAPE, -1).tolist()}): "from 0 to 16",
    json.dumps({"inputs": np.full(SHAPE, np.nan).tolist()}): "NaN",
    json.dumps({"inputs": np.full(SHAPE, True).tolist()}): "numbers",
    json.dumps({"inputs": np.full(SHAPE, 1).tolist()}).replace("1", "true", 1): "numbers only",
    json.dumps({"inputs": np.full(SHAPE, 1 << 70).tolist()}): "numbers",
    '{"inputs": [' + "0," * (1 << 25) + "0]}": "larger than 64 MiB",
}


@pytest.mark.parametrize("body", BAD, ids=range(len(BAD)))
def test_a_bad_request_gets_one_sentence(url: str, body: str) -> None:
    answer = requests.post(f"{url}/invocations", data=body, timeout=30)
    assert answer.status_code == 400
    assert BAD[body] in answer.json()["error"]
    assert "\n" not in answer.json()["error"]


def test_a_port_that_is_taken_is_one_sentence(url: str) -> None:
    with pytest.raises(SystemExit, match=r"port \d+ of 127.0.0.1 cannot be had .*PORT="):
        listen("127.0.0.1", int(url.rpartition(":")[2]))


def test_it_says_what_it_takes_and_answers_under_its_own_name_alone(url: str) -> None:
    about = requests.get(url, timeout=30).json()
    assert about["inputs"] == {"shape": ["n", 8, 8, 1], "from": 0, "to": 16}
    assert about["model"]["name"] == "digits"
    assert requests.get(url, headers={"Host": "example.org"}, timeout=30).status_code == 400
