"""A search: its space, its settings and its samplers of Optuna.

The values of a trial depend on the seed, the number of the trial and the earlier trials only. A
resumed study therefore draws the same trials as one that was never interrupted.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice, product
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import ConfigError
from pipeline.search.space import levels
from pipeline.selection import DEFAULT, SelectBy

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

    from pipeline.search.pruning import Pruning
    from pipeline.search.space import Space

SAMPLERS = ("tpe", "cmaes", "qmc", "random", "grid")


@dataclass(frozen=True)
class Condition:
    """A condition on the values of a trial."""

    text: str
    allows: Callable[[Mapping[str, Any]], bool]  # whether the values of a trial satisfy it


@dataclass(frozen=True)
class Search:
    """A search space with its sampler, seed and size.

    Raises:
        ConfigError: the sampler is unknown, or cannot search this space.
    """

    space: Space
    fixed: dict[str, Any]  # the values that are the same for all trials
    sampler: str  # of SAMPLERS
    seed: int
    n_trials: int
    batch_size: int
    select_by: SelectBy = DEFAULT  # the objective
    pruning: Pruning | None = None  # None: no trial stops early
    where: Condition | None = None  # on the values of a trial; None: all are allowed
    seeds: tuple[int, ...] = ()  # of the jobs of each trial; empty: one job, whose seed is a value
    continuous: bool = False  # whether a trial can start before others of its batch have ended

    def __post_init__(self) -> None:
        if self.sampler not in SAMPLERS:
            raise ConfigError(
                f"hydra.sweeper.sampler must be one of {', '.join(SAMPLERS)}, not {self.sampler!r}"
            )
        if self.seeds and "seed" in self.space:
            raise ConfigError("hydra.sweeper.seeds sets the seed of each job: do not search seed")
        if len(set(self.seeds)) < len(self.seeds):
            raise ConfigError("hydra.sweeper.seeds lists a seed twice: list each seed once")
        choices = [key for key, over in self.space.items() if hasattr(over, "choices")]
        if self.sampler == "cmaes" and (choices or len(self.space) < 2):
            raise ConfigError(
                "hydra.sweeper.sampler=cmaes searches at least two intervals or ranges, and no "
                f"choices{', as for ' if choices else ''}{', '.join(choices)}: choose another "
                "sampler"
            )

    @property
    def count(self) -> int:
        """The number of trials; a grid has at most as many as it has points."""
        if self.sampler != "grid":
            return self.n_trials
        points = levels(self.space)
        if self.where is None:
            return min(self.n_trials, math.prod(map(len, points.values())))
        found = (dict(zip(points, values, strict=True)) for values in product(*points.values()))
        return sum(1 for _ in islice(filter(self.where.allows, found), self.n_trials))

    @property
    def identity(self) -> dict[str, Any]:
        """The settings that all starts of one study share, as JSON values."""
        space = {key: str(over) for key, over in self.space.items()}
        same = {"space": space, "values": self.fixed, "sampler": self.sampler, "seed": self.seed}
        if self.pruning is not None:  # studies of earlier versions have no such key
            same |= self.pruning.identity
        if self.where is not None:
            same["where"] = self.where.text
        if self.seeds:
            same["seeds"] = self.seeds
        if self.continuous:  # the batch size then decides which results a trial knows
            same |= {"continuous": True, "batch_size": self.batch_size}
        found: dict[str, Any] = json.loads(json.dumps(same))
        return found

    @property
    def name(self) -> str:
        """A name for the study that holds exactly this search."""
        text = json.dumps(self.identity, sort_keys=True)
        return f"{self.sampler}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"

    def sampler_for(self, number: int, attempt: int = 0) -> BaseSampler:
        """The sampler of one trial, and of one attempt to satisfy the condition."""
        from optuna import samplers

        key = [self.seed, number, attempt] if attempt else [self.seed, number]
        own = int(np.random.SeedSequence(key).generate_state(1)[0])
        match self.sampler:
            case "tpe":
                # constant_liar scores running trials as bad, so a batch spreads over the space.
                return samplers.TPESampler(seed=own, constant_liar=True)
            case "cmaes":
                return samplers.CmaEsSampler(seed=own, warn_independent_sampling=False)
            case "qmc":
                return samplers.QMCSampler(
                    scramble=True,
                    seed=self.seed,  # of the quasi-random sequence; each trial is one of its points
                    independent_sampler=samplers.RandomSampler(own),
                    warn_independent_sampling=False,
                )
            case "random":
                return samplers.RandomSampler(own)
        return samplers.GridSampler(
            levels(self.space), seed=self.seed
        )  # of the order of the points
