"""Tables from OpenML (data=openml): scikit-learn's fetcher reads answers in OpenML's format."""

from __future__ import annotations

import hashlib
import io
import json
import re
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
from sklearn.datasets import _openml

from pipeline.config import DataConfig, Job, parse_tracking
from pipeline.data.load import load
from pipeline.errors import DataError
from pipeline.execution.job_metadata import dataset_info
from tests.conftest import SMALL, TRACKING

ROWS = "".join(
    f"{i % 7},{'red' if i % 3 else 'blue'},{'yes' if i % 2 else 'no'}\n" for i in range(40)
)
ARFF = (
    "@RELATION own\n@ATTRIBUTE size NUMERIC\n@ATTRIBUTE colour {red, blue}\n"
    f"@ATTRIBUTE class {{no, yes}}\n@DATA\n{ROWS}"
).encode()
COLUMNS = [("size", "numeric"), ("colour", "nominal"), ("class", "nominal")]
FEATURES = [
    {
        "index": str(i),
        "name": name,
        "data_type": kind,
        "is_target": str(name == "class").lower(),
        "number_of_missing_values": "0",
        "is_ignore": "false",
        "is_row_identifier": "false",
    }
    for i, (name, kind) in enumerate(COLUMNS)
]
DESCRIPTION = {
    "id": "61",
    "name": "own",
    "version": "1",
    "description": "a small table",
    "file_id": "7",
    "format": "ARFF",
    "status": "active",
    "default_target_attribute": "class",
    "url": "https://api.openml.org/data/v1/download/7/own.arff",
    "md5_checksum": hashlib.md5(ARFF).hexdigest(),
}
ANSWERS: dict[str, Any] = {
    "data/61": {"data_set_description": DESCRIPTION},
    "data/features/61": {"data_features": {"feature": FEATURES}},
    "data/qualities/61": {
        "data_qualities": {"quality": [{"name": "NumberOfInstances", "value": "40.0"}]}
    },
}


class Answer(io.BytesIO):
    """The body of an HTTP answer."""

    def info(self) -> dict[str, str]:
        return {}


@pytest.fixture
def openml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Answers of OpenML for dataset 61; the addresses that were asked."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    asked: list[str] = []

    def urlopen(request: Any, *_: Any, **__: Any) -> Answer:
        url = request if isinstance(request, str) else request.full_url
        asked.append(url)
        if "download" in url:
            return Answer(ARFF)
        key = re.sub(r".*/json/", "", url)
        if key not in ANSWERS:
            raise URLError("no route to host")
        return Answer(json.dumps(ANSWERS[key]).encode())

    monkeypatch.setattr(_openml, "urlopen", urlopen)
    return asked


def config(**values: Any) -> DataConfig:
    return DataConfig(name="own", kind="openml", **values)


def test_table_of_openml_is_split_encoded_and_cached(openml: list[str]) -> None:
    data = load(config(id=61), "float32")
    assert data.features == ("size", "colour=blue", "colour=red")
    assert data.classes == ("no", "yes")
    assert [len(data.y_train), len(data.y_val)] == [24, 8]
    count = len(openml)
    assert load(config(id=61), "float32").digest == data.digest
    assert len(openml) == count
    other = load(config(id=61, target="colour"), "float32")
    assert other.classes == ("blue", "red")


def test_run_records_the_address_of_the_openml_dataset(openml: list[str]) -> None:
    job = Job(SMALL, config(id=61), parse_tracking(TRACKING))
    assert dataset_info(job, load(job.data, "float32")).source == "https://www.openml.org/d/61"


def test_missing_network_asks_for_a_table(openml: list[str]) -> None:
    with pytest.raises(DataError, match=r"could not be fetched \(.*no route.*use data=table"):
        load(config(id=62), "float32")


def test_number_of_the_dataset_is_required() -> None:
    with pytest.raises(DataError, match=r"set data\.id=NUMBER"):
        load(config(), "float32")
