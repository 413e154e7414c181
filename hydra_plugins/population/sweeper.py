"""Hydra's grid sweeper, which checks all jobs first and skips repeated ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.types import Override

from pipeline.hydra_compat import BasicSweeper


class GridSweeper(BasicSweeper):
    """All combinations of the swept values."""

    def sweep(self, arguments: list[str]) -> Any:
        """Train all jobs; returns their JobReturns.

        Raises:
            CompactHydraException: a value or an override is wrong, or a folder cannot be written.
        """
        from hydra_plugins.population._grid import (
            check_jobs,
            one_sentence,
            redacted,
            sweep_folder_errors,
        )

        with sweep_folder_errors(), one_sentence():
            check_jobs(self, arguments)
            assert self.config is not None  # since `setup`
            self.config = redacted(self.config)  # only to be saved; the launcher has its own
            return super().sweep(arguments)

    @staticmethod
    def split_arguments(
        overrides: list[Override], max_batch_size: int | None
    ) -> list[list[list[str]]]:
        """All different jobs, in batches.

        Raises:
            CompactHydraException: an interval is not a list of values.
        """
        from hydra_plugins.population._grid import split

        return split(overrides, max_batch_size)

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Do nothing: `sweep` has composed and checked every job."""
