"""Hydra's grid sweeper, which leaves the composing of jobs to the population launcher."""

from __future__ import annotations

from collections.abc import Sequence

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

from hydra_plugins.population.launcher import PopulationLauncher


class GridSweeper(BasicSweeper):
    """All combinations of the swept values."""

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Compose every job once to find errors early, unless the launcher does so anyway."""
        if not isinstance(self.launcher, PopulationLauncher):
            super().validate_batch_is_legal(batch)
