"""The population launcher against Hydra's own: same configurations, same bits, same files."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hydra import initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import ConfigCompositionException
from hydra.types import RunMode
from omegaconf import OmegaConf

import pipeline.__main__  # noqa: F401  (registers what conf/ needs)
from hydra_plugins.population.compose import Composer
from pipeline.config import ROOT
from pipeline.tracking import Store

SWEEP = ["hidden_size=8,16", "learning_rate=0.3,1e9", "num_epochs=3", "seed=0,1", "batch_size=200"]


@pytest.fixture
def loader() -> Iterator[ConfigLoader]:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        yield GlobalHydra.instance().config_loader()


def test_a_grid_is_composed_to_what_hydra_itself_composes(loader: ConfigLoader) -> None:
    master = loader.load_configuration("config", ["hydra.verbose=true"], RunMode.MULTIRUN)
    folder = master.hydra.sweep.dir  # holds the time, which is that of the sweep for all jobs
    composer = Composer(loader, master)
    for overrides in (
        ["hidden_size=16", "l2_reg=1e-3"],
        ["hidden_size=32", "l2_reg=0"],
        ["hidden_size=word", "l2_reg=[1,2]"],
        ["hidden_size=64", "l2_reg={a: 1}"],
        ["data=cifar10", "hidden_size=64", "data.dir=/some/where"],
        ["data=cifar10", "hidden_size=16", "data.dir=null"],
        ["experiment=fashion_mnist", "seed=3", "+new=1"],
        ["experiment=fashion_mnist", "seed=4", "+new=2", "~data.url"],
        ["hydra.job.chdir=false", "tracking.experiment='a, b'"],
    ):
        ours = composer.compose(overrides)
        theirs = loader.load_sweep_config(master, overrides)
        assert OmegaConf.to_yaml(ours) == OmegaConf.to_yaml(theirs), overrides
        assert OmegaConf.is_struct(ours) == OmegaConf.is_struct(theirs)
        assert ours.hydra.sweep.dir == theirs.hydra.sweep.dir == folder
        sweep = "hydra.sweep.dir"  # holds the time: the same for all jobs
        assert OmegaConf.select(ours, sweep) == OmegaConf.select(theirs, sweep)


def test_an_unknown_key_is_refused_as_hydra_refuses_it(loader: ConfigLoader) -> None:
    master = loader.load_configuration("config", [], RunMode.MULTIRUN)
    composer = Composer(loader, master)
    composer.compose(["hidden_size=16"])
    with pytest.raises(ConfigCompositionException, match="Could not override 'hiden_size'"):
        composer.compose(["hiden_size=16"])


def sweep(outputs: Path, *overrides: str) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """Run a sweep by its command; returns its folder."""
    before = set((outputs / "multirun").glob("*"))
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "-m", *overrides],
        env=os.environ | {"PIPELINE_OUTPUTS": str(outputs)},
        capture_output=True,
        text=True,
        check=False,
    )
    (folder,) = set((outputs / "multirun").glob("*")) - before
    return folder, done


def measured(outputs: Path, folder: Path) -> dict[str, object]:
    """All that the sweep's runs hold, by the values that were swept."""
    store = Store(f"sqlite:///{outputs}/mlflow.db")
    result = {}
    for _, run in store.runs(store.find_sweep(folder.name)).iterrows():
        weights = None
        if run["tags.outcome"] == "finished":
            with np.load(store.fetch(run["run_id"], "weights.npz", folder)) as file:
                weights = {name: file[name].tobytes() for name in file}
        names = ["train_loss", "train_acc", "val_loss", "val_acc", "best_val_acc", "best_epoch"]
        curves = store.curves(run["run_id"], names).to_json(double_precision=15)
        result[run["name"]] = (run["status"], run["tags.outcome"], curves, weights)
    return result


@pytest.mark.parametrize("launcher", ["basic", "joblib", "submitit_local"])
def test_every_launcher_gives_the_same_bits(tmp_path: Path, launcher: str) -> None:
    outputs = tmp_path / "outputs"
    grid = SWEEP if launcher == "basic" else ["hidden_size=8,16", "learning_rate=0.3,1e9"]
    folder, done = sweep(outputs, *grid)
    assert done.returncode == 0, done.stderr
    together = measured(outputs, folder)
    assert len(together) == (8 if launcher == "basic" else 4)
    assert {outcome for _, outcome, _, _ in together.values()} == {"finished", "diverged"}

    other, done = sweep(outputs, *grid, f"hydra/launcher={launcher}")
    assert done.returncode == 0, done.stderr
    assert measured(outputs, other) == together

    for job in sorted(folder.glob("[0-9]")):
        twin = other / job.name
        for name in ("config.yaml", "overrides.yaml"):
            ours, theirs = ((j / ".hydra" / name).read_text() for j in (job, twin))
            assert ours.splitlines() == [
                line for line in theirs.splitlines() if "hydra/launcher" not in line
            ]
        ours, theirs = (OmegaConf.load(j / ".hydra" / "hydra.yaml").hydra for j in (job, twin))
        assert ours.job.num == theirs.job.num
        assert ours.runtime.output_dir == str(job)
        log = (job / "pipeline.log").read_text()
        assert "best val_acc" in log or "diverged in epoch" in log


def test_shards_waves_and_order_change_no_bit(tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    first, done = sweep(outputs, *SWEEP)
    assert done.returncode == 0, done.stderr
    options = ["hydra.launcher.shards=3", "hydra.launcher.max_memory=1e-4"]
    second, done = sweep(outputs, *reversed(SWEEP), *options)
    assert done.returncode == 0, done.stderr
    assert measured(outputs, first) == measured(outputs, second)
