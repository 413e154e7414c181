"""What is searched, and by which sampler of Optuna.

What a sampler draws for a trial depends on the seed, on the trial's number and on the trials before
it: a study that goes on chooses what it would have chosen without the interruption.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import ConfigError
from pipeline.search.space import levels

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

    from pipeline.search.space import Space

SAMPLERS = ("tpe", "cmaes", "qmc", "random", "grid")


@dataclass(frozen=True)
class Search:
    """What is searched, and how.

    Raises:
        ConfigError: the sampler is unknown, or cannot search this space.
    """

    space: Space
    fixed: dict[str, Any]  # the values that are the same for all trials
    sampler: str  # of SAMPLERS
    seed: int
    n_trials: int
    batch_size: int

    def __post_init__(self) -> None:
        if self.sampler not in SAMPLERS:
            raise ConfigError(
                f"hydra.sweeper.sampler must be one of {', '.join(SAMPLERS)}, not {self.sampler!r}"
            )
        choices = [key for key, over in self.space.items() if hasattr(over, "choices")]
        if self.sampler == "cmaes" and (choices or len(self.space) < 2):
            raise ConfigError(
                "hydra.sweeper.sampler=cmaes searches at least two intervals or ranges, and no "
                f"choices{' as that of ' if choices else ''}{', '.join(choices)}: take another "
                "sampler"
            )

    @property
    def count(self) -> int:
        """How many trials there will be: of a grid at most as many as it has points."""
        if self.sampler != "grid":
            return self.n_trials
        return min(self.n_trials, math.prod(map(len, levels(self.space).values())))

    @property
    def identity(self) -> dict[str, Any]:
        """What two starts have in common that belong to one study, as JSON has it."""
        space = {key: str(over) for key, over in self.space.items()}
        same = {"space": space, "values": self.fixed, "sampler": self.sampler, "seed": self.seed}
        found: dict[str, Any] = json.loads(json.dumps(same))
        return found

    @property
    def name(self) -> str:
        """A name for the study that holds exactly this search."""
        text = json.dumps(self.identity, sort_keys=True)
        return f"{self.sampler}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"

    def sampler_for(self, number: int) -> BaseSampler:
        """The sampler of one trial."""
        from optuna import samplers

        own = int(np.random.SeedSequence([self.seed, number]).generate_state(1)[0])
        match self.sampler:
            case "tpe":
                # The liar takes trials that run for bad ones: those of a batch keep apart.
                return samplers.TPESampler(seed=own, constant_liar=True)
            case "cmaes":
                return samplers.CmaEsSampler(seed=own, warn_independent_sampling=False)
            case "qmc":
                return samplers.QMCSampler(
                    scramble=True,
                    seed=self.seed,  # of the sequence, of which each trial is a point
                    independent_sampler=samplers.RandomSampler(own),
                    warn_independent_sampling=False,
                )
            case "random":
                return samplers.RandomSampler(own)
        return samplers.GridSampler(levels(self.space), seed=self.seed)  # of the order
