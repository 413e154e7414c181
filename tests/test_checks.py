"""Commands that are refused before anything is written, and the sentences for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.commands import report_of, run, store_of, succeed


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["-m", "data=digits,fashion_mnist"], "data cannot be swept, because the report compares"),
        (["-m", "experiment=digits,digits_optuna"], "experiment cannot be swept, because an"),
        (["-m", "tracking.reuse=true,false"], "tracking.reuse cannot be swept, because all jobs"),
        (["experiment=digits"], "experiment=digits is a grid of 64 jobs: add -m"),
        (["hidden_size=0"], "hidden_size must be a whole number of at least 1, not 0"),
        (["+note=hello"], "unknown key note: the keys are hidden_size"),
        (["-m", "+note=hello", "seed=0,1"], "unknown key note: the keys are hidden_size"),
        (["-m", "hidden_size=8,0"], "hidden_size must be a whole number of at least 1, not 0"),
        (["-m", "hydra.launcher.shards=-1", "seed=0,1"], "at least 1 or null, not -1"),
        (
            ["-m", "hydra.sweeper.max_batch_size=-1", "seed=0,1"],
            "hydra.sweeper.max_batch_size must be a whole number of at least 1 or null, not -1",
        ),
        (
            ["-m", "hydra/sweeper=optuna", "hidden_size=range(0,4)"],
            "hidden_size must be a whole number of at least 1, not 0",
        ),
    ],
)
def test_wrong_command_is_explained_and_leaves_nothing(
    tmp_path: Path, overrides: list[str], message: str
) -> None:
    done = run(tmp_path / "outputs", *overrides)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not (tmp_path / "outputs").exists()


def test_repeated_jobs_are_trained_once(tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    values = ("learning_rate=0.1,0.1,1e-1,0.2", "hidden_size=4", "num_epochs=1", "experiment=null")
    done = succeed(outputs, "-m", *values)
    assert "2 of 4 jobs repeat another job and are not trained again" in done.stdout
    assert sorted(job["learning_rate"] for job in report_of(outputs)["runs"]) == [0.1, 0.2]


def test_two_sweeps_in_one_folder_have_two_ids_and_two_reports(tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    values = ("-m", "hidden_size=4", "num_epochs=1", f"hydra.sweep.dir={tmp_path}/x/s")
    succeed(outputs, *values, "seed=0,1")
    succeed(outputs, *values, "seed=2,3", "hydra/launcher=basic")
    reports = {path.resolve() for path in (outputs / "reports").iterdir()}
    assert len(reports) == 2
    assert {run["seed"] for run in report_of(outputs)["runs"]} == {2, 3}


def test_relative_paths_count_from_the_directory_of_the_command(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "own.npz", X=rng.normal(size=(90, 8)), y=np.arange(90) % 3)
    data = ("data=npz", "data.file=own.npz", "batch_size=20")
    values = ("hidden_size=4", "num_epochs=1", "hydra.job.chdir=true")
    succeed(tmp_path / "outputs", *values, *data, "tracking.uri=sqlite:///here.db")
    assert (tmp_path / "here.db").exists()


def test_environment_names_the_default_store_and_experiment(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/other/mlflow.db"
    environment = {"MLFLOW_TRACKING_URI": uri, "MLFLOW_EXPERIMENT_NAME": "mine"}
    values = ("-m", "hidden_size=4,8", "num_epochs=1")
    done = succeed(tmp_path / "outputs", *values, env=environment)
    assert f"MLflow store: {uri}, experiment mine" in done.stdout
    assert store_of(tmp_path / "other").client.get_experiment_by_name("mine") is not None
    assert not (tmp_path / "outputs" / "mlflow.db").exists()
