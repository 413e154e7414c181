"""The values of hydra/sweeper=optuna and hydra/sweeper=grid, with their bounds and meanings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from pipeline.search.pruning import PrunerName
from pipeline.validation import checked, parse


@checked
@dataclass(frozen=True)
class OptunaConfig:
    """The group `hydra.sweeper` of hydra/sweeper=optuna."""

    sampler: Annotated[
        Literal["tpe", "cmaes", "qmc", "random", "grid"],
        Field(
            description="tpe; cmaes (intervals and ranges only); qmc (quasi-random); random; grid "
            "(no intervals)"
        ),
    ]
    seed: Annotated[
        int,
        Field(ge=0, description="seed of the sampler: the same command gives the same trials"),
    ]
    n_trials: Annotated[
        int, Field(ge=1, description="trials of the study, including earlier starts")
    ]
    batch_size: Annotated[
        int, Field(ge=1, description="trials that are chosen, and then trained, together")
    ]
    continuous: Annotated[
        bool,
        Field(
            description="whether the next trial starts as soon as one ends: at most batch_size "
            "trials train, each job on one core"
        ),
    ]
    study: Annotated[
        str | None,
        Field(description="name of the study; null: a name made from the search itself"),
    ]
    storage: Annotated[
        str, Field(min_length=1, description="the database in which Optuna keeps the study")
    ]
    seeds: Annotated[
        Sequence[int] | None,
        Field(
            min_length=1,
            description="seeds such as 0,1,2: a trial is one job per seed, and its objective is "
            "their mean; null: one job",
        ),
    ]
    pruner: Annotated[
        PrunerName | None,
        Field(
            description="median, successive_halving, hyperband or wilcoxon: stops trials whose "
            "scores fall behind; null: all trials train to their end"
        ),
    ]
    pruner_params: Annotated[
        Mapping[str, Any] | None,
        Field(
            description="parameters of Optuna's class of the pruner by name, such as "
            "{n_warmup_steps: 5}; null: its defaults"
        ),
    ]
    where: Annotated[
        str | None,
        Field(
            min_length=1,
            description="a condition on the values of a job, such as hidden_size * num_epochs <= "
            "20000: other trials are not drawn; null: none",
        ),
    ]
    budget: Annotated[
        str | float | None,
        Field(
            description="a time such as 90s, 10min or 2h, or a number of multiply-adds: the search "
            "ends before the first batch that does not fit; null: n_trials is the limit"
        ),
    ]
    params: Annotated[
        Mapping[str, Any] | None,
        Field(
            description="spaces by key, as on the command line: 1,2 or range(1,9) or "
            "interval(0,1) or tag(log, interval(1e-4,1)); null: none"
        ),
    ]


@checked
@dataclass(frozen=True)
class GridConfig:
    """The group `hydra.sweeper` of hydra/sweeper=grid."""

    max_batch_size: Annotated[
        int | None, Field(ge=1, description="jobs per call of the launcher; null: all jobs")
    ]
    where: Annotated[
        str | None,
        Field(
            min_length=1,
            description="a condition on the values of a job, such as hidden_size * num_epochs <= "
            "20000: other jobs are left out; null: none",
        ),
    ]
    budget: Annotated[
        str | float | None,
        Field(
            description="a time such as 90s, 10min or 2h, or a number of multiply-adds: the jobs "
            "that fit are trained; null: all jobs"
        ),
    ]
    params: Annotated[
        Mapping[str, Any] | None,
        Field(description="values to sweep by key, as on the command line; null: none"),
    ]


def parse_optuna(values: Mapping[str, Any]) -> OptunaConfig:
    """Check the group `hydra.sweeper` of hydra/sweeper=optuna.

    Raises:
        ConfigError: a key is unknown or missing, or a value is wrong.
    """
    return parse(OptunaConfig, values, "hydra.sweeper.")


def parse_grid(values: Mapping[str, Any]) -> GridConfig:
    """Check the group `hydra.sweeper` of hydra/sweeper=grid.

    Raises:
        ConfigError: a key is unknown or missing, or a value is wrong.
    """
    return parse(GridConfig, values, "hydra.sweeper.")
