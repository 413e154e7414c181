"""Hydra's grid sweeper, which checks all jobs first and skips repeated ones."""

from __future__ import annotations

from typing import Any

from pipeline.hydra_compat import BasicSweeper


class GridSweeper(BasicSweeper):
    """All combinations of the swept values."""

    def __init__(
        self,
        max_batch_size: int | None,
        where: str | None,
        budget: str | float | None,
        params: dict[str, str] | None,
    ) -> None:
        """Store the values of conf/hydra/sweeper/grid.yaml."""
        super().__init__(max_batch_size, params)
        self.where, self.budget = where, budget

    def sweep(self, arguments: list[str]) -> Any:
        """Train all jobs; returns their JobReturns.

        Raises:
            CompactHydraException: a value or an override is wrong, a folder cannot be written, or a
                job failed.
        """
        from hydra_plugins.population._core import one_sentence
        from hydra_plugins.population._grid import sweep
        from hydra_plugins.population._jobs import sweep_folder_errors

        with sweep_folder_errors(), one_sentence():
            return sweep(self, arguments)
