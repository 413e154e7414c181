"""Champions of own data: they take the raw rows and tables, and predict like the trained model."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
import requests
import uvicorn

from pipeline.analysis.artifacts import load_weights
from pipeline.analysis.runs import rank, tabulate
from pipeline.config import DataConfig
from pipeline.data.load import load_test
from pipeline.nn.model import predict
from pipeline.serving.inputs import InputSpec
from pipeline.serving.promotion import promote
from pipeline.serving.server import Served, application, listen, load_champion
from pipeline.tracking import queries
from pipeline.tracking.registry import Champion
from pipeline.tracking.store import Store
from tests.sweeps import train_sweep

rng = np.random.default_rng(0)
N = 150
FRAME = pd.DataFrame(
    {
        "age": np.where(np.arange(N) % 9 == 4, np.nan, rng.integers(20, 60, N)),
        "paid": rng.random(N) < 0.5,
        "port": np.where(np.arange(N) % 7 == 2, None, rng.choice(["Cork", "Rome"], N)),
        "fare": rng.integers(1, 9, N),
    }
)
LABELS = np.where(FRAME["fare"] + rng.normal(size=N) > 4.5, "yes", "no")
COLUMNS = list(FRAME.columns)


def champion(store: Store, folder: Path, data: DataConfig) -> tuple[Any, np.ndarray, Client]:
    """Train and promote a model; return it with its offline test predictions and a server."""
    sweep = train_sweep(store, folder, data.name, {"batch_size": 10, "dtype": "float64"}, data=data)
    run = rank(tabulate(queries.sweep_runs(store, sweep))).iloc[0]
    made = promote(store, run)
    mlflow.set_tracking_uri(store.uri)
    model = mlflow.pyfunc.load_model(f"models:/{made.name}@champion")
    X, _ = load_test(data, "float64")
    offline = predict(load_weights(store, run["run_id"]), X)[0]
    served = load_champion(store, made.name)
    return model, np.array(served.classes)[offline], Client(served)


class Client:
    """A server of a model in a thread, and requests to it."""

    def __init__(self, served: Served) -> None:
        socket = listen("127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{socket.getsockname()[1]}"
        app = application(served, ["127.0.0.1"])
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        threading.Thread(target=server.run, args=([socket],), daemon=True).start()

    def post(self, **body: Any) -> requests.Response:
        return requests.post(f"{self.url}/invocations", timeout=30, **body)

    def about(self) -> Any:
        return requests.get(self.url, timeout=30).json()


@pytest.fixture(scope="module")
def table(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The champion of a table, its test rows and its server."""
    folder = tmp_path_factory.mktemp("table")
    FRAME.assign(label=LABELS).to_csv(folder / "own.csv", index=False)
    data = DataConfig(name="own", kind="table", file=str(folder / "own.csv"), target="label")
    model, offline, client = champion(store, folder, data)
    return model, held_out_rows(), offline, client


def held_out_rows() -> pd.DataFrame:
    """The rows of the test split, in the order of the file."""
    from pipeline.data.arrays import TEST, assign_rows, parse_target

    part = assign_rows(parse_target(LABELS, "label"), DataConfig(name="own", kind="table"))
    return FRAME[part == TEST]


def test_pyfunc_takes_a_dataframe_with_the_original_columns(table: Any) -> None:
    model, rows, offline, _ = table
    answer = model.predict(rows)
    assert answer["class"].tolist() == offline.tolist()
    assert answer["probabilities"].sum(axis=1) == pytest.approx(np.ones(len(rows)))
    shuffled = rows[COLUMNS[::-1]].assign(other=1)
    np.testing.assert_array_equal(model.predict(shuffled)["probabilities"], answer["probabilities"])
    with pytest.raises(Exception, match="fare"):
        model.predict(rows.drop(columns="fare"))


@pytest.mark.parametrize("form", ["dataframe_records", "dataframe_split"])
def test_server_takes_json_columns(table: Any, form: str) -> None:
    model, rows, offline, client = table
    orient: Any = form.removeprefix("dataframe_")
    body = json.loads(rows.to_json(orient=orient))
    if form == "dataframe_split":
        del body["index"]
    answer = client.post(json={form: body})
    assert answer.status_code == 200, answer.text
    predictions = answer.json()["predictions"]
    assert [prediction["class"] for prediction in predictions] == offline.tolist()
    np.testing.assert_array_equal(
        [list(prediction["probabilities"].values()) for prediction in predictions],
        model.predict(rows)["probabilities"],
    )
    assert client.about()["inputs"] == {"columns": COLUMNS}


ROW = {"age": 30, "paid": True, "port": "Cork", "fare": 3}


@pytest.mark.parametrize(
    ("request_", "problem"),
    [
        ({"inputs": [[1, 2, 3, 4]]}, '{"dataframe_records": '),
        ({"dataframe_records": 3}, '{"dataframe_records": '),
        ({"dataframe_records": []}, "at least 1"),
        ({"dataframe_records": [ROW, {"age": 3}]}, "column 'paid' is missing in a row"),
        ({"dataframe_records": [{**ROW, "port": ["Cork"]}]}, "'port' must contain text"),
        ({"dataframe_records": [{**ROW, "fare": "much"}]}, "'fare' must contain numbers"),
        ({"dataframe_split": {"columns": COLUMNS}}, "the keys columns and data"),
        ({"dataframe_split": {"columns": COLUMNS, "data": [[1]]}}, "must have 4 values"),
        ({"dataframe_split": {"columns": "age", "data": [[1]]}}, "must be a list of names"),
    ],
)
def test_wrong_tables_get_one_sentence(table: Any, request_: Any, problem: str) -> None:
    answer = table[3].post(json=request_)
    assert answer.status_code == 400
    assert problem in answer.json()["error"]
    assert "\n" not in answer.json()["error"]


def test_infinity_in_a_request_is_refused(table: Any) -> None:
    body = json.dumps({"dataframe_records": [{**ROW, "fare": float("inf")}]})
    answer = table[3].post(data=body, headers={"Content-Type": "application/json"})
    assert "column 'fare' contains infinity" in answer.json()["error"]


def test_unknown_categories_and_missing_values_are_accepted(table: Any) -> None:
    rows = [{**ROW, "port": "Oslo"}, dict.fromkeys(COLUMNS)]
    assert table[3].post(json={"dataframe_records": rows}).status_code == 200


@pytest.mark.parametrize("kind", ["rows", "images"])
def test_champion_of_arrays_takes_the_raw_arrays(store: Store, tmp_path: Path, kind: str) -> None:
    shape = (3, 4, 3) if kind == "images" else (5,)
    X: np.ndarray = rng.integers(0, 256, (N, *shape), dtype=np.uint8)
    X = X if kind == "images" else X / 7.0
    y = (X.reshape(N, -1)[:, 0] > X.reshape(N, -1)[:, 0].mean()).astype(int)
    np.savez(tmp_path / "own.npz", X=X, y=y, X_test=X[:20], y_test=y[:20])
    scaling: Any = "pixels" if kind == "images" else "standard"
    data = DataConfig(name=kind, kind="npz", file=str(tmp_path / "own.npz"), scaling=scaling)
    model, offline, client = champion(store, tmp_path, data)
    assert model.predict(X[:20])["class"].tolist() == offline.tolist()
    answer = client.post(json={"inputs": X[:20].tolist()}).json()
    assert [prediction["class"] for prediction in answer["predictions"]] == offline.tolist()
    about = client.about()["inputs"]
    bounds = {"from": 0, "to": 255} if kind == "images" else {}
    assert about == {"shape": ["n", *shape], **bounds}


class Broken:
    """A model with a fault."""

    def predict(self, inputs: np.ndarray) -> None:
        raise ZeroDivisionError("no\nnumber")


def test_error_of_the_model_is_one_sentence_with_status_500() -> None:
    served = Served(Champion("own", "1", "r1"), Broken(), ["no", "yes"], InputSpec((2,)))
    answer = Client(served).post(json={"inputs": [1, 2]})
    assert answer.status_code == 500
    assert answer.json() == {"error": "the model failed (ZeroDivisionError: no number)"}
