"""Only models with this project's code are served, unless the user trusts the registry."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
import yaml

from pipeline.errors import PipelineError
from pipeline.paths import ROOT
from pipeline.serving.server import load_champion
from pipeline.serving.trust import EARLIER, UntrustedModelError, check_code
from pipeline.tracking.registry import Registry
from pipeline.tracking.store import Store
from tests.commands import run


@pytest.fixture
def folder(model: Any, store: Store, ranking: pd.DataFrame, tmp_path: Path) -> Path:
    """The files of the registered model."""
    return store.artifacts.download(ranking["run_id"].iloc[0], "model", tmp_path)


def foreign_champion(store: Store, folder: Path, name: str) -> str:
    """Register a model whose code writes a file; returns the ID of its run."""
    code = folder / "champion.py"
    code.write_text(code.read_text() + f"\nopen({str(folder / 'executed')!r}, 'w').close()\n")
    run_id = str(store.client.create_run("0").info.run_id)
    for path in ("model",):
        store.client.log_artifacts(run_id, str(folder), path)
    source = f"{store.client.get_run(run_id).info.artifact_uri}/model"
    store.client.create_registered_model(name)
    version = store.client.create_model_version(name, source, run_id)
    store.client.set_registered_model_alias(name, "champion", version.version)
    return run_id


def test_model_with_other_code_is_loaded_only_with_trust(store: Store, folder: Path) -> None:
    foreign_champion(store, folder, "foreign")
    with pytest.raises(PipelineError, match=r"foreign is not served.*differs.*add --trust"):
        load_champion(store, "foreign")
    assert not (folder / "executed").exists()
    assert load_champion(store, "foreign", trust=True).champion.name == "foreign"
    assert (folder / "executed").exists()


def test_command_refuses_to_serve_other_code(store: Store, folder: Path, tmp_path: Path) -> None:
    foreign_champion(store, folder, "refused")
    options = ("--name", "refused", "--tracking-uri", store.uri)
    done = run(tmp_path / "outputs", *options, module="pipeline.serve")
    assert done.returncode == 1
    assert "version 1 of refused is not served" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (folder / "executed").exists()


def test_champion_without_a_name_is_the_latest_of_this_project(store: Store, folder: Path) -> None:
    foreign_champion(store, folder, "newer")
    champion = Registry(store).champion()
    assert champion is not None
    assert champion.name == "digits"
    assert load_champion(store, None).champion == champion


@pytest.mark.parametrize(
    "change",
    [
        {"loader_module": "os"},
        {"code": "code"},
        {"model_code_path": None},
        {"model_code_path": "missing.py"},
        {"model_code_path": ".."},
    ],
)
def test_description_that_loads_other_code_is_refused(folder: Path, change: dict[str, Any]) -> None:
    check_code(folder)
    content = yaml.safe_load((folder / "MLmodel").read_text())
    content["flavors"]["python_function"] |= change
    (folder / "MLmodel").write_text(yaml.safe_dump(content))
    with pytest.raises(UntrustedModelError):
        check_code(folder)


@pytest.mark.parametrize("text", ["", "[]", "flavors: 1", "flavors: {}", "flavors: {x", "\0"])
def test_damaged_description_is_refused(folder: Path, text: str) -> None:
    (folder / "MLmodel").write_text(text)
    with pytest.raises(UntrustedModelError, match="MLmodel"):
        check_code(folder)


def test_code_file_that_is_a_link_is_refused(folder: Path) -> None:
    (folder / "champion.py").rename(folder / "copy.py")
    (folder / "champion.py").symlink_to(folder / "copy.py")
    with pytest.raises(UntrustedModelError):
        check_code(folder)


def test_models_of_earlier_versions_are_still_served(
    model: Any, store: Store, folder: Path, tmp_path: Path
) -> None:
    command = ["git", "-C", str(ROOT), "show", "f9e7acd:pipeline/serving/champion.py"]
    if not shutil.which("git") or not (ROOT / ".git").exists():
        pytest.skip("needs the history of this project")
    found = subprocess.run(command, capture_output=True, check=False)
    if found.returncode:
        pytest.skip("needs the complete history of this project")
    (folder / "champion.py").write_bytes(found.stdout)
    check_code(folder)
    assert len(set(EARLIER)) == len(EARLIER)
    earlier = mlflow.pyfunc.load_model(str(folder))
    example = folder / "input_example.json"
    assert example.exists()
    assert earlier.unwrap_python_model().arrays["classes"].tolist() == list("0123456789")
