"""The configuration: typed values, each with its bounds and its meaning in one place.

`conf/` holds the same keys with their values; Hydra composes them, and `parse_job`
and the other functions here check them. The hyperparameters are in
`pipeline.hyperparameters`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Literal

from pydantic import Field

from pipeline.errors import ConfigError
from pipeline.hyperparameters import Hyperparameters
from pipeline.validation import checked, parse, unknown_key


@checked
@dataclass(frozen=True)
class DataConfig:
    """The group `data`: the dataset, its files, its split and its scaling.

    Each kind of dataset uses some of these values. `conf/data/<kind>.yaml` lists them.

    Raises:
        ConfigError: val_fraction and test_fraction leave no rows for training.
    """

    name: Annotated[
        str,
        Field(
            min_length=1,
            pattern=r"\S",
            description="name of the dataset, of its MLflow experiment and of its registered model",
        ),
    ]
    dir: Annotated[
        str | None,
        Field(description="a folder that holds the files; null: the cache folder, and a download"),
    ] = None
    url: Annotated[
        str | None, Field(description="the folder to download from; null: nothing to download")
    ] = None
    files: Annotated[
        Mapping[str, str],
        Field(description="checksums of the published files, as md5:… or sha256:…, by file name"),
    ] = field(default_factory=dict)
    kind: Annotated[
        str, Field(description='a module of pipeline.data.kinds; "": the one called as `name`')
    ] = ""
    file: Annotated[str | None, Field(description="one file that holds the dataset")] = None
    id: Annotated[int | None, Field(ge=1, description="number of a dataset at OpenML")] = None
    target: Annotated[
        str | None,
        Field(description="the column of the labels; of data=callable: MODULE:FUNCTION"),
    ] = None
    group: Annotated[
        str | None, Field(description="a column whose equal values stay in one split")
    ] = None
    exclude: Annotated[
        Sequence[str], Field(description="columns that are no features, such as identifiers")
    ] = ()
    separator: Annotated[
        str,
        Field(min_length=1, max_length=1, description="character between the values of a CSV line"),
    ] = ","
    val_fraction: Annotated[float, Field(gt=0, description="validation share of the rows")] = 0.2
    test_fraction: Annotated[
        float, Field(ge=0, description="test share of the rows; 0: no test split")
    ] = 0.2
    split_seed: Annotated[int, Field(ge=0, description="seed of the split")] = 0
    scaling: Annotated[
        Literal["pixels", "standard", "none"],
        Field(
            description="pixels: divide by the largest pixel and subtract the training mean; "
            "standard: mean 0 and deviation 1; none"
        ),
    ] = "standard"
    whiten: Annotated[
        float | None,
        Field(
            gt=0,
            description="ε of ZCA whitening: the scaled rows become uncorrelated in directions "
            "with more variance than ε times the mean variance; null: not whitened",
        ),
    ] = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", self.kind or self.name)
        if self.val_fraction + self.test_fraction >= 1:
            raise ConfigError(
                f"data.val_fraction={self.val_fraction} and data.test_fraction="
                f"{self.test_fraction} leave no rows for training: their sum must be below 1"
            )


@checked
@dataclass(frozen=True)
class TrackingConfig:
    """The group `tracking`: the MLflow store, and the reuse of finished runs."""

    uri: Annotated[
        str,
        Field(min_length=1, pattern=r"\S", description="the MLflow store: sqlite:///… or http://…"),
    ]
    experiment: Annotated[
        str, Field(min_length=1, pattern=r"\S", description="the MLflow experiment of the runs")
    ]
    reuse: Annotated[
        bool,
        Field(description="whether a finished run of that experiment replaces an equal job"),
    ]
    checkpoint_minutes: Annotated[
        float,
        Field(gt=0, description="minutes between two checkpoints, from which a sweep resumes"),
    ]


@checked
@dataclass(frozen=True)
class HalvingConfig:
    """The group `hydra.launcher.halving`: successive halving."""

    factor: Annotated[
        int | None,
        Field(
            ge=2, description="1 in this number of configurations survives a rung; null: no rungs"
        ),
    ]
    min_epochs: Annotated[
        int,
        Field(ge=1, description="epochs before the first rung; each next one is factor × later"),
    ]


@checked
@dataclass(frozen=True)
class LauncherConfig:
    """The group `hydra.launcher` of the population launcher."""

    shards: Annotated[
        int | None,
        Field(ge=1, description="cores that train at the same time; null: all cores"),
    ]
    max_memory: Annotated[
        float | None,
        Field(gt=0, description="GB for data and weights; null: 60 % of the free memory"),
    ]
    halving: Annotated[HalvingConfig, Field(description="successive halving")]
    backend: Annotated[
        str,
        Field(
            min_length=1,
            description="joblib: train on this machine; dask: on the workers of a cluster "
            "(docs/guide/clusters.md)",
        ),
    ]
    scheduler: Annotated[
        str | None,
        Field(description="address of the Dask scheduler for backend=dask: tcp://HOST:PORT"),
    ]
    max_failures: Annotated[
        int | None,
        Field(ge=1, description="failed jobs that end the sweep; null: it trains all other jobs"),
    ]
    retries: Annotated[
        int,
        Field(
            ge=0,
            description="further attempts of a job after a failure of the machine: a dead worker, "
            "a lack of memory, an I/O error",
        ),
    ]
    dry_run: Annotated[
        bool, Field(description="whether to print the plan of the sweep and train nothing")
    ]

    @property
    def memory(self) -> int | None:
        """`max_memory` in bytes."""
        return None if self.max_memory is None else int(self.max_memory * 1e9)

    @property
    def halving_rule(self) -> Halving | None:
        """The rule of successive halving; None: all configurations train to their end."""
        if self.halving.factor is None:
            return None
        return Halving(self.halving.factor, self.halving.min_epochs)


@dataclass(frozen=True)
class Halving:
    """The rule of successive halving, from a checked `HalvingConfig`."""

    factor: int  # 1 in this number of configurations survives a rung
    min_epochs: int  # before the first rung

    def rungs(self, num_epochs: int) -> list[int]:
        """The epochs after which configurations that train for `num_epochs` are compared."""
        found = []
        epoch = self.min_epochs
        while epoch < num_epochs:
            found.append(epoch)
            epoch *= self.factor
        return found

    def num_survivors(self, configurations: int) -> int:
        """The number of configurations that survive a rung."""
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
    """Check a composed configuration (plain dicts, interpolations resolved).

    Raises:
        ConfigError: a key is unknown or missing, or a value has the wrong type or is out of range.
    """
    groups = ("data", "tracking")
    keys = [each.name for each in fields(Hyperparameters)] + list(groups)
    for key in values:
        if key not in keys:
            raise ConfigError(unknown_key(key, keys))
    flat = {key: value for key, value in values.items() if key not in groups}
    return Job(
        hyperparameters=parse(Hyperparameters, flat),
        data=parse_data(values.get("data")),
        tracking=parse_tracking(values.get("tracking")),
    )


def parse_data(values: Any) -> DataConfig:
    """Check the group `data`.

    Raises:
        ConfigError: as in `parse_job`.
    """
    return parse(DataConfig, values, "data.")


def parse_tracking(values: Any) -> TrackingConfig:
    """Check the group `tracking`.

    Raises:
        ConfigError: as in `parse_job`.
    """
    return parse(TrackingConfig, values, "tracking.")


def parse_launcher(values: Mapping[str, Any]) -> LauncherConfig:
    """Check the group `hydra.launcher` of the population launcher.

    Raises:
        ConfigError: as in `parse_job`.
    """
    prefix = "hydra.launcher."
    halving = parse(HalvingConfig, values.get("halving"), f"{prefix}halving.")
    return parse(LauncherConfig, {**values, "halving": halving}, prefix)


def check_batch_size(job: Hyperparameters, num_train: int) -> None:
    """Refuse a batch that the training set cannot fill.

    Raises:
        ConfigError: the batch is larger than the training set.
    """
    if job.batch_size > num_train:
        raise ConfigError(
            f"batch_size={job.batch_size} is larger than the training set of {num_train} examples: "
            f"use at most {num_train}"
        )


def short(value: float) -> str:
    """A number as people write it: 0.3, 1e-4."""
    mantissa, exponent = f"{value:e}".split("e")
    return min(f"{value:g}", f"{float(mantissa):g}e{int(exponent)}", key=len)
