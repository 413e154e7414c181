"""The interface of rules that stop jobs before their last epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from pipeline.execution.job import JobRun


class StoppingRule(Protocol):
    """Compares jobs after certain epochs, the rungs, and chooses the jobs that stop there.

    A decision must depend only on the metrics of the candidates up to the rung. A resumed sweep
    repeats all decisions, and must come to the same ones.
    """

    def rungs(self, candidates: Sequence[JobRun]) -> list[int]:
        """The epochs after which training pauses for a comparison, in ascending order.

        Args:
            candidates: all jobs on one dataset, including those that reuse a result.
        """

    def select_halted(self, candidates: Sequence[JobRun], rung: int) -> list[JobRun]:
        """Choose the jobs that do not continue after a rung.

        Args:
            candidates: the jobs that no earlier rung has halted.
            rung: the epoch of the comparison.
        """
