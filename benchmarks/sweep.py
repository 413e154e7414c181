"""Whole sweeps, from the command to the report: python -m benchmarks.sweep.

The datasets are the digits, and CIFAR-10 if $CIFAR10_DIR names a folder with its files.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

import pipeline.app  # noqa: F401 (registers what conf/ refers to)
from benchmarks.measure import (
    Mode,
    Samples,
    arguments,
    fresh_folder,
    interleave,
    note_phases,
    run,
    save,
)
from benchmarks.peers.task import Task
from pipeline.config import DataConfig
from pipeline.paths import ROOT
from pipeline.tracking import queries
from pipeline.tracking.store import Store

SWEEP = ("python", "-m", "pipeline", "-m")
PHASES = ("python", "-m", "benchmarks.phases", "-m")
PEERS = {
    "optuna, 1 at a time": ("optuna_torch", "task.json", "1"),
    "optuna, 2 at a time": ("optuna_torch", "task.json", "2"),
    "ray tune": ("ray_torch", "task.json"),
    "scikit-learn": ("sklearn_grid", "task.json"),
}
SMALL_GRID = {"hidden_size": "16,32", "l2_reg": "0,1e-4", "learning_rate": "0.1"}
CIFAR10_GRID = {
    "hidden_size": "32,64,128,256",
    "l2_reg": "0,1e-4,1e-3,2e-3",
    "learning_rate": "0.03,0.1,0.2,0.3",
}
CIFAR10_VALUES = {"batch_size": 200, "weight_std": 0.02}


def digits(smoke: bool) -> tuple[list[str], Task]:
    """The overrides of `make sweep`, and the same task for the peers."""
    few = ["num_epochs=2"] if smoke else []
    overrides = ["experiment=digits", *few]
    swept = SMALL_GRID if smoke else None
    return overrides + _lines(swept or {}), _task(overrides, swept)


def cifar10(smoke: bool) -> tuple[list[str], Task]:
    """The overrides that train 64 models for two epochs, and the same task for the peers."""
    values = [*_lines(CIFAR10_VALUES), f"num_epochs={1 if smoke else 2}"]
    overrides = ["data=cifar10", "data.dir=$CIFAR10_DIR", *values]
    swept = SMALL_GRID if smoke else CIFAR10_GRID
    return overrides + _lines(swept), _task([os.path.expandvars(o) for o in overrides], swept)


DATA = {"digits": digits, "cifar10": cifar10}


def _lines(values: Mapping[str, Any]) -> list[str]:
    return [f"{key}={value}" for key, value in values.items()]


def _task(overrides: Sequence[str], swept: Mapping[str, str] | None) -> Task:
    """Describe the task of a sweep, read from conf/ so that it is equal for all contenders."""
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("config", list(overrides), return_hydra_config=True)
    values = {
        key: config[key] for key in config if key not in ("data", "tracking", "hydra", "experiment")
    }
    grid = swept or config.hydra.sweeper.params
    data = OmegaConf.to_container(config.data)
    assert isinstance(data, dict)
    return Task(
        data=DataConfig(**{str(key): value for key, value in data.items()}),
        values=values,
        grid={str(key): [_number(v) for v in str(text).split(",")] for key, text in grid.items()},
    )


def _number(text: str) -> int | float:
    return int(text) if text.isdigit() else float(text)


def measure_ours(command: Sequence[str], samples: Samples) -> None:
    """Run a sweep of this project, and record its time and its best accuracy."""
    with fresh_folder() as folder:
        if run(command, folder, samples):
            store = Store(f"sqlite:///{folder}/outputs/mlflow.db")
            jobs = queries.sweep_runs(store, queries.find_sweep(store))
            samples.notes |= {
                "best_val_acc": float(jobs["metrics.best_val_acc"].max()),
                "jobs": len(jobs),
                "diverged": int((jobs["tags.outcome"] == "diverged").sum()),
            }
        note_phases(folder, samples)


def measure_peer(script: Sequence[str], task: Task, samples: Samples) -> None:
    """Run a peer, and record its time and its best accuracy."""
    with fresh_folder() as folder:
        task.write(folder / "task.json")
        home = {"HOME": str(folder)} if script[0] == "ray_torch" else {}  # Ray writes a token there
        command = ["python", "-m", f"benchmarks.peers.{script[0]}", *script[1:]]
        if run(command, folder, samples, **home):
            samples.notes |= json.loads((folder / "result.json").read_text())


def measure(name: str, mode: Mode, repeats: int) -> None:
    """Measure the sweep on one dataset."""
    overrides, task = DATA[name](mode is Mode.SMOKE)
    peers = ["scikit-learn"] if mode is Mode.QUICK else list(PEERS)
    commands = {
        "population": [*SWEEP, *overrides],
        "basic": [*SWEEP, *overrides, "hydra/launcher=basic"],
        "population, timed": [*PHASES, *overrides],
    }
    if mode is Mode.QUICK:
        del commands["basic"]
    samples = {key: Samples() for key in (*commands, *peers)}
    contenders: list[Callable[[], None]] = [
        *(partial(measure_ours, command, samples[key]) for key, command in commands.items()),
        *(partial(measure_peer, PEERS[peer], task, samples[peer]) for peer in peers),
    ]

    def keep() -> None:
        results = {key: asdict(value) for key, value in samples.items()}
        values = {"epochs": task.values["num_epochs"], "batch_size": task.values["batch_size"]}
        grid = {key: list(value) for key, value in task.grid.items()}
        save(f"sweep-{name}", mode, {"values": values, "grid": grid, "contenders": results})

    interleave(contenders, repeats, keep)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure on the digits and, if its files are available, on CIFAR-10."""
    parser = arguments(__doc__, repeats=3)
    parser.add_argument("--data", nargs="+", choices=list(DATA), default=list(DATA))
    options = parser.parse_args(argv)
    repeats = {Mode.SMOKE: 1, Mode.QUICK: 2}.get(options.mode, options.repeats)
    for name in ["digits"] if options.mode is Mode.QUICK else options.data:
        if name == "cifar10" and not Path(os.environ.get("CIFAR10_DIR", "")).is_absolute():
            print("CIFAR-10 is skipped: set CIFAR10_DIR to the absolute path of its folder")
        else:
            measure(name, options.mode, repeats)


if __name__ == "__main__":
    main()
