"""What a job is: its values, checked before anything is trained."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from pipeline.errors import ConfigError


@dataclass(frozen=True)
class Hyperparameters:
    """All that decides a model's numbers, besides the data (DESIGN.md, "The model").

    Raises:
        ConfigError: a value has the wrong type or is out of range.
    """

    hidden_size: int
    l2_reg: float
    learning_rate: float
    learning_rate_decay: float
    batch_size: int
    num_epochs: int
    weight_std: float
    seed: int
    dtype: str
    momentum: float  # μ of v ← μ v − η dW, W ← W + v
    dropout: float  # share of hidden units that are off in a training step
    flip: bool  # mirror each training image, left to right, every other time

    def __post_init__(self) -> None:
        for name in ("hidden_size", "batch_size", "num_epochs"):
            check_whole(name, getattr(self, name), least=1)
        check_whole("seed", self.seed, least=0)
        for name in ("l2_reg", "weight_std"):
            check_real(name, getattr(self, name), zero=True)
        for name in ("learning_rate", "learning_rate_decay"):
            check_real(name, getattr(self, name), zero=False)
        for name in ("momentum", "dropout"):
            check_real(name, getattr(self, name), zero=True)
            if getattr(self, name) >= 1:
                raise ConfigError(f"{name} must be below 1, not {getattr(self, name)!r}")
        if not isinstance(self.flip, bool):
            raise ConfigError(f"flip must be true or false, not {self.flip!r}")
        if self.dtype not in ("float32", "float64"):
            raise ConfigError(f"dtype must be float32 or float64, not {self.dtype!r}")

    @property
    def batches(self) -> tuple[int, int, bool]:
        """Equal for jobs that share every mini-batch: one population."""
        return self.batch_size, self.seed, self.flip


@dataclass(frozen=True)
class DataConfig:
    """Which dataset, where its files are, and how it is split and scaled.

    Each kind of dataset uses some of these values. `conf/data/<kind>.yaml` lists them.
    """

    name: str  # of the MLflow experiment and of the registered model
    dir: str | None = None  # a folder that holds the files; None: the cache folder of downloads
    url: str | None = None  # the address of the folder that holds `files`; None: no download
    files: Mapping[str, str] = field(default_factory=dict)  # file name → checksum ("md5:…")
    kind: str = ""  # a module of pipeline.data.kinds; "": the name
    file: str | None = None  # one file that holds the dataset
    target: str | None = None  # the column of the labels, or a function as module:function
    group: str | None = None  # the column whose equal values stay in one split
    val_fraction: float = 0.2  # of the rows
    test_fraction: float = 0.2  # of the rows; 0: no test split
    split_seed: int = 0
    scaling: str = "standard"  # pixels, standard or none

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise ConfigError(f"data.name must be the name of a dataset, not {self.name!r}")
        object.__setattr__(self, "kind", self.kind or self.name)
        if not isinstance(self.kind, str):
            raise ConfigError(f"data.kind must be the name of a kind, not {self.kind!r}")
        for key in ("dir", "url", "file", "target", "group"):
            if not isinstance(getattr(self, key), str | None):
                raise ConfigError(f"data.{key} must be text or null, not {getattr(self, key)!r}")
        check_real("data.val_fraction", self.val_fraction, zero=False)
        check_real("data.test_fraction", self.test_fraction, zero=True)
        if self.val_fraction + self.test_fraction >= 1:
            raise ConfigError(
                f"data.val_fraction={self.val_fraction} and data.test_fraction="
                f"{self.test_fraction} leave no rows for training: their sum must be below 1"
            )
        check_whole("data.split_seed", self.split_seed, least=0)
        if self.scaling not in ("pixels", "standard", "none"):
            raise ConfigError(
                f"data.scaling must be pixels, standard or none, not {self.scaling!r}"
            )
        if not isinstance(self.files, Mapping) or not all(map(_is_text, self.files.values())):
            raise ConfigError(f"data.files must map file names to checksums, not {self.files!r}")


@dataclass(frozen=True)
class TrackingConfig:
    """Where MLflow keeps the runs."""

    uri: str
    experiment: str
    reuse: bool  # whether a finished run with the same fingerprint takes the place of training
    checkpoint_minutes: float  # between two checkpoints of a model that trains

    def __post_init__(self) -> None:
        for key in ("uri", "experiment"):
            value = getattr(self, key)
            if not isinstance(value, str) or not value.strip():
                raise ConfigError(f"tracking.{key} must be a text that is not empty, not {value!r}")
        if not isinstance(self.reuse, bool):
            raise ConfigError(f"tracking.reuse must be true or false, not {self.reuse!r}")
        check_real("tracking.checkpoint_minutes", self.checkpoint_minutes, zero=False)


@dataclass(frozen=True)
class Halving:
    """How many configurations stay at a rung, and when.

    Raises:
        ConfigError: a value is not a whole number, or too small.
    """

    factor: int  # one of so many configurations stays
    min_epochs: int  # before the first rung; each rung is `factor` times later than the one before

    def __post_init__(self) -> None:
        check_whole("hydra.launcher.halving.factor", self.factor, least=2)
        check_whole("hydra.launcher.halving.min_epochs", self.min_epochs, least=1)

    def rungs(self, num_epochs: int) -> list[int]:
        """The epochs after which configurations that train for `num_epochs` are compared."""
        found = []
        epoch = self.min_epochs
        while epoch < num_epochs:
            found.append(epoch)
            epoch *= self.factor
        return found

    def kept(self, configurations: int) -> int:
        """How many of so many stay at a rung."""
        return -(-configurations // self.factor)


@dataclass(frozen=True)
class Job:
    """One model to train: what Hydra calls a job and MLflow a run."""

    hyperparameters: Hyperparameters
    data: DataConfig
    tracking: TrackingConfig

    @property
    def data_key(self) -> str:
        """Equal for jobs that can share their images in memory."""
        return f"{self.data} {self.hyperparameters.dtype}"


def parse_job(values: Mapping[str, Any]) -> Job:
    """Build a job from a composed configuration (plain dicts, interpolations resolved).

    Raises:
        ConfigError: a key is unknown or missing, or a value has the wrong type or range.
    """
    groups = ("data", "tracking")
    keys = [item.name for item in fields(Hyperparameters)] + list(groups)
    for key in values:
        if key not in keys:
            raise ConfigError(f"unknown key {key}: the keys are {', '.join(keys)}")
    flat = {key: value for key, value in values.items() if key not in groups}
    return Job(
        hyperparameters=_build(Hyperparameters, flat, ""),
        data=parse_data(values.get("data")),
        tracking=parse_tracking(values.get("tracking")),
    )


def parse_data(values: Any) -> DataConfig:
    """Build the group `data` of a composed configuration.

    Raises:
        ConfigError: a key is unknown or missing, or a value has the wrong type.
    """
    data: DataConfig = _build(DataConfig, values, "data.")
    return data


def parse_tracking(values: Any) -> TrackingConfig:
    """Build the group `tracking` of a composed configuration.

    Raises:
        ConfigError: a key is unknown or missing, or a value has the wrong type.
    """
    tracking: TrackingConfig = _build(TrackingConfig, values, "tracking.")
    return tracking


def check_batch_size(job: Hyperparameters, num_train: int) -> None:
    """Refuse a batch that the training set cannot fill.

    Raises:
        ConfigError: the batch is larger than the training set.
    """
    if job.batch_size > num_train:
        raise ConfigError(
            f"batch_size={job.batch_size} is larger than the training set of {num_train} images: "
            f"use at most {num_train}"
        )


def _build(cls: type[Any], values: Any, prefix: str) -> Any:
    if not isinstance(values, Mapping):
        raise ConfigError(f"{prefix.rstrip('.')} must be a group of values, not {values!r}")
    known = fields(cls)
    keys = [item.name for item in known]
    for key in values:
        if key not in keys:
            raise ConfigError(f"unknown key {prefix}{key}: the keys are {', '.join(keys)}")
    for item in known:
        key = item.name
        if key not in values and item.default is MISSING and item.default_factory is MISSING:
            raise ConfigError(f"{prefix}{key} is missing: set it with {prefix}{key}=…")
    return cls(**values)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def check_whole(name: str, value: Any, least: int) -> None:
    """Refuse what is not a whole number of at least `least`, as a ConfigError."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"{name} must be a whole number of at least {least}, not {value!r}")


def check_real(name: str, value: Any, *, zero: bool) -> None:
    """Refuse what is not a finite number above 0, or 0 if `zero`, as a ConfigError."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value < 0 or (value == 0 and not zero):
        bound = "of at least 0" if zero else "above 0"
        raise ConfigError(f"{name} must be a finite number {bound}, not {value!r}")


def short(value: float) -> str:
    """A number as people write it: 0.3, 1e-4."""
    mantissa, exponent = f"{value:e}".split("e")
    return min(f"{value:g}", f"{float(mantissa):g}e{int(exponent)}", key=len)
