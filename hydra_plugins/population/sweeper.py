"""Hydra's grid sweeper, which leaves the composing of jobs to the population launcher."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.types import Override
from hydra.errors import CompactHydraException

from hydra_plugins.population.launcher import PopulationLauncher
from pipeline.hydra_compat import BasicSweeper


class GridSweeper(BasicSweeper):
    """All combinations of the swept values."""

    def sweep(self, arguments: list[str]) -> Any:
        """Train all jobs; returns their JobReturns.

        Raises:
            CompactHydraException: a value or an override is wrong, or a folder cannot be written.
        """
        from hydra_plugins.population._jobs import sweep_folder_errors

        with sweep_folder_errors():
            return super().sweep(arguments)

    @staticmethod
    def split_arguments(
        overrides: list[Override], max_batch_size: int | None
    ) -> list[list[list[str]]]:
        """All jobs, in batches.

        Raises:
            CompactHydraException: an interval is not a list of values.
        """
        for override in overrides:
            if override.is_interval_sweep():
                raise CompactHydraException(
                    f"{override.input_line}: a grid needs a list of values or a range(…); to "
                    "search an interval, use hydra/sweeper=optuna"
                )
        batches: list[list[list[str]]] = BasicSweeper.split_arguments(overrides, max_batch_size)
        return batches

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Compose every job to find errors early, unless the launcher does so anyway."""
        if not isinstance(self.launcher, PopulationLauncher):
            super().validate_batch_is_legal(batch)
