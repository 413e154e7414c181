"""Names of hyperparameters and configurations as a report shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from pipeline.analysis.heatmap import GRID
from pipeline.analysis.runs import PARAMS
from pipeline.hyperparameters import HYPERPARAMETERS
from pipeline.report.formatting import show


def symbol(name: str) -> str:
    """The short name of a hyperparameter."""
    return HYPERPARAMETERS[name].heading if name in HYPERPARAMETERS else name


def label(values: Mapping[Any, Any], names: Sequence[str]) -> str:
    """A configuration by some of its values: H=8 lr=0.3."""
    return " ".join(f"{symbol(name)}={show(values[name])}" for name in names)


def shown_names(jobs: pd.DataFrame) -> list[str]:
    """The columns of values in a table of jobs: the axes of the heatmaps and all swept values."""
    return [key for key in PARAMS if key in GRID or jobs[key].nunique() > 1]


def shared_values(jobs: pd.DataFrame) -> dict[str, Any]:
    """The values that all jobs have in common."""
    return {key: jobs[key].dropna().iloc[0] for key in PARAMS if jobs[key].nunique() == 1}


def run_label(run: pd.Series[Any], jobs: pd.DataFrame) -> str:
    """A run by all values that distinguish it from the other jobs."""
    names = [key for key in PARAMS if jobs[key].nunique() > 1]
    return label(run.to_dict(), names or GRID)
