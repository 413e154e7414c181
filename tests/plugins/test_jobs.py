"""Jobs that share a configuration have the files and the JobReturns of Hydra's own jobs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.experimental.callback import Callback
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf

import pipeline.app  # noqa: F401 (registers what conf/ refers to)
from hydra_plugins.population._compose import Composer
from hydra_plugins.population._jobs import JobOpener, set_number
from pipeline.composed import task_part
from pipeline.hydra_compat import set_job_config
from pipeline.paths import ROOT

JOBS = [
    ["hidden_size=8", "l2_reg=1e-3"],
    ["hidden_size=16", "l2_reg=0"],
    ["l2_reg=0", "hidden_size=16"],
    ["learning_rate=0.3"],
    ["hidden_size=8", "tracking.experiment='a: b, ü ${data.name}'"],
    ["hidden_size=8", "tracking.experiment=null"],
    ["hidden_size=8", "hydra.job.name=other"],
    ["data=cifar10", "data.dir=null"],
]


class Recorder(Callback):
    """Records what Hydra passes to callbacks."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.ended: list[str] = []

    def on_job_start(self, config: DictConfig, **_: Any) -> None:
        self.started.append(OmegaConf.to_yaml(config))

    def on_job_end(self, config: DictConfig, **_: Any) -> None:
        self.ended.append(OmegaConf.to_yaml(config))


@pytest.fixture
def loader() -> Iterator[ConfigLoader]:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        yield GlobalHydra.instance().config_loader()
    set_job_config(None)


def test_shared_jobs_have_the_files_and_returns_of_separate_ones(
    loader: ConfigLoader, tmp_path: Path
) -> None:
    changes = [f"hydra.sweep.dir={tmp_path}", "hydra.sweep.subdir=${hydra.job.num}-${hidden_size}"]
    master = loader.load_configuration("config", changes, RunMode.MULTIRUN)
    recorder, callbacks = Recorder(), Callbacks()
    callbacks.callbacks.append(recorder)
    opener = JobOpener(Composer(loader, master), HydraContext(loader, callbacks), lambda _: None)
    opened = [opener.open(number, job) for number, job in enumerate(JOBS)]
    for number, (job, (spec, job_return)) in enumerate(zip(JOBS, opened, strict=True)):
        alone = loader.load_sweep_config(master, job)
        folder = set_number(alone, number)
        assert spec.folder == folder == tmp_path / f"{number}-{alone.hidden_size}"
        assert OmegaConf.to_yaml(job_return.hydra_cfg) == OmegaConf.to_yaml(alone)
        assert OmegaConf.to_yaml(job_return.cfg) == OmegaConf.to_yaml(task_part(alone))
        assert recorder.started[number] == OmegaConf.to_yaml(alone)
        assert job_return.overrides == alone.hydra.overrides.task
        assert job_return.task_name == alone.hydra.job.name
        assert spec.values["hidden_size"] == alone.hidden_size
        parts = {
            "config.yaml": task_part(alone),
            "hydra.yaml": {"hydra": OmegaConf.to_container(alone.hydra, enum_to_str=True)},
            "overrides.yaml": alone.hydra.overrides.task,
        }
        for name, node in parts.items():
            OmegaConf.save(OmegaConf.create(node), tmp_path / name)
            # libyaml breaks long lines in other places
            ours = OmegaConf.load(folder / ".hydra" / name)
            theirs = OmegaConf.load(tmp_path / name)
            assert OmegaConf.to_yaml(ours) == OmegaConf.to_yaml(theirs), (name, job)
    same = [opened[i][0].values for i in (0, 1)]
    assert same[0]["data"] is same[1]["data"]  # equal groups take memory once
