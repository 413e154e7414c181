"""Stopping jobs before their last epoch: the interface of the rules, and their application."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from pipeline.execution.job import JobRun
from pipeline.execution.spec import RunContext


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


def halt(
    rule: StoppingRule, candidates: Sequence[JobRun], rung: int, context: RunContext
) -> tuple[list[JobRun], list[JobRun]]:
    """End the candidates that do not continue after a rung.

    Args:
        rule: chooses them.
        candidates: jobs that have paused at the rung, or have ended before it.
        rung: the epoch of the comparison.
        context: the place of the runs in MLflow.

    Returns:
        The jobs that this call has ended, and the candidates that are left.
    """
    halted = set(rule.select_halted(candidates, rung))
    ended = [run for run in candidates if run in halted and not run.outcome]
    reused: dict[int, str] = {}
    for run in ended:
        if run.cached_halted_run is not None and run.epoch == 0:
            run.reuse(run.cached_halted_run)
            reused[run.spec.number] = run.cached_halted_run.run_id
        else:
            run.halt(rung)
    if reused and context.sweep is not None:
        context.store.link_reused_runs(context.sweep, reused)
    return ended, [run for run in candidates if run not in halted]
