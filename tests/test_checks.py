"""Commands that are refused before anything is written, and the sentences for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.commands import report_of, run, store_of, succeed


def refuse(folder: Path, *overrides: str, message: str) -> None:
    """Check that a command ends with a sentence, and writes nothing."""
    done = run(folder / "outputs", *overrides)
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "Error executing job" not in done.stdout
    assert not (folder / "outputs").exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["-m", "data=digits,fashion_mnist"], "data cannot be swept, because the report compares"),
        (["-m", "experiment=digits,digits_optuna"], "experiment cannot be swept, because an"),
        (["-m", "tracking.reuse=true,false"], "tracking.reuse cannot be swept, because all jobs"),
        (["experiment=digits"], "experiment=digits is a grid of 64 jobs: add -m"),
        (["hidden_size=0"], "hidden_size must be a whole number of at least 1, not 0"),
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
    refuse(tmp_path, *overrides, message=message)


def write_table(folder: Path, value: float) -> tuple[str, ...]:
    """Write 90 rows of three classes, one value of which is given; return the overrides."""
    X = np.random.default_rng(0).normal(size=(90, 8))
    X[7, 1] = value
    np.savez(folder / "own.npz", X=X, y=np.arange(90) % 3)
    return "data=npz", f"data.file={folder}/own.npz", "batch_size=20"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["batch_size=2000"], "batch_size=2000 is larger than the training set of 1079 examples"),
        (["data=cifar10", "data.dir=/no/such/folder"], "/no/such/folder does not exist"),
        (
            ["-m", "batch_size=50,2000", "hydra/launcher=basic"],
            "batch_size=2000 is larger than the training set of 1079",
        ),
        (
            ["-m", "hydra/sweeper=optuna", "batch_size=int(interval(50,2000))"],
            "batch_size=2000 is larger than the training set of 1079",
        ),
        (["-m", "hydra.launcher.backend=dask", "seed=0,1"], "needs the address of a scheduler"),
    ],
)
def test_job_that_does_not_fit_its_data_is_refused_before_the_first_run(
    tmp_path: Path, overrides: list[str], message: str
) -> None:
    refuse(tmp_path, *overrides, message=message)


def test_unsuitable_data_are_refused_before_the_first_run(tmp_path: Path) -> None:
    data = write_table(tmp_path, 0.5)
    message = "flip=true mirrors images, but the rows of own are no images"
    refuse(tmp_path, "-m", *data, "flip=false,true", message=message)
    data = write_table(tmp_path, np.nan)
    refuse(tmp_path, "-m", *data, "seed=0,1", message="the value in row 7, feature 1, is nan")


def test_repeated_jobs_are_trained_once_however_their_values_are_written(tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    values = (
        "learning_rate=0.1:0.2:0.1,1e-1,100m",
        "hidden_size=4",
        "num_epochs=1",
        "experiment=null",
    )
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
