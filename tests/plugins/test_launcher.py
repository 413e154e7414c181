"""The population launcher gives the configurations, bits and files of Hydra's own launchers."""

from __future__ import annotations

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
from tests.commands import run, store_of, succeed

# The jobs with learning_rate=1e9 diverge.
SWEEP = ["hidden_size=8,16", "learning_rate=0.3,1e9", "num_epochs=2,3", "seed=0,1"]
TWO = ["hidden_size=8", "learning_rate=0.3,1e9", "num_epochs=3", "seed=0"]


@pytest.fixture
def loader() -> Iterator[ConfigLoader]:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        yield GlobalHydra.instance().config_loader()


def test_composer_gives_the_configurations_of_hydra(loader: ConfigLoader) -> None:
    master = loader.load_configuration("config", ["hydra.verbose=true"], RunMode.MULTIRUN)
    folder = master.hydra.sweep.dir  # contains the time when the sweep started
    composer = Composer(loader, master)
    for overrides in (
        ["hidden_size=8", "++new=1"],  # belongs to this job only
        ["hidden_size=8", "~data.files"],
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


def test_unknown_key_is_refused_as_by_hydra(loader: ConfigLoader) -> None:
    master = loader.load_configuration("config", [], RunMode.MULTIRUN)
    composer = Composer(loader, master)
    composer.compose(["hidden_size=16"])
    with pytest.raises(ConfigCompositionException, match="Could not override 'hiden_size'"):
        composer.compose(["hiden_size=16"])


def sweep(outputs: Path, *overrides: str) -> Path:
    """Run a sweep by its command; returns its folder."""
    before = set((outputs / "multirun").glob("*"))
    succeed(outputs, "-m", "tracking.reuse=false", *overrides)
    (folder,) = set((outputs / "multirun").glob("*")) - before
    return folder


def measured(outputs: Path, folder: Path) -> dict[str, object]:
    """Status, outcome, curves and weights of the runs of a sweep, by their parameters."""
    store = store_of(outputs)
    result = {}
    for _, row in queries.sweep_runs(store, queries.find_sweep(store, folder.name)).iterrows():
        weights = None
        if row["tags.outcome"] == "finished":
            with np.load(store.artifacts.download(row["run_id"], "weights.npz", folder)) as file:
                weights = {name: file[name].tobytes() for name in file}
        names = ["train_loss", "train_acc", "val_loss", "val_acc", "best_val_acc", "best_epoch"]
        curves = queries.curves(store, row["run_id"], names).to_json(double_precision=15)
        params = row.filter(like="params.").dropna()
        result[" ".join(map(str, params.sort_index()))] = (
            row["status"],
            row["tags.outcome"],
            curves,
            weights,
        )
    return result


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The outputs and the folder of the sweep with the population launcher."""
    outputs = tmp_path_factory.mktemp("launchers") / "outputs"
    folder = sweep(outputs, *SWEEP)
    return outputs, folder


@pytest.mark.parametrize(
    ("launcher", "values"), [("basic", SWEEP), ("joblib", TWO), ("submitit_local", TWO)]
)
def test_every_launcher_gives_the_same_bits(
    together: tuple[Path, Path], launcher: str, values: list[str]
) -> None:
    outputs, folder = together
    other = sweep(outputs, *values, f"hydra/launcher={launcher}")
    expected, got = measured(outputs, folder), measured(outputs, other)
    assert len(got) == (16 if values is SWEEP else 2)
    assert {outcome for _, outcome, _, _ in got.values()} == {"finished", "diverged"}
    assert got == {key: expected[key] for key in got}


def test_shards_waves_and_job_order_change_no_bit(together: tuple[Path, Path]) -> None:
    outputs, folder = together
    options = ["hydra.launcher.shards=3", "hydra.launcher.max_memory=1e-4"]
    other = sweep(outputs, *reversed(SWEEP), *options)
    assert measured(outputs, other) == measured(outputs, folder)


def test_job_folder_equals_that_of_hydra(together: tuple[Path, Path]) -> None:
    outputs, _ = together
    other = sweep(outputs, *SWEEP[:1], "num_epochs=1", "hydra/launcher=basic")
    ours = sweep(outputs, *SWEEP[:1], "num_epochs=1")
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
def test_unwritable_sweep_folder_is_explained_in_one_sentence(outputs: Path, sweeper: str) -> None:
    values = ("hidden_size=4,8", "num_epochs=1", f"hydra/sweeper={sweeper}")
    done = run(outputs, "-m", *values, "hydra.sweep.dir=/proc/none")
    assert done.returncode == 1
    assert "the folder of the sweep cannot be written" in done.stderr
    assert "Traceback" not in done.stderr
