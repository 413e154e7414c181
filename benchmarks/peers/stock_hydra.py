"""A sweep with Hydra and MLflow as their documentation shows: one job after another.

python -m benchmarks.peers.stock_hydra -m learning_rate=0.1,0.2 l2_reg=0,1e-4
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import hydra
import mlflow
import numpy as np
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from benchmarks.peers.naive import TwoLayerNet
from pipeline.config import DataConfig
from pipeline.data.dataset import Dataset
from pipeline.data.load import load
from pipeline.hyperparameters import Hyperparameters


@dataclass
class Config:
    """The values of conf/config.yaml for a tiny model."""

    hidden_size: int = 4
    l2_reg: float = 0.0
    learning_rate: float = 0.1
    learning_rate_decay: float = 0.95
    batch_size: int = 100
    num_epochs: int = 1
    weight_std: float = 0.1
    seed: int = 0
    dtype: str = "float32"
    momentum: float = 0.0
    dropout: float = 0.0
    flip: bool = False
    tracking_uri: str = "sqlite:///${hydra:runtime.cwd}/mlflow.db"


ConfigStore.instance().store(name="config", node=Config)


@functools.cache
def digits() -> Dataset:
    """Load the data once for all jobs: the benchmark measures jobs, not reading."""
    return load(DataConfig("digits", None, None, {}), "float32")


@hydra.main(version_base="1.3", config_path=None, config_name="config")
def app(config: Config) -> float:
    """Train one model."""
    values = {k: v for k, v in OmegaConf.to_container(config).items() if k != "tracking_uri"}
    data, job = digits(), Hyperparameters(**values)
    model = TwoLayerNet(job, data.X_train.shape[1], len(data.classes))
    mlflow.set_tracking_uri(config.tracking_uri)
    mlflow.set_experiment("digits")
    with mlflow.start_run():
        mlflow.log_params(values)
        for epoch in range(1, job.num_epochs + 1):
            metrics = train_epoch(model, data, job.batch_size)
            mlflow.log_metrics(metrics, step=epoch)
        path = Path(HydraConfig.get().runtime.output_dir, "weights.npz")
        np.savez(path, **model.params)
        mlflow.log_artifact(str(path))
    return metrics["val_acc"]


def train_epoch(model: TwoLayerNet, data: Dataset, batch_size: int) -> dict[str, float]:
    """Train one epoch, and return its metrics."""
    order = np.random.permutation(len(data.X_train))
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    losses = [model.step(data.X_train[rows], data.y_train[rows]) for rows in batches]
    train_acc = np.mean(model.scores(data.X_train).argmax(axis=1) == data.y_train)
    val_acc = np.mean(model.scores(data.X_val).argmax(axis=1) == data.y_val)
    return {
        "train_loss": float(np.mean(losses)),
        "train_acc": float(train_acc),
        "val_loss": model.loss(data.X_val, data.y_val)[0],
        "val_acc": float(val_acc),
    }


if __name__ == "__main__":
    app()
