"""Turns the result of an analysis into text, tables, charts and pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.report.notebook import SweepReport

__all__ = ["load"]


def load(sweep: str | None = None, tracking_uri: str | None = None) -> SweepReport:
    """Analyse a sweep for a notebook.

    Args:
        sweep: its ID; None: the latest sweep.
        tracking_uri: the store; None: the default one.

    Returns:
        The DataFrames of the report.

    Raises:
        PipelineError: there is no such sweep, or its runs cannot be read.
    """
    from pipeline.report.notebook import load_report

    return load_report(sweep, tracking_uri)
