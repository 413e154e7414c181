"""Passwords of URIs are in no output and no file; interpolations stay interpolations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.commands import report_of, run, store_of

SECRET = "hunter2"
# SQLAlchemy warns about the unknown parameter of a sqlite URI, and ignores it.
URI = "sqlite:///{}/mlflow.db?password=" + SECRET
SWEEP = ("-m", "hidden_size=4,8", "num_epochs=1")


def assert_no_secret(done: Any, folder: Path) -> None:
    """Search the output of a command, and all files below a folder."""
    assert SECRET not in done.stdout + done.stderr
    paths = [path for path in folder.rglob("*") if path.is_file()]
    found = [path for path in paths if SECRET.encode() in path.read_bytes()]
    assert not found
    assert not [path for path in folder.rglob("*") if SECRET in path.name]


@pytest.mark.parametrize(
    "launcher", [(), ("hydra/launcher=basic", "hydra/sweeper=basic")], ids=["own", "of Hydra"]
)
def test_sweep_writes_the_password_of_its_store_nowhere(
    tmp_path: Path, launcher: tuple[str, ...]
) -> None:
    outputs = tmp_path / "outputs"
    outputs.mkdir()
    folders = "hydra.sweep.subdir=${hydra.job.num}-${hydra.job.override_dirname}"
    values = ("tracking.uri='" + URI.format(outputs) + "'", "hydra.verbose=true", folders)
    done = run(outputs, *SWEEP, *values, *launcher)
    assert done.returncode == 0, done.stderr
    assert "password=***" in done.stdout
    assert len(report_of(outputs)["runs"]) == 2
    (saved,) = (outputs / "multirun").glob("*/multirun.yaml")
    assert yaml.safe_load(saved.read_text())["tracking"]["uri"].endswith("?password=***")
    assert len(list((outputs / "multirun").glob("*/*/.hydra/overrides.yaml"))) == 2
    assert_no_secret(done, tmp_path)


@pytest.mark.parametrize(
    "arguments",
    [
        ("hidden_size=4", "num_epochs=1"),
        ("--cfg", "job"),
        ("hidden_size=many",),
    ],
)
def test_single_command_shows_the_password_nowhere(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    outputs = tmp_path / "outputs"
    outputs.mkdir()
    assert_no_secret(
        run(outputs, "tracking.uri='" + URI.format(outputs) + "'", *arguments), outputs
    )


def test_search_writes_the_password_of_its_storage_nowhere(tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    search = ("hydra/sweeper=optuna", "hydra.sweeper.n_trials=2")
    storage = f"hydra.sweeper.storage='postgresql://ann:{SECRET}@127.0.0.1:9/optuna'"
    done = run(outputs, *SWEEP, *search, storage)
    assert done.returncode == 1
    assert "hydra.sweeper.storage=postgresql" in done.stderr
    assert (outputs / "multirun").exists()
    assert_no_secret(done, tmp_path)


def test_interpolations_stay_interpolations_in_all_files(tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    outputs.mkdir()
    environment = {"MY_STORE": URI.format(outputs)}
    done = run(outputs, *SWEEP, "tracking.uri=${oc.env:MY_STORE}", env=environment)
    assert done.returncode == 0, done.stderr
    assert_no_secret(done, tmp_path)
    saved = [*(outputs / "multirun").rglob("*.yaml"), *(outputs / "mlartifacts").rglob("*.yaml")]
    configs = [yaml.safe_load(path.read_text()) for path in saved]
    uris = [config["tracking"]["uri"] for config in configs if "tracking" in config]
    assert uris == ["${oc.env:MY_STORE}"] * 5  # of the sweep, and twice of each of two jobs
    runs = store_of(outputs).search("tags.kind = 'sweep'")
    assert [run.data.tags["command"].split()[-1] for run in runs] == [
        "'tracking.uri=${oc.env:MY_STORE}'"
    ]
