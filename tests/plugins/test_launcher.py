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

import pipeline.app  # noqa: F401 (registers what conf/ refers to)
from hydra_plugins.population._compose import Composer
from pipeline.paths import ROOT
from pipeline.tracking import queries
from pipeline.tracking.store import Store

# Two sizes, one rate that diverges, two epochs that end at different times, two seeds.
SWEEP = ["hidden_size=8,16", "learning_rate=0.3,1e9", "num_epochs=2,3", "seed=0,1"]
FOUR = ["hidden_size=8,16", "learning_rate=0.3,1e9", "num_epochs=3", "seed=0"]


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
        [sys.executable, "-m", "pipeline", "-m", "tracking.reuse=false", *overrides],
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
    for _, run in queries.sweep_runs(store, queries.find_sweep(store, folder.name)).iterrows():
        weights = None
        if run["tags.outcome"] == "finished":
            with np.load(store.download_artifact(run["run_id"], "weights.npz", folder)) as file:
                weights = {name: file[name].tobytes() for name in file}
        names = ["train_loss", "train_acc", "val_loss", "val_acc", "best_val_acc", "best_epoch"]
        curves = queries.curves(store, run["run_id"], names).to_json(double_precision=15)
        key = f"{run['name']} {run['params.num_epochs']}"
        result[key] = (run["status"], run["tags.outcome"], curves, weights)
    return result


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sweep by the population launcher: all outputs, and its folder."""
    outputs = tmp_path_factory.mktemp("launchers") / "outputs"
    folder, done = sweep(outputs, *SWEEP)
    assert done.returncode == 0, done.stderr
    return outputs, folder


@pytest.mark.parametrize(
    ("launcher", "values"), [("basic", SWEEP), ("joblib", FOUR), ("submitit_local", FOUR)]
)
def test_every_launcher_gives_the_same_bits(
    together: tuple[Path, Path], launcher: str, values: list[str]
) -> None:
    outputs, folder = together
    other, done = sweep(outputs, *values, f"hydra/launcher={launcher}")
    assert done.returncode == 0, done.stderr
    expected, got = measured(outputs, folder), measured(outputs, other)
    assert len(got) == (16 if values is SWEEP else 4)
    assert {outcome for _, outcome, _, _ in got.values()} == {"finished", "diverged"}
    assert got == {key: expected[key] for key in got}


def test_shards_waves_and_order_change_no_bit(together: tuple[Path, Path]) -> None:
    outputs, folder = together
    options = ["hydra.launcher.shards=3", "hydra.launcher.max_memory=1e-4"]
    other, done = sweep(outputs, *reversed(SWEEP), *options)
    assert done.returncode == 0, done.stderr
    assert measured(outputs, other) == measured(outputs, folder)


def test_a_job_leaves_what_hydra_itself_leaves(together: tuple[Path, Path]) -> None:
    outputs, _ = together
    other, done = sweep(outputs, *SWEEP[:1], "num_epochs=1", "hydra/launcher=basic")
    assert done.returncode == 0, done.stderr
    ours, done = sweep(outputs, *SWEEP[:1], "num_epochs=1")
    assert done.returncode == 0, done.stderr
    for number in ("0", "1"):
        job, twin = ours / number, other / number
        assert sorted(path.relative_to(job) for path in job.rglob("*")) == sorted(
            path.relative_to(twin) for path in twin.rglob("*")
        )
        for name in ("config.yaml", "overrides.yaml"):
            texts = [(path / ".hydra" / name).read_text() for path in (job, twin)]
            assert texts[0] == texts[1]
        nodes = [OmegaConf.load(path / ".hydra" / "hydra.yaml").hydra for path in (job, twin)]
        for key in ("job", "overrides.task", "runtime.choices.data", "sweep.subdir"):
            assert OmegaConf.select(nodes[0], key) == OmegaConf.select(nodes[1], key)
        assert nodes[0].runtime.output_dir == str(job)
        lines = [(path / "pipeline.log").read_text().splitlines() for path in (job, twin)]
        messages = [[line.split(" - ", 1)[1] for line in text] for text in lines]
        assert messages[0] == messages[1]


@pytest.mark.parametrize("sweeper", ["grid", "optuna"])
def test_a_folder_that_cannot_be_written_is_a_sentence(outputs: Path, sweeper: str) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pipeline", "-m", "hidden_size=4,8", "num_epochs=1"),
            *(f"hydra/sweeper={sweeper}", "hydra.sweep.dir=/proc/none"),
        ],
        env=os.environ | {"PIPELINE_OUTPUTS": str(outputs)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "the folder of the sweep cannot be written" in done.stderr
    assert "Traceback" not in done.stderr
