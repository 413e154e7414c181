"""Outputs in a folder of any name: everything is written there, and nothing next to it."""

from __future__ import annotations

from pathlib import Path

from tests.commands import report_of, run, succeed

ODD = "a b%20?#+&;é日'\"\\`"
SEARCH = ("hydra/sweeper=optuna", "hydra.sweeper.n_trials=2", "hydra.sweeper.batch_size=2")


def test_sweep_search_report_and_promotion_work_in_a_folder_with_an_odd_name(
    tmp_path: Path,
) -> None:
    parent = tmp_path / "parent"
    outputs = parent / ODD
    succeed(outputs, "-m", *SEARCH, "hidden_size=4,8", "num_epochs=1")
    assert len(report_of(outputs)["runs"]) == 2
    done = succeed(outputs, "-m", "hidden_size=4,8", "num_epochs=1", "hydra/launcher=basic")
    assert done.stdout.count("already finished: run ") == 2
    succeed(outputs, module="pipeline.report")
    succeed(outputs, module="pipeline.promote")
    assert [path.name for path in parent.iterdir()] == [ODD]
    assert (outputs / "optuna.db").exists()
    assert len(list(outputs.glob("mlartifacts/digits/*/artifacts/model/MLmodel"))) == 1


def test_folder_that_hydra_would_replace_is_refused(tmp_path: Path) -> None:
    done = run(tmp_path / "parent" / "${x}", "-m", "hidden_size=4,8", "num_epochs=1")
    assert done.returncode == 1
    assert "contains ${, which Hydra replaces: choose another folder" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not list((tmp_path / "parent").iterdir())
